//! Opening the store on a storage: its settings, its index keys, its defaults.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::key::IndexKey;
use crate::locator::{self, FIRST_GENERATION, LocatorKey};
use crate::settings::{Generation, Padding, Settings};
use crate::storage::{self, Storage};
use crate::store::{LocatorKeys, SettingsCheck, Store};
use crate::store_identity::StoreIdentity;
use crate::strongroom::Strongroom;
use crate::util::clock::Clock;

/// How often the settings are read again after a concurrent change.
const ATTEMPTS: usize = 10;

/// The index key and, for a rotation, the one before it.
pub(crate) struct IndexKeys {
    pub(crate) current: IndexKey,
    pub(crate) previous: Option<IndexKey>,
}

/// Fails if both are one key. To be called before a store is made.
pub(crate) fn check_previous(current: Option<&IndexKey>, previous: Option<&IndexKey>) -> Result<(), Error> {
    match (current, previous) {
        (Some(current), Some(previous)) if current.ct_eq(previous) => {
            Err(Error::InvalidArgument("the new index key is the previous one".into()))
        }
        _ => Ok(()),
    }
}

/// Opens the store on `storage`, if the index keys are the right ones.
pub(crate) fn open(storage: Arc<dyn Storage>, keys: &IndexKeys, clock: Clock, pad: bool) -> Result<Strongroom, Error> {
    let check_value = locator::check_value(&keys.current);
    let first_read = Instant::now();
    let settings = with_index_key(&*storage, check_value)?;
    let generations = listed(&settings, keys)?;
    let settings = if pad { with_padding(&*storage, settings)? } else { settings };
    let Generations { current, previous, is_current_in_use } = generations;
    let settings_check = SettingsCheck::new(current, previous, is_current_in_use, first_read, !clock.is_system());
    if previous.is_some() && is_current_in_use {
        settings_check.wait_for_others()?; // the rotation may just have begun
    }
    let current = LocatorKey::new(&keys.current, current.number);
    let previous = keys.previous.as_ref().zip(previous);
    let previous = previous.map(|(key, generation)| LocatorKey::new(key, generation.number));
    let store = Store::new(storage, LocatorKeys::new(current, previous, settings_check), clock.clone());
    let store = Strongroom::new(Arc::new(store), clock, settings.padding == Padding::Padme);
    Ok(store.with_identity(StoreIdentity::new(&settings)))
}

/// The settings, which list an index key: the one with this check value, if they listed none.
fn with_index_key(storage: &dyn Storage, check_value: [u8; 16]) -> Result<Settings, Error> {
    for _ in 0..ATTEMPTS {
        let document = settings_of(storage)?;
        let settings = document.as_deref().map_or_else(|| Ok(Settings::without_index_key()?), decode)?;
        if !settings.generations.is_empty() {
            return Ok(settings);
        }
        let generations = vec![Generation { number: FIRST_GENERATION, check_value }];
        let settings = Settings { generations, ..settings };
        match storage.swap_settings(document.as_deref(), &settings.encode()) {
            Ok(()) => return Ok(settings),
            Err(storage::Error::Conflict) => {} // another process is creating the same store
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Busy)
}

/// The identity of the store in this storage. A storage without a store gets an id, under which the first program with
/// an index key makes the store.
///
/// # Errors
///
/// [`Error::Corrupt`] if there are records without settings, [`Error::Unsupported`] if a newer version has written the
/// settings, and those of the storage.
pub fn store_identity(storage: &dyn Storage) -> Result<StoreIdentity, Error> {
    let settings = match settings_of(storage)? {
        Some(document) => decode(&document)?,
        None => {
            let new = Settings::without_index_key()?;
            match storage.swap_settings(None, &new.encode()) {
                Ok(()) => new,
                Err(storage::Error::Conflict) => read_settings(storage)?, // another process has made one
                Err(error) => return Err(error.into()),
            }
        }
    };
    Ok(StoreIdentity::new(&settings))
}

/// Whether the storage has a store with an index key, so that the key must not be made anew.
#[cfg(feature = "sqlite")]
pub(crate) fn has_index_key(storage: &dyn Storage) -> Result<bool, Error> {
    let settings = settings_of(storage)?.as_deref().map(decode).transpose()?;
    Ok(settings.is_some_and(|settings| !settings.generations.is_empty()))
}

/// The generations of a handle's keys.
struct Generations {
    current: Generation,
    /// During a rotation, and before it begins.
    previous: Option<Generation>,
    is_current_in_use: bool,
}

/// The generations of these keys, if the settings list them.
fn listed(settings: &Settings, keys: &IndexKeys) -> Result<Generations, Error> {
    let check_value = locator::check_value(&keys.current);
    let previous = keys.previous.as_ref().map(locator::check_value);
    let is = |generation: &Generation, check_value| Some(generation.check_value) == check_value;
    match &*settings.generations {
        [only] if is(only, Some(check_value)) => {
            Ok(Generations { current: *only, previous: None, is_current_in_use: true })
        }
        [only] if is(only, previous) => {
            let number = only.number.checked_add(1).unwrap_or(FIRST_GENERATION);
            let current = Generation { number, check_value };
            Ok(Generations { current, previous: Some(*only), is_current_in_use: false })
        }
        [new, old] if is(new, Some(check_value)) && is(old, previous) => {
            Ok(Generations { current: *new, previous: Some(*old), is_current_in_use: true })
        }
        [new, old] if [new, old].into_iter().any(|generation| is(generation, Some(check_value))) => {
            let text = "the store's index key is being rotated: give the new index key and the previous one";
            Err(Error::InvalidArgument(text.into()))
        }
        _ => Err(Error::IndexKeyMismatch),
    }
}

/// The settings with padding by default.
fn with_padding(storage: &dyn Storage, settings: Settings) -> Result<Settings, Error> {
    if settings.padding == Padding::Padme {
        return Ok(settings);
    }
    let padded = Settings { padding: Padding::Padme, ..settings.clone() };
    match storage.swap_settings(Some(&settings.encode()), &padded.encode()) {
        Ok(()) => Ok(padded),
        Err(storage::Error::Conflict) if read_settings(storage)? == padded => Ok(padded),
        Err(storage::Error::Conflict) => Err(Error::Busy), // another process has changed something else
        Err(error) => Err(error.into()),
    }
}

/// The settings document, or `None` if the storage is new. Records without settings are damaged: nothing identifies
/// their index key.
fn settings_of(storage: &dyn Storage) -> Result<Option<Vec<u8>>, Error> {
    let settings = storage.settings()?;
    if settings.is_some() || storage::is_empty(storage)? {
        return Ok(settings);
    }
    // Another process may have created the store in between.
    storage.settings()?.map(Some).ok_or(Error::Corrupt)
}

fn read_settings(storage: &dyn Storage) -> Result<Settings, Error> {
    decode(&storage.settings()?.ok_or(Error::Conflict)?)
}

fn decode(document: &[u8]) -> Result<Settings, Error> {
    Ok(Settings::decode(document)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn open_with(storage: &Arc<dyn Storage>, key: u8) -> Result<Strongroom, Error> {
        let keys = IndexKeys { current: IndexKey::from_bytes(&[key; 32]).unwrap(), previous: None };
        open(Arc::clone(storage), &keys, Clock::default(), false)
    }

    /// A service makes the id before anybody has an index key; the first key is then the store's.
    #[test]
    fn a_storage_has_an_id_before_it_has_an_index_key() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let first = store_identity(&*storage).unwrap();
        assert_eq!((first.index_key_hint, store_identity(&*storage).unwrap()), (None, first));
        let store = open_with(&storage, 7).unwrap();
        let opened = store.identity().unwrap();
        assert!(opened.id == first.id && opened.index_key_hint.is_some());
        assert_eq!(store_identity(&*storage).unwrap(), opened);
        assert_eq!(store.namespace("a").unwrap().identity(), Some(opened));
        assert!(matches!(open_with(&storage, 8), Err(Error::IndexKeyMismatch)));
        let other: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let other = open_with(&other, 7).unwrap().identity().unwrap();
        assert!(other.id != opened.id && other.index_key_hint == opened.index_key_hint);
    }

    /// A storage service of a cluster has made the id; then the database is opened as a store with a key beside it.
    #[cfg(feature = "sqlite")]
    #[test]
    fn a_database_with_an_id_gets_its_key() {
        use crate::storage::{Durability, SqliteStorage};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        let id = store_identity(&storage).unwrap().id;
        storage.close().unwrap();
        drop(storage);
        let store = Strongroom::open(&path).unwrap();
        assert_eq!(store.identity().unwrap().id, id);
        store.close().unwrap();
        drop(store);
        std::fs::remove_file(folder.path().join("records.db.index-key")).unwrap();
        assert!(matches!(Strongroom::open(&path), Err(Error::IndexKeyMissing { .. })), "it is not made anew");
    }

    /// Without settings, nothing tells to which store the records belong.
    #[test]
    fn records_without_settings_get_no_id() {
        let storage = MemoryStorage::new();
        let locator = storage::Locator::from_bytes([1; 32]);
        storage.create_many(&[(locator, &[1; 200])]).unwrap();
        assert!(matches!(store_identity(&storage), Err(Error::Corrupt)));
        assert_eq!(storage.settings().unwrap(), None);
    }
}
