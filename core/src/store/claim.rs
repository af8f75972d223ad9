//! Claims, by which one of many takers gets a record: of concurrent renames of a record one succeeds, which hides the
//! record from all other callers. The new locator is random, so that after a lost reply the storage can tell whose
//! rename succeeded.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::locator::{CLAIMED, LOCATOR_LEN, Locator};
use crate::storage::{self, Head, Storage};
use crate::util::clock::Clock;
use crate::util::{interrupt, random};

/// Seconds after which a claim is abandoned.
const CLAIM_SECONDS: u64 = 24 * 60 * 60;
/// How long a removal, or the way back, may take before an interrupt ends it: as long as SQLite waits for a lock.
const REMOVAL_TIME: Duration = Duration::from_secs(5);
/// The length of the random part of a claim's locator.
const UNIQUE_LEN: usize = LOCATOR_LEN - 1 - size_of::<u64>();

/// A record that only its taker can find. It is removed on drop.
#[derive(Debug)]
pub(super) struct Claim {
    storage: Arc<dyn Storage>,
    pub(super) locator: Locator,
    head: Head,
}

impl Claim {
    /// Claims the version with this head. [`Error::Conflict`] if another caller has changed or claimed the record. After
    /// an interrupt, the record is back at its locator, unless the storage moves it later.
    pub(super) fn new(storage: &Arc<dyn Storage>, from: &Locator, head: Head, clock: &Clock) -> Result<Self, Error> {
        let locator = new_locator(clock.now().map_or(u64::MAX, |now| now.as_secs()))?;
        storage.rename(from, &head, &locator).inspect_err(|error| {
            // Perhaps the storage has moved the record. Without an interrupt, it was asked until the call's end.
            if matches!(error, storage::Error::Indeterminate(_)) && interrupt::was_interrupted() {
                let _ = interrupt::postponed(REMOVAL_TIME, || storage.rename(&locator, &head, from));
            }
        })?;
        Ok(Self { storage: Arc::clone(storage), locator, head })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nobody else can get the record, so that an interrupted caller removes it all the same. After a failure, a
        // purge does so when the claim is abandoned.
        let _ = interrupt::postponed(REMOVAL_TIME, || self.storage.delete(&self.locator, Some(&self.head)));
    }
}

fn new_locator(time: u64) -> Result<Locator, Error> {
    let mut unique = [0; UNIQUE_LEN];
    random::fill(&mut unique)?;
    Ok(locator(time, unique))
}

/// `0 || BE64(Unix time in seconds) || 23 random bytes`: listed before all other records, the oldest first.
fn locator(time: u64, unique: [u8; UNIQUE_LEN]) -> Locator {
    let mut locator = [CLAIMED; LOCATOR_LEN];
    let fields = time.to_be_bytes().into_iter().chain(unique);
    locator.iter_mut().skip(1).zip(fields).for_each(|(to, from)| *to = from);
    Locator::from_bytes(locator)
}

/// The last locator that a claim at this time can have.
pub(super) fn last_locator(time: u64) -> Locator {
    locator(time, [u8::MAX; UNIQUE_LEN])
}

/// The time of the latest claims that have lasted too long at `now`: their processes have probably ended.
pub(super) fn latest_abandoned(now: u64) -> u64 {
    now.saturating_sub(CLAIM_SECONDS)
}
