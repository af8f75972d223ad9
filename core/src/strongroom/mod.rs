//! A store of encrypted records: the one API of databases, storage services and encryption servers.

mod calls;
mod reader;
mod retention;
mod rotation;
mod write;
mod writer;

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

pub(crate) use calls::Steps;
pub use reader::RecordReader;
pub use retention::Retention;
pub use rotation::Rotation;
pub use writer::RecordWriter;

#[cfg(feature = "remote")]
use crate::client::Client;
use crate::error::{Error, long_namespace};
#[cfg(feature = "remote")]
use crate::http::Endpoint;
use crate::key::RecordKey;
use crate::operations::{Call, Operations};
use crate::record::is_namespace;
use crate::storage::{Locator, Repaired, Stats};
use crate::store_identity::StoreIdentity;
use crate::util::clock::Clock;
use crate::util::interrupt;
use crate::verify::{self, VerifyOptions, VerifyReport, VerifyStep};

/// A store of encrypted records.
///
/// Each record is sealed under its own new key, which only the caller gets; the store keeps no key. An id is any 1 to
/// 4,096 bytes, and is compared byte by byte: the two Unicode forms of `é` are two ids. The storage sees a keyed hash
/// of it, never the id.
///
/// Every write is atomic, and durable when it returns. Many threads may use a handle at once, for example in an
/// [`Arc`]. [`close`](Self::close) closes the store, and so does dropping the handle and all its readers and writers.
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
    clock: Clock,
    /// Whether all writes are padded.
    padded: bool,
    identity: Option<StoreIdentity>,
}

impl Strongroom {
    pub(crate) fn new(operations: Arc<dyn Operations>, clock: Clock, padded: bool) -> Self {
        Self { operations, clock, padded, identity: None }
    }

    pub(crate) fn with_identity(mut self, identity: StoreIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The identity of the store; `None` on an encryption server, which keeps it to itself.
    #[must_use]
    pub fn identity(&self) -> Option<StoreIdentity> {
        self.identity.map(|identity| StoreIdentity { index_key_hint: self.operations.index_key_hint(), ..identity })
    }

    /// Connects to the encryption server at `endpoint`, which need not be reachable yet. The server sees ids, keys and
    /// data while it works on them.
    ///
    /// All operations are the same as on a database, with these differences:
    ///
    /// - The server does not distinguish a wrong key from a missing record: both are [`Error::NotFound`].
    /// - A call without an answer is repeated until the endpoint's time limit, if a repetition does no harm. Writes may
    ///   be repeated, because the client makes the keys of new versions. A write whose outcome is still unknown then is
    ///   [`Error::Indeterminate`]; so is one whose repetition is refused, because the record may have been changed,
    ///   removed or expired since the lost attempt, and an [`erase`](Self::erase) with a lost answer, which is never
    ///   repeated.
    /// - [`maintain`](Self::maintain), [`compact`](Self::compact), [`verify`](Self::verify),
    ///   [`repair_from`](Self::repair_from), [`retention`](Self::retention) and the rotation of the index key
    ///   ([`begin_rotation`](Self::begin_rotation) and its like) are [`Error::Unsupported`]: the server's operator
    ///   maintains its storage.
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
    /// [`Error::InvalidArgument`], and [`Error::Storage`] if a file of the endpoint cannot be read.
    #[cfg(feature = "remote")]
    pub fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self::new(Arc::new(Client::open(endpoint)?), Clock::default(), false))
    }

    /// A handle of the same store with the ids of the namespace `name`: records of other namespaces cannot be found
    /// through it, even under the same id. A name is any 0 to 255 bytes; the empty one is the default. Namespaces exist
    /// without being created, and the storage sees neither their names nor their records' affiliation.
    ///
    /// [`purge`](Self::purge), [`maintain`](Self::maintain), [`compact`](Self::compact), [`stats`](Self::stats) and
    /// [`close`](Self::close) concern the whole store on every handle. Namespaces are not nested: a handle's namespace
    /// replaces the one of the handle from which it was made.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
    /// let (one, other) = (store.namespace("tenant 1")?, store.namespace("tenant 2")?);
    /// let key = one.store("settings", b"data")?;
    /// assert!(!other.contains("settings")?);
    /// assert_eq!(store.namespace("tenant 1")?.retrieve("settings", &key)?, b"data");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `name` has more than 255 bytes.
    pub fn namespace(&self, name: impl AsRef<[u8]>) -> Result<Self, Error> {
        let name = name.as_ref();
        if !is_namespace(name) {
            return Err(long_namespace());
        }
        Ok(Self { operations: self.operations.namespace(name)?, clock: self.clock.clone(), ..*self })
    }

    /// A handle of the same store and namespace that pads all records, as
    /// [`WriteOptions::pad`](crate::WriteOptions::pad). To pad all records of a store on every handle, open it with
    /// [`Builder::pad`](crate::Builder::pad).
    #[must_use]
    pub fn padded(&self) -> Self {
        Self { operations: Arc::clone(&self.operations), clock: self.clock.clone(), padded: true, ..*self }
    }

    /// Retrieves the data stored under `id`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`], also if the record's first 68 bytes were altered; [`Error::Corrupt`]
    /// if another part of it was altered; [`Error::Conflict`] if a long record is replaced repeatedly while it is read;
    /// [`Error::Expired`], [`Error::Unsupported`], [`Error::InvalidId`], and those of the storage.
    pub fn retrieve(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        self.operations.retrieve(id.as_ref(), key)?.wait()
    }

    /// Retrieves the data stored under `id` into the start of `buffer`, and returns its length, so that callers can
    /// choose where plaintext lies, and wipe it. The rest of `buffer` is unchanged or zero.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), and [`Error::TooLarge`] if the data does not fit in `buffer`:
    /// [`RecordReader::len`] returns its length. `buffer` then contains no plaintext.
    pub fn retrieve_into(&self, id: impl AsRef<[u8]>, key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        self.operations.retrieve_into(id.as_ref(), key, buffer)
    }

    /// Retrieves the bytes `range` of the data stored under `id`, up to its end. Only the chunks that overlap the range
    /// are read, and the final chunk, which proves the length.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] if the record is replaced or removed concurrently;
    /// [`Error::TooLarge`] if the range does not fit in memory.
    pub fn retrieve_range(&self, id: impl AsRef<[u8]>, key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        self.operations.retrieve_range(id.as_ref(), key, range)?.wait()
    }

    /// Opens a record to read it in pieces, from any position, in constant memory.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), for the record's first 68 bytes; the rest is checked as it is read.
    pub fn open_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordReader, Error> {
        Ok(RecordReader::new(self.operations.open_record(id.as_ref(), key)?))
    }

    /// Retrieves many records, each with its own outcome, in the same order. A storage with transactions reads them in
    /// one; more than 64 MiB from a service is read in several steps. If the records exceed 4 MiB, the call checks each
    /// key before it reads the record.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] for any of them, and those of the storage. Each record's outcome may be an error of
    /// [`retrieve`](Self::retrieve).
    pub fn retrieve_many<I: AsRef<[u8]>>(
        &self,
        items: &[(I, &RecordKey)],
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let items: Vec<_> = items.iter().map(|(id, key)| (id.as_ref(), *key)).collect();
        let mut steps = Steps::new(items.len());
        while let Some((range, is_alone)) = steps.next() {
            let found = match items.get(range.clone()).unwrap_or_default() {
                [(id, key)] if is_alone => Ok(vec![self.retrieve(id, key)]),
                items => self.operations.retrieve_many(items).and_then(Call::wait),
            };
            steps.note(range, found)?;
        }
        Ok(steps.into_found())
    }

    /// Retrieves the data stored under `id`, and removes the record: of any number of concurrent callers, one gets the
    /// data, and the others get [`Error::NotFound`]. A wrong key removes nothing.
    ///
    /// The data is delivered at most once: if this process ends, or a connection breaks, before the caller has it, the
    /// data is lost. To receive it at least once, [`retrieve`](Self::retrieve) it, process it, and then
    /// [`delete`](Self::delete) the record.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
    /// use strongroom::Error;
    ///
    /// let key = store.store("one-time link", b"data")?;
    /// assert_eq!(store.take("one-time link", &key)?, b"data");
    /// assert!(matches!(store.take("one-time link", &key), Err(Error::NotFound)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve): the record is then unchanged. [`Error::Indeterminate`] if the outcome is
    /// unknown, for example because the answer of a service was lost.
    pub fn take(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        self.operations.take(id.as_ref(), key)?.wait()
    }

    /// As [`take`](Self::take), for data of any length in constant memory: when this returns, only the reader can read
    /// the record, and dropping the reader removes it. From an encryption server, the data is read from start to end;
    /// elsewhere, from any position.
    ///
    /// If the process ends before the reader is dropped, nobody can read the record, and the first
    /// [`purge`](Self::purge) or [`maintain`](Self::maintain) after a day removes it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take), for the record's first 68 bytes and its final chunk; the rest is checked as it is read.
    pub fn take_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordReader, Error> {
        Ok(RecordReader::new(self.operations.take_record(id.as_ref(), key)?))
    }

    /// Whether there is an unexpired record under this id. Without a clock, a record that expires counts as one.
    /// During a rotation of the index key, this moves the record ([`begin_rotation`](Self::begin_rotation)).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.operations.contains(id.as_ref())?.wait()
    }

    /// Removes the record that `key` opens, even if it has expired. If the storage's answer is lost, this succeeds also
    /// if another caller removes the record meanwhile: only [`take`](Self::take) tells that nobody else has read it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] if the record is replaced or removed concurrently;
    /// [`Error::InvalidId`], and those of the storage.
    pub fn delete(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        self.operations.delete(id.as_ref(), key)?.wait()
    }

    /// Removes the record of `id` without its key, so that an operator can fulfil a right to erasure. Returns whether
    /// there was a record, expired or not; if the storage's answer is lost, another caller may have removed it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn erase(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.operations.erase(id.as_ref())?.wait()
    }

    /// Removes at most `limit` expired records, and returns their number: fewer than `limit` if none is left. Expired
    /// records are unreadable in any case; this frees their space. A record whose [`take`](Self::take) was interrupted
    /// more than a day ago counts as expired. It removes them in short steps, through an index of
    /// expiry times, so that other writers wait little and other records cost nothing.
    ///
    /// # Errors
    ///
    /// Those of the storage. Some records may have been removed.
    pub fn purge(&self, limit: usize) -> Result<usize, Error> {
        let mut purged = 0;
        loop {
            if interrupt::is_interrupted() {
                return Err(Error::Busy);
            }
            let step = self.operations.purge(limit - purged)?;
            purged += step;
            if step == 0 || purged >= limit {
                return Ok(purged);
            }
        }
    }

    /// The expiry times (Unix time in seconds) of records that expire at or before `until`, the earliest first, at most
    /// `most`. It is for the crate `strongroom-server`, and changes without notice.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an encryption server; those of the storage.
    #[doc(hidden)]
    pub fn expiry_times(&self, until: u64, most: usize) -> Result<Vec<u64>, Error> {
        let due = self.operations.storage()?.list_expired(until, most)?;
        Ok(due.iter().filter_map(|entry| entry.info.head.expires_at()).collect())
    }

    /// Fails if the storage cannot work, as far as this is known without a request: for the readiness of services.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    #[doc(hidden)]
    pub fn health(&self) -> Result<(), Error> {
        self.operations.storage().map_or(Ok(()), |storage| Ok(storage.health()?))
    }

    /// The locator of an id under the current index key. It is for the crate `strongroom-server`, and changes without
    /// notice.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an encryption server.
    #[doc(hidden)]
    pub fn locator(&self, id: impl AsRef<[u8]>) -> Result<Locator, Error> {
        Ok(self.operations.locators(None, id.as_ref())?.0)
    }

    /// Searches the store for damage, without any record's key. It works in short steps, changes nothing, and others
    /// may read and write at the same time. It calls `progress` after each step, with the damage that the step found;
    /// `progress` may stop it. [`verify`](crate::verify()) does the same without the index key.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an encryption server, and those of [`verify`](crate::verify()). Damage is no error.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        progress: impl FnMut(VerifyStep<'_>) -> ControlFlow<()>,
    ) -> Result<VerifyReport, Error> {
        verify::verify(&**self.operations.storage()?, options, progress)
    }

    /// Replaces each damaged record by the one in `copy`, without any record's key. `copy` is the same store at another
    /// place, such as a backup; only its intact records are used. An intact record is never replaced, and a damaged one
    /// that the copy lacks stays as it is: [`verify`](Self::verify) reports it. [`repair`](crate::repair()) does the
    /// same without the index key.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on a service: repair the store where its records lie; and those of
    /// [`repair`](crate::repair()).
    pub fn repair_from(&self, copy: &Self) -> Result<Repaired, Error> {
        verify::repair(self.operations.storage()?, &**copy.operations.storage()?)
    }

    /// Removes the leftovers of interrupted writes and of removed records, and frees their space for later records,
    /// unless a large record is being written at the time. While a store is open, a thread does the same for large
    /// removed records.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn maintain(&self) -> Result<(), Error> {
        self.operations.maintain()
    }

    /// Returns at most `limit` bytes of [free space](Stats::free) to the operating system, and the number of these
    /// bytes. The database's file becomes shorter. It works in short steps, and others may read and write at the same
    /// time. Call [`maintain`](Self::maintain) before, which frees the space of what was removed last.
    ///
    /// Later records need new space then, so this is for a store that will not soon grow again.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an encryption server, and on a storage that leaves this to its engine; those of the
    /// storage. Some space may have been returned.
    pub fn compact(&self, limit: u64) -> Result<u64, Error> {
        let mut compacted = 0;
        loop {
            if interrupt::is_interrupted() {
                return Err(Error::Busy);
            }
            let step = self.operations.compact(limit - compacted)?;
            compacted = compacted.saturating_add(step);
            if step == 0 || compacted >= limit {
                return Ok(compacted);
            }
        }
    }

    /// The number of records, the bytes of their ciphertexts, how many of them have expired, and the free space. The
    /// time is proportional to the number of records.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.operations.stats()?.wait()
    }

    /// Closes the store on each handle: every later read and write is [`Error::Closed`]. Dropping the handle and all
    /// its readers and writers also closes the store, but reports no error.
    ///
    /// A database waits for running writes, and at most 5 seconds for running reads. After longer ones, its file is
    /// complete once the last of them has ended.
    ///
    /// # Errors
    ///
    /// Those of the storage. The store is closed in any case.
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
