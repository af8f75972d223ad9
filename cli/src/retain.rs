//! The command that removes the records which no listed id names.

use std::path::Path;

use serde_json::json;

use crate::args::IdFormat;
use crate::failure::Failure;
use crate::options::Options;
use crate::reply::reply;
use crate::{ids, open};

pub(crate) fn retain(
    options: &Options,
    file: &Path,
    format: IdFormat,
    yes: bool,
    allow_all: bool,
) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let mut known = Vec::new();
    ids::for_each_listed(file, format, |namespace, id| {
        known.push((namespace.unwrap_or_default().to_vec(), id.to_vec()));
        Ok(())
    })?;
    let mut retention = store.retention(known)?;
    if allow_all {
        retention = retention.allow_all();
    }
    let erased = if yes { Some(store.erase_others(&retention)?) } else { None };
    let (kept, missing, others, bytes) = (retention.kept, retention.missing, retention.others, retention.other_bytes);
    let words = match erased {
        Some(erased) => format!("erased: {erased}"),
        None if others > 0 => "nothing was erased: pass --yes to erase the others".into(),
        None => "there is nothing to erase".into(),
    };
    reply(
        options,
        &json!({"kept": kept, "missing": missing, "others": others, "bytes": bytes, "erased": erased.unwrap_or(0)}),
        &format!("kept: {kept}\nmissing: {missing}\nothers: {others}\nbytes: {bytes}\n{words}"),
    )
}
