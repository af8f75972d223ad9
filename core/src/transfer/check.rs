//! Checks of records and of interrupts, and the errors of a destination.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::locator::Locator;
use crate::storage::{self, Damage, DamageKind, Storage, VerifyPosition};
use crate::util::interrupt::is_interrupted;

/// The records that are checked each by itself.
const SINGLE_CHECKS: usize = 20_000;
/// The records of a step of a check of all.
const STEP: usize = 8192;

/// An error of the destination. Damage there must not be taken for that of the source.
pub(super) fn at_destination(error: Error) -> Error {
    match error {
        Error::Corrupt => Error::Storage("the destination is damaged: choose another one".into()),
        error => error,
    }
}

pub(super) fn altered() -> Error {
    Error::Storage("the destination returns other bytes than were written".into())
}

pub(super) fn check_interrupt() -> Result<(), Error> {
    if is_interrupted() { Err(Error::Busy) } else { Ok(()) }
}

/// Whether the storage's own checksums show damage of the record.
pub(super) fn is_damaged(storage: &dyn Storage, locator: &Locator) -> Result<bool, storage::Error> {
    let mut position = VerifyPosition::Record(*locator);
    loop {
        let step = match storage::next_step(storage, Some(&position), 1) {
            Err(storage::Error::Unsupported(_)) => return Ok(false),
            step => step?,
        };
        // A row that cannot be read may be that of a neighbour.
        if step.damage.iter().any(|damage| damage.locator == Some(*locator) && is_of_record(damage)) {
            return Ok(true);
        }
        match step.next {
            Some(next) => position = next,
            None => return Ok(false),
        }
    }
}

/// The damaged records of a storage. Fails with [`Error::Corrupt`] if there may be others, because some have no
/// readable locator.
pub(super) fn damaged_records(storage: &dyn Storage) -> Result<BTreeSet<Locator>, Error> {
    let (mut damaged, mut position) = (BTreeSet::new(), None);
    loop {
        check_interrupt()?;
        let step = match storage::next_step(storage, position.as_ref(), STEP) {
            Err(storage::Error::Unsupported(_)) => return Ok(damaged),
            step => step?,
        };
        for damage in step.damage.iter().filter(|damage| is_of_record(damage)) {
            match damage.locator {
                Some(locator) => drop(damaged.insert(locator)),
                None => return Err(Error::Corrupt),
            }
        }
        match step.next {
            Some(next) => position = Some(next),
            None => return Ok(damaged),
        }
    }
}

/// Whether a record is damaged, not only of a newer version or space that is not used.
fn is_of_record(damage: &Damage) -> bool {
    !matches!(damage.kind, DamageKind::Orphan | DamageKind::Unsupported)
}

/// The damaged records; `None` if a search does not find all.
type All = Option<Arc<BTreeSet<Locator>>>;

/// The checks of the source's records: the first ones each by itself, and later all at once, which is faster for many.
#[derive(Default)]
pub(super) struct SourceCheck {
    checked: AtomicUsize,
    all: Mutex<Option<All>>,
}

impl SourceCheck {
    /// The damaged ones of `locators`.
    pub(super) fn damaged(&self, from: &dyn Storage, locators: &[Locator]) -> Result<Vec<Locator>, Error> {
        let mut damaged = locators.to_vec();
        let are_few = self.checked.fetch_add(locators.len(), Ordering::Relaxed) < SINGLE_CHECKS;
        if let Some(all) = if are_few { None } else { self.all(from)? } {
            damaged.retain(|locator| all.contains(locator));
        } else {
            let mut outcome = Ok(());
            damaged.retain(|locator| {
                let is_damaged =
                    outcome.is_ok().then(|| check_interrupt().and_then(|()| is_known_damaged(from, locator)));
                match is_damaged {
                    Some(Ok(is_damaged)) => is_damaged,
                    Some(Err(error)) => {
                        outcome = Err(error);
                        false
                    }
                    None => false,
                }
            });
            outcome?;
        }
        Ok(damaged)
    }

    fn all(&self, from: &dyn Storage) -> Result<All, Error> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = &*all {
            return Ok(all.clone());
        }
        let found = match damaged_records(from) {
            Err(Error::Corrupt) => None,
            found => Some(Arc::new(found?)),
        };
        *all = Some(found.clone());
        Ok(found)
    }
}

/// As [`is_damaged`], for a record whose neighbours may be damaged: whether it can be read decides then.
pub(super) fn is_known_damaged(from: &dyn Storage, locator: &Locator) -> Result<bool, Error> {
    match is_damaged(from, locator) {
        Err(storage::Error::Corrupt) => Ok(false),
        known => Ok(known?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locator::LOCATOR_LEN;
    use crate::storage::{Durability, SqliteStorage};

    #[test]
    fn a_search_that_may_miss_records_is_no_check_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let locator = |number| Locator::from_bytes([number; LOCATOR_LEN]);
        let record = |number| [&[1, 1, 0, 0], &[0x80 | number; 1000][..]].concat();
        let records: Vec<_> = (0..60).map(|number| (locator(number), record(number))).collect();
        let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, &**record)).collect();
        let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
        storage.create_many(&records).unwrap();
        storage.close().unwrap();
        let damaged_after = |at: &[u8], change: fn(&mut [u8], usize)| {
            let mut file = std::fs::read(&path).unwrap();
            let place = file.windows(at.len()).position(|window| window == at).unwrap();
            change(&mut file, place);
            std::fs::write(&path, file).unwrap();
            let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
            let check = SourceCheck { checked: AtomicUsize::new(SINGLE_CHECKS), ..SourceCheck::default() };
            let damaged = check.damaged(&storage, &[locator(1), locator(58), locator(59)]).unwrap();
            let is_search = check.all(&storage).unwrap().is_some();
            storage.close().unwrap();
            (damaged, is_search)
        };
        assert_eq!(damaged_after(&[0x80 | 58; 500], |file, at| file[at] ^= 1), (vec![locator(58)], true));
        let unreadable_page = |file: &mut [u8], at| file[at / 8192 * 8192] = 0;
        assert_eq!(damaged_after(&[30; LOCATOR_LEN], unreadable_page), (vec![locator(58)], false));
    }
}
