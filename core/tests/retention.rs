//! Removing the records that no known id names.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom::storage::MemoryStorage;
use strongroom::{IndexKey, Strongroom, WriteOptions};

use crate::support::hide_records;

fn key(number: u8) -> IndexKey {
    IndexKey::from_bytes(&[number; 32]).unwrap()
}

fn open(storage: &Arc<MemoryStorage>, current: u8, previous: Option<u8>) -> Strongroom {
    let builder = Strongroom::builder().storage(storage.clone()).clock(SystemTime::now).index_key(key(current));
    previous.map(key).into_iter().fold(builder, strongroom::Builder::previous_index_key).open().unwrap()
}

fn records(store: &Strongroom) -> u64 {
    store.stats().unwrap().records
}

const NONE: [(&str, &str); 0] = [];

/// Such as those of a hostile database.
#[test]
fn lengths_without_sense_are_no_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    (0..4).for_each(|n| drop(store.store(format!("{n}"), b"data").unwrap()));
    store.close().unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("UPDATE record SET len = 9223372036854775807", ()).unwrap();
    drop(database);
    let retention = Strongroom::open(&path).unwrap().retention(NONE).unwrap();
    assert_eq!((retention.others, retention.other_bytes), (4, u64::MAX));
}

#[test]
fn the_records_of_other_ids_are_removed_in_all_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let store = Strongroom::open(folder.path().join("records.db")).unwrap();
    let tenant = store.namespace("tenant").unwrap();
    let known = store.store("known", b"data").unwrap();
    let of_tenant = tenant.store("id", b"data").unwrap();
    store.store("id", b"the same id in another namespace").unwrap();
    tenant.store("known", b"data").unwrap();
    store.store_with("expired", b"data", WriteOptions::new().expires_in(Duration::from_secs(3600))).unwrap();
    (0..2500).for_each(|n| drop(store.store(format!("orphan {n}"), vec![0; 100]).unwrap()));

    let ids = [("", "known"), ("tenant", "id"), ("tenant", "missing"), ("", "known")];
    let retention = store.retention(ids).unwrap();
    assert_eq!((retention.kept, retention.missing, retention.others), (2, 1, 2503));
    assert!(retention.other_bytes > 250_000);
    assert_eq!(records(&store), 2505, "the search changed the store");
    store.store("later", b"stored after the search").unwrap();
    assert_eq!(tenant.erase_others(&retention).unwrap(), 2503);
    assert_eq!(records(&store), 3);
    assert_eq!(store.retrieve("known", &known).unwrap(), b"data");
    assert_eq!(tenant.retrieve("id", &of_tenant).unwrap(), b"data");
    assert_eq!(store.erase_others(&retention).unwrap(), 0);
}

#[test]
fn a_record_that_is_replaced_after_the_search_stays() {
    let store = open(&Arc::default(), 1, None);
    store.store("known", b"data").unwrap();
    let old = store.store("other", b"data").unwrap();
    let retention = store.retention([("", "known")]).unwrap();
    let new = store.replace("other", &old, b"new").unwrap();
    assert_eq!(store.erase_others(&retention).unwrap(), 0);
    assert_eq!(store.retrieve("other", &new).unwrap(), b"new");
}

#[test]
fn a_list_without_a_record_erases_nothing_unless_allowed() {
    let store = open(&Arc::default(), 1, None);
    assert_eq!(store.erase_others(&store.retention(NONE).unwrap()).unwrap(), 0, "an empty store is no danger");
    store.store("one", b"data").unwrap();
    for retention in [store.retention(NONE).unwrap(), store.retention([("", "of another store")]).unwrap()] {
        assert_eq!(store.erase_others(&retention).unwrap_err().name(), "InvalidArgument");
        assert_eq!(records(&store), 1);
    }
    assert_eq!(store.erase_others(&store.retention(NONE).unwrap().allow_all()).unwrap(), 1);
}

#[test]
fn invalid_ids_and_namespaces_are_errors() {
    let store = open(&Arc::default(), 1, None);
    store.store("one", b"data").unwrap();
    assert_eq!(store.retention([("", "")]).unwrap_err().name(), "InvalidId");
    assert_eq!(store.retention([("", "x".repeat(4097))]).unwrap_err().name(), "InvalidId");
    assert_eq!(store.retention([("x".repeat(256), "one")]).unwrap_err().name(), "InvalidArgument");
}

/// Others that a damaged index passes over would stay, although `erase_others` promises to remove them.
#[test]
fn records_that_damage_hides_are_not_passed_over() {
    for left in [0, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let store = Strongroom::open(&path).unwrap();
        ["a", "b", "c", "d", "e", "f"].iter().for_each(|id| drop(store.store(id, b"data").unwrap()));
        store.close().unwrap();
        hide_records(&path, 6, left);
        let store = Strongroom::open(&path).unwrap();
        assert_eq!(store.retention([("", "a")]).unwrap_err().name(), "Corrupt", "{left} are left");
    }
}

/// A record may be under either key, and a handle must not remove those of a key that it does not have.
#[test]
fn a_rotation_is_heeded() {
    let storage = Arc::default();
    let before = open(&storage, 1, None);
    let keys = ["moved", "unmoved", "orphan"].map(|id| before.store(id, b"data").unwrap());
    let store = open(&storage, 2, Some(1));
    store.begin_rotation().unwrap();
    assert!(store.contains("moved").unwrap());
    let known = [("", "moved"), ("", "unmoved")];
    let retention = store.retention(known).unwrap();
    assert_eq!((retention.kept, retention.missing, retention.others), (2, 0, 1));
    assert_eq!(before.retention(known).unwrap_err().name(), "IndexKeyMismatch");
    assert_eq!(store.erase_others(&retention).unwrap(), 1);
    for (id, key) in ["moved", "unmoved"].iter().zip(&keys) {
        assert_eq!(store.retrieve(id, key).unwrap(), b"data");
    }
    store.contains("unmoved").unwrap();
    store.finish_rotation().unwrap();
}

#[test]
fn a_record_that_is_being_taken_is_no_other() {
    let store = open(&Arc::default(), 1, None);
    let (key, _) = (store.store("taken", b"data").unwrap(), store.store("known", b"data").unwrap());
    let reader = store.take_record("taken", &key).unwrap();
    let retention = store.retention([("", "known")]).unwrap();
    assert_eq!((retention.kept, retention.others), (1, 0));
    drop(reader);
}
