//! Purges and maintenance of a storage, for which no key is needed. Abandoned claims go first. A record that is
//! damaged, or of a newer version, ends neither of them, because it would keep all others from being removed.

use super::claim;
use crate::error::Error;
use crate::locator::Locator;
use crate::storage::{self, Entry, Storage, next_page};

/// The most claims that one step removes.
const STEP: usize = 32;

/// One step of a purge at `now` (Unix time in seconds): removes at most `limit` abandoned claims or, if there are none,
/// expired records, and returns their number; 0 if none is left.
///
/// # Errors
///
/// Those of [`Storage::purge`].
pub fn purge_storage(storage: &dyn Storage, now: u64, limit: usize) -> Result<usize, Error> {
    match remove_abandoned_claims(storage, now, limit)? {
        0 => Ok(storage.purge(now, limit)?),
        removed => Ok(removed),
    }
}

/// Removes all abandoned claims, and maintains the storage.
///
/// # Errors
///
/// Those of [`Storage::delete`] and [`Storage::maintain`].
pub fn maintain_storage(storage: &dyn Storage, now: u64) -> Result<(), Error> {
    while remove_abandoned_claims(storage, now, usize::MAX)? > 0 {}
    Ok(storage.maintain()?)
}

/// Removes the records of at most `limit` abandoned claims, and returns their number; 0 if none is left.
fn remove_abandoned_claims(storage: &dyn Storage, now: u64, limit: usize) -> Result<usize, Error> {
    let latest = claim::latest_abandoned(now);
    let last = claim::last_locator(latest);
    let mut removed = 0;
    for entry in first_entries(storage, latest, limit.min(STEP))? {
        if entry.locator > last {
            break;
        }
        match storage.delete(&entry.locator, Some(&entry.info.head)) {
            Ok(found) => removed += usize::from(found),
            Err(storage::Error::Conflict) => {} // it was changed since it was listed
            Err(error) if error.is_of_record() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}

/// The first entries of the storage. If the very first one is unreadable, those behind it, or none if the unreadable
/// ones extend beyond the abandoned claims, which end at the time `latest`.
fn first_entries(storage: &dyn Storage, latest: u64, limit: usize) -> Result<Vec<Entry>, storage::Error> {
    let is_readable = |time| match next_page(storage, Some(&claim::last_locator(time)), 1) {
        Ok(_) => Ok(true),
        Err(error) if error.is_of_record() => Ok(false),
        Err(error) => Err(error),
    };
    match page_before_damage(storage, None, limit) {
        Err(error) if error.is_of_record() && is_readable(latest)? => {
            let (mut damaged, mut readable) = (0, latest);
            while readable - damaged > 1 {
                let middle = damaged.midpoint(readable);
                if is_readable(middle)? { readable = middle } else { damaged = middle }
            }
            page_before_damage(storage, Some(&claim::last_locator(readable)), limit)
        }
        Err(error) if error.is_of_record() => Ok(Vec::new()),
        page => page,
    }
}

/// As [`next_page`], but the page ends before an unreadable record. Fails only if that record is the first one.
pub(super) fn page_before_damage(
    storage: &dyn Storage,
    after: Option<&Locator>,
    mut limit: usize,
) -> Result<Vec<Entry>, storage::Error> {
    loop {
        match next_page(storage, after, limit) {
            Err(error) if error.is_of_record() && limit > 1 => limit /= 2,
            page => return page,
        }
    }
}
