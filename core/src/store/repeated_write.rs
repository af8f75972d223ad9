//! Repeated writes: a write under the caller's key may repeat one whose reply was lost. If the record of the first
//! write exists, the data is compared with it, in constant memory.

use std::sync::Arc;

use super::address::Address;
use super::reader::Reader;
use super::stored_version::StoredVersion;
use crate::error::Error;
use crate::key::RecordKey;
use crate::storage::Storage;

/// The stored record, if it opens under `key`. Only its head is read before the key is proved.
pub(super) fn opened_by(
    storage: &Arc<dyn Storage>,
    address: &Address<'_>,
    key: &RecordKey,
) -> Result<Option<Reader>, Error> {
    let Some(info) = storage.info(&address.locator)? else { return Ok(None) };
    match Reader::new(StoredVersion::new(storage, address, info), address, key) {
        Ok(reader) => Ok(Some(reader)),
        Err(Error::WrongKey | Error::Corrupt | Error::Expired | Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A write whose data is compared with the stored record.
pub(super) struct RepeatedWrite {
    stored: Reader,
    /// Makes the error for data that differs.
    differs: fn() -> Error,
}

impl RepeatedWrite {
    /// `differs` makes the error of a write that is not a repetition.
    pub(super) fn find(
        storage: &Arc<dyn Storage>,
        address: &Address<'_>,
        key: &RecordKey,
        differs: fn() -> Error,
    ) -> Result<Self, Error> {
        let stored = opened_by(storage, address, key)?.ok_or_else(differs)?;
        Ok(Self { stored, differs })
    }

    /// Compares the next bytes. Fails if they differ from the record's.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.stored.continues_with(data)? { Ok(()) } else { Err((self.differs)()) }
    }

    /// Ends the data. Fails if the record has more.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        if self.stored.is_at_end()? { Ok(()) } else { Err((self.differs)()) }
    }

    /// Compares the whole data. Reads nothing if its length differs.
    pub(super) fn write_all(mut self, data: &[u8]) -> Result<(), Error> {
        if !self.stored.may_have_len(data.len() as u64) {
            return Err((self.differs)());
        }
        self.write(data)?;
        self.finish()
    }
}
