//! The rotation of the index key: moving the records of listed ids, and what remains.

use std::path::Path;

use serde_json::json;
use strongroom::storage::Locator;
use strongroom::{Rotation, Strongroom};

use crate::args::IdFormat;
use crate::failure::Failure;
use crate::key_args::IndexKeyCommand;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::reply;
use crate::{ids, open, terminal};

pub(crate) fn run(options: &Options, command: &IndexKeyCommand) -> Result<(), Failure> {
    match command {
        IndexKeyCommand::Rotate { new, ids, format, erase_unknown, yes } => {
            rotate(options, new, ids.as_deref(), *format, *erase_unknown, *yes)
        }
        IndexKeyCommand::Status { list } => status(options, *list),
    }
}

fn rotate(
    options: &Options,
    new: &Path,
    ids: Option<&Path>,
    format: IdFormat,
    erase_unknown: bool,
    yes: bool,
) -> Result<(), Failure> {
    let store = open::rotating(options, new)?;
    if ids.is_none() && !yes && store.rotation(1)?.is_none() && !open::opens_with(options, new) {
        terminal::confirm("Begin the rotation? It ends only when no record remains under the old index key. [y/N] ")?;
    }
    let moved = ids.map(|ids| move_listed(&store, ids, format)).transpose()?;
    store.begin_rotation()?;
    // `None` if an earlier run has finished the rotation.
    let rotation = store.rotation(usize::MAX)?;
    let is_rotating = rotation.is_some();
    let mut remaining = rotation.map(|rotation| rotation.remaining).unwrap_or_default();
    let mut erased = 0;
    if erase_unknown && !remaining.is_empty() {
        if moved.is_some_and(|moved| moved.found == 0) {
            return Err(Failure::argument(
                "no id of --ids has a record, so nothing was erased: check the ids and --namespace, or leave out --ids",
            ));
        }
        erased = erase(&store, &remaining, yes)?;
        remaining.clear();
    }
    let is_finished = remaining.is_empty();
    if is_finished && is_rotating {
        store.finish_rotation()?;
    }
    let Moved { found, missing } = moved.unwrap_or_default();
    let remaining = remaining.len();
    let words = match is_finished {
        true => "the rotation is finished: use the new index key alone",
        false => "list the other ids, or see `strongroom index-key rotate --help` for --erase-unknown",
    };
    reply(
        options,
        &json!({"found": found, "missing": missing, "erased": erased, "remaining": remaining, "finished": is_finished}),
        &format!("found: {found}\nmissing: {missing}\nerased: {erased}\nremaining: {remaining}\n{words}"),
    )
}

/// How many of the listed ids have a record.
#[derive(Clone, Copy, Default)]
struct Moved {
    found: u64,
    missing: u64,
}

/// Begins the rotation, and moves the records of the listed ids.
fn move_listed(store: &Strongroom, ids: &Path, format: IdFormat) -> Result<Moved, Failure> {
    let mut moved = Moved::default();
    let mut has_begun = false;
    let bar = progress_bar(None, "{spinner} {human_pos} ids");
    ids::for_each_listed(ids, format, |namespace, id| {
        if namespace.is_some() {
            return Err(Failure::argument(
                "the namespace of the ids is that of --namespace: list each one's by itself",
            ));
        }
        if !has_begun {
            store.contains(id)?; // an error of the list's first id comes before the rotation, which has no way back
            store.begin_rotation()?;
            has_begun = true;
        }
        let is_there = store.contains(id)?; // moves the record
        *if is_there { &mut moved.found } else { &mut moved.missing } += 1;
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    if !has_begun {
        return Err(Failure::argument(
            "the list of --ids is empty: leave out --ids to begin or to finish the rotation without a list",
        ));
    }
    Ok(moved)
}

/// Erases the records that no listed id has moved.
fn erase(store: &Strongroom, remaining: &[Locator], yes: bool) -> Result<u64, Failure> {
    if !yes {
        terminal::confirm(&format!("Erase the {} remaining records permanently? [y/N] ", remaining.len()))?;
    }
    let mut erased = 0;
    for locator in remaining {
        erased += u64::from(store.erase_unrotated(locator)?);
    }
    Ok(erased)
}

fn status(options: &Options, list: bool) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let Some(Rotation { remaining, .. }) = store.rotation(usize::MAX)? else {
        return reply(options, &json!({"rotating": false}), "the index key is not being rotated");
    };
    let count = remaining.len();
    if !list {
        return reply(options, &json!({"rotating": true, "remaining": count}), &format!("remaining: {count}"));
    }
    let locators: Vec<_> = remaining.iter().map(Locator::to_hex).collect();
    let object = json!({"rotating": true, "remaining": count, "locators": locators});
    reply(options, &object, &locators.join("\n"))
}
