//! A store of encrypted records: the one API of databases, storage services and encryption servers.

mod reader;
mod write;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use reader::RecordReader;
pub use writer::RecordWriter;

#[cfg(feature = "remote")]
use crate::client::Client;
use crate::error::Error;
#[cfg(feature = "remote")]
use crate::http::Endpoint;
use crate::key::RecordKey;
use crate::operations::Operations;
use crate::storage::Stats;

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
    operations: Arc<dyn Operations>,
}

impl Strongroom {
    pub(crate) fn new(operations: Arc<dyn Operations>) -> Self {
        Self { operations }
    }

    /// Connects to the encryption server at `endpoint`, which need not be reachable yet. The server sees ids, keys and
    /// data while it works on them.
    ///
    /// All operations are the same as on a database, with these differences:
    ///
    /// - The server does not distinguish a wrong key from a missing record: both are [`Error::NotFound`].
    /// - A call without an answer is repeated until the endpoint's time is up, if that does no harm: keys of new
    ///   versions are made here, so that a write may be repeated. A write whose outcome is still unknown then is
    ///   [`Error::Indeterminate`], also of [`delete`](Self::delete) if an answer was lost and there is no such record
    ///   now, and of [`erase`](Self::erase), which is never repeated.
    /// - [`maintain`](Self::maintain) is [`Error::Unsupported`]: the server does it.
    /// - Each call may be [`Error::AccessDenied`].
    ///
    /// ```no_run
    /// use strongroom::{Endpoint, Strongroom};
    ///
    /// let endpoint = Endpoint::new("https://strongroom.example:8420")?.token_file("/run/secrets/strongroom-token");
    /// let store = Strongroom::connect(&endpoint)?;
    /// let key = store.store("user:42:passport", b"scanned pages")?;
    /// assert_eq!(store.retrieve("user:42:passport", &key)?, b"scanned pages");
    /// # Ok::<(), strongroom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`], and [`Error::Storage`] where a file of the endpoint cannot be read.
    #[cfg(feature = "remote")]
    pub fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self::new(Arc::new(Client::open(endpoint)?)))
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
        self.operations.retrieve(id.as_ref(), key)
    }

    /// Retrieves the data stored under `id` into the start of `buffer`, and returns its length: for callers who choose
    /// where plaintext lies, and wipe it. The rest of `buffer` is unchanged or zero.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), and [`Error::TooLarge`] where the data does not fit in `buffer`:
    /// [`RecordReader::len`] tells its length. No plaintext is in `buffer` then.
    pub fn retrieve_into(&self, id: impl AsRef<[u8]>, key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        self.operations.retrieve_into(id.as_ref(), key, buffer)
    }

    /// The bytes `range` of the data stored under `id`; bytes of `range` past the end are left out. The length is
    /// proved, and only the chunks that the range touches are read.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] where the record is replaced or removed meanwhile;
    /// [`Error::TooLarge`] where the range does not fit in memory.
    pub fn retrieve_range(&self, id: impl AsRef<[u8]>, key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        self.operations.retrieve_range(id.as_ref(), key, range)
    }

    /// Opens a record to read it in pieces, from any place, in constant memory.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), for the record's first 68 bytes; the rest is checked as it is read.
    pub fn open_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordReader, Error> {
        Ok(RecordReader::new(self.operations.open_record(id.as_ref(), key)?))
    }

    /// Retrieves many records, each with its own outcome, in the same order. A storage with transactions reads them all
    /// from one moment; services read more than 64 MiB in several steps.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] for any of them, and those of the storage. Inside, those of [`retrieve`](Self::retrieve).
    pub fn retrieve_many<I: AsRef<[u8]>>(
        &self,
        items: &[(I, &RecordKey)],
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let items: Vec<_> = items.iter().map(|(id, key)| (id.as_ref(), *key)).collect();
        self.retrieve_in_steps(&items)
    }

    /// Retrieves in one step, or in several if the records are more than one step may have.
    fn retrieve_in_steps(&self, items: &[(&[u8], &RecordKey)]) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        match (self.operations.retrieve_many(items), items) {
            (Err(Error::TooLarge), [(id, key)]) => Ok(vec![self.operations.retrieve(id, key)]),
            (Err(Error::TooLarge), [_, _, ..]) => {
                let (first, second) = items.split_at(items.len() / 2);
                let mut found = self.retrieve_in_steps(first)?;
                found.extend(self.retrieve_in_steps(second)?);
                Ok(found)
            }
            (outcome, _) => outcome,
        }
    }

    /// Whether a record has this id.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.operations.contains(id.as_ref())
    }

    /// Removes the record that `key` opens.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::InvalidId`], and those of the storage.
    pub fn delete(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        self.operations.delete(id.as_ref(), key)
    }

    /// Removes the record of `id` without its key: the operator's means to fulfil a right to erasure. Returns whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn erase(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.operations.erase(id.as_ref())
    }

    /// Removes the leftovers of interrupted writes, unless a large record is being written at the time, and frees their
    /// space for later records. Opening a store does the same.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn maintain(&self) -> Result<(), Error> {
        self.operations.maintain()
    }

    /// The number of records, and the bytes of their ciphertexts. Takes time in proportion to their number.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.operations.stats()
    }

    /// Closes the store for all who share it; every later call is [`Error::Closed`]. Dropping it and all its
    /// readers and writers does the same, and reports no error.
    ///
    /// # Errors
    ///
    /// Those of the storage. The store is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.operations.close()
    }
}

/// Shows neither ids nor keys.
impl fmt::Debug for Strongroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Strongroom").field(&self.operations).finish()
    }
}
