//! `RecordWriter`: the public writer, over one of a storage or of an encryption server.

use std::fmt;
use std::io::{self, Read, Write};

use crate::error::{Error, source_failed};
use crate::key::RecordKey;
use crate::operations::{MAX_PIECE_LEN, WriteRecord};
use crate::util::wiped::Wiped;

/// The buffer length of the first reads from a source, until one is full: most records are short.
const SHORT_READ_LEN: usize = 4 << 10;
const LONG_READ_LEN: usize = 64 << 10;

/// A record that is being written. [`finish`](Self::finish) stores it; dropping the writer stores nothing.
///
/// A writer needs constant memory. After a failed write, all later ones fail.
#[must_use = "a record that is not finished is not there"]
pub struct RecordWriter {
    /// `None` after a failure.
    record: Option<Box<dyn WriteRecord>>,
    key: RecordKey,
    len: u64,
}

impl RecordWriter {
    pub(super) fn new(record: Box<dyn WriteRecord>, key: RecordKey) -> Self {
        Self { record: Some(record), key, len: 0 }
    }

    /// The key that will open the record. Save it before [`finish`](Self::finish), so that a crash cannot lose the key
    /// of a stored record.
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// The number of bytes written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.len
    }

    /// Stores the record durably, and returns its key.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] if another write was faster; [`Error::Busy`] if a write with the
    /// same key ran concurrently: repeat this one; [`Error::InvalidArgument`] if an earlier write failed; and those of
    /// the storage.
    pub fn finish(self) -> Result<RecordKey, Error> {
        self.record.ok_or_else(failed_before)?.finish()?;
        Ok(self.key)
    }

    /// Writes all data of `source`, and finishes.
    pub(super) fn copy_from(mut self, mut source: impl Read) -> Result<RecordKey, Error> {
        let mut buffer = Wiped::from(vec![0; SHORT_READ_LEN]);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(len) => {
                    self.write_piece(buffer.get(..len).ok_or_else(too_much_read)?)?;
                    if buffer.len() == SHORT_READ_LEN && len == SHORT_READ_LEN {
                        buffer = Wiped::from(vec![0; LONG_READ_LEN]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(source_failed(error)),
            }
        }
    }

    fn write_piece(&mut self, piece: &[u8]) -> Result<(), Error> {
        let mut record = self.record.take().ok_or_else(failed_before)?;
        record.write(piece)?;
        self.record = Some(record);
        self.len = self.len.saturating_add(piece.len() as u64);
        Ok(())
    }
}

impl Write for RecordWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = data.get(..MAX_PIECE_LEN).unwrap_or(data);
        self.write_piece(data)?;
        Ok(data.len())
    }

    /// Does nothing: only [`finish`](Self::finish) makes a record durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("bytes", &self.len).finish_non_exhaustive()
    }
}

fn failed_before() -> Error {
    Error::InvalidArgument("an earlier write of this record failed: start it again".into())
}

fn too_much_read() -> Error {
    source_failed(io::Error::other("the source claims to have read more than it was asked for"))
}
