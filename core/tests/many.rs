//! Many records at once: the length of what is read before a key is proved, and one moment for all outcomes.

use std::sync::Arc;

use strongroom::storage::MemoryStorage;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use crate::support::intercept::Intercepted;
use crate::support::{each_store_with_transactions, open_over, pattern, record_key};

const MIB: usize = 1 << 20;

fn put(store: &Strongroom, id: &str, key: &RecordKey, len: usize) {
    store.store_with(id, pattern(len), WriteOptions::new().key(key)).unwrap();
}

#[test]
fn a_wrong_key_among_many_reads_no_long_record() {
    let (right, wrong) = (record_key(1), record_key(2));
    let inner = Arc::new(MemoryStorage::new());
    let store = open_over(Arc::clone(&inner));
    for (id, len) in [("long", 20 * MIB), ("longer", 30 * MIB), ("short", 100)] {
        put(&store, id, &right, len);
    }
    let storage = Arc::new(Intercepted::hostile(inner));
    let store = open_over(Arc::clone(&storage));
    let none = store.retrieve_many(&[("long", &wrong), ("longer", &wrong), ("none", &right)]).unwrap();
    assert!(matches!(none[..], [Err(Error::WrongKey), Err(Error::WrongKey), Err(Error::NotFound)]));
    assert_eq!(storage.bytes_read(), 0);
    let found = store.retrieve_many(&[("longer", &wrong), ("long", &right), ("short", &right)]).unwrap();
    assert!(
        matches!(&found[..], [Err(Error::WrongKey), Ok(long), Ok(short)] if long.len() == 20 * MIB && short.len() == 100)
    );
    assert!(storage.bytes_read() < 21 * MIB);
}

#[test]
fn long_records_keep_their_order_and_outcomes() {
    each_store_with_transactions(|store| {
        let (key, wrong) = (record_key(1), record_key(2));
        for n in 0..6 {
            put(store, &format!("id {n}"), &key, n * MIB + 100);
        }
        let wanted = [("id 5", &key), ("none", &key), ("id 0", &key), ("id 4", &wrong), ("id 5", &key), ("id 3", &key)];
        let outcomes = store.retrieve_many(&wanted).unwrap();
        for (outcome, expected) in outcomes.iter().zip([Some(5), None, Some(0), None, Some(5), Some(3)]) {
            assert!(outcome.as_ref().ok() == expected.map(|n| pattern(n * MIB + 100)).as_ref(), "{expected:?}");
        }
        assert!(matches!(outcomes[1], Err(Error::NotFound)) && matches!(outcomes[3], Err(Error::WrongKey)));
        store.close().unwrap();
        assert!(matches!(store.retrieve_many(&wanted), Err(Error::Closed)));
    });
}

/// Before, there is `first`, and then only `second`; at no time is there neither.
#[test]
fn long_records_are_those_of_one_moment() {
    let key = record_key(1);
    let inner = Arc::new(MemoryStorage::new());
    let store = open_over(Arc::clone(&inner));
    put(&store, "first", &key, 5 * MIB);
    let event = move || {
        put(&store, "second", &record_key(1), 5 * MIB);
        store.erase("first").unwrap();
    };
    let store = open_over(Arc::new(Intercepted::before_get_many(inner, 1, event)));
    let found = store.retrieve_many(&[("first", &key), ("second", &key)]).unwrap();
    assert!(matches!(&found[..], [Err(Error::NotFound), Ok(_)]));
}

/// As much as a service returns at once.
#[test]
fn more_than_a_storage_returns_at_once_is_read_one_by_one() {
    let key = record_key(1);
    let store = open_over(Arc::new(Intercepted::with_batches(Arc::new(MemoryStorage::new()), 6 << 20)));
    let ids = ["a", "b", "c"];
    ids.iter().for_each(|id| put(&store, id, &key, 3 * MIB));
    let found = store.retrieve_many(&ids.map(|id| (id, &key))).unwrap();
    assert!(found.iter().all(|outcome| outcome.as_ref().is_ok_and(|data| *data == pattern(3 * MIB))));
}

#[test]
fn a_storage_that_loses_outcomes_gives_none() {
    let storage = Arc::new(Intercepted::losing_outcomes(Arc::new(MemoryStorage::new())));
    let store = open_over(storage);
    let key = store.store("a", b"data").unwrap();
    assert!(matches!(store.retrieve_many(&[("a", &key), ("b", &key)]), Err(Error::Storage(_))));
}
