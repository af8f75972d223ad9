//! Where records lie: the [`Storage`] trait, its contract, and the storages that come with the library.
//!
//! A storage sees locators and opaque records, never ids, keys or plaintext. It need not be trusted with secrets, only
//! with keeping what it acknowledged: whoever writes to it can withhold records, but not forge or read one.
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

use std::fmt;
use std::sync::Arc;

pub use error::Error;
pub use memory::MemoryStorage;
#[cfg(feature = "remote")]
pub use remote::RemoteStorage;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, SqliteStorage};

pub use crate::locator::{LOCATOR_LEN, Locator};

/// Bytes of a [`Head`].
pub const HEAD_LEN: usize = 68;

/// The first 68 bytes of a record: its header, salt and commitment. No two writes have the same, so a head stands for
/// one version of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head([u8; HEAD_LEN]);

impl Head {
    /// The head of `record`, or `None` where it is shorter than 68 bytes.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        record.first_chunk().copied().map(Self)
    }

    /// The head of `record`, which is about to be stored.
    pub(crate) fn require(record: &[u8]) -> Result<Self, Error> {
        Self::of(record).ok_or_else(|| Error::InvalidArgument("a record has at least 68 bytes".into()))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HEAD_LEN] {
        &self.0
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Head(..)")
    }
}

/// What a write may do to the record that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Writes where there is none; else [`Error::AlreadyExists`].
    Create,
    /// Writes in any case.
    Overwrite,
    /// Writes where the record there has this head; else, and where there is none, [`Error::Conflict`].
    ReplaceIf(Head),
}

/// A record's head and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The first 68 bytes.
    pub head: Head,
    /// The length of the whole record in bytes.
    pub len: u64,
}

impl Info {
    /// The info of a record with this head and length.
    #[must_use]
    pub const fn new(head: Head, len: u64) -> Self {
        Self { head, len }
    }
}

/// What [`Storage::get_up_to`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole record.
    Record(Vec<u8>),
    /// Of a long record, what [`Storage::info`] tells.
    Long(Info),
}

/// A line of [`Storage::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The record's name.
    pub locator: Locator,
    /// The length of the whole record in bytes.
    pub len: u64,
}

impl Entry {
    /// The line of a record with this name and length.
    #[must_use]
    pub const fn new(locator: Locator, len: u64) -> Self {
        Self { locator, len }
    }
}

/// What a storage holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of records.
    pub records: u64,
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    pub bytes: u64,
}

impl Stats {
    /// So many records of so many bytes together.
    #[must_use]
    pub const fn new(records: u64, bytes: u64) -> Self {
        Self { records, bytes }
    }
}

/// A place that keeps records.
///
/// # Contract
///
/// - A write is atomic: others see the whole record or what was there before, at each moment, also when the process
///   dies. A write that fails changes nothing, except [`Error::Indeterminate`], which says that this is not known.
/// - A write is durable when it returns, as far as the storage was opened to be.
/// - Writes to one locator have one order that all see; a read that starts after a write has returned sees it.
/// - All methods may be called from many threads at once.
/// - A record is at least [`HEAD_LEN`] bytes long; a shorter one is [`Error::InvalidArgument`]. Beyond the first 12
///   bytes (the header, for its expiry) a storage reads nothing into a record's bytes. It hands them back unchanged, or
///   fails: [`Error::Corrupt`] where it knows that they are damaged.
/// - What it cannot do, it says by [`Error::Unsupported`]; it never pretends.
/// - After [`close`](Self::close) every method is [`Error::Closed`].
/// - No error shows a record's bytes.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Writes a record.
    ///
    /// # Errors
    ///
    /// As `mode` says; [`Error::Full`], [`Error::TooLarge`], and those of the contract.
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error>;

    /// Writes many new records in one transaction: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where one of them is there, or is named twice; [`Error::Unsupported`] from a storage
    /// without transactions; those of [`put`](Self::put).
    fn create_many(&self, records: &[(Locator, Vec<u8>)]) -> Result<(), Error>;

    /// The whole record, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error>;

    /// The whole record where it has at most `most` bytes; of a longer one, a storage that can do so gives its info in
    /// the place of its bytes, to be read in parts. As provided, this is [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn get_up_to(&self, locator: &Locator, most: u64) -> Result<Option<Fetched>, Error> {
        let _ = most;
        Ok(self.get(locator)?.map(Fetched::Record))
    }

    /// Many records, in the order of `locators`. A storage with transactions reads them all from one moment.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn get_many(&self, locators: &[Locator]) -> Result<Vec<Option<Vec<u8>>>, Error>;

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

    /// Starts to write a record of any length piece by piece. `mode` is checked here as a courtesy, and again when the
    /// upload is committed, which is when it counts.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error>;

    /// Removes a record; with `expected`, only the version with that head. `false` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the record has another head than `expected`.
    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error>;

    /// At most `limit` records in the order of their locators, starting behind `after`. Pages are not of one moment:
    /// a record that is there all along is listed once, one that comes or goes meanwhile may be or not.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error>;

    /// The check value of the index key, or `None` where none was set: a new storage.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn check_value(&self) -> Result<Option<[u8; 16]>, Error>;

    /// Sets the check value where none is set, and returns the one that is set then: of many callers at once, one
    /// succeeds, and all get its value.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn init_check_value(&self, value: &[u8; 16]) -> Result<[u8; 16], Error>;

    /// The number and bytes of all records. May have to look at each.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn stats(&self) -> Result<Stats, Error>;

    /// Removes what uploads left whose process has ended, if that can be told at the moment, and what the storage keeps of
    /// records that were deleted. Uploads under way are not touched.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn maintain(&self) -> Result<(), Error>;

    /// Ends the use of the storage for all who share it. A second call does nothing.
    ///
    /// # Errors
    ///
    /// Those of the contract; the storage is closed all the same.
    fn close(&self) -> Result<(), Error>;
}

/// A record on its way into a storage. Nothing of it can be seen before [`commit`](Self::commit) succeeds; dropped, it
/// leaves nothing.
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
    /// As the upload's mode says, those of [`Storage::put`], and [`Error::Conflict`] where the storage gave the upload
    /// up for dead.
    fn commit(self: Box<Self>) -> Result<(), Error>;
}
