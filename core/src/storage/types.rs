//! Arguments and results of a storage: versions, modes, entries of lists.

use std::fmt;

use super::Error;
use crate::locator::Locator;

/// Bytes of a [`Head`].
pub const HEAD_LEN: usize = 68;

/// The first 68 bytes of a record: its header, salt and commitment. No two writes have the same head, so a head
/// identifies one version of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head([u8; HEAD_LEN]);

impl Head {
    /// The head of `record`; `None` if `record` is shorter than 68 bytes.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        record.first_chunk().copied().map(Self)
    }

    /// The head of `record`, which is about to be stored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `record` is shorter than 68 bytes.
    pub fn require(record: &[u8]) -> Result<Self, Error> {
        Self::of(record).ok_or_else(|| Error::InvalidArgument("a record must have at least 68 bytes".into()))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HEAD_LEN] {
        &self.0
    }

    /// The expiry time in the record's header (bytes 4 to 11): Unix time in seconds; `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        let [_, _, _, _, a, b, c, d, e, f, g, h, ..] = self.0;
        Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])).filter(|time| *time != 0)
    }

    /// Whether this version of the library knows the record's version, suite and flags (bytes 0 to 3 of the header).
    #[must_use]
    pub fn is_supported(&self) -> bool {
        matches!(self.0, [1, 1, 0 | 1, 0, ..])
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Head(..)")
    }
}

/// The write modes: how a write treats an existing record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Writes if there is no record; else [`Error::AlreadyExists`].
    Create,
    /// Writes in any case.
    Overwrite,
    /// Writes if the record has this head; else, or if there is no record, [`Error::Conflict`].
    ReplaceIf(Head),
}

impl PutMode {
    /// Fails if this does not allow a write over the record with the head `there`, if there is one.
    pub(crate) fn check(self, there: Option<Head>) -> Result<(), Error> {
        match self {
            Self::Create if there.is_some() => Err(Error::AlreadyExists),
            Self::ReplaceIf(expected) if there != Some(expected) => Err(Error::Conflict),
            _ => Ok(()),
        }
    }
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

/// The failures that a completed write survives.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A write survives a power cut (SQLite's `synchronous=FULL`).
    #[default]
    Full,
    /// A write survives the end of the process; a power cut may undo the last writes, each completely (SQLite's
    /// `synchronous=NORMAL`).
    Relaxed,
}

/// The result of [`Storage::get_up_to`](super::Storage::get_up_to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole record.
    Record(Vec<u8>),
    /// A longer record: read the rest in parts.
    Long {
        /// Its head and length.
        info: Info,
        /// Its first bytes, as many as the storage has read in any case, but at most `max_len`.
        start: Vec<u8>,
    },
}

/// An entry of [`Storage::list`](super::Storage::list).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The record's locator.
    pub locator: Locator,
    /// The record's head and length.
    pub info: Info,
}

impl Entry {
    /// The entry of the record with this locator, head and length.
    #[must_use]
    pub const fn new(locator: Locator, info: Info) -> Self {
        Self { locator, info }
    }
}

/// A storage's limits and preferred sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of a record.
    pub record_bytes: u64,
    /// The most bytes of the records of one [`create_many`](super::Storage::create_many); 0 if it is unsupported.
    pub batch_bytes: u64,
    /// The preferred number of bytes of one part of a long record.
    pub part_len: usize,
    /// The preferred number of parts to read in parallel.
    pub parallel_parts: usize,
}

impl Default for Limits {
    /// The limits of a storage in the same process: none, and one part of 256 KiB of data for each core.
    fn default() -> Self {
        Self { record_bytes: u64::MAX, batch_bytes: u64::MAX, part_len: 262_400, parallel_parts: usize::MAX }
    }
}

/// The size of a storage's contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of records.
    pub records: u64,
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    pub bytes: u64,
    /// The number of expired records among them, which a purge removes.
    pub expired: u64,
    /// The bytes of removed records that the storage keeps for later ones, and that
    /// [`compact`](super::Storage::compact) returns to the operating system; 0 from a storage that leaves this to its
    /// engine.
    pub free: u64,
}

impl Stats {
    /// `records` records with `bytes` bytes in total, `expired` of them expired, and no free space.
    #[must_use]
    pub const fn new(records: u64, bytes: u64, expired: u64) -> Self {
        Self { records, bytes, expired, free: 0 }
    }
}

/// The most bytes of the settings document.
pub const MAX_SETTINGS_LEN: usize = 4096;

/// Rejects a settings document that is too long.
pub(super) fn check_settings(document: &[u8]) -> Result<(), Error> {
    if document.len() > MAX_SETTINGS_LEN {
        return Err(Error::InvalidArgument("the settings document is longer than 4096 bytes".into()));
    }
    Ok(())
}
