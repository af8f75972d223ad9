//! Storing and replacing, for bytes and for a writer.

use std::sync::Arc;

use super::Store;
use super::address::Address;
use super::expiry;
use super::repeated_write::RepeatedWrite;
use super::writer::{Target, Writer};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::NewVersion;
use crate::storage::{self, Head, PutMode};

impl Store {
    pub(super) fn write_new(&self, address: &Address<'_>, data: &[u8], new: NewVersion<'_>) -> Result<(), Error> {
        let sealed = address.seal(new, data)?;
        let outcome = expiry::put_new(&*self.storage, address, &sealed);
        match outcome
            .and_then(|()| self.keys.settle(&*self.storage, address, &Head::of(&sealed).ok_or(Error::Corrupt)?))
        {
            Err(Error::AlreadyExists) if new.is_callers => {
                self.repeated(address, new.key, || Error::AlreadyExists)?.write_all(data)
            }
            outcome => outcome,
        }
    }

    pub(super) fn write_replacing(
        &self,
        address: &Address<'_>,
        old: &RecordKey,
        data: &[u8],
        new: NewVersion<'_>,
    ) -> Result<(), Error> {
        let head = match self.prove_unexpired(address, old) {
            Err(Error::WrongKey) if new.is_callers => {
                return self.repeated(address, new.key, || Error::WrongKey)?.write_all(data);
            }
            head => head?,
        };
        match self.storage.put(&address.locator, &address.seal(new, data)?, PutMode::ReplaceIf(head)) {
            // The call that this one repeats may have ended in the meantime.
            Err(storage::Error::Conflict) if new.is_callers => {
                self.repeated(address, new.key, || Error::Conflict)?.write_all(data)
            }
            outcome => Ok(outcome?),
        }
    }

    /// As [`prove`](Store::prove); fails if the record has expired.
    pub(super) fn prove_unexpired(&self, address: &Address<'_>, key: &RecordKey) -> Result<Head, Error> {
        let head = self.prove(address, key)?;
        if self.clock.forbids(head.expires_at()) { Err(Error::Expired) } else { Ok(head) }
    }

    /// A writer of a new record. Without a caller's key, the storage checks whether the id is free when it gets the
    /// data.
    pub(super) fn create(&self, address: &Address<'_>, new: NewVersion<'_>) -> Result<Writer, Error> {
        if !new.is_callers {
            return self.writer(address, new, PutMode::Create);
        }
        if self.is_taken(address)? {
            return Ok(Writer::repeated(self.repeated(address, new.key, || Error::AlreadyExists)?));
        }
        Ok(self.writer(address, new, PutMode::Create)?.repeatable(new.key))
    }

    /// A writer of a version that replaces the one that `old` opens.
    pub(super) fn replace_at(
        &self,
        address: &Address<'_>,
        old: &RecordKey,
        new: NewVersion<'_>,
    ) -> Result<Writer, Error> {
        match self.prove_unexpired(address, old) {
            Err(Error::WrongKey) if new.is_callers => {
                Ok(Writer::repeated(self.repeated(address, new.key, || Error::WrongKey)?))
            }
            head => {
                let writer = self.writer(address, new, PutMode::ReplaceIf(head?))?;
                Ok(if new.is_callers { writer.repeatable(new.key) } else { writer })
            }
        }
    }

    pub(super) fn writer(&self, address: &Address<'_>, new: NewVersion<'_>, mode: PutMode) -> Result<Writer, Error> {
        Writer::new(Target { storage: Arc::clone(&self.storage), keys: Arc::clone(&self.keys), mode }, address, new)
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
