//! The rotation of the index key. Before it begins, a handle with both keys uses the previous one alone. After that, each
//! operation on an id first moves its record from the locator under the previous key to the one under the current key.
//! No record is created under the previous key, so that an id has one record.

use std::sync::Arc;

use super::address::Address;
use super::purge::page_before_damage;
use super::settings_check::Lease;
use super::{SettingsCheck, Store};
use crate::error::Error;
use crate::locator::{LOCATOR_LEN, Locator, LocatorKey};
use crate::record::is_id;
use crate::settings::Settings;
use crate::storage::{self, Entry, Head, Storage};
use crate::util::clock::Clock;
use crate::util::interrupt::{is_interrupted, was_interrupted};

/// The most attempts to move a record, or to change settings, that others change.
const ATTEMPTS: usize = 5;
/// Entries of a page of the list.
const PAGE: usize = 1000;

/// The purpose of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Works even if the storage cannot be written.
    Read,
    Write,
}

impl Access {
    /// Whether a record whose move fails with this error stays under the previous key for this operation.
    fn may_leave(self, error: &storage::Error) -> bool {
        match error {
            storage::Error::Unsupported(_) => true,
            storage::Error::AccessDenied(_)
            | storage::Error::Backend(_)
            | storage::Error::Busy
            | storage::Error::Full
            | storage::Error::Indeterminate(_)
            | storage::Error::Poisoned => self == Self::Read && !was_interrupted(),
            _ => false,
        }
    }
}

/// The keys that compute locators.
pub(crate) struct LocatorKeys {
    pub(crate) current: LocatorKey,
    /// During a rotation, and before it begins.
    pub(crate) previous: Option<LocatorKey>,
    pub(crate) settings_check: SettingsCheck,
}

impl LocatorKeys {
    /// The address of the record of an id under a new lease. A record under the previous key is moved to the current
    /// one. It stays in a read-only store and, to be read, if the storage cannot be written.
    pub(super) fn address<'i>(
        &self,
        storage: &dyn Storage,
        clock: &Clock,
        namespace: &Arc<[u8]>,
        id: &'i [u8],
        access: Access,
    ) -> Result<Address<'i>, Error> {
        if !is_id(id) {
            return Err(Error::InvalidId);
        }
        let lease = self.settings_check.lease(storage)?;
        let address = Address::new(self.current.locator(namespace, id), clock, namespace, id, lease);
        match &self.previous {
            None => Ok(address),
            Some(previous) if lease.is_current => moved(storage, address, &previous.locator(namespace, id), access),
            Some(previous) => Ok(address.before_rotation(previous.locator(namespace, id))),
        }
    }

    /// The address of the same id under a new lease, for a write.
    pub(super) fn again(&self, storage: &dyn Storage, address: &Address<'_>) -> Result<Address<'static>, Error> {
        Ok(self.address(storage, &address.clock, &address.namespace, &address.id, Access::Write)?.to_owned())
    }

    /// Whether another key may have been in use before an operation at this address ended: the operation may have missed
    /// the record, which has moved.
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
        match outcome {
            Ok(()) | Err(Error::Conflict) => Ok(()), // another handle has moved it
            Err(error @ (Error::AlreadyExists | Error::IndexKeyMismatch)) => {
                match storage.delete(&address.locator, Some(head)) {
                    Ok(true) => Err(error),
                    Ok(false) | Err(storage::Error::Conflict) => Ok(()), // as above
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

/// The address, to which a record under the previous key, at `from`, was moved; or `from`, if it stays there.
fn moved<'i>(
    storage: &dyn Storage,
    address: Address<'i>,
    from: &Locator,
    access: Access,
) -> Result<Address<'i>, Error> {
    for _ in 0..ATTEMPTS {
        let Some(info) = storage.info(from)? else { return Ok(address) };
        match storage.rename(from, &info.head, &address.locator) {
            // If there are two records, the one under the current key counts: the other's writer has not got its key.
            Ok(()) | Err(storage::Error::AlreadyExists) => return Ok(address),
            Err(storage::Error::Conflict) => {} // it was moved or changed
            Err(error) if access.may_leave(&error) => {
                // As above; and another handle may have moved it.
                let is_moved = storage.info(&address.locator)?.is_some();
                return Ok(if is_moved { address } else { address.before_rotation(*from) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Busy)
}

impl Store {
    /// The address of the record of an id.
    pub(super) fn address<'i>(&self, id: &'i [u8], access: Access) -> Result<Address<'i>, Error> {
        self.keys.address(&*self.storage, &self.clock, &self.namespace, id, access)
    }

    /// The outcome of an operation at the address of an id. It is repeated if the record may have moved meanwhile.
    pub(super) fn at<T>(
        &self,
        id: &[u8],
        access: Access,
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
            Some(_) => {}
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
