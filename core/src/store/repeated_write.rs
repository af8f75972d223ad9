//! Repeated writes. A write under a key that the caller made may repeat one whose reply was lost: then the record that the
//! first one stored is there, and the data is compared with it, in constant memory.

use std::sync::Arc;

use super::{Record, RecordReader, reader};
use crate::error::Error;
use crate::key::RecordKey;
use crate::storage::Storage;

/// A record that an earlier write under the same key stored, and how far the data of this write is the same.
pub(super) struct RepeatedWrite {
    stored: RecordReader,
    /// The error of a write whose data is another.
    differs: fn() -> Error,
}

impl RepeatedWrite {
    /// The repeat of a write under `key`, if the record that is there opens under it. Nothing but its first 80 bytes is
    /// read before the key has proved to be right.
    pub(super) fn find(
        storage: &Arc<dyn Storage>,
        record: &Record<'_>,
        key: &RecordKey,
        differs: fn() -> Error,
    ) -> Result<Option<Self>, Error> {
        let Some(info) = storage.info(&record.locator)? else { return Ok(None) };
        match reader(storage, record, key, info) {
            Ok(stored) => Ok(Some(Self { stored, differs })),
            Err(Error::WrongKey | Error::Corrupt | Error::Expired | Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the next bytes; they are those of the record, or this fails.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.stored.continues_with(data)? { Ok(()) } else { Err((self.differs)()) }
    }

    /// Takes the end of the data; it is that of the record, or this fails.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        if self.stored.is_at_end()? { Ok(()) } else { Err((self.differs)()) }
    }

    /// Takes all of the data. Nothing is read where its length is another.
    pub(super) fn write_all(mut self, data: &[u8]) -> Result<(), Error> {
        if self.stored.claimed_len() != data.len() as u64 {
            return Err((self.differs)());
        }
        self.write(data)?;
        self.finish()
    }
}
