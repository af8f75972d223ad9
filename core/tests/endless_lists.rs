//! Storages whose lists do not go on: loops over them end with an error.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::{Error as StorageError, Locator, MemoryStorage, PutMode, Storage};
use strongroom::transfer::{CopyOptions, copy_storage};
use strongroom::{Error, IndexKey, Strongroom, VerifyOptions, WriteOptions, verify};

use crate::support::hooked::{Shared, hooked};
use crate::support::index_key;
use crate::support::intercept::Intercepted;

#[test]
fn pages_that_start_again_are_damage() {
    let memory = Arc::new(MemoryStorage::new());
    let storage: Shared = Arc::new(Intercepted::listing_from_the_start(memory));
    let open = || Strongroom::builder().storage(Arc::clone(&storage));
    let store = open().index_key(index_key()).open().unwrap();
    for id in ["a", "b", "c"] {
        store.store(id, b"data").unwrap();
    }
    assert!(matches!(store.retention([("", "a")]), Err(Error::Corrupt)));
    let empty: Shared = Arc::new(MemoryStorage::new());
    let copied = copy_storage(&storage, &empty, CopyOptions::new(), &mut |_| ());
    assert!(copied.as_ref().is_ok_and(|copied| !copied.is_complete()), "{copied:?}");
    let rotating = open().index_key(IndexKey::generate().unwrap()).previous_index_key(index_key());
    let rotating = rotating.open().unwrap();
    rotating.begin_rotation().unwrap();
    assert!(matches!(rotating.rotation(10), Err(Error::Corrupt)));
}

#[test]
fn a_search_that_starts_again_is_damage() {
    let memory = Arc::new(MemoryStorage::new());
    let mut locator = [1; 32];
    for n in 0..10_001_u32 {
        locator[..4].copy_from_slice(&n.to_be_bytes());
        memory.put(&Locator::from_bytes(locator), &[1; 100], PutMode::Create).unwrap();
    }
    let storage = Intercepted::listing_from_the_start(memory);
    let outcome = verify(&storage, &VerifyOptions::new(), |_| ControlFlow::Continue(()));
    assert!(matches!(outcome, Err(Error::Corrupt)), "{outcome:?}");
}

/// A storage with an expiring record, whose removal fails with this error.
fn irremovable(error: fn() -> StorageError) -> Shared {
    let memory: Shared = Arc::new(MemoryStorage::new());
    let storage = hooked(&memory, move |call, _| if call == "delete" { Err(error()) } else { Ok(()) });
    let store = Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key()).open().unwrap();
    store.store_with("id", b"data", WriteOptions::new().expires_in(Duration::from_secs(100))).unwrap();
    storage
}

#[test]
fn a_purge_of_versions_that_are_not_there_is_damage() {
    for error in [|| StorageError::Conflict, || StorageError::Corrupt] {
        assert!(matches!(irremovable(error).purge(u64::MAX, 10), Err(StorageError::Corrupt)));
    }
}

/// Such as a read-only one.
#[test]
fn a_purge_of_a_storage_that_supports_no_removal_is_unsupported() {
    let purged = irremovable(|| StorageError::Unsupported("read-only".into())).purge(u64::MAX, 10);
    assert!(matches!(&purged, Err(StorageError::Unsupported(reason)) if reason == "read-only"), "{purged:?}");
}
