//! The same data under a new key: each length, expiry, what changes nothing, repeated and concurrent calls.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use strongroom::storage::{Head, PutMode, Storage};
use strongroom::{Error, RecordKey, WriteOptions};

use crate::support::intercept::Intercepted;
use crate::support::{SIZES, each_store, memory_store, open_over, pattern, record_key};

const LONG: usize = 3_000_000;

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

#[test]
fn the_data_opens_under_the_new_key_alone() {
    each_store(|store| {
        for size in SIZES.into_iter().chain([262_144, 300_000, LONG]) {
            let old = store.store("id", pattern(size)).unwrap();
            assert_name(store.rekey("id", &record_key(1)), "WrongKey");
            assert_name(store.rekey("other", &old), "NotFound");
            assert_name(store.rekey("", &old), "InvalidId");
            let new = store.rekey("id", &old).unwrap();
            assert_name(store.retrieve("id", &old), "WrongKey");
            assert!(store.retrieve("id", &new).unwrap() == pattern(size), "{size} bytes");
            assert_name(store.rekey("id", &old), "WrongKey");
            let third = store.rekey_with("id", &new, WriteOptions::new().key(&record_key(3))).unwrap();
            assert!(third.ct_eq(&record_key(3)) && store.retrieve("id", &third).unwrap() == pattern(size));
            assert_eq!(store.stats().unwrap().records, 1);
            store.delete("id", &third).unwrap();
        }
    });
}

#[test]
fn the_expiry_remains_unless_there_is_another() {
    let (store, storage) = memory_store();
    let far = |years: u64| UNIX_EPOCH + Duration::from_secs(years * 366 * 24 * 3600);
    let expires_at = || storage.list(None, 1).unwrap()[0].info.head.expires_at().map(|time| time / (366 * 24 * 3600));
    let old = store.store_with("id", pattern(LONG), WriteOptions::new().expires_at(far(100))).unwrap();
    let new = store.rekey("id", &old).unwrap();
    assert_eq!(expires_at(), Some(100));
    let new = store.rekey_with("id", &new, WriteOptions::new().expires_at(far(200))).unwrap();
    assert_eq!(expires_at(), Some(200));
    assert_name(store.rekey_with("id", &new, WriteOptions::new().expires_at(far(1))), "InvalidArgument");
    assert!(store.retrieve("id", &new).unwrap() == pattern(LONG));
}

/// With the caller's key, a call may be repeated.
#[test]
fn a_repeated_call_succeeds_under_the_same_key() {
    each_store(|store| {
        for size in [0, 100, LONG] {
            let (old, new) = (store.store("id", pattern(size)).unwrap(), record_key(2));
            for _ in 0..3 {
                store.rekey_with("id", &old, WriteOptions::new().key(&new)).unwrap();
                assert!(store.retrieve("id", &new).unwrap() == pattern(size));
            }
            assert_name(store.rekey_with("id", &old, WriteOptions::new().key(&record_key(3))), "WrongKey");
            assert_name(store.rekey_with("id", &old, WriteOptions::new().key(&old)), "InvalidArgument");
            store.delete("id", &new).unwrap();
        }
    });
}

#[test]
fn a_concurrent_change_wins() {
    type Change = fn(&strongroom::Strongroom, &RecordKey);
    let changes: [Change; 3] = [
        |store, old| drop(store.replace_with("id", old, b"changed", WriteOptions::new().key(&record_key(8))).unwrap()),
        |store, old| store.delete("id", old).unwrap(),
        |store, old| drop(store.rekey_with("id", old, WriteOptions::new().key(&record_key(9))).unwrap()),
    ];
    for change in changes {
        let (direct, storage) = memory_store();
        let old = direct.store("id", b"data").unwrap();
        let (other, key) = (open_over(Arc::clone(&storage)), RecordKey::from_bytes(old.expose_bytes()).unwrap());
        let event = move || change(&other, &key);
        let store = open_over(Arc::new(Intercepted::before_put(storage.clone(), event)));
        let outcome = store.rekey_with("id", &old, WriteOptions::new().key(&record_key(9)));
        match storage.list(None, 2).unwrap().len() {
            1 if direct.retrieve("id", &record_key(9)).is_ok() => assert_name(outcome, "a success"),
            1 => {
                assert_name(outcome, "Conflict");
                assert_eq!(direct.retrieve("id", &record_key(8)).unwrap(), b"changed");
            }
            _ => assert_name(outcome, "Conflict"),
        }
    }
}

#[test]
fn a_failure_changes_nothing() {
    for size in [100, LONG] {
        // Damage is found on the way.
        let (store, storage) = memory_store();
        let key = store.store("id", pattern(size)).unwrap();
        let entry = storage.list(None, 1).unwrap().remove(0);
        let mut record = storage.get(&entry.locator).unwrap().unwrap();
        record[90] ^= 1;
        storage.put(&entry.locator, &record, PutMode::Overwrite).unwrap();
        assert_name(store.rekey("id", &key), "Corrupt");
        assert_eq!(storage.get(&entry.locator).unwrap().unwrap(), record);
    }
    for n in 1..20 {
        // The new version cannot be written.
        let (direct, storage) = memory_store();
        let key = direct.store("id", pattern(LONG)).unwrap();
        let head = storage.list(None, 1).unwrap()[0].info.head;
        let failing = open_over(Arc::new(Intercepted::failing_upload(storage.clone(), n)));
        let outcome = failing.rekey("id", &key);
        let now = storage.list(None, 2).unwrap();
        assert_eq!((now.len(), now[0].info.head == head), (1, outcome.is_err()));
        assert!(n > 2 || outcome.is_err());
        let key = outcome.unwrap_or(key);
        assert!(direct.retrieve("id", &key).unwrap() == pattern(LONG));
        assert_eq!(Head::of(&storage.get(&now[0].locator).unwrap().unwrap()), Some(now[0].info.head));
    }
}
