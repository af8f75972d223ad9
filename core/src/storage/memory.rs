//! A storage in memory: for tests, and for caches that may be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Entry, Error, Head, Info, Locator, PutMode, Stats, Storage, Upload};

/// Keeps records in memory until it is dropped.
#[derive(Default)]
pub struct MemoryStorage {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Locator, Vec<u8>>,
    check_value: Option<[u8; 16]>,
    closed: bool,
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // Nothing panics while it holds the lock, and each change is a single step: a poisoned lock guards a good state.
    fn read(&self) -> Result<RwLockReadGuard<'_, State>, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, State>, Error> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }
}

impl State {
    /// Whether `mode` allows a write under `locator`.
    fn check(&self, locator: &Locator, mode: PutMode) -> Result<(), Error> {
        let head = self.records.get(locator).and_then(|record| Head::of(record));
        match mode {
            PutMode::Create if head.is_some() => Err(Error::AlreadyExists),
            PutMode::ReplaceIf(expected) if head != Some(expected) => Err(Error::Conflict),
            _ => Ok(()),
        }
    }
}

impl Storage for MemoryStorage {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        let mut state = self.write()?;
        state.check(locator, mode)?;
        state.records.insert(*locator, record.to_vec());
        Ok(())
    }

    fn create_many(&self, records: &[(Locator, Vec<u8>)]) -> Result<(), Error> {
        let mut new = BTreeMap::new();
        for (locator, record) in records {
            Head::require(record)?;
            if new.insert(*locator, record.clone()).is_some() {
                return Err(Error::AlreadyExists);
            }
        }
        let mut state = self.write()?;
        if new.keys().any(|locator| state.records.contains_key(locator)) {
            return Err(Error::AlreadyExists);
        }
        state.records.append(&mut new);
        Ok(())
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read()?.records.get(locator).cloned())
    }

    fn get_many(&self, locators: &[Locator]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let state = self.read()?;
        Ok(locators.iter().map(|locator| state.records.get(locator).cloned()).collect())
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        let state = self.read()?;
        let info = |record: &Vec<u8>| Head::of(record).map(|head| Info { head, len: record.len() as u64 });
        Ok(state.records.get(locator).and_then(info))
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let state = self.read()?;
        let record = state.records.get(locator).ok_or(Error::Conflict)?;
        if Head::of(record) != Some(*head) {
            return Err(Error::Conflict);
        }
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| record.get(start..)?.get(..buffer.len()))
            .ok_or_else(|| Error::InvalidArgument("the record ends before this range".into()))?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.read()?.check(locator, mode)?;
        let record = Vec::new();
        Ok(Box::new(MemoryUpload { storage: self, locator: *locator, mode, record }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let mut state = self.write()?;
        let Some(record) = state.records.get(locator) else { return Ok(false) };
        if expected.is_some_and(|expected| Head::of(record) != Some(*expected)) {
            return Err(Error::Conflict);
        }
        Ok(state.records.remove(locator).is_some())
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let state = self.read()?;
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after));
        let records = state.records.range((start, Bound::Unbounded)).take(limit);
        let entry = |(locator, record): (&Locator, &Vec<u8>)| Entry { locator: *locator, len: record.len() as u64 };
        Ok(records.map(entry).collect())
    }

    fn check_value(&self) -> Result<Option<[u8; 16]>, Error> {
        Ok(self.read()?.check_value)
    }

    fn init_check_value(&self, value: &[u8; 16]) -> Result<[u8; 16], Error> {
        Ok(*self.write()?.check_value.get_or_insert(*value))
    }

    fn stats(&self) -> Result<Stats, Error> {
        let state = self.read()?;
        let bytes = state.records.values().map(|record| record.len() as u64).sum();
        Ok(Stats { records: state.records.len() as u64, bytes })
    }

    fn maintain(&self) -> Result<(), Error> {
        self.read().map(drop)
    }

    fn close(&self) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { closed: true, ..State::default() };
        Ok(())
    }
}

/// Shows how much there is, never what.
impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.read().map_or(0, |state| state.records.len());
        f.debug_struct("MemoryStorage").field("records", &records).finish()
    }
}

struct MemoryUpload {
    storage: Arc<MemoryStorage>,
    locator: Locator,
    mode: PutMode,
    record: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.record.try_reserve(bytes.len()).map_err(|_| Error::TooLarge)?;
        self.record.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        Head::require(&self.record)?;
        let mut state = self.storage.write()?;
        state.check(&self.locator, self.mode)?;
        state.records.insert(self.locator, self.record);
        Ok(())
    }
}

impl fmt::Debug for MemoryUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryUpload").field("bytes", &self.record.len()).finish_non_exhaustive()
    }
}
