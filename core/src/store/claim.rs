//! Claims, by which one of many takers gets a record: of concurrent renames of a record one succeeds, which hides the
//! record from all other callers. The new locator is random, so that after a lost reply the storage can tell whose
//! rename succeeded.

use std::sync::Arc;

use crate::error::Error;
use crate::locator::{CLAIMED, LOCATOR_LEN, Locator};
use crate::storage::{Head, Storage};
use crate::util::clock::Clock;
use crate::util::random;

/// Seconds after which a claim is abandoned.
const CLAIM_SECONDS: u64 = 24 * 60 * 60;

/// A record that only its taker can find. It is removed on drop.
#[derive(Debug)]
pub(super) struct Claim {
    storage: Arc<dyn Storage>,
    pub(super) locator: Locator,
    head: Head,
}

impl Claim {
    /// Claims the version with this head. [`Error::Conflict`] if another caller has changed or claimed the record.
    pub(super) fn new(storage: &Arc<dyn Storage>, from: &Locator, head: Head, clock: &Clock) -> Result<Self, Error> {
        let locator = new_locator(clock.now().map_or(u64::MAX, |now| now.as_secs()))?;
        storage.rename(from, &head, &locator)?;
        Ok(Self { storage: Arc::clone(storage), locator, head })
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

/// Whether this is the locator of a claim that has lasted too long: its process has probably ended.
pub(super) fn is_abandoned(locator: &Locator, clock: &Clock) -> bool {
    let latest = clock.unix_seconds().saturating_sub(CLAIM_SECONDS);
    match locator.as_bytes().split_first() {
        Some((&CLAIMED, rest)) => rest.first_chunk().is_some_and(|time| u64::from_be_bytes(*time) <= latest),
        _ => false,
    }
}
