//! The command that copies a store.

use std::path::Path;

use serde_json::json;
use strongroom::transfer::{Copied, CopyOptions, copy};
use strongroom::{Location, index_key_file};

use crate::args::Transfer;
use crate::failure::{Failure, printable};
use crate::in_use::InUse;
use crate::open;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::reply;

pub(crate) fn transfer(options: &Options, transfer: &Transfer, in_use: &InUse) -> Result<(), Failure> {
    if options.server.is_some() {
        return Err(Failure::Usage(
            "an encryption server cannot be copied: name the storage behind it with --store".into(),
        ));
    }
    let from = open::source(options)?;
    let to = open::destination(options, &transfer.to, transfer.to_token_file.as_deref())?;
    let database = match &to {
        Location::Database(path) => {
            in_use.refuse(path)?;
            Some(path.clone())
        }
        _ => None,
    };
    let mut copy_options = CopyOptions::new().mirror(transfer.mirror);
    if let Some(workers) = transfer.workers {
        copy_options = copy_options.workers(usize::from(workers));
    }
    let bar = progress_bar(None, "{spinner} {msg}");
    let copied = copy(&from, &to, copy_options, &mut |copied| {
        let Copied { records, bytes, unchanged, .. } = copied;
        bar.set_message(format!("{records} copied, {unchanged} unchanged, {}", indicatif::BinaryBytes(*bytes)));
        bar.tick();
    })?;
    bar.finish_and_clear();
    report(options, &copied, database.as_deref())
}

fn report(options: &Options, copied: &Copied, database: Option<&Path>) -> Result<(), Failure> {
    let names = |locators: &[strongroom::storage::Locator]| -> Vec<String> {
        locators.iter().map(strongroom::storage::Locator::to_hex).collect()
    };
    let Copied { records, bytes, unchanged, deleted, .. } = copied;
    let (damaged, too_large) = (names(&copied.damaged), names(&copied.too_large));
    let mut text = format!("copied: {records}\nbytes: {bytes}\nunchanged: {unchanged}\ndeleted: {deleted}");
    damaged.iter().for_each(|locator| text.push_str(&format!("\ndamaged: {locator}")));
    too_large.iter().for_each(|locator| text.push_str(&format!("\ntoo large: {locator}")));
    if let Some(file) = database.map(index_key_file).filter(|file| !file.exists()) {
        text.push_str(&format!(
            "\nThe copy opens with the store's own index key, which is not copied: pass --index-key-file, or copy the \
             file of the index key to {}",
            printable(&file)
        ));
    }
    let object = json!({
        "copied": records, "bytes": bytes, "unchanged": unchanged, "deleted": deleted,
        "damaged": damaged, "too_large": too_large,
    });
    reply(options, &object, &text)?;
    let is_exact = !copied.damaged.iter().any(is_place);
    match (damaged.len(), too_large.len()) {
        (0, 0) => Ok(()),
        (0, too_large) => Err(Failure::TooLargeToCopy { records: too_large }),
        (records, too_large) => Err(Failure::DamagedSource { records, is_exact, too_large }),
    }
}

/// Whether this stands for all the records at a place that the store cannot list.
fn is_place(damaged: &strongroom::storage::Locator) -> bool {
    damaged.as_bytes().iter().skip(8).all(|byte| *byte == 0)
}
