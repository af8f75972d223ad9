//! Damaged objects are found, and replaced by the records of a copy.

use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom::storage::{DamageKind, Error, Locator, MemoryStorage, PutMode, Storage};
use strongroom::transfer::{CopyOptions, copy_storage};
use strongroom::{Strongroom, VerifyOptions, VerifyReport, purge_storage, repair, verify};

use super::damage::new_store;
use super::open;
use crate::support::fake_s3::{Objects, Seen, Server, start_with, url};
use crate::support::hooked::hooked;
use crate::support::{index_key, pattern};

pub(super) fn search(storage: &dyn Storage) -> VerifyReport {
    verify(storage, &VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn every_damaged_record_is_restored() {
    const LENGTHS: [usize; 3] = [10, 100_000, 3_000_000];
    for damage in ["start", "end", "everything"] {
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
                match damage {
                    "start" => bytes[2] ^= 1,
                    "end" => *bytes.last_mut().unwrap() ^= 1,
                    _ => bytes.clear(),
                }
                tag.insert(1, 'd');
            }
            assert!(search(&*storage()).damaged > 0, "{name} {damage}");
            assert_eq!(storage().stats(0).unwrap().records, 3, "{name} {damage}");
            assert_eq!(repair(&storage(), &*copy).unwrap().restored.len(), 1, "{name} {damage}");
            assert!(search(&*storage()).is_clean(), "{name} {damage}");
            for (len, key) in LENGTHS.iter().zip(&keys) {
                assert!(store().retrieve(len.to_string(), key).unwrap() == pattern(*len), "{name} {damage}");
            }
        }
    }
}

/// Without readable settings no store opens.
#[test]
fn damaged_settings_are_restored() {
    let objects = Objects::default();
    let address = start_with(Server::Correct, &Seen::default(), &objects);
    let storage = || -> Arc<dyn Storage> { Arc::new(open(&url(address, "repair"))) };
    let store = || Strongroom::builder().storage(storage()).index_key(index_key()).open();
    let key = store().unwrap().store("id", b"data").unwrap();
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert!(copy_storage(&storage(), &copy, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
    for (_, (bytes, tag)) in objects.lock().unwrap().iter_mut().filter(|(name, _)| name.ends_with("/settings")) {
        *bytes.last_mut().unwrap() ^= 1;
        tag.insert(1, 'd');
    }
    assert!(matches!(store(), Err(strongroom::Error::Corrupt)));
    let _ = repair(&storage(), &*copy).unwrap();
    assert_eq!(store().unwrap().retrieve("id", &key).unwrap(), b"data");
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

/// One of two damaged records cannot be restored, because reading it in the copy fails.
#[test]
fn a_record_that_cannot_be_restored_does_not_end_the_repair() {
    let objects = Objects::default();
    let (storage, copy) = new_store(&url(start_with(Server::Correct, &Seen::default(), &objects), "repair"));
    let (first, second) = (super::locator(0x10), super::locator(0x20));
    for at in [first, second] {
        for storage in [&storage, &copy] {
            storage.put(&at, &super::record(7, 1000), PutMode::Create).unwrap();
        }
        change(&objects, &at, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    let hooked = hooked(&copy, move |method, locator| match method {
        "read_at" if locator == first.as_bytes() => Err(Error::Corrupt),
        _ => Ok(()),
    });
    assert_eq!(repair(&storage, &*hooked).unwrap().restored, [second]);
    assert_eq!(search(&*storage).damaged, 1);
    assert_eq!(repair(&storage, &*copy).unwrap().restored, [first]);
    assert!(search(&*storage).is_clean());
}

/// Changes a record's object, so that a later read finds another version.
pub(super) fn change(objects: &Objects, locator: &Locator, change: impl FnOnce(&mut Vec<u8>)) {
    let mut objects = objects.lock().unwrap();
    let name = format!("/r/{}", locator.to_hex());
    let (_, (bytes, tag)) = objects.iter_mut().find(|(key, _)| key.ends_with(&name)).unwrap();
    change(bytes);
    tag.insert(1, 'd');
}

/// Makes an object one of a newer version, with the right checksum.
pub(super) fn make_newer(locator: &Locator, bytes: &mut [u8]) {
    bytes[0] = 2;
    let mut checksum = crc32fast::Hasher::new();
    for part in [format!("r/{}", locator.to_hex()).as_bytes(), &bytes[..4], &bytes[8..]] {
        checksum.update(part);
    }
    bytes[4..8].copy_from_slice(&checksum.finalize().to_le_bytes());
}

/// A damaged byte, anywhere in an object's header, does not hide the record: a mirror keeps its copy, a new
/// record does not take its place, and a repair restores it.
#[test]
fn damage_to_a_header_never_hides_the_record() {
    let objects = Objects::default();
    let storage: Arc<dyn Storage> =
        Arc::new(open(&url(start_with(Server::Correct, &Seen::default(), &objects), "header")));
    let store = Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key()).open().unwrap();
    for id in ["first", "second", "third"] {
        store.store(id, pattern(1000)).unwrap();
    }
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mirror = || copy_storage(&storage, &copy, CopyOptions::new().mirror(true), &mut |_| ()).unwrap();
    assert!(mirror().is_complete());
    let damaged = copy.list(None, 10).unwrap()[1].locator;
    let record = copy.get(&damaged).unwrap();
    for (at, bit) in (0..24).flat_map(|at| [0, 1, 7].map(|bit| (at, bit))) {
        let case = format!("bit {bit} of byte {at}");
        change(&objects, &damaged, |bytes| bytes[at] ^= 1 << bit);
        assert!(!matches!(storage.info(&damaged), Ok(None)), "{case}");
        assert!(storage.put(&damaged, &[&[1, 1, 0, 0], &[9; 500][..]].concat(), PutMode::Create).is_err(), "{case}");
        let found = search(&*storage);
        assert_eq!((found.damaged, found.unsupported), (1, 0), "{case}");
        // Once, because a copy makes many requests to skip damage: this makes the record a tombstone.
        if (at, bit) == (1, 0) {
            let copied = mirror();
            assert_eq!((copied.deleted, copied.damaged.len(), copied.unchanged), (0, 1, 2));
            assert_eq!(copy.get(&damaged).unwrap(), record);
        }
        assert_eq!(repair(&storage, &*copy).unwrap().restored, [damaged], "{case}");
        assert_eq!(storage.get(&damaged).unwrap(), record, "{case}");
    }
}

/// Unreadable records that are due keep no other one from being purged, and are purged once they are readable.
#[test]
fn a_purge_goes_on_despite_damage() {
    type Change = fn(&Locator, &mut Vec<u8>);
    let changes: [(Change, &str); 5] = [
        (|_, bytes| bytes[0] ^= 1, "the version"),
        (|_, bytes| bytes[1] ^= 1, "the kind"),
        (|_, bytes| bytes[2] ^= 1, "the move"),
        (|_, bytes| bytes[3] ^= 1, "the reserved byte"),
        (|locator, bytes| make_newer(locator, bytes), "a newer version"),
    ];
    for (damage, case) in changes {
        let objects = Objects::default();
        let storage: Arc<dyn Storage> =
            Arc::new(open(&url(start_with(Server::Correct, &Seen::default(), &objects), "purge")));
        let now = 4_000_000_000;
        // A record with these bytes before all others would be a claim.
        let locator = |n: u8| super::locator(0x10 + n);
        for n in 0..5 {
            let expires_at = now - 10 + u64::from(n);
            let record = [&[1, 1, 0, 0], &expires_at.to_le_bytes()[..], &[9; 500]].concat();
            storage.put(&locator(n), &record, PutMode::Create).unwrap();
        }
        let intact = objects.lock().unwrap().clone();
        for n in [0, 1] {
            change(&objects, &locator(n), |bytes| damage(&locator(n), bytes));
        }
        assert_eq!(storage.list_expired(now, 10).unwrap().len(), 3, "{case}");
        let stats = storage.stats(now).unwrap();
        assert_eq!((stats.records, stats.expired), (5, 3), "{case}");
        let purge = || purge_storage(&*storage, now, 10).unwrap();
        assert_eq!((purge(), purge()), (3, 0), "{case}");
        let markers = || objects.lock().unwrap().keys().filter(|name| name.contains("/e/")).count();
        assert_eq!(markers(), 2, "{case}");
        for n in [0, 1] {
            let name = format!("/r/{}", locator(n).to_hex());
            let object =
                intact.iter().find(|(key, _)| key.ends_with(&name)).map(|(key, object)| (key.clone(), object.clone()));
            objects.lock().unwrap().extend(object);
        }
        assert_eq!((purge(), purge(), markers()), (2, 0, 0), "{case}");
        assert!(storage.list(None, 10).unwrap().is_empty(), "{case}");
    }
}

/// A record of a newer version is no damage: no repair replaces it, and the records of others are restored.
#[test]
fn a_newer_record_is_left_alone() {
    let objects = Objects::default();
    let storage: Arc<dyn Storage> =
        Arc::new(open(&url(start_with(Server::Correct, &Seen::default(), &objects), "newer")));
    let store = Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key()).open().unwrap();
    for (id, len) in [("one", 100), ("two", 1000), ("three", 1000)] {
        store.store(id, pattern(len)).unwrap();
    }
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert!(copy_storage(&storage, &copy, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
    let locators: Vec<_> = copy.list(None, 10).unwrap().into_iter().map(|entry| entry.locator).collect();
    for locator in &locators[..2] {
        change(&objects, locator, |bytes| make_newer(locator, bytes));
    }
    change(&objects, &locators[2], |bytes| bytes[0] = 2);
    assert!(matches!(storage.info(&locators[0]), Err(Error::Unsupported(_))));
    assert!(matches!(storage.info(&locators[2]), Err(Error::Corrupt)));
    let found = search(&*storage);
    assert_eq!((found.damaged, found.unsupported), (1, 2));
    assert_eq!(repair(&storage, &*copy).unwrap().restored, locators[2..]);
    let found = search(&*storage);
    assert_eq!((found.damaged, found.unsupported), (0, 2));
    // A repair takes no such record from its copy, either.
    let other: Arc<dyn Storage> =
        Arc::new(open(&url(start_with(Server::Correct, &Seen::default(), &objects), "newer")));
    let target_objects = Objects::default();
    let target: Arc<dyn Storage> =
        Arc::new(open(&url(start_with(Server::Correct, &Seen::default(), &target_objects), "newer")));
    assert!(copy_storage(&copy, &target, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
    for locator in &locators {
        change(&target_objects, locator, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    assert_eq!(repair(&target, &*other).unwrap().restored, locators[2..]);
}

/// Tombstones are no records: a step of the search ends after a page of them, too, and goes on behind them.
#[test]
fn a_step_of_the_search_ends_among_tombstones() {
    let (seen, objects) = (Seen::default(), Objects::default());
    let storage = open(&url(start_with(Server::OldCeph, &seen, &objects), "store"));
    for number in 0..60 {
        storage.put(&super::locator(number), &super::record(number, 100), PutMode::Create).unwrap();
        if number < 50 {
            assert!(storage.delete(&super::locator(number), None).unwrap());
        }
    }
    // Objects of another program: before, among and behind the others.
    for name in ["0", "10x", "10y", "z", "zz"] {
        objects.lock().unwrap().insert(format!("store/r/{name}"), (vec![7; 30], "\"other\"".to_owned()));
    }
    for limit in [1, 7, 1000] {
        let (mut position, mut records, mut steps, mut orphans) = (None, 0, 0, 0);
        loop {
            seen.lock().unwrap().clear();
            let step = storage.verify(position.as_ref(), limit).unwrap();
            let requests = String::from_utf8_lossy(&seen.lock().unwrap()).matches("GET /").count();
            assert!(requests <= limit + 7, "{requests} requests in a step of {limit}");
            assert!(step.damage.iter().all(|damage| damage.kind == DamageKind::Orphan));
            (records, steps, orphans) = (records + step.records, steps + 1, orphans + step.damage.len());
            assert!(step.next.is_none() || step.next != position);
            assert!(steps <= 62, "a search without an end");
            match step.next {
                Some(next) => position = Some(next),
                None => break,
            }
        }
        assert_eq!((records, orphans), (10, 5), "by {limit}");
    }
}
