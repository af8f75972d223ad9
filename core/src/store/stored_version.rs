//! One version of a record, with the bytes that the storage has returned already.

use std::sync::Arc;

use super::address::Address;
use super::claim::Claim;
use crate::cobblestone::SEALED_CHUNK_LEN;
use crate::error::Error;
use crate::locator::Locator;
use crate::record::HEADER_LEN;
use crate::storage::{self, Info, Limits, Storage};

/// The most chunks of a part, 16 MiB, even if a storage prefers more.
const MAX_PART_CHUNKS: usize = 1024;
/// The most parts of a record that are read at the same time, even if a storage prefers more.
const MAX_PARALLEL_READS: usize = 8;

/// The number of chunks of a part, which one core fetches and opens as a unit.
pub(super) fn part_chunks(limits: &Limits) -> usize {
    (limits.part_len / SEALED_CHUNK_LEN).clamp(1, MAX_PART_CHUNKS)
}

/// How many parts of a record are read at the same time, if a service does the work. `None` if each read needs a core.
pub(super) fn parallel_reads(limits: &Limits) -> Option<usize> {
    (limits.parallel_parts != usize::MAX).then(|| limits.parallel_parts.clamp(1, MAX_PARALLEL_READS))
}

pub(super) struct StoredVersion {
    storage: Arc<dyn Storage>,
    locator: Locator,
    /// Where else the version may be, after a rotation of the index key has begun.
    moves_to: Option<Locator>,
    info: Info,
    /// The claim that removes the record after the last read.
    _claim: Option<Claim>,
    /// The record's first and last bytes that were read already.
    start: Vec<u8>,
    end: Vec<u8>,
}

impl StoredVersion {
    pub(super) fn new(storage: &Arc<dyn Storage>, address: &Address<'_>, info: Info) -> Self {
        let Address { locator, moves_to, .. } = *address;
        let storage = Arc::clone(storage);
        Self { storage, locator, moves_to, info, _claim: None, start: Vec::new(), end: Vec::new() }
    }

    /// The same version, which this claim has moved.
    pub(super) fn claimed(self, claim: Claim) -> Self {
        Self { locator: claim.locator, moves_to: None, _claim: Some(claim), ..self }
    }

    pub(super) fn with_start(self, start: Vec<u8>) -> Self {
        Self { start, ..self }
    }

    pub(super) fn with_end(self, end: Vec<u8>) -> Self {
        Self { end, ..self }
    }

    pub(super) fn info(&self) -> Info {
        self.info
    }

    pub(super) fn limits(&self) -> Limits {
        self.storage.limits()
    }

    /// Fills `buffer` with the bytes of the record's message from `offset` on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let offset = offset.checked_add(HEADER_LEN as u64).ok_or(Error::Corrupt)?;
        let from = |bytes: &[u8], first: u64| -> Option<()> {
            let at = usize::try_from(offset.checked_sub(first)?).ok()?;
            buffer.copy_from_slice(bytes.get(at..)?.get(..buffer.len())?);
            Some(())
        };
        let mut from = from;
        if from(&self.start, 0)
            .or_else(|| from(&self.end, self.info.len.saturating_sub(self.end.len() as u64)))
            .is_some()
        {
            return Ok(());
        }
        let mut read = |locator| self.storage.read_at(locator, &self.info.head, offset, buffer);
        let outcome = match (read(&self.locator), &self.moves_to) {
            (Err(storage::Error::Conflict), Some(moved)) => read(moved),
            (outcome, _) => outcome,
        };
        outcome.map_err(|error| match error {
            // The head is the same, but the record is shorter than before.
            storage::Error::InvalidArgument(_) => Error::Corrupt,
            error => error.into(),
        })
    }
}
