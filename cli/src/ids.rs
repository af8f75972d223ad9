//! Reading ids from an argument, which other users of the machine can see, or from a file or a pipe, which they cannot.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use strongroom::Error;
use zeroize::Zeroizing;

use crate::args::{IdFormat, Record};
use crate::failure::Failure;
use crate::reply::name_in_json;
use crate::streams;
use crate::values::Id;

/// One byte more than the longest id.
const TOO_LONG: usize = 4096 + 1;

/// The id of the command line, or the one in the file of `--id-file`.
pub(crate) fn get(record: Record) -> Result<Id, Failure> {
    let Some(path) = record.id_file else { return record.id.ok_or(Failure::Strongroom(Error::InvalidId)) };
    let reader = streams::open(&path, "--id-file")?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut id = Zeroizing::new(Vec::with_capacity(TOO_LONG + 1));
    reader.take(TOO_LONG as u64 + 1).read_to_end(&mut id).map_err(Failure::io("cannot read the file of --id-file"))?;
    id.pop_if(|last| *last == b'\n'); // `echo` and editors add a newline
    Id::from_bytes(id).map_err(Failure::argument)
}

/// Passes each id in the file of `--ids` to `visit`, after its namespace if the file names one.
pub(crate) fn for_each_listed(
    file: &Path,
    format: IdFormat,
    mut visit: impl FnMut(Option<&[u8]>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    const CANNOT_READ: &str = "cannot read the file of --ids";

    let mut ids = BufReader::new(streams::open(file, "--ids")?);
    if format == IdFormat::Json {
        for value in serde_json::Deserializer::from_reader(ids).into_iter() {
            let failed = |error: serde_json::Error| match error.is_io() {
                true => Failure::io(CANNOT_READ)(error.into()),
                false => not_ids(),
            };
            let list = match value.map_err(failed)? {
                Value::Array(list) => list,
                one => vec![one],
            };
            list.iter().try_for_each(|listed| visit_json(listed, &mut visit))?;
        }
        return Ok(());
    }
    let end = if format == IdFormat::Nul { 0 } else { b'\n' };
    let mut id = Vec::new();
    loop {
        id.clear();
        let len = (&mut ids).take(TOO_LONG as u64).read_until(end, &mut id).map_err(Failure::io(CANNOT_READ))?;
        if len == 0 {
            return Ok(());
        }
        id.pop_if(|last| *last == end);
        visit(None, &id)?;
    }
}

/// An id, or an object with an id and its namespace.
fn visit_json(
    listed: &Value,
    visit: &mut impl FnMut(Option<&[u8]>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let field = |name| listed.get(name).and_then(name_in_json);
    match (name_in_json(listed), field("namespace"), field("id")) {
        (Some(id), None, None) => visit(None, &id),
        (None, Some(namespace), Some(id)) => visit(Some(&namespace), &id),
        _ => Err(not_ids()),
    }
}

fn not_ids() -> Failure {
    Failure::argument(
        "the file of --ids is not JSON with ids, objects of a namespace and an id, or lists of them: an id is a text or \
         {\"base64url\": ...}",
    )
}
