//! The same data under a new key, in constant memory: the record is read, sealed again, and replaced by compare and
//! swap.

use super::Store;
use super::address::Address;
use super::reader::open_version;
use super::repeated_write::opened_by;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::{NewVersion, WriteRecord};
use crate::storage::PutMode;

impl Store {
    /// Seals the data again. With the caller's key, it may repeat an earlier call.
    pub(super) fn reseal(&self, address: &Address<'_>, old: &RecordKey, new: NewVersion<'_>) -> Result<(), Error> {
        match self.reseal_once(address, old, new) {
            Err(error @ (Error::WrongKey | Error::Conflict)) if new.is_callers => {
                opened_by(&self.storage, address, new.key)?.map(drop).ok_or(error)
            }
            outcome => outcome,
        }
    }

    fn reseal_once(&self, address: &Address<'_>, old: &RecordKey, new: NewVersion<'_>) -> Result<(), Error> {
        let mut reader = open_version(&self.storage, address, old)?;
        let (head, header) = (reader.info().head, reader.header());
        let expires_at = if new.expires_at == 0 { header.expires_at } else { new.expires_at };
        let new = NewVersion { expires_at, padded: new.padded || header.padded, ..new };
        let mut writer = self.writer(address, new, PutMode::ReplaceIf(head))?;
        reader.copy_to(|piece| writer.write(piece))?;
        Box::new(writer).finish()
    }
}
