//! `RecordReader`: the public reader, over one of a storage or of an encryption server.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use crate::error::Error;
use crate::operations::ReadRecord;

/// Reads a record from any position, in constant memory.
///
/// No byte is released before its chunk is authenticated. If a chunk was altered, the chunks before it can be read, and
/// each read of it is [`Error::Corrupt`]. A reader never mixes two versions: once the version that it opened is
/// replaced or removed, each read of bytes that it has not fetched yet is [`Error::Conflict`]; once it has expired,
/// each read of a chunk that it has not opened yet is [`Error::Expired`]. A stream that ends without an error is
/// complete.
///
/// Each error is inside an [`io::Error`]; [`io::Error::downcast`] returns the [`Error`].
///
/// One thread at a time uses a reader (it is `Send`, not `Sync`).
pub struct RecordReader(Box<dyn ReadRecord>);

impl RecordReader {
    pub(super) fn new(record: Box<dyn ReadRecord>) -> Self {
        Self(record)
    }

    /// The length of the data in bytes, proved by opening the final chunk.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Conflict`], and those of the storage.
    pub fn len(&mut self) -> Result<u64, Error> {
        self.0.len()
    }

    /// Whether the record has no data, proved as for [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Whether the data can be read only once, in order: a record that was taken from an encryption server.
    #[doc(hidden)] // for other languages
    #[must_use]
    pub fn is_read_once(&self) -> bool {
        self.0.is_read_once()
    }
}

impl Read for RecordReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for RecordReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl Seek for RecordReader {
    /// Seeking from the end proves the length first. A position past the end is allowed; reads there return nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len()?.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.0.position().checked_add_signed(distance),
        };
        let invalid = || Error::InvalidArgument("a position before the start of the record".into());
        let position = position.ok_or_else(invalid)?;
        self.0.set_position(position);
        Ok(position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.0.position())
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader").field("position", &self.0.position()).finish_non_exhaustive()
    }
}
