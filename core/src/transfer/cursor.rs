//! The records of a storage in a range of locators, in their order.

use crate::error::Error;
use crate::locator::{LOCATOR_LEN, Locator};
use crate::storage::{self, Entry, Storage};

/// The records of one page.
const PAGE: usize = 4096;

/// Bytes of a locator that a search for readable records distinguishes.
const PLACE_LEN: usize = 8;

/// Each step of that search is longer than the last by this part of the way.
const STEPS: u64 = 16;

pub(super) struct Cursor<'s> {
    storage: &'s dyn Storage,
    /// The next page is behind this locator.
    after: Option<Locator>,
    /// The last locator of the range.
    last: Locator,
    page: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
    ended: bool,
    /// The places that a damaged storage cannot list; `None` fails there.
    damage: Option<Vec<Locator>>,
}

impl<'s> Cursor<'s> {
    /// The records behind `after` up to `last`.
    pub(super) fn new(storage: &'s dyn Storage, after: Option<Locator>, last: Locator) -> Self {
        let page = Vec::new().into_iter();
        Self { storage, after, last, page, next: None, ended: false, damage: None }
    }

    /// Skips damage, and collects it.
    pub(super) fn skipping_damage(self) -> Self {
        Self { damage: Some(Vec::new()), ..self }
    }

    /// The damage that was skipped since the last call.
    pub(super) fn take_damage(&mut self) -> Vec<Locator> {
        self.damage.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The next record, which stays the next one.
    pub(super) fn peek(&mut self) -> Result<Option<Entry>, Error> {
        while self.next.is_none() && !self.ended {
            if let Some(entry) = self.page.next() {
                self.ended = entry.locator > self.last;
                self.next = Some(entry).filter(|_| !self.ended);
            } else {
                self.load()?;
            }
        }
        Ok(self.next)
    }

    pub(super) fn advance(&mut self) {
        self.next = None;
    }

    fn load(&mut self) -> Result<(), Error> {
        let mut limit = PAGE;
        loop {
            match storage::next_page(self.storage, self.after.as_ref(), limit) {
                Ok(page) => {
                    self.ended = page.is_empty();
                    self.after = page.last().map(|entry| entry.locator).or(self.after);
                    self.page = page.into_iter();
                    return Ok(());
                }
                Err(storage::Error::Corrupt) if self.damage.is_some() && limit > 1 => limit /= 4,
                Err(storage::Error::Corrupt) if self.damage.is_some() => return self.skip(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Finds the first readable record behind the damage: by growing steps, so short that no record is passed over
    /// among a few damaged neighbours, and by halving the last one.
    fn skip(&mut self) -> Result<(), Error> {
        let start = self.after.map_or(0, |after| place(&after));
        let mut bad = start;
        let mut good = loop {
            let probe = bad.saturating_add(1 + (bad - start) / STEPS);
            if self.is_readable(probe)? {
                break probe;
            }
            if probe == u64::MAX {
                self.ended = true; // even the end cannot be read
                self.damage.get_or_insert_default().push(unknown_place());
                return Ok(());
            }
            bad = probe;
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if self.is_readable(middle)? { good = middle } else { bad = middle }
        }
        let damaged = at(bad);
        self.ended = damaged > self.last;
        if !self.ended {
            self.damage.get_or_insert_default().push(damaged);
        }
        self.after = Some(at(good));
        Ok(())
    }

    fn is_readable(&self, place: u64) -> Result<bool, Error> {
        match storage::next_page(self.storage, Some(&at(place)), 1) {
            Ok(_) => Ok(true),
            Err(storage::Error::Corrupt) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Stands for records at unknown places.
pub(super) fn unknown_place() -> Locator {
    at(u64::MAX)
}

fn place(locator: &Locator) -> u64 {
    locator.as_bytes().first_chunk::<PLACE_LEN>().map_or(0, |start| u64::from_be_bytes(*start))
}

fn at(place: u64) -> Locator {
    let mut bytes = [0; LOCATOR_LEN];
    bytes.iter_mut().zip(place.to_be_bytes()).for_each(|(to, from)| *to = from);
    Locator::from_bytes(bytes)
}
