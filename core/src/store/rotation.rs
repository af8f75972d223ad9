//! The rotation of the index key. Before it begins, a handle with both keys uses the previous one alone. After that,
//! each operation on an id first moves its record from the locator under the previous key to the one under the current
//! key, except an operation with a wrong record key. No record is created under the previous key, so that an id has one
//! record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::purge::page_before_damage;
use super::settings_check::Lease;
use super::{SettingsCheck, Store};
use crate::error::Error;
use crate::key::RecordKey;
use crate::locator::{LOCATOR_LEN, Locator, LocatorKey};
use crate::record::is_id;
use crate::settings::Settings;
use crate::storage::{self, Entry, Head, Info, Storage, check_lists};
use crate::util::clock::Clock;
use crate::util::interrupt::{is_interrupted, was_interrupted};

/// The most attempts to move a record, or to change settings, that others change.
const ATTEMPTS: usize = 5;
/// Entries of a page of the list.
const PAGE: usize = 1000;
/// How long reads move no record after the storage has refused to move one: much longer than the wait for a lock, which
/// may come before the refusal.
const PAUSE: Duration = Duration::from_secs(60);

/// The purpose of an operation, with the record key that it proves. A wrong key moves no record: its caller may write
/// nothing, and the time of the move would tell that there is a record.
#[derive(Clone, Copy)]
pub(super) enum Access<'k> {
    /// Works even if the storage cannot be written.
    Read(&'k RecordKey),
    /// Needs the move. `contains` does, too: by it, callers move the records of all ids that they know, and the others
    /// may then be erased.
    Write(Option<&'k RecordKey>),
}

impl<'k> Access<'k> {
    fn is_read(self) -> bool {
        matches!(self, Self::Read(_))
    }

    fn key(self) -> Option<&'k RecordKey> {
        match self {
            Self::Read(key) => Some(key),
            Self::Write(key) => key,
        }
    }

    /// Whether a record whose move fails with this error stays under the previous key for this operation.
    fn may_leave(self, error: &storage::Error) -> bool {
        match error {
            storage::Error::Unsupported(_) => true,
            storage::Error::AccessDenied(_)
            | storage::Error::Backend(_)
            | storage::Error::Busy
            | storage::Error::Full
            | storage::Error::Indeterminate(_)
            | storage::Error::Poisoned => self.is_read() && !was_interrupted(),
            _ => false,
        }
    }
}

/// The keys that compute locators.
pub(crate) struct LocatorKeys {
    pub(super) current: LocatorKey,
    /// During a rotation, and before it begins.
    pub(super) previous: Option<LocatorKey>,
    pub(super) settings_check: SettingsCheck,
    /// When reads move records again, after the storage has refused to move one.
    pause_end: Mutex<Option<Instant>>,
}

impl LocatorKeys {
    pub(crate) fn new(current: LocatorKey, previous: Option<LocatorKey>, settings_check: SettingsCheck) -> Self {
        Self { current, previous, settings_check, pause_end: Mutex::default() }
    }

    /// The address of the record of an id under a new lease. A record under the previous key is moved to the current
    /// one. It stays in a read-only store, under a wrong record key and, to be read, if the storage cannot be written.
    pub(super) fn address<'i>(
        &self,
        storage: &dyn Storage,
        clock: &Clock,
        namespace: &Arc<[u8]>,
        id: &'i [u8],
        access: Access<'_>,
    ) -> Result<Address<'i>, Error> {
        let lease = self.lease(storage, id)?;
        let address = Address::new(self.current.locator(namespace, id), clock, namespace, id, lease);
        match &self.previous {
            None => Ok(address),
            Some(previous) if lease.is_current => {
                self.moved(storage, address, &previous.locator(namespace, id), access)
            }
            Some(previous) => Ok(address.before_rotation(previous.locator(namespace, id))),
        }
    }

    /// The lease for a use of an id.
    fn lease(&self, storage: &dyn Storage, id: &[u8]) -> Result<Lease, Error> {
        if is_id(id) { self.settings_check.lease(storage) } else { Err(Error::InvalidId) }
    }

    /// The address, to which a record under the previous key, at `from`, was moved; or `from`, if it stays there.
    fn moved<'i>(
        &self,
        storage: &dyn Storage,
        address: Address<'i>,
        from: &Locator,
        access: Access<'_>,
    ) -> Result<Address<'i>, Error> {
        for _ in 0..ATTEMPTS {
            let Some(info) = storage.info(from)? else {
                if access.key().is_some() {
                    storage.info(&address.locator)?; // as below, so that the time is that of a wrong key
                }
                return Ok(address);
            };
            let is_proved = access.key().is_none_or(|key| address.prove(key, &info.head).is_ok());
            match (is_proved && self.may_move(access)).then(|| storage.rename(from, &info.head, &address.locator)) {
                // If there are two records, the one under the current key counts: the other's writer has not got its
                // key.
                Some(Ok(()) | Err(storage::Error::AlreadyExists)) => return Ok(address),
                Some(Err(storage::Error::Conflict)) => continue, // it was moved or changed
                Some(Err(error)) if !access.may_leave(&error) => return Err(error.into()),
                Some(Err(_)) => *self.pause_end() = Instant::now().checked_add(PAUSE),
                None => {}
            }
            // As above; and another handle may have moved it.
            let is_moved = storage.info(&address.locator)?.is_some();
            return Ok(if is_moved { address } else { address.before_rotation(*from) });
        }
        Err(Error::Busy)
    }

    fn may_move(&self, access: Access<'_>) -> bool {
        !access.is_read() || self.pause_end().is_none_or(|end| Instant::now() >= end)
    }

    fn pause_end(&self) -> MutexGuard<'_, Option<Instant>> {
        self.pause_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the same id under a new lease, for a write.
    pub(super) fn again(&self, storage: &dyn Storage, address: &Address<'_>) -> Result<Address<'static>, Error> {
        Ok(self.address(storage, &address.clock, &address.namespace, &address.id, Access::Write(None))?.to_owned())
    }

    /// Whether another key may have been in use before an operation at this address ended: the operation may have
    /// missed the record, which has moved.
    pub(super) fn has_changed(&self, storage: &dyn Storage, lease: Lease) -> Result<bool, Error> {
        Ok(self.settings_check.renewed(lease, storage)?.is_current != lease.is_current)
    }

    /// Completes the creation of a record. If the key in use has changed before it ended, the record is moved, or
    /// removed if another one has the id.
    pub(super) fn settle(&self, storage: &dyn Storage, address: &Address<'_>, head: &Head) -> Result<(), Error> {
        let outcome = match (self.has_changed(storage, address.lease), &address.moves_to) {
            (Ok(false), _) => return Ok(()),
            (Ok(true), Some(to)) => storage.rename(&address.locator, head, to).map_err(Error::from),
            (Ok(true), None) => Err(Error::IndexKeyMismatch),
            (Err(error), _) => Err(error),
        };
        // A record that is gone was moved by another handle; or removed, for example as one with an unknown id.
        let is_this = |info: Option<Info>| info.is_some_and(|info| info.head == *head);
        let is_moved = || address.moves_to.is_some_and(|to| storage.info(&to).is_ok_and(is_this));
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Conflict) if is_moved() => Ok(()),
            Err(error @ (Error::AlreadyExists | Error::IndexKeyMismatch)) => {
                match storage.delete(&address.locator, Some(head)) {
                    Ok(true) => Err(error),
                    Ok(false) | Err(storage::Error::Conflict) if is_moved() => Ok(()),
                    Ok(false) => Err(Error::Indeterminate(Box::new(error))),
                    Err(error) => Err(Error::Indeterminate(Box::new(error))),
                }
            }
            Err(error) => Err(Error::Indeterminate(Box::new(error))),
        }
    }

    /// The previous key, during a rotation.
    fn previous_in_rotation(&self, storage: &dyn Storage) -> Result<Option<&LocatorKey>, Error> {
        let lease = self.settings_check.new_lease(storage)?;
        Ok(self.previous.as_ref().filter(|_| lease.is_current))
    }
}

impl Store {
    /// The address of the record of an id.
    pub(super) fn address<'i>(&self, id: &'i [u8], access: Access<'_>) -> Result<Address<'i>, Error> {
        self.keys.address(&*self.storage, &self.clock, &self.namespace, id, access)
    }

    /// The outcome of an operation at the address of an id. It is repeated if the record may have moved meanwhile.
    pub(super) fn at<T>(
        &self,
        id: &[u8],
        access: Access<'_>,
        mut operation: impl FnMut(&Address<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut may_move_again = true; // once: afterwards, the record is under the current key
        loop {
            let address = self.address(id, access)?;
            match operation(&address) {
                Err(Error::NotFound | Error::Conflict | Error::AlreadyExists)
                    if self.keys.has_changed(&*self.storage, address.lease)? => {}
                Err(Error::NotFound | Error::Conflict) if address.may_move() && may_move_again => {
                    may_move_again = false;
                }
                outcome => return outcome,
            }
        }
    }

    /// Removes the record of an id under each key. There are two if a process was killed that created one as the
    /// rotation began. The current key comes last: others may move the record there.
    pub(super) fn erase_under_all_keys(&self, id: &[u8]) -> Result<bool, Error> {
        loop {
            let lease = self.keys.lease(&*self.storage, id)?;
            let mut is_erased = false;
            for key in self.keys.previous.iter().chain([&self.keys.current]) {
                match self.storage.delete(&key.locator(&self.namespace, id), None) {
                    Err(error) if is_erased => return Err(Error::Indeterminate(Box::new(error))),
                    found => is_erased |= found?,
                }
            }
            if is_erased || !self.keys.has_changed(&*self.storage, lease)? {
                return Ok(is_erased);
            }
        }
    }

    /// Begins the rotation, unless it has begun.
    pub(super) fn begin(&self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if self.keys.settings_check.new_lease(&*self.storage)?.is_current {
                return Ok(());
            }
            let document = self.storage.settings()?.ok_or(Error::Corrupt)?;
            let Some(rotating) = self.keys.settings_check.rotated(Settings::decode(&document)?) else { continue };
            match self.storage.swap_settings(Some(&document), &rotating.encode()) {
                Ok(()) | Err(storage::Error::Conflict) => {} // the next lease notices the beginning, and waits
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// The locators under the previous key, at most `limit`; `None` if there is no rotation.
    pub(super) fn unrotated_locators(&self, limit: usize) -> Result<Option<Vec<Locator>>, Error> {
        let Some(previous) = self.keys.previous_in_rotation(&*self.storage)? else { return Ok(None) };
        let generation = previous.generation();
        // The last locator of the generation before; generation 0 has only claims.
        let mut after = [u8::MAX; LOCATOR_LEN];
        after.iter_mut().take(1).for_each(|first| *first = generation.saturating_sub(1));
        let (mut found, mut after) = (Vec::new(), Locator::from_bytes(after));
        loop {
            if is_interrupted() {
                return Err(Error::Busy);
            }
            let wanted = PAGE.min(limit.saturating_sub(found.len()));
            let page = page_before_damage(&*self.storage, Some(&after), wanted)?;
            let is_old = |entry: &Entry| entry.locator.as_bytes().first() == Some(&generation);
            let old = page.iter().take_while(|entry| is_old(entry)).map(|entry| entry.locator);
            let before = found.len();
            found.extend(old);
            match page.last() {
                Some(last) if found.len() - before == page.len() && found.len() < limit => after = last.locator,
                _ => return Ok(Some(found)),
            }
        }
    }

    /// Ends the rotation, unless records remain.
    pub(super) fn end_rotation(&self) -> Result<(), Error> {
        match self.unrotated_locators(1)? {
            None => return Err(Error::InvalidArgument("the index key is not being rotated".into())),
            Some(remaining) if !remaining.is_empty() => {
                return Err(Error::InvalidArgument("records remain under the previous index key".into()));
            }
            Some(_) => check_lists(&*self.storage)?, // no key would open the records that damage hides
        }
        let document = self.storage.settings()?.ok_or(Error::Corrupt)?;
        let settings = Settings::decode(&document).map_err(|_| Error::Corrupt)?;
        let generations: Vec<_> = settings.generations.iter().copied().take(1).collect();
        if generations == settings.generations {
            return Ok(()); // another process has ended it
        }
        Ok(self.storage.swap_settings(Some(&document), &Settings { generations, ..settings }.encode())?)
    }

    /// Removes a record under the previous key, whose id is unknown. Returns whether there was one.
    pub(super) fn remove_unrotated(&self, locator: &Locator) -> Result<bool, Error> {
        match self.keys.previous_in_rotation(&*self.storage)? {
            Some(previous) if locator.as_bytes().first() == Some(&previous.generation()) => {
                Ok(self.storage.delete(locator, None)?)
            }
            _ => Err(Error::InvalidArgument("the locator is not one under the previous index key".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::IndexKey;
    use crate::locator::FIRST_GENERATION;
    use crate::settings::Generation;

    #[test]
    fn reads_move_records_again_after_the_pause() {
        let now = Instant::now();
        let generation = Generation { number: FIRST_GENERATION, check_value: [7; 16] };
        let record_key = RecordKey::from_bytes(&[7; 32]).unwrap();
        let current = LocatorKey::new(&IndexKey::from_bytes(&[7; 32]).unwrap(), FIRST_GENERATION);
        let keys = LocatorKeys::new(current, None, SettingsCheck::new(generation, None, true, now, false));
        for (end, reads_move) in [(None, true), (now.checked_add(PAUSE), false), (Some(now), true)] {
            *keys.pause_end() = end;
            let moves = [Access::Read(&record_key), Access::Write(None)].map(|access| keys.may_move(access));
            assert_eq!(moves, [reads_move, true]);
        }
    }
}
