//! Reading ids from an argument, which other users of the machine can see, or from a file or a pipe, which they cannot.

use std::fs::File;
use std::io::Read;

use strongroom::Error;
use zeroize::Zeroizing;

use crate::args::Record;
use crate::failure::Failure;
use crate::streams::{is_stdin, stdin};
use crate::values::Id;

/// One byte more than the longest id.
const TOO_LONG: usize = 4096 + 1;

/// The id of the command line, or the one in the file of `--id-file`.
pub(crate) fn get(record: Record) -> Result<Id, Failure> {
    const CANNOT_READ: &str = "cannot read the file of --id-file";

    let Some(path) = record.id_file else { return record.id.ok_or(Failure::Strongroom(Error::InvalidId)) };
    let reader: Box<dyn Read> = if is_stdin(Some(&path)) {
        Box::new(stdin().map_err(Failure::io("--id-file reads stdin, which is closed"))?)
    } else {
        Box::new(File::open(&path).map_err(Failure::io(CANNOT_READ))?)
    };
    // Full capacity from the start: growth would leave a copy in memory.
    let mut id = Zeroizing::new(Vec::with_capacity(TOO_LONG + 1));
    reader.take(TOO_LONG as u64 + 1).read_to_end(&mut id).map_err(Failure::io(CANNOT_READ))?;
    id.pop_if(|last| *last == b'\n'); // `echo` and editors add a newline
    Id::from_bytes(id).map_err(Failure::argument)
}
