//! Read once: a `take` first claims the record by a rename, of which one succeeds, and then reads and removes it. The
//! new locator is random, so that after a lost reply the storage can tell whose rename succeeded.

use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Store;
use super::address::Address;
use super::reader::{self, Reader, open_version};
use super::stored_version::StoredVersion;
use crate::error::Error;
use crate::key::RecordKey;
use crate::locator::{CLAIMED, LOCATOR_LEN, Locator};
use crate::operations::ReadRecord;
use crate::storage::{Fetched, Head, Storage};
use crate::util::random;

/// Seconds after which a claim is abandoned, and its record is removed.
const CLAIM_SECONDS: u64 = 24 * 60 * 60;
/// The most claims that one step removes.
const STEP: usize = 32;

/// A record that only its taker can find. It is removed on drop.
#[derive(Debug)]
pub(super) struct Claim {
    storage: Arc<dyn Storage>,
    pub(super) locator: Locator,
    head: Head,
}

impl Claim {
    /// Claims the version with this head. [`Error::Conflict`] if another caller has changed or claimed the record.
    fn new(store: &Store, address: &Address<'_>, head: Head) -> Result<Self, Error> {
        let locator = new_locator(store.clock.now().map_or(u64::MAX, |now| now.as_secs()))?;
        store.storage.rename(&address.locator, &head, &locator)?;
        Ok(Self { storage: Arc::clone(&store.storage), locator, head })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // After a failure, a purge removes it when it is abandoned.
        let _ = self.storage.delete(&self.locator, Some(&self.head));
    }
}

/// `0 || BE64(Unix time in seconds) || 23 random bytes`: listed before all other records, the oldest first.
fn new_locator(time: u64) -> Result<Locator, Error> {
    let mut locator = [CLAIMED; LOCATOR_LEN];
    let fields = locator.split_first_mut().and_then(|(_, rest)| rest.split_first_chunk_mut());
    if let Some((at, unique)) = fields {
        *at = time.to_be_bytes();
        random::fill(unique)?;
    }
    Ok(Locator::from_bytes(locator))
}

/// The time of the claim with this locator; `None` for the locator of an id.
fn claimed_at(locator: &Locator) -> Option<u64> {
    match locator.as_bytes().split_first()? {
        (&CLAIMED, rest) => Some(u64::from_be_bytes(*rest.first_chunk()?)),
        _ => None,
    }
}

impl Store {
    /// All data is opened before the record is claimed: a damaged record is not lost.
    pub(super) fn take_at(&self, address: &Address<'_>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        self.of_one_version(address, |found| {
            let (data, head) = match found {
                Fetched::Record(sealed) => (address.open(key, &sealed)?, Head::of(&sealed).ok_or(Error::Corrupt)?),
                Fetched::Long { info, start } => (self.long(address, key, info, start)?.retrieve()?, info.head),
            };
            let mut data = Zeroizing::new(data);
            drop(Claim::new(self, address, head)?);
            Ok(mem::take(&mut *data))
        })
    }

    /// A reader of the record, which only it can read from now on.
    pub(super) fn take_reader(&self, address: &Address<'_>, key: &RecordKey) -> Result<Reader, Error> {
        for _ in 0..reader::ATTEMPTS {
            let mut found = open_version(&self.storage, address, key)?;
            let claim = found.len().and_then(|_| Claim::new(self, address, found.info().head));
            match claim {
                Err(Error::Conflict) => {}
                claim => return Reader::new(StoredVersion::claimed(&self.storage, claim?, found.info()), address, key),
            }
        }
        Err(Error::Conflict)
    }

    /// Removes the records of at most `limit` abandoned claims, and returns their number; 0 if none is left.
    pub(super) fn remove_abandoned_claims(&self, limit: usize) -> Result<usize, Error> {
        let latest = self.clock.unix_seconds().saturating_sub(CLAIM_SECONDS);
        let mut removed = 0;
        for entry in self.storage.list(None, limit.min(STEP))? {
            if claimed_at(&entry.locator).is_none_or(|time| time > latest) {
                break;
            }
            removed += usize::from(self.storage.delete(&entry.locator, Some(&entry.info.head))?);
        }
        Ok(removed)
    }
}
