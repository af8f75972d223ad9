//! A storage in memory, for tests, and for caches that may be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::types::check_settings;
use super::{
    Entry, Error, Fetched, Head, Info, Locator, PutMode, Stats, Storage, Upload, Verified, VerifyPosition, get_each,
};
use crate::util::fork_check::ProcessOwned;
use crate::util::memory;

/// The bytes after which a step of a search ends, so that it can be stopped and paced.
const STEP_BYTES: u64 = 8 << 20;

/// Keeps records in memory until it is dropped. It does not survive a fork: the child gets [`Error::Forked`].
pub struct MemoryStorage {
    state: ProcessOwned<RwLock<State>>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Locator, Vec<u8>>,
    settings: Option<Vec<u8>>,
    closed: bool,
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self { state: ProcessOwned::new(RwLock::default()) }
    }

    fn state(&self) -> Result<&RwLock<State>, Error> {
        self.state.get().ok_or(Error::Forked)
    }

    // No code panics while it holds the lock, and each change is a single step, so the state behind a poisoned lock is
    // valid.
    fn read(&self) -> Result<RwLockReadGuard<'_, State>, Error> {
        let state = self.state()?.read().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, State>, Error> {
        let state = self.state()?.write().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn info(&self, locator: &Locator) -> Option<Info> {
        self.records.get(locator).and_then(|record| info_of(record))
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        let Some((record, info)) = self.records.get(locator).and_then(|record| Some((record, info_of(record)?))) else {
            return Ok(None);
        };
        Ok(Some(if info.len <= max_len {
            Fetched::Record(memory::copy(record).map_err(|_| Error::TooLarge)?)
        } else {
            Fetched::Long { info, start: Vec::new() }
        }))
    }

    /// Whether `mode` allows a write under `locator`.
    fn check(&self, locator: &Locator, mode: PutMode) -> Result<(), Error> {
        mode.check(self.info(locator).map(|info| info.head))
    }
}

fn info_of(record: &[u8]) -> Option<Info> {
    Head::of(record).map(|head| Info { head, len: record.len() as u64 })
}

fn entry((locator, record): (&Locator, &Vec<u8>)) -> Option<Entry> {
    info_of(record).map(|info| Entry { locator: *locator, info })
}

/// The range of a map after `after`.
fn behind(after: Option<&Locator>) -> (Bound<Locator>, Bound<Locator>) {
    (after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after)), Bound::Unbounded)
}

impl Storage for MemoryStorage {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        let record = memory::copy(record).map_err(|_| Error::TooLarge)?;
        let mut state = self.write()?;
        state.check(locator, mode)?;
        state.records.insert(*locator, record);
        Ok(())
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        let mut new = BTreeMap::new();
        for (locator, record) in records {
            Head::require(record)?;
            let record = memory::copy(record).map_err(|_| Error::TooLarge)?;
            if new.insert(*locator, record).is_some() {
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

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        self.read()?.get_up_to(locator, max_len)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let state = self.read()?;
        get_each(locators, max_len, |locator, max_len| state.get_up_to(locator, max_len))
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        Ok(self.read()?.info(locator))
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

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let state = self.read()?;
        Ok(state.records.get(locator).and_then(|record| {
            let end = record.get(record.len().saturating_sub(len)..)?;
            Some((info_of(record)?, end.to_vec()))
        }))
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

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        let mut state = self.write()?;
        let is_this = |info: Option<Info>| info.is_some_and(|info| info.head == *head);
        match (state.info(from), state.info(to)) {
            (None, there) if is_this(there) => Ok(()),
            (here, _) if !is_this(here) => Err(Error::Conflict),
            _ if from == to => Ok(()),
            (_, Some(_)) => Err(Error::AlreadyExists),
            (_, None) => {
                let record = state.records.remove(from).ok_or(Error::Conflict)?;
                state.records.insert(*to, record);
                Ok(())
            }
        }
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        Ok(self.read()?.records.range(behind(after)).filter_map(entry).take(limit).collect())
    }

    /// Scans all records: memory has no index of expiry times.
    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let state = self.read()?;
        let time = |entry: &Entry| entry.info.head.expires_at();
        let mut expired: Vec<_> = state.records.iter().filter_map(entry).collect();
        expired.retain(|entry| time(entry).is_some_and(|time| time <= now));
        expired.sort_by_key(time);
        expired.truncate(limit);
        Ok(expired)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read()?.settings.clone())
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        let mut state = self.write()?;
        if state.settings.as_deref() != expected {
            return Err(Error::Conflict);
        }
        state.settings = Some(new.to_vec());
        Ok(())
    }

    /// Memory has no checksums: this only counts the records.
    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let state = self.read()?;
        let range = match position {
            None => behind(None),
            Some(VerifyPosition::After(locator)) => behind(Some(locator)),
            Some(VerifyPosition::Record(locator)) => (Bound::Included(*locator), Bound::Included(*locator)),
            Some(VerifyPosition::Structure) => return Ok(Verified::default()),
            Some(VerifyPosition::Storage(_)) => return Err(VerifyPosition::unknown()),
        };
        let mut verified = Verified::default();
        for (locator, record) in state.records.range(range) {
            if verified.records >= limit.max(1) as u64 || verified.bytes >= STEP_BYTES {
                return Ok(verified);
            }
            verified.records += 1;
            verified.bytes += record.len() as u64;
            verified.next = Some(VerifyPosition::After(*locator));
        }
        verified.next = None;
        Ok(verified)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        for entry in self.read()?.records.iter().filter_map(entry) {
            stats.records += 1;
            stats.bytes += entry.info.len;
            stats.expired += u64::from(entry.info.head.expires_at().is_some_and(|time| time <= now));
        }
        Ok(stats)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.read().map(drop)
    }

    fn close(&self) -> Result<(), Error> {
        let mut state = self.state()?.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { closed: true, ..State::default() };
        Ok(())
    }
}

/// Shows the number of records, never their contents.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_search_ends_after_some_bytes() {
        let storage = MemoryStorage::new();
        let locators = [1, 2, 3].map(|byte| Locator::from_bytes([byte; 32]));
        for locator in &locators {
            storage.put(locator, &vec![7; 5_000_000], PutMode::Create).unwrap();
        }
        let first = storage.verify(None, 10).unwrap();
        assert_eq!((first.records, first.bytes), (2, 10_000_000));
        assert_eq!(first.next, Some(VerifyPosition::After(locators[1])));
        let last = storage.verify(first.next.as_ref(), 10).unwrap();
        assert_eq!((last.records, last.bytes, last.next), (1, 5_000_000, None));
    }

    #[test]
    fn a_forked_child_is_refused() {
        let (locator, other) = (Locator::from_bytes([1; 32]), Locator::from_bytes([2; 32]));
        let record = [7; 100];
        let head = Head::of(&record).unwrap();
        let storage = MemoryStorage::new();
        storage.put(&locator, &record, PutMode::Create).unwrap();
        let storage = Arc::new(MemoryStorage { state: storage.state.forked() });
        let upload = || MemoryUpload {
            storage: Arc::clone(&storage),
            locator: other,
            mode: PutMode::Create,
            record: record.to_vec(),
        };
        let outcomes = [
            storage.put(&other, &record, PutMode::Create),
            storage.create_many(&[(other, &record)]),
            storage.put_each(&[(other, &record, PutMode::Create)]).remove(0),
            storage.get_up_to(&locator, u64::MAX).map(drop),
            storage.get_many(&[locator], u64::MAX).map(drop),
            storage.info(&locator).map(drop),
            storage.read_at(&locator, &head, 0, &mut [0; 10]),
            storage.get_end(&locator, 10).map(drop),
            Arc::clone(&storage).upload(&other, PutMode::Create).map(drop),
            Box::new(upload()).commit(),
            storage.delete(&locator, None).map(drop),
            storage.rename(&locator, &head, &other),
            storage.list(None, 10).map(drop),
            storage.list_expired(0, 10).map(drop),
            storage.purge(0, 10).map(drop),
            storage.settings().map(drop),
            storage.swap_settings(None, b"settings"),
            storage.verify(None, 10).map(drop),
            storage.stats(0).map(drop),
            storage.maintain(),
            storage.close(),
        ];
        for (n, outcome) in outcomes.into_iter().enumerate() {
            assert!(matches!(outcome, Err(Error::Forked)), "{n}: {outcome:?}");
        }
        assert!(format!("{storage:?}").contains("MemoryStorage"));
        let own = MemoryStorage::new();
        own.put(&locator, &record, PutMode::Create).unwrap();
    }
}
