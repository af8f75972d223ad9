//! Each operation of a store, in memory and in SQLite.

use crate::support;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::support::wait::{DEADLINE, Join};
use crate::support::{SIZES, each_store, each_store_with_transactions, memory_store, open_over, pattern, record_key};
use strongroom::storage::{Head, PutMode, Storage};
use strongroom::{Error, RecordKey, Stats, Strongroom, WriteOptions};

/// The error of `outcome`.
#[track_caller]
fn error<T>(outcome: Result<T, Error>) -> Error {
    outcome.err().unwrap()
}

#[test]
fn every_size_comes_back() {
    each_store(|store| {
        for size in SIZES.into_iter().chain([1 << 20, (1 << 20) + 1, 3_000_000]) {
            let (id, data) = (format!("{size} bytes"), pattern(size));
            let key = store.store(&id, &data).unwrap();
            assert!(store.retrieve(&id, &key).unwrap() == data, "{size} bytes");
        }
    });
}

#[test]
fn data_is_retrieved_into_a_buffer_that_holds_it() {
    each_store(|store| {
        for size in SIZES {
            let (id, data) = (format!("{size} bytes"), pattern(size));
            let key = store.store(&id, &data).unwrap();
            let mut buffer = vec![0xee; size + 3];
            assert_eq!(store.retrieve_into(&id, &key, &mut buffer).unwrap(), size);
            assert!(buffer[..size] == data && buffer[size..] == [0xee; 3], "{size} bytes");
            assert_eq!(store.retrieve_into(&id, &key, &mut buffer[..size]).unwrap(), size);

            let mut short = vec![0xee; size.saturating_sub(1)];
            let outcome = store.retrieve_into(&id, &key, &mut short);
            assert!(size == 0 || matches!(outcome, Err(Error::TooLarge)), "{size} bytes");
            assert!(short.iter().all(|byte| *byte == 0xee));
            let outcome = store.retrieve_into(&id, &record_key(9), &mut short);
            assert!(matches!(outcome, Err(Error::WrongKey)), "{size} bytes");
        }
        assert!(matches!(store.retrieve_into("none", &record_key(9), &mut []), Err(Error::NotFound)));
    });
}

#[test]
fn sixty_four_mebibytes_come_back() {
    each_store(|store| {
        let data = pattern(64 << 20);
        let key = store.store("large", &data).unwrap();
        assert!(store.retrieve("large", &key).unwrap() == data);
        let key = store.replace("large", &key, b"small").unwrap();
        assert_eq!(store.retrieve("large", &key).unwrap(), b"small");
    });
}

#[test]
fn any_bytes_are_an_id() {
    each_store(|store| {
        let ids: [&[u8]; 8] = [
            b"a",
            &[b'x'; 4096],
            b"\xff\xfe not UTF-8 \x80",
            b"\0",
            b"nul \0 inside",
            b"nul \0 insidf",
            "caf\u{e9}".as_bytes(),
            "cafe\u{301}".as_bytes(),
        ];
        let keys: Vec<_> = ids.iter().map(|id| store.store(id, id).unwrap()).collect();
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(store.retrieve(id, key).unwrap(), *id);
        }
        assert_eq!(store.stats().unwrap().records, 8);
    });
}

#[test]
fn empty_and_oversized_ids_are_refused_everywhere() {
    each_store(|store| {
        let key = record_key(1);
        for id in [vec![], vec![b'x'; 4097], vec![0; 1 << 20]] {
            assert!(matches!(error(store.store(&id, "data")), Error::InvalidId));
            assert!(matches!(error(store.store_with(&id, "data", WriteOptions::new().key(&key))), Error::InvalidId));
            assert!(matches!(error(store.retrieve(&id, &key)), Error::InvalidId));
            assert!(matches!(error(store.replace(&id, &key, "data")), Error::InvalidId));
            assert!(matches!(error(store.delete(&id, &key)), Error::InvalidId));
            assert!(matches!(error(store.erase(&id)), Error::InvalidId));
            assert!(matches!(error(store.contains(&id)), Error::InvalidId));
            assert!(matches!(error(store.store_many(&[("ok".into(), ""), (id.clone(), "")])), Error::InvalidId));
            assert!(matches!(error(store.retrieve_many(&[(&id, &key)])), Error::InvalidId));
        }
        assert_eq!(store.stats().unwrap(), Stats::default());
    });
}

#[test]
fn a_taken_id_is_refused() {
    each_store(|store| {
        let key = store.store("id", "first").unwrap();
        assert!(matches!(error(store.store("id", "second")), Error::AlreadyExists));
        assert_eq!(store.retrieve("id", &key).unwrap(), b"first");
    });
}

#[test]
fn a_missing_record_is_not_found() {
    each_store(|store| {
        let key = store.store("id", "data").unwrap();
        assert!(matches!(error(store.retrieve("other", &key)), Error::NotFound));
        assert!(matches!(error(store.replace("other", &key, "data")), Error::NotFound));
        assert!(matches!(error(store.delete("other", &key)), Error::NotFound));
        assert!(!store.erase("other").unwrap());
        assert!(!store.contains("other").unwrap());
    });
}

#[test]
fn a_wrong_key_is_an_error() {
    each_store(|store| {
        let key = store.store("id", "data").unwrap();
        let other = store.store("other", "data").unwrap();
        for wrong in [&other, &RecordKey::generate().unwrap()] {
            assert!(matches!(error(store.retrieve("id", wrong)), Error::WrongKey));
            assert!(matches!(error(store.replace("id", wrong, "evil")), Error::WrongKey));
            assert!(matches!(error(store.delete("id", wrong)), Error::WrongKey));
        }
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    });
}

/// The storage exchanges the records of two ids: right keys, wrong ids.
#[test]
fn a_record_under_another_id_does_not_open() {
    let (store, storage) = memory_store();
    let key = store.store("id", "data").unwrap();
    let there = storage.list(None, 1).unwrap()[0].locator;
    let record = storage.get(&there).unwrap().unwrap();
    store.store("other", "other data").unwrap();
    let other = storage.list(None, 2).unwrap().into_iter().map(|entry| entry.locator).find(|l| *l != there).unwrap();
    storage.put(&other, &record, PutMode::Overwrite).unwrap();
    assert!(matches!(error(store.retrieve("other", &key)), Error::WrongKey));
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
}

#[test]
fn a_repeated_store_under_a_callers_key_succeeds() {
    each_store(|store| {
        let key = RecordKey::generate().unwrap();
        for _ in 0..3 {
            store.store_with("id", "data", WriteOptions::new().key(&key)).unwrap();
        }
        assert!(matches!(
            error(store.store_with("id", "other data", WriteOptions::new().key(&key))),
            Error::AlreadyExists
        ));
        assert!(matches!(
            error(store.store_with("id", "data", WriteOptions::new().key(&record_key(2)))),
            Error::AlreadyExists
        ));
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

#[test]
fn replacing_makes_a_new_key_and_invalidates_the_old() {
    each_store(|store| {
        let first = store.store("id", pattern(3_000_000)).unwrap();
        let second = store.replace("id", &first, "second").unwrap();
        assert!(!first.ct_eq(&second));
        assert!(matches!(error(store.retrieve("id", &first)), Error::WrongKey));
        assert!(matches!(error(store.replace("id", &first, "third")), Error::WrongKey));
        assert_eq!(store.retrieve("id", &second).unwrap(), b"second");
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

#[test]
fn a_repeated_replace_under_a_callers_key_succeeds() {
    each_store(|store| {
        let (old, new) = (store.store("id", "first").unwrap(), RecordKey::generate().unwrap());
        assert!(matches!(
            error(store.replace_with("id", &old, "second", WriteOptions::new().key(&old))),
            Error::InvalidArgument(_)
        ));
        for _ in 0..3 {
            store.replace_with("id", &old, "second", WriteOptions::new().key(&new)).unwrap();
        }
        assert_eq!(store.retrieve("id", &new).unwrap(), b"second");
        assert!(matches!(
            error(store.replace_with("id", &old, "third", WriteOptions::new().key(&new))),
            Error::WrongKey
        ));
        assert!(matches!(
            error(store.replace_with("id", &old, "second", WriteOptions::new().key(&record_key(1)))),
            Error::WrongKey
        ));
        assert!(matches!(
            error(store.replace_with("other", &old, "second", WriteOptions::new().key(&new))),
            Error::NotFound
        ));
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

/// If the storage restores an older version, the newer key does not open it.
#[test]
fn an_older_version_does_not_open_under_the_newer_key() {
    let (store, storage) = memory_store();
    let first = store.store("id", "first").unwrap();
    let locator = storage.list(None, 1).unwrap()[0].locator;
    let old_record = storage.get(&locator).unwrap().unwrap();
    let second = store.replace("id", &first, "second").unwrap();
    storage.put(&locator, &old_record, PutMode::Overwrite).unwrap();
    assert!(matches!(error(store.retrieve("id", &second)), Error::WrongKey));
}

#[test]
fn deleting_needs_the_key_and_erasing_does_not() {
    each_store(|store| {
        let key = store.store("id", pattern(3_000_000)).unwrap();
        assert!(store.contains("id").unwrap());
        store.delete("id", &key).unwrap();
        assert!(!store.contains("id").unwrap());
        assert!(matches!(error(store.retrieve("id", &key)), Error::NotFound));

        store.store("id", "data").unwrap();
        assert!(store.erase("id").unwrap());
        assert!(!store.erase("id").unwrap());
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

#[test]
fn many_at_once() {
    each_store_with_transactions(|store| {
        let items: Vec<_> = (0..200).map(|n| (format!("id {n}"), pattern(n * 500))).collect();
        let keys = store.store_many(&items).unwrap();
        for ((id, data), key) in items.iter().zip(&keys) {
            assert!(store.retrieve(id, key).unwrap() == *data);
        }
        let wanted = [("id 7", &keys[7]), ("id 3", &keys[4]), ("none", &keys[0]), ("id 7", &keys[7])];
        let outcomes = store.retrieve_many(&wanted).unwrap();
        assert_eq!(outcomes[0].as_ref().unwrap(), &pattern(3500));
        assert!(matches!(outcomes[1], Err(Error::WrongKey)));
        assert!(matches!(outcomes[2], Err(Error::NotFound)));
        assert_eq!(outcomes[3].as_ref().unwrap(), &pattern(3500));

        let taken = [("new", "data"), ("id 5", "data")];
        assert!(matches!(error(store.store_many(&taken)), Error::AlreadyExists));
        let twice = [("new", "data"), ("new", "data")];
        assert!(matches!(error(store.store_many(&twice)), Error::AlreadyExists));
        assert!(!store.contains("new").unwrap());
        assert!(store.store_many::<&str, &str>(&[]).unwrap().is_empty());
    });
}

#[test]
fn stats_count_ciphertext() {
    each_store(|store| {
        store.store("a", pattern(100)).unwrap();
        store.store("b", pattern(16_384)).unwrap();
        // Header, salt and commitment, and a tag for each chunk.
        let bytes = (12 + 56 + 100 + 16) + (12 + 56 + 16_384 + 32);
        assert_eq!(store.stats().unwrap(), Stats::new(2, bytes, 0));
    });
}

#[test]
fn a_closed_store_does_nothing() {
    each_store(|store| {
        let key = store.store("id", "data").unwrap();
        store.close().unwrap();
        store.close().unwrap();
        assert!(matches!(error(store.store("id", "data")), Error::Closed));
        assert!(matches!(error(store.retrieve("id", &key)), Error::Closed));
        assert!(matches!(error(store.replace("id", &key, "data")), Error::Closed));
        assert!(matches!(error(store.erase("id")), Error::Closed));
        assert!(matches!(error(store.stats()), Error::Closed));
    });
}

/// Eight threads replace one record with the same old key: one succeeds, the others fail, and the record is that of the
/// successful one.
#[test]
fn of_racing_replaces_one_wins() {
    each_store(|store| {
        let mut key = store.store("id", "start").unwrap();
        for round in 0..20 {
            let start = Barrier::new(8);
            let outcomes: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|n| {
                        let (start, key) = (&start, &key);
                        scope.spawn(move || {
                            let data = format!("round {round}, thread {n}");
                            start.wait();
                            (store.replace("id", key, &data), data)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join_within(DEADLINE)).collect()
            });
            let (mut won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(outcome, _)| outcome.is_ok());
            assert_eq!(won.len(), 1);
            for (outcome, _) in lost {
                assert!(matches!(error(outcome), Error::Conflict | Error::WrongKey));
            }
            let (new_key, data) = won.remove(0);
            key = new_key.unwrap();
            assert_eq!(store.retrieve("id", &key).unwrap(), data.as_bytes());
        }
    });
}

/// The record is replaced between the check of the old key and the write: `Conflict`, and the other write remains.
#[test]
fn the_loser_of_a_replace_race_gets_conflict() {
    use std::sync::Mutex;
    use support::intercept::Intercepted;

    let inner = Arc::new(strongroom::storage::MemoryStorage::new());
    let other = open_over(Arc::clone(&inner));
    let key = other.store("id", "first").unwrap();

    let key_of_other = Arc::new(Mutex::new(None));
    let meanwhile = {
        let (key_of_other, old) = (Arc::clone(&key_of_other), RecordKey::from_bytes(key.expose_bytes()).unwrap());
        move || *key_of_other.lock().unwrap() = Some(other.replace("id", &old, "theirs").unwrap())
    };
    let slow = open_over(Arc::new(Intercepted::before_put(inner, meanwhile)));
    assert!(matches!(error(slow.replace("id", &key, "ours")), Error::Conflict));
    let theirs = key_of_other.lock().unwrap().take().unwrap();
    assert_eq!(slow.retrieve("id", &theirs).unwrap(), b"theirs");
}

/// The call is repeated while the first one still waits to write.
#[test]
fn a_concurrent_repeat_of_a_replace_succeeds() {
    use support::intercept::Intercepted;

    for (again, succeeds) in [("another", false), ("new", true)] {
        let inner = Arc::new(strongroom::storage::MemoryStorage::new());
        let first = open_over(Arc::clone(&inner));
        let (old, new) = (first.store("id", "old").unwrap(), record_key(1));
        let meanwhile = {
            let old = RecordKey::from_bytes(old.expose_bytes()).unwrap();
            move || first.replace_with("id", &old, "new", WriteOptions::new().key(&record_key(1))).map(drop).unwrap()
        };
        let second = open_over(Arc::new(Intercepted::before_put(inner, meanwhile)));
        match second.replace_with("id", &old, again, WriteOptions::new().key(&new)) {
            Ok(_) => assert!(succeeds),
            Err(failure) => assert!(!succeeds && matches!(failure, Error::Conflict), "{failure:?}"),
        }
        assert_eq!(second.retrieve("id", &new).unwrap(), b"new");
    }
}

/// Two stores with the same index key and storage are one store.
#[test]
fn a_record_can_be_copied_to_another_storage_without_any_key() {
    let (store, storage) = memory_store();
    let key = store.store("id", pattern(2_000_000)).unwrap();
    let copy = Arc::new(strongroom::storage::MemoryStorage::new());
    copy.swap_settings(None, &storage.settings().unwrap().unwrap()).unwrap();
    for entry in storage.list(None, 10).unwrap() {
        let record = storage.get(&entry.locator).unwrap().unwrap();
        assert!(Head::of(&record).is_some());
        copy.put(&entry.locator, &record, PutMode::Create).unwrap();
    }
    assert!(open_over(copy).retrieve("id", &key).unwrap() == pattern(2_000_000));
}

#[test]
fn handles_are_shared_between_threads() {
    fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<Strongroom>();
    assert_send_sync::<RecordKey>();
    assert_send_sync::<Error>();
    each_store(|store| {
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..50 {
                        let id = format!("{thread} {n}");
                        let key = store.store(&id, &id).unwrap();
                        assert_eq!(store.retrieve(&id, &key).unwrap(), id.as_bytes());
                    }
                });
            }
        });
        assert_eq!(store.stats().unwrap().records, 200);
    });
}

#[test]
fn a_full_message_names_the_causes() {
    assert_eq!(Error::NotFound.full_message(), "there is no record under this id");
    let error = Error::Storage(Box::new(std::io::Error::other("the disk is gone")));
    assert_eq!(error.full_message(), "input or output failed: the disk is gone");
    let error = Strongroom::open("/no/such/\u{1b}[2Jfolder\n/records.db").unwrap_err().full_message();
    assert!(error.contains(r"/no/such/\u{1b}[2Jfolder\n"), "{error}");
    let error = Strongroom::open("/no/such/folder/records.db").unwrap_err().full_message();
    let (first, rest) = error.split_once(": ").unwrap();
    assert!(first == "input or output failed" && rest.contains("/no/such/folder"), "{error}");
}
