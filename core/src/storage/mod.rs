//! Storages: the [`Storage`] trait, its contract, and the storages that come with the library.
//!
//! A storage sees locators and opaque records, never ids, keys or plaintext. It is trusted to keep the records that it
//! acknowledged, but with no secret: its operator can withhold a record, but cannot forge or read one.
//!
//! For a storage of your own, implement [`Storage`] and test it with `storage_conformance!` (feature `conformance`).

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod checksum;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod commit_queue;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod measured;
mod memory;
mod metrics;
#[cfg(feature = "object-store")]
mod object;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod operation;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "remote")]
mod remote;
#[cfg(any(feature = "object-store", feature = "postgres", feature = "sqlite"))]
#[cfg_attr(
    not(any(feature = "object-store", feature = "postgres")),
    expect(dead_code, reason = "SQLite repairs its rows, and uses the check of a copy's record")
)]
mod repair;
#[cfg(feature = "sqlite")]
mod sqlite;
mod types;
mod verification;

use std::fmt;
use std::sync::Arc;

pub use error::Error;
pub use memory::MemoryStorage;
pub use metrics::{OperationMetrics, StorageMetrics};
#[cfg(feature = "object-store")]
pub use object::{BucketUrl, ObjectStorage};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, PostgresStorage};
#[cfg(feature = "remote")]
pub use remote::RemoteStorage;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStorage;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use types::Durability;
pub use types::{Entry, Fetched, HEAD_LEN, Head, Info, Limits, MAX_SETTINGS_LEN, PutMode, Stats};
pub use verification::{Damage, DamageKind, Repaired, Verified, VerifyPosition};

pub use crate::locator::{LOCATOR_LEN, Locator};

/// A storage of records.
///
/// # Contract
///
/// - A write is atomic: at any time other callers see the whole record or the state before it, even if the process is
///   killed. A failed write changes nothing, except that after [`Error::Indeterminate`] the outcome is unknown.
/// - A write is durable when it returns, to the degree with which the storage was opened.
/// - All callers see the writes to one locator in one order; a read that starts after a write has returned sees it.
/// - A storage that repeats a request after a lost reply compares heads before it reports [`Error::AlreadyExists`] or
///   [`Error::Conflict`]: the caller's own write never causes either.
/// - All methods may be called from many threads at once.
/// - A record is at least [`HEAD_LEN`] bytes long; a shorter one is [`Error::InvalidArgument`]. A storage may interpret
///   the first 12 bytes (the header, for its expiry and version) and no others. It returns records unchanged, or fails,
///   with [`Error::Corrupt`] if it detects that they are damaged.
/// - An unsupported operation is [`Error::Unsupported`], never a silent success, and [`limits`](Self::limits) shows it.
/// - After [`close`](Self::close) every method is [`Error::Closed`], except [`limits`](Self::limits).
/// - No error shows a record's bytes.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// The kind of storage in metrics, such as `sqlite`: a constant of letters.
    fn kind(&self) -> &'static str {
        "other"
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// Those of `mode`; [`Error::Full`], [`Error::TooLarge`], and those of the contract.
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error>;

    /// Writes many new records in one transaction.
    ///
    /// A storage that repeats a request may take the head of one of them for proof that all are written. A caller whose
    /// records may be stored there already under the same heads, such as a copy, reads back what it wrote.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if one of them exists, or two have the same locator; [`Error::Unsupported`] from a
    /// storage without transactions; those of [`put`](Self::put).
    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error>;

    /// Writes many records independently, and returns the outcomes of [`put`](Self::put) in the same order. A storage
    /// may write them in one transaction, or stop after an error of the storage itself, which all later ones then have,
    /// too. It may write new ones with [`create_many`](Self::create_many): then a copy must read back what it wrote, as
    /// there. The default implementation writes them one by one.
    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        records.iter().map(|(locator, record, mode)| self.put(locator, record, *mode)).collect()
    }

    /// The whole record if it has at most `max_len` bytes, else its head and length; `None` if there is no record.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error>;

    /// The whole record; `None` if there is no record.
    ///
    /// # Errors
    ///
    /// Those of the contract; [`Error::TooLarge`] if it does not fit in memory.
    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        match self.get_up_to(locator, u64::MAX)? {
            None => Ok(None),
            Some(Fetched::Record(record)) => Ok(Some(record)),
            Some(Fetched::Long { .. }) => Err(Error::TooLarge),
        }
    }

    /// Many records of at most `max_len` bytes in total, in the order of `locators`. A storage with transactions reads
    /// them all from one snapshot. The default implementation reads them one by one.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the records have more bytes; those of the contract.
    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        get_each(locators, max_len, |locator, max_len| self.get_up_to(locator, max_len))
    }

    /// The record's head and length, without reading the rest; `None` if there is no record.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error>;

    /// Fills `buffer` with the record's bytes from `offset` on, if the record still has this `head`, so that a reader
    /// never mixes two versions.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the record has another head or is gone; [`Error::InvalidArgument`] if the record ends
    /// before the buffer does. Then `buffer` may be partly written.
    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;

    /// The record's head and length, and its last `len` bytes, or all of them if it is shorter. `None` if there is no
    /// record. A reader of parts needs the end first, because it proves the length. The default implementation calls
    /// [`info`](Self::info) and [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the record is replaced or removed concurrently, and those of the contract.
    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let Some(info) = self.info(locator)? else { return Ok(None) };
        let len = usize::try_from(info.len).map_or(len, |all| all.min(len));
        let mut end = vec![0; len];
        self.read_at(locator, &info.head, info.len - len as u64, &mut end)?;
        Ok(Some((info, end)))
    }

    /// Starts to write a record of any length piece by piece. `mode` is checked here, so that a write fails early, and
    /// again by the commit, which decides.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error>;

    /// Removes a record; with `expected`, only the version with that head. `false` if there is no record.
    ///
    /// After a lost reply, the answer may be `true` although another caller removed the record.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the record has another head than `expected`.
    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error>;

    /// Moves the version of a record that has this `head` to another locator, atomically. A retry succeeds if there is
    /// no record under `from`, and the one under `to` has this head.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the record under `from` has another head or is gone; [`Error::AlreadyExists`] if another
    /// record is under `to`.
    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error>;

    /// At most `limit` records after `after`, in the order of their locators. The pages are not one snapshot: a record
    /// that exists throughout is listed once; one that is created or removed between them may be missing.
    ///
    /// A page is empty only behind the last record. The list behind the greatest locator, of 32 bytes 255, asks whether
    /// lists are complete: there a storage fails if it can notice that damage hides records from its lists. That may
    /// take as long as a list of all records.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error>;

    /// At most `limit` records that expire at or before `now` (Unix time in seconds), the earliest first, without a
    /// scan of all records.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] from a storage without an index of expiry times; those of the contract.
    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Removes at most `limit` records that expire at or before `now` (Unix time in seconds), the earliest first, and
    /// returns their number. A storage may stop before `limit`, so that no step takes long; 0 means that none is left.
    /// A record that is replaced concurrently by one that expires later is kept. The default implementation calls
    /// [`list_expired`](Self::list_expired) and [`delete`](Self::delete).
    ///
    /// # Errors
    ///
    /// Those of [`list_expired`](Self::list_expired) and [`delete`](Self::delete).
    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        let mut earlier = Vec::new();
        let mut failure = Error::Corrupt; // all are damaged, or it lists versions that it does not have
        loop {
            let due = self.list_expired(now, limit.min(PURGE_STEP))?;
            if !due.is_empty() && due == earlier {
                return Err(failure);
            }
            let mut purged = 0;
            for entry in &due {
                match self.delete(&entry.locator, Some(&entry.info.head)) {
                    Ok(found) => purged += usize::from(found),
                    Err(Error::Conflict | Error::Corrupt) => {} // it was replaced, or is damaged
                    // It is of a newer version, or the storage is read-only.
                    Err(error @ Error::Unsupported(_)) => failure = error,
                    Err(error) => return Err(error),
                }
            }
            if purged > 0 || due.is_empty() {
                return Ok(purged);
            }
            earlier = due;
        }
    }

    /// The settings document; `None` in a new storage.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn settings(&self) -> Result<Option<Vec<u8>>, Error>;

    /// Writes the settings document if the current one equals `expected` (`None`: there is none). A document has at
    /// most [`MAX_SETTINGS_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the current document differs, [`Error::InvalidArgument`] if `new` is too long.
    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error>;

    /// Checks at most `limit` records by the storage's own checksums, from `position` on (`None`: from the first), or
    /// what `position` names. Each step is short: it may stop before `limit`, even within a long record, and the next
    /// one begins at [`Verified::next`]. A record that exists throughout is checked once. Nothing is changed, and
    /// writes at the same time cause no damage in the result.
    ///
    /// [`VerifyPosition::Structure`] is a step of its own: it checks what belongs to no single record, and its duration
    /// is proportional to the storage's size.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a position of another storage, or after a record that does not exist;
    /// [`Error::Unsupported`] from a storage without checksums; those of the contract.
    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error>;

    /// Replaces each damaged record by the one with the same locator in `copy`, if that one is intact, and repairs the
    /// storage's structure. An intact record is never replaced, and a record that the copy lacks stays as it is, as far
    /// as it is readable. `copy` is another storage with the same records, such as a backup.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] from a storage that cannot be repaired by its users; [`Error::Busy`] if other writers
    /// never stop; those of the contract and of `copy`. Some records may have been restored.
    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        let _ = copy;
        Err(Error::Unsupported("this storage cannot be repaired here: repair it where its data lies".into()))
    }

    /// The number of records, their total bytes, and how many of them expire at or before `now` (Unix time in seconds).
    /// May scan all records.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn stats(&self, now: u64) -> Result<Stats, Error>;

    /// Removes the remains of deleted records, and the leftovers of dead uploads as far as they can be distinguished
    /// from running ones. Running uploads are not affected.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn maintain(&self) -> Result<(), Error>;

    /// Returns at most `limit` bytes of the space of removed records to the operating system, and the number of these
    /// bytes. A storage may stop before `limit`, so that no step takes long; 0 means that none is left.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] from a storage that leaves this to its engine, as the default implementation does; those
    /// of the contract.
    fn compact(&self, limit: u64) -> Result<u64, Error> {
        let _ = limit;
        Err(Error::Unsupported("this storage leaves the space of removed records to its engine".into()))
    }

    /// Fails if the storage cannot work, as far as this is known without a request: for example if its files were
    /// removed, or if it has refused all writes since one failed. A service is not ready then. The default
    /// implementation succeeds.
    ///
    /// # Errors
    ///
    /// Those of the contract.
    fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The storage's limits and preferred sizes. They are constant, and known without a request.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Closes the storage for all its users. A second call does nothing.
    ///
    /// # Errors
    ///
    /// Those of the contract; the storage is closed in any case.
    fn close(&self) -> Result<(), Error>;
}

/// The next page of a list. A storage that does not go on from `after` is damaged: with it, no loop over pages would
/// end.
pub(crate) fn next_page(storage: &dyn Storage, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
    let page = storage.list(after, limit)?;
    let is_in_order =
        after.into_iter().chain(page.iter().map(|entry| &entry.locator)).is_sorted_by(|one, next| one < next);
    if is_in_order { Ok(page) } else { Err(Error::Corrupt) }
}

/// The records of [`Storage::get_many`]. Fails if the storage has lost some of the outcomes.
pub(crate) fn get_many(
    storage: &dyn Storage,
    locators: &[Locator],
    max_len: u64,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let records = storage.get_many(locators, max_len)?;
    if records.len() == locators.len() {
        Ok(records)
    } else {
        Err(Error::Backend("the storage has lost outcomes of a batch".into()))
    }
}

/// Fails if the storage notices that damage hides records from its lists.
pub(crate) fn check_lists(storage: &dyn Storage) -> Result<(), Error> {
    next_page(storage, Some(&Locator::LAST), 1).map(drop)
}

/// Whether the storage has no records. Fails as [`check_lists`] does if its list is empty.
pub(crate) fn is_empty(storage: &dyn Storage) -> Result<bool, Error> {
    let is_empty = storage.list(None, 1)?.is_empty();
    if is_empty {
        check_lists(storage)?;
    }
    Ok(is_empty)
}

/// The error of a place without a store, where one must exist.
pub(crate) fn no_store() -> Error {
    Error::InvalidArgument("the store does not exist: check its URL; the first `store` makes a new one".into())
}

/// Fails if a storage has no store. A damaged one is there.
pub(crate) fn require_store(storage: &dyn Storage) -> Result<(), Error> {
    let is_missing = || Ok(storage.settings()?.is_none() && is_empty(storage)?);
    match is_missing() {
        Ok(true) => Err(no_store()),
        Ok(false) | Err(Error::Corrupt) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The next step of a search for damage, with the same rule as [`next_page`].
pub(crate) fn next_step(
    storage: &dyn Storage,
    position: Option<&VerifyPosition>,
    limit: usize,
) -> Result<Verified, Error> {
    let step = storage.verify(position, limit)?;
    let goes_on = step.next.as_ref().is_none_or(|next| next.is_after(position));
    if goes_on { Ok(step) } else { Err(Error::Corrupt) }
}

/// The most records that one step of [`Storage::purge`] removes, so that other writers wait little.
const PURGE_STEP: usize = 32;

/// The records that `get_up_to` finds, one by one, if they have at most `max_len` bytes in total.
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
    /// [`Error::Full`], [`Error::TooLarge`], those of the contract. After a failure, the upload cannot continue.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes the record visible, whole and durable.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::put`] in the upload's mode, and [`Error::Conflict`] if the storage has removed the upload as
    /// dead.
    fn commit(self: Box<Self>) -> Result<(), Error>;
}
