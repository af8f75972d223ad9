//! Damaged objects are found, and replaced by the records of a copy.

use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom::storage::{MemoryStorage, PutMode, Storage};
use strongroom::transfer::{CopyOptions, copy_storage};
use strongroom::{Strongroom, VerifyOptions, VerifyReport, repair, verify};

use super::open;
use crate::support::fake_s3::{Objects, Seen, Server, start_with, url};
use crate::support::hooked::hooked;
use crate::support::{index_key, pattern};

fn search(storage: &dyn Storage) -> VerifyReport {
    verify(storage, &VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn every_damaged_record_is_restored() {
    const LENGTHS: [usize; 3] = [10, 100_000, 3_000_000];
    for at_end in [false, true] {
        let objects = Objects::default();
        let address = start_with(Server::Correct, &Seen::default(), &objects);
        // Opened anew each time, so that nothing is remembered.
        let storage = || -> Arc<dyn Storage> { Arc::new(open(&url(address, "repair"))) };
        let store = || Strongroom::builder().storage(storage()).index_key(index_key()).open().unwrap();
        let keys = LENGTHS.map(|len| store().store(len.to_string(), pattern(len)).unwrap());
        let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        assert!(copy_storage(&storage(), &copy, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
        assert!(repair(&storage(), &*copy).unwrap().restored.is_empty());
        let all: Vec<_> = objects.lock().unwrap().keys().cloned().collect();
        let of = |kind: &str| all.iter().filter(|name| name.contains(kind)).collect::<Vec<_>>();
        let (segments, records) = (of("/s/"), of("/r/"));
        assert!(!segments.is_empty() && records.len() == 3, "{all:?}");
        // Segments first: those of a record whose object is damaged are left over.
        for name in segments.into_iter().chain(records) {
            {
                let mut objects = objects.lock().unwrap();
                let Some((bytes, tag)) = objects.get_mut(name) else { continue }; // it was repaired as a whole
                let at = if at_end { bytes.len() - 1 } else { 2 };
                bytes[at] ^= 1;
                tag.insert(1, 'd');
            }
            assert!(search(&*storage()).damaged > 0, "{name} {at_end}");
            assert_eq!(repair(&storage(), &*copy).unwrap().restored.len(), 1, "{name} {at_end}");
            assert!(search(&*storage()).is_clean(), "{name} {at_end}");
            for (len, key) in LENGTHS.iter().zip(&keys) {
                assert!(store().retrieve(len.to_string(), key).unwrap() == pattern(*len), "{name} {at_end}");
            }
        }
    }
}

/// The second of two damaged records is replaced while the repair works on the first one.
#[test]
fn a_record_that_was_replaced_meanwhile_is_not_restored() {
    let objects = Objects::default();
    let address = start_with(Server::Correct, &Seen::default(), &objects);
    let storage: Arc<dyn Storage> = Arc::new(open(&url(address, "repair")));
    let store = Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key()).open().unwrap();
    for id in ["one", "other"] {
        store.store(id, pattern(100)).unwrap();
    }
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert!(copy_storage(&storage, &copy, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
    for (_, (bytes, tag)) in objects.lock().unwrap().iter_mut().filter(|(name, _)| name.contains("/r/")) {
        *bytes.last_mut().unwrap() ^= 1;
        tag.insert(1, 'd');
    }
    assert_eq!(search(&*storage).damaged, 2);
    let locators: Vec<_> = copy.list(None, 10).unwrap().into_iter().map(|entry| entry.locator).collect();
    let (first, second) = (locators[0], locators[1]);
    let newer = [&[1, 1, 0, 0], &[9; 500][..]].concat();
    let (others, record) = (Arc::clone(&storage), newer.clone());
    let hooked = hooked(&copy, move |method, locator| match method {
        "info" if locator == first.as_bytes() => others.put(&second, &record, PutMode::Overwrite),
        _ => Ok(()),
    });
    assert_eq!(repair(&storage, &*hooked).unwrap().restored, [first]);
    assert_eq!(storage.get(&second).unwrap(), Some(newer));
    assert!(search(&*storage).is_clean());
}

/// Damaged records that are due keep no other one from being purged, and are purged once they are repaired.
#[test]
fn a_purge_goes_on_despite_damage() {
    let objects = Objects::default();
    let address = start_with(Server::Correct, &Seen::default(), &objects);
    let storage: Arc<dyn Storage> = Arc::new(open(&url(address, "purge")));
    let now = 4_000_000_000;
    for n in 0..5 {
        let expires_at = now - 10 + u64::from(n);
        let record = [&[1, 1, 0, 0], &expires_at.to_le_bytes()[..], &[9; 500]].concat();
        storage.put(&super::locator(n), &record, PutMode::Create).unwrap();
    }
    let damage = || {
        let mut objects = objects.lock().unwrap();
        for (_, (bytes, _)) in objects.iter_mut().filter(|(name, _)| name.contains("/r/")).take(2) {
            bytes[2] ^= 1;
        }
    };
    damage();
    assert_eq!(storage.list_expired(now, 10).unwrap().len(), 3);
    assert_eq!(storage.stats(now).unwrap().expired, 3);
    assert_eq!((storage.purge(now, 10).unwrap(), storage.purge(now, 10).unwrap()), (3, 0));
    assert_eq!(objects.lock().unwrap().keys().filter(|name| name.contains("/e/")).count(), 2);
    damage(); // undone
    assert_eq!((storage.purge(now, 10).unwrap(), storage.purge(now, 10).unwrap()), (2, 0));
    assert!(storage.list(None, 10).unwrap().is_empty());
}
