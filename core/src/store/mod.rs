//! The operations on a storage: the only module that uses both encryption and storage.

mod address;
mod claim;
mod expiry;
mod many;
mod padding;
mod purge;
mod read_ahead;
mod reader;
mod rekey;
mod repeated_write;
mod rotation;
mod settings_check;
mod stored_version;
mod take;
mod write;
mod write_behind;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use address::Address;
pub use purge::{maintain_storage, purge_storage};
use reader::{Reader, open_version};
use rotation::Access;
pub(crate) use rotation::LocatorKeys;
pub(crate) use settings_check::SettingsCheck;
use stored_version::StoredVersion;

use crate::error::Error;
use crate::key::RecordKey;
use crate::locator::{self, Locator, LocatorKey};
use crate::operations::{Call, FoundRecords, NewVersion, Operations, ReadRecord, WriteRecord};
use crate::storage::{Fetched, Head, Info, Stats, Storage};
use crate::util::clock::Clock;

/// The operations on a storage, in one namespace.
pub(crate) struct Store {
    storage: Arc<dyn Storage>,
    keys: Arc<LocatorKeys>,
    clock: Clock,
    namespace: Arc<[u8]>,
}

impl Store {
    /// The store on `storage`, whose index key has been verified, in the default namespace.
    pub(crate) fn new(storage: Arc<dyn Storage>, keys: LocatorKeys, clock: Clock) -> Self {
        Self { storage, keys: Arc::new(keys), clock, namespace: Arc::default() }
    }

    /// Whether a record at this address may be alive.
    fn is_taken(&self, address: &Address<'_>) -> Result<bool, Error> {
        let info = self.storage.info(&address.locator)?;
        Ok(info.is_some_and(|info| !self.clock.has_passed(info.head.expires_at())))
    }

    /// The head of the stored record, if `key` is its key. The record may have expired.
    fn prove(&self, address: &Address<'_>, key: &RecordKey) -> Result<Head, Error> {
        let head = self.storage.info(&address.locator)?.ok_or(Error::NotFound)?.head;
        address.prove(key, &head)?;
        Ok(head)
    }

    /// The result of `open` on one version of a record. If a long record is replaced while its parts are read, this
    /// starts again; usually the outcome is then `WrongKey`.
    fn of_one_version<T>(
        &self,
        address: &Address<'_>,
        mut open: impl FnMut(Fetched) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let max_len = reader::first_part_len(&self.storage.limits());
        for _ in 0..reader::ATTEMPTS {
            match open(self.storage.get_up_to(&address.locator, max_len)?.ok_or(Error::NotFound)?) {
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Conflict)
    }

    fn retrieve_at(&self, address: &Address<'_>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        self.of_one_version(address, |found| match found {
            Fetched::Record(sealed) => address.open(key, &sealed),
            Fetched::Long { info, start } => self.long(address, key, info, start)?.retrieve(),
        })
    }

    /// A long record whose first bytes have been read already.
    fn long(&self, address: &Address<'_>, key: &RecordKey, info: Info, start: Vec<u8>) -> Result<Reader, Error> {
        Reader::new(StoredVersion::new(&self.storage, address, info).with_start(start), address, key)
    }
}

impl Operations for Store {
    #[cfg(feature = "tokio")]
    fn is_service(&self) -> bool {
        false
    }

    fn namespace(&self, name: &[u8]) -> Result<Arc<dyn Operations>, Error> {
        let (storage, keys) = (Arc::clone(&self.storage), Arc::clone(&self.keys));
        Ok(Arc::new(Self { storage, keys, clock: self.clock.clone(), namespace: name.into() }))
    }

    fn store(&self, id: &[u8], data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error> {
        self.at(id, Access::Write(None), |address| self.write_new(address, data, new)).map(Call::Done)
    }

    fn replace(&self, id: &[u8], old: &RecordKey, data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error> {
        self.at(id, Access::Write(Some(old)), |address| self.write_replacing(address, old, data, new)).map(Call::Done)
    }

    fn rekey(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Call<()>, Error> {
        self.at(id, Access::Write(Some(old)), |address| self.reseal(address, old, new)).map(Call::Done)
    }

    fn create_record(&self, id: &[u8], new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error> {
        Ok(Box::new(self.create(&self.address(id, Access::Write(None))?, new)?))
    }

    fn replace_record(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error> {
        Ok(Box::new(self.at(id, Access::Write(Some(old)), |address| self.replace_at(address, old, new))?))
    }

    fn store_many(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<Call<()>, Error> {
        self.create_all(records).map(Call::Done)
    }

    fn retrieve(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error> {
        self.at(id, Access::Read(key), |address| self.retrieve_at(address, key)).map(Call::Done)
    }

    fn retrieve_into(&self, id: &[u8], key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        self.at(id, Access::Read(key), |address| {
            self.of_one_version(address, |found| match found {
                Fetched::Record(sealed) => address.open_into(key, &sealed, buffer),
                Fetched::Long { info, start } => self.long(address, key, info, start)?.retrieve_into(buffer),
            })
        })
    }

    fn retrieve_range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<Call<Vec<u8>>, Error> {
        let read = |address: &Address<'_>| open_version(&self.storage, address, key)?.read_range(range.clone());
        self.at(id, Access::Read(key), read).map(Call::Done)
    }

    fn open_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(self.at(id, Access::Read(key), |address| open_version(&self.storage, address, key))?))
    }

    fn take(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error> {
        self.at(id, Access::Write(Some(key)), |address| self.take_at(address, key)).map(Call::Done)
    }

    fn take_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(self.at(id, Access::Write(Some(key)), |address| self.take_reader(address, key))?))
    }

    fn retrieve_many(&self, records: &[(&[u8], &RecordKey)]) -> Result<Call<FoundRecords>, Error> {
        self.open_all(records).map(Call::Done)
    }

    fn contains(&self, id: &[u8]) -> Result<Call<bool>, Error> {
        let find = |address: &Address<'_>| if self.is_taken(address)? { Ok(()) } else { Err(Error::NotFound) };
        match self.at(id, Access::Write(None), find) {
            Err(Error::NotFound) => Ok(Call::Done(false)),
            outcome => outcome.map(|()| Call::Done(true)),
        }
    }

    fn delete(&self, id: &[u8], key: &RecordKey) -> Result<Call<()>, Error> {
        self.at(id, Access::Write(Some(key)), |address| {
            let head = self.prove(address, key)?;
            if self.storage.delete(&address.locator, Some(&head))? { Ok(Call::Done(())) } else { Err(Error::Conflict) }
        })
    }

    fn erase(&self, id: &[u8]) -> Result<Call<bool>, Error> {
        self.erase_under_all_keys(id).map(Call::Done)
    }

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        purge_storage(&*self.storage, self.clock.unix_seconds(), limit)
    }

    fn storage(&self) -> Result<&Arc<dyn Storage>, Error> {
        Ok(&self.storage)
    }

    fn maintain(&self) -> Result<(), Error> {
        maintain_storage(&*self.storage, self.clock.unix_seconds())
    }

    fn compact(&self, limit: u64) -> Result<u64, Error> {
        Ok(self.storage.compact(limit)?)
    }

    fn stats(&self) -> Result<Call<Stats>, Error> {
        Ok(Call::Done(self.storage.stats(self.clock.unix_seconds())?))
    }

    fn index_key_hint(&self) -> Option<[u8; 4]> {
        Some(locator::hint(&self.keys.settings_check.in_use().check_value))
    }

    fn begin_rotation(&self) -> Result<(), Error> {
        self.begin()
    }

    fn unrotated(&self, limit: usize) -> Result<Option<Vec<Locator>>, Error> {
        self.unrotated_locators(limit)
    }

    fn erase_unrotated(&self, locator: &Locator) -> Result<bool, Error> {
        self.remove_unrotated(locator)
    }

    fn locators(&self, namespace: Option<&[u8]>, id: &[u8]) -> Result<(Locator, Option<Locator>), Error> {
        let namespace = namespace.unwrap_or(&self.namespace);
        let locator = |key: &LocatorKey| key.locator(namespace, id);
        let (current, previous) = (locator(&self.keys.current), self.keys.previous.as_ref().map(locator));
        let is_current = self.keys.settings_check.in_use().number == self.keys.current.generation();
        Ok(match previous {
            Some(previous) if !is_current => (previous, Some(current)),
            previous => (current, previous),
        })
    }

    fn generations(&self) -> Result<Vec<u8>, Error> {
        self.keys.settings_check.lease(&*self.storage)?;
        Ok([Some(&self.keys.current), self.keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .map(LocatorKey::generation)
            .collect())
    }

    fn finish_rotation(&self) -> Result<(), Error> {
        self.end_rotation()
    }

    fn close(&self) -> Result<(), Error> {
        Ok(self.storage.close()?)
    }
}

/// Shows neither ids nor keys.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.storage, f)
    }
}
