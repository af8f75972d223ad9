//! Operations against a model, over a storage that fails: each error says what it left behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom::storage::{
    Entry, Error as StorageError, Fetched, Head, Info, Locator, MemoryStorage, PutMode, Stats, Storage, Upload,
    Verified, VerifyPosition,
};
use strongroom::{Error, IndexKey, RecordKey, Strongroom, WriteOptions};

use crate::Input;

const IDS: usize = 3;
/// The most bytes of data. More than one `put` writes (256 KiB) takes an upload.
const LONG: usize = 270_000;

/// Fails as the next bytes decide, before or after a call takes effect.
#[derive(Debug)]
struct Faulty {
    inner: Arc<MemoryStorage>,
    decisions: Mutex<Vec<u8>>,
}

impl Faulty {
    fn call<T>(&self, is_write: bool, call: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let decision = self.decisions.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        match decision % 16 {
            1 => Err(StorageError::Backend("fails".into())),
            2 => Err(StorageError::Busy),
            3 if is_write => Err(StorageError::Full),
            4 if is_write => Err(StorageError::Indeterminate("fails before".into())),
            5 if is_write => call().and_then(|_| Err(StorageError::Indeterminate("fails after".into()))),
            _ => call(),
        }
    }

    fn read<T>(&self, call: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.call(false, call)
    }

    fn write<T>(&self, call: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.call(true, call)
    }
}

impl Storage for Faulty {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), StorageError> {
        self.write(|| self.inner.put(locator, record, mode))
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), StorageError> {
        self.write(|| self.inner.create_many(records))
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, StorageError> {
        self.read(|| self.inner.get_up_to(locator, max_len))
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, StorageError> {
        self.read(|| self.inner.info(locator))
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.read(|| self.inner.read_at(locator, head, offset, buffer))
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, StorageError> {
        let upload = self.read(|| Arc::clone(&self.inner).upload(locator, mode))?;
        Ok(Box::new(FaultyUpload { storage: self, upload }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, StorageError> {
        self.write(|| self.inner.delete(locator, expected))
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), StorageError> {
        self.write(|| self.inner.rename(from, head, to))
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, StorageError> {
        self.read(|| self.inner.list(after, limit))
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, StorageError> {
        self.read(|| self.inner.list_expired(now, limit))
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.read(|| self.inner.settings())
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), StorageError> {
        self.write(|| self.inner.swap_settings(expected, new))
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, StorageError> {
        self.read(|| self.inner.verify(position, limit))
    }

    fn stats(&self, now: u64) -> Result<Stats, StorageError> {
        self.read(|| self.inner.stats(now))
    }

    fn maintain(&self) -> Result<(), StorageError> {
        self.write(|| self.inner.maintain())
    }

    fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyUpload {
    storage: Arc<Faulty>,
    upload: Box<dyn Upload>,
}

impl Upload for FaultyUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let upload = &mut self.upload;
        self.storage.read(|| upload.write(bytes))
    }

    fn commit(self: Box<Self>) -> Result<(), StorageError> {
        let Self { storage, upload } = *self;
        storage.write(|| upload.commit())
    }
}

/// A version of a record: the number of its key, and its data.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    key: u8,
    len: usize,
}

impl Version {
    fn key(&self) -> RecordKey {
        RecordKey::from_bytes(&[self.key; 32]).unwrap()
    }

    fn data(&self) -> Vec<u8> {
        vec![self.key; self.len]
    }
}

/// The possible contents of an id.
type States = Vec<Option<Version>>;

/// Each operation succeeds as on the model, or has an error that says what may be there now.
pub fn faulty_storage(data: &[u8]) {
    let mut input = Input(data);
    let inner = Arc::new(MemoryStorage::new());
    let open = |storage: Arc<dyn Storage>| {
        Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[1; 32]).unwrap()).open().unwrap()
    };
    let plain = open(inner.clone());
    let decisions = Mutex::default();
    let faulty = Arc::new(Faulty { inner, decisions });
    let store = open(faulty.clone());
    let mut model: BTreeMap<usize, States> = (0..IDS).map(|id| (id, vec![None])).collect();
    for n in 1..=40 {
        if input.is_empty() {
            break;
        }
        let (operation, id) = (input.byte() % 8, usize::from(input.byte()) % IDS);
        let len = if input.byte() % 8 == 0 { LONG } else { input.number() % 20_000 };
        let decisions = (0..input.byte() % 8).map(|_| input.byte()).collect();
        *faulty.decisions.lock().unwrap_or_else(PoisonError::into_inner) = decisions;
        let states = model.get_mut(&id).unwrap();
        let new = Version { key: n, len };
        step(&store, operation, &format!("id-{id}"), new, states);
        faulty.decisions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        settle(&plain, &format!("id-{id}"), states);
    }
    for (id, states) in &mut model {
        settle(&plain, &format!("id-{id}"), states);
    }
}

/// Runs an operation, and updates what may be there.
fn step(store: &Strongroom, operation: u8, id: &str, new: Version, states: &mut States) {
    let [before] = &states[..] else { unreachable!("settled") };
    let before = before.clone();
    let (key, data) = (new.key(), new.data());
    let options = WriteOptions::new().key(&key);
    let old = before.as_ref().map_or_else(|| RecordKey::from_bytes(&[255; 32]).unwrap(), Version::key);
    let (outcome, after) = match operation {
        0 | 1 => (store.store_with(id, &data, options).map(drop), Some(new)),
        2 => (store.store_reader_with(id, &*data, options).map(drop), Some(new)),
        3 => (store.replace_with(id, &old, &data, options).map(drop), Some(new)),
        4 => (store.delete(id, &old), None),
        5 => (store.erase(id).map(drop), None),
        6 => {
            let outcome = store.take(id, &old);
            if let Ok(found) = &outcome {
                assert_eq!(*found, before.as_ref().expect("a record").data());
            }
            // A claimed record is gone, although the operation may fail.
            let is_failure = outcome.as_ref().is_err_and(|error| !is_refusal(error));
            if is_failure {
                states.push(None);
            }
            (outcome.map(drop), None)
        }
        _ => {
            match (store.retrieve(id, &old), &before) {
                (Ok(found), Some(version)) => assert_eq!(found, version.data()),
                (Err(Error::NotFound), None) => {}
                (Err(error), _) => assert!(!is_refusal(&error), "{error:?}"),
                (Ok(_), None) => panic!("no record was there"),
            }
            return;
        }
    };
    match outcome {
        Ok(()) => {
            let is_creation = operation <= 2;
            assert!(!is_creation || before.is_none(), "a record was there");
            assert!(operation != 3 || before.is_some(), "no record was there");
            *states = vec![after];
        }
        Err(Error::Indeterminate(_)) => states.push(after),
        Err(Error::AlreadyExists) => assert!(operation <= 2 && before.is_some()),
        Err(Error::NotFound) => assert!((3..=6).contains(&operation) && before.is_none()),
        Err(Error::Storage(_) | Error::Busy | Error::StorageFull) => {}
        Err(error) => panic!("{error:?}"),
    }
}

/// Whether the error is about the record, not the storage.
fn is_refusal(error: &Error) -> bool {
    !matches!(error, Error::Storage(_) | Error::Busy | Error::StorageFull | Error::Indeterminate(_))
}

/// Finds which of the possible states is there.
fn settle(store: &Strongroom, id: &str, states: &mut States) {
    let is_there = |state: &Option<Version>| match state {
        Some(version) => store.retrieve(id, &version.key()).is_ok_and(|data| data == version.data()),
        None => !store.contains(id).unwrap(),
    };
    let found = states.iter().find(|state| is_there(state)).cloned();
    *states = vec![found.unwrap_or_else(|| panic!("{id} has none of {states:?}"))];
}
