//! Namespaces: the same id in several, names of each length, what concerns the whole store, moved records.

use strongroom::storage::Storage;
use strongroom::{Error, WriteOptions};

use crate::support::{each_store, each_store_with_transactions, memory_store, record_key};

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

#[test]
fn an_id_has_a_record_in_each_namespace() {
    let names: [&[u8]; 7] = [b"", b"a", b"b", b"ab", &[0], &[0xff; 255], &[b'a'; 254]];
    each_store(|store| {
        let spaces: Vec<_> = names.iter().map(|name| store.namespace(name).unwrap()).collect();
        let keys: Vec<_> = spaces.iter().zip(names).map(|(space, name)| space.store("id", name).unwrap()).collect();
        for (n, (space, name)) in spaces.iter().zip(names).enumerate() {
            for (m, key) in keys.iter().enumerate() {
                match n == m {
                    true => assert_eq!(space.retrieve("id", key).unwrap(), name),
                    false => assert_name(space.retrieve("id", key), "WrongKey"),
                }
            }
            assert_name(space.store("id", b""), "AlreadyExists");
        }
        assert_eq!(store.retrieve("id", &keys[0]).unwrap(), b"", "the empty name is the default");
        assert!(spaces[1].erase("id").unwrap() && !spaces[1].erase("id").unwrap());
        assert!(spaces[2].contains("id").unwrap() && !spaces[1].contains("id").unwrap());
        assert_eq!((spaces[1].stats().unwrap().records, store.stats().unwrap().records), (6, 6));
        // A namespace replaces that of the handle.
        assert_eq!(spaces[1].namespace("b").unwrap().retrieve("id", &keys[2]).unwrap(), b"b");
        assert_name(store.namespace([b'a'; 256]), "InvalidArgument");
    });
}

/// The boundary between namespace and id is part of what is hashed and sealed.
#[test]
fn a_name_and_an_id_do_not_run_together() {
    each_store(|store| {
        let key = record_key(1);
        store.namespace("tenant").unwrap().store_with("1/id", b"data", WriteOptions::new().key(&key)).unwrap();
        for (name, id) in [("tenant1", "/id"), ("tenan", "t1/id"), ("", "tenant1/id")] {
            assert_name(store.namespace(name).unwrap().retrieve(id, &key), "NotFound");
        }
    });
}

#[test]
fn each_operation_is_in_its_namespace() {
    each_store_with_transactions(|store| {
        let space = store.namespace("tenant").unwrap();
        let long = vec![7; 1_000_000];
        let stored = space.store_reader("long", &long[..]).unwrap();
        let keys = space.store_many(&[("one", b"1"), ("two", b"2")]).unwrap();
        assert_eq!(space.retrieve_many(&[("one", &keys[0])]).unwrap().remove(0).unwrap(), b"1");
        assert_eq!(space.retrieve_range("two", &keys[1], 0..9).unwrap(), b"2");
        let replaced = space.replace("one", &keys[0], b"other").unwrap();
        let rekeyed = space.rekey("long", &stored).unwrap();
        for (id, key) in [("long", &rekeyed), ("one", &replaced), ("two", &keys[1])] {
            assert_name(store.retrieve(id, key), "NotFound");
            assert_name(store.open_record(id, key), "NotFound");
            assert_name(store.delete(id, key), "NotFound");
            assert_name(store.take(id, key), "NotFound");
            assert!(!store.contains(id).unwrap() && !store.erase(id).unwrap());
        }
        assert!(space.take("long", &rekeyed).unwrap() == long);
        space.delete("one", &replaced).unwrap();
        assert!(space.erase("two").unwrap());
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

/// An attacker with write access moves a record to the place of another tenant's.
#[test]
fn a_moved_record_does_not_open() {
    let (store, storage) = memory_store();
    let (one, other) = (store.namespace("one").unwrap(), store.namespace("other").unwrap());
    let key = record_key(1);
    other.store_with("id", b"", WriteOptions::new().key(&key)).unwrap();
    let there = storage.list(None, 1).unwrap()[0];
    one.store_with("id", b"data", WriteOptions::new().key(&key)).unwrap();
    let here = *storage.list(None, 2).unwrap().iter().find(|entry| entry.locator != there.locator).unwrap();
    storage.delete(&there.locator, None).unwrap();
    storage.rename(&here.locator, &here.info.head, &there.locator).unwrap();
    assert_name(other.retrieve("id", &key), "WrongKey");
}

#[test]
fn a_handle_closes_the_whole_store() {
    each_store(|store| {
        let space = store.namespace("tenant").unwrap();
        space.close().unwrap();
        assert_name(store.contains("id"), "Closed");
        assert_name(store.namespace("other").unwrap().contains("id"), "Closed");
    });
}
