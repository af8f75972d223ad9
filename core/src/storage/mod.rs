//! Storages: the [`Storage`] trait, its contract, and the storages that come with the library.
//!
//! A storage sees locators and opaque records, never ids, keys or plaintext. It is trusted to keep what it
//! acknowledged, and with no secret: its operator can withhold a record, but cannot forge or read one.
//!
//! To bring your own, implement [`Storage`] and run the suite of `storage_conformance!` (feature `conformance`) on it.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod memory;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "sqlite")]
mod sqlite;
mod types;

use std::fmt;
use std::sync::Arc;

pub use error::Error;
pub use memory::MemoryStorage;
#[cfg(feature = "remote")]
pub use remote::RemoteStorage;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, SqliteStorage};
pub use types::{Entry, Fetched, HEAD_LEN, Head, Info, Limits, MAX_SETTINGS_LEN, PutMode, Stats, Verified};

pub use crate::locator::{LOCATOR_LEN, Locator};

/// A place that keeps records.
///
/// # Contract
///
/// - A write is atomic: at each moment others see the whole record or the state before it, even if the process is
///   killed. A write that fails changes nothing; after [`Error::Indeterminate`] that is not known.
/// - A write is durable when it returns, to the degree that the storage was opened with.
/// - All callers see the writes to one locator in one order; a read that starts after a write has returned sees it.
/// - A storage that repeats a request after a lost reply compares heads before it reports [`Error::AlreadyExists`] or
///   [`Error::Conflict`]: the caller's own write never causes either.
/// - All methods may be called from many threads at once.
/// - A record is at least [`HEAD_LEN`] bytes long; a shorter one is [`Error::InvalidArgument`]. A storage may interpret
///   the first 12 bytes (the header, for its expiry) and no others. It returns records unchanged, or fails: with
///   [`Error::Corrupt`] where it knows that they are damaged.
/// - A missing ability is [`Error::Unsupported`] and shows in [`limits`](Self::limits); a storage never pretends.
/// - After [`close`](Self::close) every method is [`Error::Closed`], except [`limits`](Self::limits).
/// - No error shows a record's bytes.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Writes a record.
    ///
    /// # Errors
    ///
    /// Those of `mode`; [`Error::Full`], [`Error::TooLarge`], and those of the contract.
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error>;

    /// Writes many new records in one transaction: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where one of them exists, or is given twice; [`Error::Unsupported`] from a storage
    /// without transactions; those of [`put`](Self::put).
    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error>;

    /// Writes many new records, each by itself, and returns their outcomes in the same order. The default
    /// implementation writes one after the other.
    fn create_each(&self, records: &[(Locator, &[u8])]) -> Vec<Result<(), Error>> {
        records.iter().map(|(locator, record)| self.put(locator, record, PutMode::Create)).collect()
    }

    /// The whole record if it has at most `max_len` bytes, else its head and length. `None` if there is no record.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error>;

    /// The whole record, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// Those of the contract; [`Error::TooLarge`] where it does not fit in memory.
    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        match self.get_up_to(locator, u64::MAX)? {
            None => Ok(None),
            Some(Fetched::Record(record)) => Ok(Some(record)),
            Some(Fetched::Long { .. }) => Err(Error::TooLarge),
        }
    }

    /// Many records of at most `max_len` bytes together, in the order of `locators`. A storage with transactions reads
    /// them all from one snapshot. The default implementation reads one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where the records have more bytes, which are not read then; those of the contract.
    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        get_each(locators, max_len, |locator, max_len| self.get_up_to(locator, max_len))
    }

    /// The record's head and length, without reading the rest; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error>;

    /// Fills `buffer` with the record's bytes from `offset` on, if it still has this `head`: a reader never mixes two
    /// versions.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the record has another head or is gone; [`Error::InvalidArgument`] where the record
    /// ends before the buffer does. `buffer` may be partly written then.
    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;

    /// The record's head and length, and its last `len` bytes, or all of them if it is shorter. A reader of parts needs
    /// the end first, because it proves the length. `None` if there is no record. The default implementation calls
    /// [`info`](Self::info) and [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the record is replaced or removed meanwhile, and those of the contract.
    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let Some(info) = self.info(locator)? else { return Ok(None) };
        let len = usize::try_from(info.len).map_or(len, |all| all.min(len));
        let mut end = vec![0; len];
        self.read_at(locator, &info.head, info.len - len as u64, &mut end)?;
        Ok(Some((info, end)))
    }

    /// Starts to write a record of any length piece by piece. `mode` is checked here, so that a hopeless write fails
    /// early, and again at the commit, which decides.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error>;

    /// Removes a record; with `expected`, only the version with that head. `false` where there is none.
    ///
    /// After a lost reply, the answer may be `true` although another caller removed the record.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the record has another head than `expected`.
    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error>;

    /// Moves the version of a record that has this `head` to another locator, in one step. A retry succeeds: `from` is
    /// then empty, and `to` has this head.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the record under `from` has another head or is gone; [`Error::AlreadyExists`] where
    /// another record is under `to`.
    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error>;

    /// At most `limit` records after `after`, in the order of their locators. The pages are not one snapshot: a record
    /// that exists throughout is listed once; one that is created or removed meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error>;

    /// At most `limit` records that expire at `now` (Unix time in seconds) or before, the earliest first, without a
    /// scan of all records.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] from a storage without an index of expiry; those of the contract.
    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error>;

    /// The settings document, or `None` in a new storage, where none was written yet.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn settings(&self) -> Result<Option<Vec<u8>>, Error>;

    /// Writes the settings document if the present one is `expected` (`None`: there is none). A document has at most
    /// [`MAX_SETTINGS_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where another document is there, [`Error::InvalidArgument`] for a longer one.
    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error>;

    /// Checks at least one and at most `limit` records after `after`, in the order of their locators, by the storage's
    /// own checksums. A storage may stop before `limit`, so that no step takes long: the next step starts after
    /// [`Verified::next`]. Damage that the storage can attribute to a record is reported; no record is changed.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where damage keeps the storage from finding its records; [`Error::Unsupported`] from a
    /// storage without checksums; those of the contract.
    fn verify(&self, after: Option<&Locator>, limit: usize) -> Result<Verified, Error>;

    /// The number of records and their total bytes. May scan all records.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn stats(&self) -> Result<Stats, Error>;

    /// Removes the remains of deleted records, and the leftovers of dead uploads as far as these can be distinguished
    /// from running uploads. Running uploads are not touched.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn maintain(&self) -> Result<(), Error>;

    /// The storage's limits and preferred sizes. They are constant, and known without a request.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Closes the storage for all who share it. A second call does nothing.
    ///
    /// # Errors
    ///
    /// Those of the contract; the storage is closed all the same.
    fn close(&self) -> Result<(), Error>;
}

/// The records that `get_up_to` finds, one after the other, if they have at most `max_len` bytes together.
fn get_each<E: From<Error>>(
    locators: &[Locator],
    max_len: u64,
    get_up_to: impl Fn(&Locator, u64) -> Result<Option<Fetched>, E>,
) -> Result<Vec<Option<Vec<u8>>>, E> {
    let mut left = max_len;
    let get = |locator| match get_up_to(locator, left)? {
        None => Ok(None),
        Some(Fetched::Record(record)) => {
            left = left.saturating_sub(record.len() as u64);
            Ok(Some(record))
        }
        Some(Fetched::Long { .. }) => Err(Error::TooLarge.into()),
    };
    locators.iter().map(get).collect()
}

/// A record that is being written. It is invisible before [`commit`](Self::commit) succeeds; a dropped upload leaves
/// nothing.
pub trait Upload: fmt::Debug + Send {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::TooLarge`], those of the contract; the upload has then failed for good.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes the record visible, whole and durable.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::put`] in the upload's mode, and [`Error::Conflict`] if the storage took the upload for dead.
    fn commit(self: Box<Self>) -> Result<(), Error>;
}
