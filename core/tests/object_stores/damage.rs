//! Damage to one object is found, keeps nothing else from working, and can be removed.

use std::sync::Arc;
use std::time::SystemTime;

use strongroom::storage::{BucketUrl, Error, Head, Locator, MemoryStorage, PutMode, Storage};
use strongroom::transfer::{CopyOptions, copy_storage};
use strongroom::{Builder, IndexKey, Strongroom, repair};

use super::proxy::{Fault, Plan, Proxy};
use super::repair::{change, make_newer, search};
use super::{head, locator, open, record};
use crate::support::fake_s3::{Objects, Seen, Server, start_with, url};
use crate::support::index_key;

type Change = fn(&Locator, &mut Vec<u8>);

/// Each makes a short record's object unreadable.
const DAMAGE: [(&str, Change); 4] = [
    ("empty", |_, bytes| bytes.clear()),
    ("cut", |_, bytes| bytes.truncate(50)),
    ("the kind", |_, bytes| bytes[1] ^= 1),
    ("the end", |_, bytes| *bytes.last_mut().unwrap() ^= 1),
];

/// A storage with the settings of a store, and its copy.
pub(super) fn new_store(url: &BucketUrl) -> (Arc<dyn Storage>, Arc<dyn Storage>) {
    let storage: Arc<dyn Storage> = Arc::new(open(url));
    Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key()).open().unwrap();
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    copy.swap_settings(None, &storage.settings().unwrap().unwrap()).unwrap();
    (storage, copy)
}

/// A storage with the records 0x10, 0x20 and 0x30, of 150 bytes, and a copy.
fn stored(server: Server) -> (Arc<dyn Storage>, Arc<dyn Storage>, Objects) {
    let objects = Objects::default();
    let (storage, copy) = new_store(&url(start_with(server, &Seen::default(), &objects), "store"));
    for number in [0x10, 0x20, 0x30] {
        for storage in [&storage, &copy] {
            storage.put(&locator(number), &record(number, 150), PutMode::Create).unwrap();
        }
    }
    (storage, copy, objects)
}

/// No length of an object makes the record seem to be none.
#[test]
fn a_truncated_object_is_a_damaged_record() {
    let damaged = locator(0x20);
    for server in [Server::Correct, Server::OldCeph] {
        let (storage, copy, objects) = stored(server);
        for len in [0, 1, 23, 24, 25, 50, 87, 88, 89, 91, 92, 173] {
            let case = format!("{server:?}: {len} bytes");
            change(&objects, &damaged, |bytes| bytes.truncate(len));
            let found = search(&*storage);
            assert_eq!((found.records, found.damaged), (3, 1), "{case}");
            // A tombstone has this length.
            if server == Server::Correct || len != 24 {
                let listed = storage.list(None, 10);
                assert!(matches!(listed, Err(Error::Corrupt)), "{case}: {listed:?}");
                assert_eq!(storage.stats(0).unwrap().records, 3, "{case}");
            }
            // Once, because a copy makes many requests to skip damage.
            if len == 0 {
                let options = CopyOptions::new().mirror(true);
                let copied = copy_storage(&storage, &copy, options, &mut |_| ()).unwrap();
                assert_eq!((copied.deleted, copied.damaged.len(), copied.unchanged), (0, 1, 2), "{case}");
            }
            assert_eq!(repair(&storage, &*copy).unwrap().restored, [damaged], "{case}");
            assert_eq!(storage.get(&damaged).unwrap(), copy.get(&damaged).unwrap(), "{case}");
        }
    }
}

/// A server need not heed a range.
#[test]
fn an_empty_object_is_damage_if_the_server_sends_it_whole() {
    let (storage, _, objects) = stored(Server::Correct);
    let proxy = Proxy::new(start_with(Server::Correct, &Seen::default(), &objects));
    let through = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let other = open(&url(through, "store"));
    change(&objects, &locator(0x20), Vec::clear);
    proxy.plan(Plan::next([]).always(Fault::WithoutRange));
    let found = other.info(&locator(0x20));
    assert!(matches!(found, Err(Error::Corrupt)), "{found:?}");
    other.put(&locator(0x20), &record(0x20, 150), PutMode::Overwrite).unwrap();
    assert_eq!(storage.get(&locator(0x20)).unwrap(), Some(record(0x20, 150)));
}

#[test]
fn a_damaged_record_can_be_removed() {
    let damaged = locator(0x20);
    for server in [Server::Correct, Server::OldCeph] {
        let (storage, _, objects) = stored(server);
        for (case, damage) in DAMAGE {
            let head = storage.info(&damaged).unwrap().unwrap().head;
            change(&objects, &damaged, |bytes| damage(&damaged, bytes));
            // Its head cannot be compared.
            let outcome = storage.delete(&damaged, Some(&head));
            assert!(matches!(outcome, Err(Error::Corrupt)), "{server:?}: {case}: {outcome:?}");
            assert!(storage.delete(&damaged, None).unwrap(), "{server:?}: {case}");
            assert!(!storage.delete(&damaged, None).unwrap(), "{server:?}: {case}");
            assert!(search(&*storage).is_clean(), "{server:?}: {case}");
            assert_eq!(storage.list(None, 10).unwrap().len(), 2, "{server:?}: {case}");
            storage.put(&damaged, &record(0x20, 150), PutMode::Create).unwrap();
        }
        change(&objects, &damaged, |bytes| make_newer(&damaged, bytes));
        let outcome = storage.delete(&damaged, None);
        assert!(matches!(outcome, Err(Error::Unsupported(_))), "{server:?}: {outcome:?}");
    }
}

/// A damaged record under the old index key keeps the rotation from ending until it is erased, with its id or without.
#[test]
fn a_rotation_ends_once_a_damaged_record_is_erased() {
    for (case, damage) in DAMAGE {
        let objects = Objects::default();
        let url = url(start_with(Server::Correct, &Seen::default(), &objects), "rotation");
        let key = |number: u8| IndexKey::from_bytes(&[number; 32]).unwrap();
        let open_store = |current, previous: Option<u8>| {
            let builder = Strongroom::builder().bucket(url.clone()).clock(SystemTime::now).index_key(key(current));
            previous.map(key).into_iter().fold(builder, Builder::previous_index_key).open().unwrap()
        };
        let old = open_store(1, None);
        for id in ["one", "two"] {
            old.store(id, b"data").unwrap();
        }
        let store = open_store(2, Some(1));
        store.begin_rotation().unwrap();
        let locators = store.rotation(usize::MAX).unwrap().unwrap().remaining;
        assert_eq!(locators.len(), 2, "{case}");
        for locator in &locators {
            change(&objects, locator, |bytes| damage(locator, bytes));
        }
        let remaining = store.rotation(usize::MAX);
        assert!(matches!(remaining, Err(strongroom::Error::Corrupt)), "{case}: {remaining:?}");
        let finished = store.finish_rotation();
        assert!(matches!(finished, Err(strongroom::Error::Corrupt)), "{case}: {finished:?}");
        assert!(store.erase("one").unwrap(), "{case}");
        let erased = locators.iter().filter(|locator| store.erase_unrotated(locator).unwrap()).count();
        assert_eq!(erased, 1, "{case}");
        assert_eq!(store.rotation(usize::MAX).unwrap().unwrap().remaining, [], "{case}");
        store.finish_rotation().unwrap();
    }
}

/// Before its second step, a move has changed nothing. Its reservation keeps no place for ever.
#[test]
fn maintenance_goes_on_despite_damage_at_the_origin_of_a_move() {
    for (len, (case, damage)) in [100, 1000].into_iter().flat_map(|len| DAMAGE.map(|damage| (len, damage))) {
        let case = format!("{case} of {len}");
        let objects = Objects::default();
        let address = start_with(Server::ListsAsOld, &Seen::default(), &objects);
        let (storage, copy) = new_store(&url(address, "store"));
        let (from, to) = (locator(0x20), locator(0x30));
        for storage in [&storage, &copy] {
            storage.put(&from, &record(7, len), PutMode::Create).unwrap();
        }
        let proxy = Proxy::new(address);
        let through = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
        let other = open(&url(through, "store"));
        proxy.plan(Plan::from_write([Fault::None], Fault::Answer("HTTP/1.1 403 -\r\ncontent-length: 0\r\n\r\n")));
        assert!(other.rename(&from, &head(&record(7, len)), &to).is_err());
        let reservations = || objects.lock().unwrap().values().filter(|(bytes, _)| bytes.len() == 88).count();
        assert_eq!(reservations(), 1, "{case}");

        change(&objects, &from, |bytes| damage(&from, bytes));
        storage.maintain().unwrap();
        assert_eq!(reservations(), 1, "{case}");
        assert_eq!(repair(&storage, &*copy).unwrap().restored, [from], "{case}");
        assert_eq!(reservations(), 0, "{case}");
        assert!(search(&*storage).is_clean(), "{case}");
        assert_eq!(storage.list(None, 10).unwrap(), copy.list(None, 10).unwrap(), "{case}");
    }
}

/// A record does not depend on what is at its former place.
#[test]
fn a_moved_record_can_be_changed_despite_damage_at_its_origin() {
    let newer: (&str, Change) = ("a newer version", |locator, bytes| make_newer(locator, bytes));
    for (case, damage) in DAMAGE.into_iter().chain([newer]) {
        let (storage, _, objects) = stored(Server::Correct);
        let (from, to) = (locator(0x20), locator(0x40));
        let version = |number: u8| head(&record(number, 150));
        let moved_back = |number: u8, head: &Head| {
            storage.rename(&locator(number), head, &to).unwrap();
            storage.put(&locator(number), &record(9, 150), PutMode::Create).unwrap();
            change(&objects, &locator(number), |bytes| damage(&locator(number), bytes));
        };
        moved_back(0x20, &version(0x20));
        storage.put(&to, &record(5, 150), PutMode::ReplaceIf(version(0x20))).unwrap();
        assert!(storage.delete(&to, Some(&version(5))).unwrap(), "{case}");
        moved_back(0x10, &version(0x10));
        storage.rename(&to, &version(0x10), &locator(0x41)).unwrap();
        moved_back(0x30, &version(0x30));
        assert!(storage.delete(&to, None).unwrap(), "{case}");
        assert_eq!(storage.get(&locator(0x41)).unwrap(), Some(record(0x10, 150)), "{case}");
        assert!(storage.info(&from).is_err(), "{case}");
    }
}
