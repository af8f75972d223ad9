//! Storing and replacing, for bytes and for a writer.

use std::sync::Arc;

use super::Store;
use super::address::Address;
use super::repeated_write::RepeatedWrite;
use super::writer::{Target, Writer};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::NewKey;
use crate::storage::{self, PutMode};

impl Store {
    pub(super) fn write_new(&self, address: &Address<'_>, data: &[u8], new: NewKey<'_>) -> Result<(), Error> {
        match self.storage.put(&address.locator, &address.seal(new.key, data)?, PutMode::Create) {
            Err(storage::Error::AlreadyExists) if new.is_callers => {
                self.repeated(address, new.key, || Error::AlreadyExists)?.write_all(data)
            }
            outcome => Ok(outcome?),
        }
    }

    pub(super) fn write_replacing(
        &self,
        address: &Address<'_>,
        old: &RecordKey,
        data: &[u8],
        new: NewKey<'_>,
    ) -> Result<(), Error> {
        let head = match self.prove(address, old) {
            Err(Error::WrongKey) if new.is_callers => {
                return self.repeated(address, new.key, || Error::WrongKey)?.write_all(data);
            }
            head => head?,
        };
        match self.storage.put(&address.locator, &address.seal(new.key, data)?, PutMode::ReplaceIf(head)) {
            // The call that this one repeats may have ended in the meantime.
            Err(storage::Error::Conflict) if new.is_callers => {
                self.repeated(address, new.key, || Error::Conflict)?.write_all(data)
            }
            outcome => Ok(outcome?),
        }
    }

    /// A writer of a new record. Without a caller's key, the storage checks whether the id is free when it gets the
    /// data.
    pub(super) fn create(&self, address: Address<'_>, new: NewKey<'_>) -> Result<Writer, Error> {
        if !new.is_callers {
            return self.writer(&address, new.key, PutMode::Create);
        }
        if self.storage.info(&address.locator)?.is_some() {
            return Ok(Writer::repeated(self.repeated(&address, new.key, || Error::AlreadyExists)?));
        }
        Ok(self.writer(&address, new.key, PutMode::Create)?.repeatable(address, new.key))
    }

    /// A writer of a version that replaces the one that `old` opens.
    pub(super) fn replace_at(&self, address: Address<'_>, old: &RecordKey, new: NewKey<'_>) -> Result<Writer, Error> {
        match self.prove(&address, old) {
            Err(Error::WrongKey) if new.is_callers => {
                Ok(Writer::repeated(self.repeated(&address, new.key, || Error::WrongKey)?))
            }
            head => {
                let writer = self.writer(&address, new.key, PutMode::ReplaceIf(head?))?;
                Ok(if new.is_callers { writer.repeatable(address, new.key) } else { writer })
            }
        }
    }

    fn writer(&self, address: &Address<'_>, key: &RecordKey, mode: PutMode) -> Result<Writer, Error> {
        let target = Target { storage: Arc::clone(&self.storage), locator: address.locator, mode };
        Writer::new(target, address, key)
    }

    /// The write under `key` that this one repeats; `differs` makes the error of a write that is not a repetition.
    pub(super) fn repeated(
        &self,
        address: &Address<'_>,
        key: &RecordKey,
        differs: fn() -> Error,
    ) -> Result<RepeatedWrite, Error> {
        RepeatedWrite::find(&self.storage, address, key, differs)
    }
}
