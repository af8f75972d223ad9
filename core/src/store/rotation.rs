//! The rotation of the index key: each operation on an id first moves its record from the locator under the previous key
//! to the one under the current key. No record is created under the previous key, so that an id has one record.

use super::address::Address;
use super::{SettingsCheck, Store};
use crate::error::Error;
use crate::locator::{LOCATOR_LEN, Locator, LocatorKey};
use crate::settings::Settings;
use crate::storage::{self, Entry};
use crate::util::interrupt::is_interrupted;

/// The most attempts to move a record that others change.
const ATTEMPTS: usize = 5;
/// Entries of a page of the list.
const PAGE: usize = 1000;

/// The keys that compute locators.
pub(crate) struct LocatorKeys {
    pub(crate) current: LocatorKey,
    /// During a rotation.
    pub(crate) previous: Option<LocatorKey>,
    pub(crate) settings_check: SettingsCheck,
}

impl Store {
    /// The address of the record of an id, after it was moved to the current key. In a read-only store, its old one.
    pub(super) fn address<'i>(&self, id: &'i [u8]) -> Result<Address<'i>, Error> {
        let address = Address::new(&self.keys.current, &self.clock, &self.namespace, id)?;
        self.keys.settings_check.run(&*self.storage)?;
        match &self.keys.previous {
            None => Ok(address),
            Some(previous) => self.moved(address, &previous.locator(&self.namespace, id)),
        }
    }

    fn moved<'i>(&self, address: Address<'i>, from: &Locator) -> Result<Address<'i>, Error> {
        for _ in 0..ATTEMPTS {
            let Some(info) = self.storage.info(from)? else { return Ok(address) };
            match self.storage.rename(from, &info.head, &address.locator) {
                // A record under both keys comes from a write that began before the rotation.
                Ok(()) | Err(storage::Error::AlreadyExists) => return Ok(address),
                Err(storage::Error::Conflict) => {} // it was moved or changed
                Err(storage::Error::Unsupported(_)) => return Ok(address.at(*from)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// The locators under the previous key, at most `limit`; `None` if there is no rotation.
    pub(super) fn unrotated_locators(&self, limit: usize) -> Result<Option<Vec<Locator>>, Error> {
        let Some(previous) = &self.keys.previous else {
            self.storage.list(None, 0)?; // fails if the store is closed
            return Ok(None);
        };
        let generation = previous.generation();
        // The last locator of the generation before; generation 0 has only claims.
        let mut after = [u8::MAX; LOCATOR_LEN];
        after.iter_mut().take(1).for_each(|first| *first = generation.saturating_sub(1));
        let (mut found, mut after) = (Vec::new(), Locator::from_bytes(after));
        loop {
            if is_interrupted() {
                return Err(Error::Busy);
            }
            let page = self.storage.list(Some(&after), PAGE.min(limit.saturating_sub(found.len())))?;
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
        match &self.keys.previous {
            Some(previous) if locator.as_bytes().first() == Some(&previous.generation()) => {
                Ok(self.storage.delete(locator, None)?)
            }
            _ => {
                self.storage.list(None, 0)?; // fails if the store is closed
                Err(Error::InvalidArgument("the locator is not one under the previous index key".into()))
            }
        }
    }
}
