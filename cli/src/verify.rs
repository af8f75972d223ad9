//! The command `verify`. It needs no key.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use strongroom::storage::{Damage, Storage};
use strongroom::{Error, VerifyOptions, VerifyReport, repair, verify};

use crate::args::Verify;
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::json_line;
use crate::{open, streams};

pub(crate) fn run(options: &Options, args: &Verify) -> Result<(), Failure> {
    let mut verify_options = VerifyOptions::new();
    if let Some(position) = &args.start_at {
        let position = position.parse().map_err(|_| Failure::Usage("--start-at is not a position".into()))?;
        verify_options = verify_options.start_at(position);
    }
    if let Some(rate) = args.rate {
        verify_options = verify_options.bytes_per_second(rate);
    }
    if args.records_only {
        verify_options = verify_options.records_only();
    }
    if let Some(copy) = &args.repair_from {
        refuse_itself(options, copy)?;
    }
    let storage = open::existing_storage(options)?;
    let copy = args.repair_from.as_deref().map(|copy| open::copy(options, copy)).transpose()?;
    let mut report = search(options, &*storage, &verify_options)?;
    let mut lost = 0;
    if let Some(copy) = copy.filter(|_| report.damaged > 0) {
        let repaired = repair(&storage, &*copy)?;
        for locator in &repaired.restored {
            let locator = locator.to_hex();
            print(options, &json!({"restored": locator}), &format!("{locator} restored"))?;
        }
        for damage in &repaired.lost {
            print(options, &json!({"lost": as_json(damage)}), &format!("{damage}: lost"))?;
        }
        lost = repaired.lost.len() as u64;
        report = search(options, &*storage, &VerifyOptions::new())?;
    }
    let VerifyReport { records, bytes, damaged, unsupported, .. } = report;
    print(
        options,
        &json!({"records": records, "bytes": bytes, "damaged": damaged, "unsupported": unsupported, "lost": lost}),
        &format!("records: {records}\nbytes: {bytes}\ndamaged: {damaged}\nunsupported: {unsupported}"),
    )?;
    let _ = storage.close();
    match (damaged + lost, unsupported) {
        (0, 0) => Ok(()),
        (0, _) => {
            let text = "some records are of an unknown version: a newer Strongroom may have written them";
            Err(Error::Unsupported(text.into()).into())
        }
        _ => Err(Failure::Damaged {
            hint: match (&args.repair_from, damaged) {
                (None, _) => Some("restore the damaged records: strongroom verify --repair-from BACKUP"),
                (Some(_), 0) => None, // what is lost is in the store no longer
                (Some(_), _) => {
                    Some("repeat the command with another backup, or erase the damaged records by their ids")
                }
            },
        }),
    }
}

/// Prints the damage when it is found.
fn search(options: &Options, storage: &dyn Storage, verify_options: &VerifyOptions) -> Result<VerifyReport, Failure> {
    let bar = progress_bar(None, "{spinner} {binary_bytes} {binary_bytes_per_sec} {wide_msg}");
    let mut failure = None;
    let report = verify(storage, verify_options, |step| {
        bar.set_position(step.bytes);
        bar.set_message(match step.next {
            Some(next) => format!("{} records, --start-at {next}", step.records),
            None => format!("{} records", step.records),
        });
        let printed = bar.suspend(|| {
            let mut damage = step.damage.iter();
            damage.try_for_each(|damage| print(options, &json!({"damage": as_json(damage)}), &damage.to_string()))
        });
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    bar.finish_and_clear();
    failure.map_or(Ok(report), Err)
}

fn as_json(damage: &Damage) -> Value {
    let locator = damage.locator.as_ref().map(|locator| locator.to_hex());
    json!({"locator": locator, "place": damage.place, "kind": damage.kind.name()})
}

/// Prints a line of JSON or of text, without control characters from a service.
fn print(options: &Options, object: &Value, words: &str) -> Result<(), Failure> {
    let line = if options.json { json_line(object) } else { words.replace(|c: char| c.is_control() && c != '\n', "?") };
    streams::print(format!("{line}\n").as_bytes()).map_err(Failure::stdout)
}

/// Rejects the store's own database as the copy.
fn refuse_itself(options: &Options, copy: &Path) -> Result<(), Failure> {
    let same =
        |store: &Path| fs::canonicalize(store).is_ok_and(|path| fs::canonicalize(copy).is_ok_and(|copy| copy == path));
    let is_same = match open::database(options) {
        Some(store) => same(&store),
        None => options.store.as_deref() == Some(copy),
    };
    if is_same { Err(Failure::argument("a store cannot be repaired from itself: give a backup")) } else { Ok(()) }
}
