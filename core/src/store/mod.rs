//! The service: the only place that sees both encryption and storage.

mod address;
mod read_ahead;
mod reader;
mod repeated_write;
mod stored_version;
mod write;
mod write_behind;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use reader::RecordReader;
pub use writer::RecordWriter;

use address::Address;
use reader::open_version;
use stored_version::StoredVersion;

use crate::error::Error;
use crate::key::RecordKey;
use crate::locator::LocatorKey;
use crate::storage::{Fetched, Info, Stats, Storage};
use crate::util::parallel;

/// The bytes whose encryption takes as long as the derivation of a record's keys.
const KEY_SCHEDULE_COST: usize = 8 << 10;

/// A store of encrypted records.
///
/// Each record is sealed under a key of its own, made for it and handed to the caller alone; the store keeps no key.
/// An id is any 1 to 4,096 bytes, and is compared byte by byte: `é` written in two ways is two ids. The storage sees a
/// keyed hash of it, never the id.
///
/// Every write is durable when it returns, and whole or not at all. A handle may be used from many threads at once,
/// best in an [`Arc`]; it ends with [`close`](Self::close), or when it and all its readers and writers are dropped.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("records.db");
/// use strongroom::{Error, Strongroom};
///
/// let store = Strongroom::open(path)?;
/// let old_key = store.store("contract", b"first draft")?;
/// let new_key = store.replace("contract", &old_key, b"signed")?;
/// assert!(matches!(store.retrieve("contract", &old_key), Err(Error::WrongKey)));
/// assert_eq!(store.retrieve("contract", &new_key)?, b"signed");
/// store.delete("contract", &new_key)?;
/// assert!(matches!(store.retrieve("contract", &new_key), Err(Error::NotFound)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Strongroom {
    storage: Arc<dyn Storage>,
    locator_key: LocatorKey,
}

impl Strongroom {
    /// The store over `storage`, once the index key is known to be its own.
    pub(crate) fn new(storage: Arc<dyn Storage>, locator_key: LocatorKey) -> Self {
        Self { storage, locator_key }
    }

    /// The data stored under `id`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`], also where the record's first 68 bytes were altered;
    /// [`Error::Corrupt`] where another part of it was altered; [`Error::Conflict`] where a long record is replaced
    /// again and again while it is read; [`Error::Expired`], [`Error::Unsupported`], [`Error::InvalidId`], and those of
    /// the storage.
    pub fn retrieve(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        let address = self.address(id.as_ref())?;
        self.of_one_version(&address, |found| match found {
            Fetched::Record(sealed) => address.open(key, &sealed),
            Fetched::Long { info, start } => self.long(&address, key, info, start)?.retrieve(),
        })
    }

    /// Retrieves the data stored under `id` into the start of `buffer`, and returns its length: for callers who choose
    /// where plaintext lies, and wipe it. The rest of `buffer` is unchanged or zero.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), and [`Error::TooLarge`] where the data does not fit in `buffer`:
    /// [`RecordReader::len`] tells its length. No plaintext is in `buffer` then.
    pub fn retrieve_into(&self, id: impl AsRef<[u8]>, key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        let address = self.address(id.as_ref())?;
        self.of_one_version(&address, |found| match found {
            Fetched::Record(sealed) => address.open_into(key, &sealed, buffer),
            Fetched::Long { info, start } => self.long(&address, key, info, start)?.retrieve_into(buffer),
        })
    }

    /// Opens a record to read it in pieces, from any place, in constant memory.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), for the record's first 68 bytes; the rest is checked as it is read.
    pub fn open_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordReader, Error> {
        let address = self.address(id.as_ref())?;
        open_version(&self.storage, &address, key)
    }

    /// The bytes `range` of the data stored under `id`; bytes of `range` past the end are left out. The length is
    /// proved, and only the chunks that the range touches are read.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] where the record is replaced or removed meanwhile;
    /// [`Error::TooLarge`] where the range does not fit in memory.
    pub fn retrieve_range(&self, id: impl AsRef<[u8]>, key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        self.open_record(id, key)?.read_range(range)
    }

    /// Removes the record that `key` opens.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::InvalidId`], and those of the storage.
    pub fn delete(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        let address = self.address(id.as_ref())?;
        let head = self.prove(&address, key)?;
        if self.storage.delete(&address.locator, Some(&head))? { Ok(()) } else { Err(Error::Conflict) }
    }

    /// Removes the record of `id` without its key: the operator's means to fulfil a right to erasure. Returns whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn erase(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.storage.delete(&self.address(id.as_ref())?.locator, None)?)
    }

    /// Whether a record has this id.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.storage.info(&self.address(id.as_ref())?.locator)?.is_some())
    }

    /// Stores many pairs of id and data in one transaction, all or none, and returns their keys in the same order.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), for any of them; [`Error::AlreadyExists`] also where an id is named twice;
    /// [`Error::Unsupported`] from a storage without transactions.
    pub fn store_many<I: AsRef<[u8]>, D: AsRef<[u8]>>(&self, items: &[(I, D)]) -> Result<Vec<RecordKey>, Error> {
        let pairs: Vec<(&[u8], &[u8])> = items.iter().map(|(id, data)| (id.as_ref(), data.as_ref())).collect();
        let cost = |(_, data): &(&[u8], &[u8])| data.len().saturating_add(KEY_SCHEDULE_COST);
        let cost = pairs.iter().map(cost).fold(0, usize::saturating_add);
        let mut made: Vec<_> = pairs.iter().map(|_| None).collect();
        let threads = parallel::for_bytes(cost, parallel::WORTH_SHARING);
        parallel::for_each(threads, pairs.iter().zip(&mut made), |((id, data), made)| {
            let (address, key) = (self.address(id)?, RecordKey::generate()?);
            let sealed = address.seal(&key, data)?;
            *made = Some((key, (address.locator, sealed)));
            Ok::<_, Error>(())
        })?;
        let (keys, sealed): (Vec<_>, Vec<_>) = made.into_iter().flatten().unzip();
        let sealed: Vec<_> = sealed.iter().map(|(locator, record)| (*locator, record.as_slice())).collect();
        self.storage.create_many(&sealed)?;
        Ok(keys)
    }

    /// Retrieves many records, each with its own outcome, in the same order. A storage with transactions reads them all
    /// from one moment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] for any of them, and those of the storage. Inside, those of [`retrieve`](Self::retrieve).
    pub fn retrieve_many<I: AsRef<[u8]>>(
        &self,
        items: &[(I, &RecordKey)],
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let addresses = items.iter().map(|(id, _)| self.address(id.as_ref()));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let locators: Vec<_> = addresses.iter().map(|address| address.locator).collect();
        let found = self.storage.get_many(&locators)?;
        let outcomes = addresses.iter().zip(items).zip(found);
        Ok(outcomes.map(|((address, (_, key)), sealed)| address.open(key, &sealed.ok_or(Error::NotFound)?)).collect())
    }

    /// Removes the leftovers of interrupted writes, unless a large record is being written at the time, and frees their
    /// space for later records. Opening a store does the same.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn maintain(&self) -> Result<(), Error> {
        Ok(self.storage.maintain()?)
    }

    /// The number of records, and the bytes of their ciphertexts. Takes time in proportion to their number.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(self.storage.stats()?)
    }

    /// Closes the store for all who share it; every later call is [`Error::Closed`]. Dropping it and all its
    /// readers and writers does the same, and reports no error.
    ///
    /// # Errors
    ///
    /// Those of the storage. The store is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        Ok(self.storage.close()?)
    }

    fn address<'i>(&self, id: &'i [u8]) -> Result<Address<'i>, Error> {
        Address::new(&self.locator_key, id)
    }

    /// The result of `open` on one version of a record. If a long record is replaced while its parts are read, this
    /// starts again; usually the key does not open the new version, and that is the outcome.
    fn of_one_version<T>(
        &self,
        address: &Address<'_>,
        mut open: impl FnMut(Fetched) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let most = reader::first_part_len(&self.storage.limits());
        for _ in 0..reader::ATTEMPTS {
            match open(self.storage.get_up_to(&address.locator, most)?.ok_or(Error::NotFound)?) {
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Conflict)
    }

    /// A long record of which the storage has given the first bytes.
    fn long(&self, address: &Address<'_>, key: &RecordKey, info: Info, start: Vec<u8>) -> Result<RecordReader, Error> {
        RecordReader::new(StoredVersion::new(&self.storage, address.locator, info).with_start(start), address, key)
    }
}

/// Shows neither ids nor keys.
impl fmt::Debug for Strongroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strongroom").field("storage", &self.storage).finish_non_exhaustive()
    }
}
