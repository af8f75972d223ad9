//! The rotation of the index key: each operation finds records under both keys, its beginning and its end, concurrent
//! handles, wrong keys.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use strongroom::storage::{Locator, MemoryStorage, SqliteStorage, Storage};
use strongroom::{Builder, Durability, Error, IndexKey, RecordKey, Strongroom, WriteOptions, repair};

use crate::support::hooked::{Shared, hooked};
use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, poll_within};
use crate::support::{hide_records, pattern, record_key};

const LONG: usize = 3_000_000;

fn key(number: u8) -> IndexKey {
    IndexKey::from_bytes(&[number; 32]).unwrap()
}

/// The arguments are checked before a store is made.
#[test]
fn one_key_in_both_places_makes_no_store() {
    each(|place| {
        assert_name(place.open(1, Some(1)), "InvalidArgument");
        place.open(2, None).unwrap();
    });
}

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

/// A storage that is opened with several keys.
struct Place(Box<dyn Fn() -> Builder>);

impl Place {
    /// With a clock of its own, so that no test waits.
    fn open(&self, current: u8, previous: Option<u8>) -> Result<Strongroom, Error> {
        let builder = (self.0)().clock(SystemTime::now).index_key(key(current));
        previous.map(key).into_iter().fold(builder, Builder::previous_index_key).open()
    }
}

fn each(test: impl Fn(&Place)) {
    #[cfg(feature = "object-store")]
    {
        use crate::support::fake_s3::{Server, start, url};
        let url = url(start(Server::Correct), "store");
        test(&Place(Box::new(move || Strongroom::builder().bucket(url.clone()))));
    }
    let storage = Arc::new(MemoryStorage::new());
    test(&Place(Box::new(move || Strongroom::builder().storage(storage.clone()))));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    test(&Place(Box::new(move || Strongroom::builder().path(&path))));
}

impl Place {
    /// A handle with both keys, which begins the rotation.
    fn rotate(&self, current: u8, previous: u8) -> Strongroom {
        let store = self.open(current, Some(previous)).unwrap();
        store.begin_rotation().unwrap();
        store
    }
}

fn remaining(store: &Strongroom) -> usize {
    store.rotation(usize::MAX).unwrap().unwrap().remaining.len()
}

#[test]
fn each_operation_finds_a_record_under_both_keys() {
    type Use = fn(&Strongroom, &RecordKey);
    let uses: [Use; 14] = [
        |store, key| assert!(store.retrieve("id", key).unwrap() == pattern(LONG)),
        |store, key| {
            let mut data = Vec::new();
            store.open_record("id", key).unwrap().read_to_end(&mut data).unwrap();
            assert!(data == pattern(LONG));
        },
        |store, key| assert_eq!(store.retrieve_range("id", key, 1..3).unwrap(), [1, 2]),
        |store, key| assert!(store.retrieve_many(&[("id", key)]).unwrap()[0].is_ok()),
        |store, _| assert!(store.contains("id").unwrap()),
        |store, _| assert_name(store.store("id", b""), "AlreadyExists"),
        |store, _| assert_name(store.store_reader("id", &pattern(LONG)[..]), "AlreadyExists"),
        |store, _| assert_name(store.store_many(&[("new", b""), ("id", b"")]), "AlreadyExists"),
        |store, key| drop(store.replace("id", key, b"other").unwrap()),
        |store, key| {
            let mut writer = store.replace_record("id", key).unwrap();
            writer.write_all(&pattern(LONG)).unwrap();
            writer.finish().unwrap();
        },
        |store, key| drop(store.rekey("id", key).unwrap()),
        |store, key| store.delete("id", key).unwrap(),
        |store, _| assert!(store.erase("id").unwrap()),
        |store, key| assert!(store.take("id", key).unwrap() == pattern(LONG)),
    ];
    for (n, operation) in uses.into_iter().enumerate() {
        let storage = Arc::new(MemoryStorage::new());
        let place = Place(Box::new(move || Strongroom::builder().storage(storage.clone())));
        let old = place.open(1, None).unwrap().namespace("tenant").unwrap();
        let record = old.store("id", pattern(LONG)).unwrap();
        let store = place.rotate(2, 1).namespace("tenant").unwrap();
        assert_eq!(remaining(&store), 1);
        operation(&store, &record);
        assert_eq!(remaining(&store), 0, "operation {n} moves the record");
        assert!(!store.contains("new").unwrap());
        store.finish_rotation().unwrap();
        assert_name(place.open(1, None), "IndexKeyMismatch");
    }
}

/// The move would tell by its time that there is a record, and let its caller write.
#[test]
fn a_wrong_record_key_moves_nothing() {
    type Use = fn(&Strongroom, &RecordKey) -> Result<(), Error>;
    let uses: [Use; 13] = [
        |store, key| store.retrieve("id", key).map(drop),
        |store, key| store.retrieve_into("id", key, &mut vec![0; LONG]).map(drop),
        |store, key| store.retrieve_range("id", key, 1..3).map(drop),
        |store, key| store.retrieve_many(&[("id", key)])?.remove(0).map(drop),
        |store, key| store.open_record("id", key).map(drop),
        |store, key| store.take("id", key).map(drop),
        |store, key| store.take_record("id", key).map(drop),
        |store, key| store.replace("id", key, b"other").map(drop),
        |store, key| store.replace_with("id", key, b"other", WriteOptions::new().key(&record_key(8))).map(drop),
        |store, key| store.replace_record("id", key).map(drop),
        |store, key| store.rekey("id", key).map(drop),
        |store, key| store.rekey_with("id", key, WriteOptions::new().key(&record_key(8))).map(drop),
        |store, key| store.delete("id", key),
    ];
    for len in [100, LONG] {
        let storage: Shared = Arc::new(MemoryStorage::new());
        let (writes, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = [Arc::clone(&reads), Arc::clone(&writes)];
        let counted = hooked(&storage, move |call, _| {
            counts[usize::from(!matches!(call, "get" | "info" | "read_at" | "list" | "renamed"))]
                .fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let place = Place(Box::new(move || Strongroom::builder().storage(counted.clone())));
        let right = place.open(1, None).unwrap().store("id", pattern(len)).unwrap();
        let store = place.rotate(2, 1);
        writes.store(0, Ordering::Relaxed);
        for (n, operation) in uses.into_iter().enumerate() {
            assert_name(operation(&store, &record_key(7)), "WrongKey");
            assert_eq!((writes.load(Ordering::Relaxed), remaining(&store)), (0, 1), "operation {n}");
        }
        // Nor does the number of reads tell.
        let reads_of = |id: &str| {
            let before = reads.load(Ordering::Relaxed);
            store.retrieve(id, &record_key(7)).unwrap_err();
            reads.load(Ordering::Relaxed) - before
        };
        let moved = store.store("moved", pattern(len)).unwrap();
        assert_eq!([reads_of("id"), reads_of("moved")], [reads_of("none"); 2]);
        store.delete("moved", &moved).unwrap();
        writes.store(0, Ordering::Relaxed);
        assert!(store.retrieve("id", &right).unwrap() == pattern(len));
        assert_eq!((writes.load(Ordering::Relaxed), remaining(&store)), (1, 0));
        assert_name(store.retrieve("id", &record_key(7)), "WrongKey");
    }
}

/// A repeated write proves only the key of the write that it repeats.
#[test]
fn a_write_is_repeated_during_a_rotation() {
    let storage = Arc::new(MemoryStorage::new());
    let place = Place(Box::new(move || Strongroom::builder().storage(storage.clone())));
    let old = place.open(1, None).unwrap();
    let (first, second, third) = (old.store("id", b"data").unwrap(), record_key(8), record_key(9));
    let with = |key| WriteOptions::new().key(key);
    old.replace_with("id", &first, b"data", with(&second)).unwrap();
    let store = place.rotate(2, 1);
    store.replace_with("id", &first, b"data", with(&second)).unwrap();
    store.rekey_with("id", &first, with(&second)).unwrap();
    let mut writer = store.replace_record_with("id", &first, with(&second)).unwrap();
    writer.write_all(b"data").unwrap();
    writer.finish().unwrap();
    store.rekey_with("id", &second, with(&third)).unwrap();
    assert_eq!((store.retrieve("id", &third).unwrap(), remaining(&store)), (b"data".to_vec(), 0));
}

/// A handle with the old key alone neither misses a record nor stores a second one for its id.
#[test]
fn a_handle_with_the_old_key_alone_notices_the_rotation() {
    each(|place| {
        let old = place.open(1, None).unwrap();
        let tenant = old.namespace("tenant").unwrap();
        let record = old.store("id", b"data").unwrap();
        let short = old.create_record("written").unwrap();
        let mut long = tenant.create_record("written").unwrap();
        long.write_all(&pattern(LONG)).unwrap();
        let new = place.rotate(2, 1);
        assert_name(short.finish(), "IndexKeyMismatch");
        assert_name(long.finish(), "IndexKeyMismatch");
        assert!(new.contains("id").unwrap(), "moves the record");
        for finished in [false, true] {
            assert_name(old.retrieve("id", &record), "IndexKeyMismatch");
            assert_name(old.contains("id"), "IndexKeyMismatch");
            assert_name(old.store("id", b"other"), "IndexKeyMismatch");
            assert_name(old.store_many(&[("id", b"other")]), "IndexKeyMismatch");
            assert_name(old.create_record("other"), "IndexKeyMismatch");
            assert_name(tenant.store("other", b"data"), "IndexKeyMismatch");
            if !finished {
                new.finish_rotation().unwrap();
            }
        }
        assert_eq!(new.retrieve("id", &record).unwrap(), b"data");
        assert_eq!(new.stats().unwrap().records, 1);
    });
}

/// With the system's clock, it notices after a moment. A handle with both keys opens only then.
#[test]
fn handles_with_both_keys_wait_until_others_have_noticed() {
    let storage = Arc::new(MemoryStorage::new());
    let open = |current, previous: Option<u8>| {
        let builder = Strongroom::builder().storage(storage.clone()).index_key(key(current));
        previous.map(key).into_iter().fold(builder, Builder::previous_index_key).open().unwrap()
    };
    let (old, both) = (open(1, None), open(2, Some(1)));
    let record = old.store("id", b"data").unwrap();
    let ended = AtomicBool::new(false);
    let opening = thread::scope(|scope| {
        let _ended = StopOnDrop(&ended);
        // Another handle with both keys works on, and has no error.
        let working = scope.spawn(|| {
            let mut stored = 0;
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(both.retrieve("id", &record).unwrap(), b"data");
                assert!(matches!(both.store("id", b"other"), Err(Error::AlreadyExists)));
                both.store(format!("{stored}"), b"data").unwrap();
                stored += 1;
            }
            stored
        });
        let opening = scope.spawn(|| {
            open(2, Some(1)).begin_rotation().unwrap();
            open(2, Some(1))
        });
        // Frequent use keeps the settings of the old handle as new as they get.
        while !opening.is_finished() {
            let _ = old.contains("id");
        }
        assert_name(old.retrieve("id", &record), "IndexKeyMismatch");
        ended.store(true, Ordering::Relaxed);
        let stored = working.join_within(DEADLINE);
        let opening = opening.join_within(DEADLINE);
        assert_eq!(opening.stats().unwrap().records, stored + 1);
        opening
    });
    assert_eq!(opening.retrieve("id", &record).unwrap(), b"data");
}

#[test]
fn a_rotation_begins_and_ends() {
    each(|place| {
        let store = place.open(1, None).unwrap();
        let keys: Vec<_> = (0..1100).map(|n| store.store(format!("{n}"), b"data").unwrap()).collect();
        assert!(store.rotation(5).unwrap().is_none());
        assert_name(store.finish_rotation(), "InvalidArgument");
        drop(store);
        assert_name(place.open(1, Some(1)), "InvalidArgument");
        assert_name(place.open(2, Some(3)), "IndexKeyMismatch");

        let store = place.rotate(2, 1);
        assert_eq!(store.rotation(7).unwrap().unwrap().remaining.len(), 7);
        assert_eq!((store.rotation(0).unwrap().unwrap().remaining.len(), remaining(&store)), (0, 1100));
        for (current, previous, name) in [
            (1, None, "InvalidArgument"),
            (2, None, "InvalidArgument"),
            (1, Some(2), "InvalidArgument"),
            (2, Some(3), "InvalidArgument"),
            (3, Some(1), "IndexKeyMismatch"),
            (3, Some(2), "IndexKeyMismatch"),
            (3, None, "IndexKeyMismatch"),
        ] {
            assert_name(place.open(current, previous), name);
        }
        let new = store.store("new", b"new").unwrap();
        assert_eq!(remaining(&store), 1100, "a new record is under the new key");
        for n in 0..1099 {
            assert!(store.contains(format!("{n}")).unwrap());
        }
        assert_name(store.finish_rotation(), "InvalidArgument");
        let other = place.open(2, Some(1)).unwrap();
        let unknown = store.rotation(usize::MAX).unwrap().unwrap().remaining;
        assert_eq!(unknown.len(), 1);
        assert!(store.erase_unrotated(&unknown[0]).unwrap() && !store.erase_unrotated(&unknown[0]).unwrap());
        store.finish_rotation().unwrap();
        other.finish_rotation().unwrap();
        assert_name(store.retrieve("1099", &keys[1099]), "NotFound");
        drop((store, other));

        assert_name(place.open(1, None), "IndexKeyMismatch");
        let store = place.open(2, Some(1)).unwrap();
        assert!(store.rotation(1).unwrap().is_none(), "the previous key has no effect any more");
        assert_name(store.erase_unrotated(&unknown[0]), "InvalidArgument");
        drop(store);
        let store = place.open(2, None).unwrap();
        assert_eq!(store.retrieve("new", &new).unwrap(), b"new");
        assert!((0..1099).all(|n| store.retrieve(format!("{n}"), &keys[n]).unwrap() == b"data"));
        assert_eq!(store.stats().unwrap().records, 1100);
    });
}

#[test]
fn a_closed_store_has_no_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let place = Place(Box::new(move || Strongroom::builder().path(&path)));
    for (current, previous) in [(1, None), (2, Some(1))] {
        let store = place.open(current, previous).unwrap();
        store.close().unwrap();
        assert_name(store.rotation(1), "Closed");
        assert_name(store.erase_unrotated(&Locator::from_bytes([1; 32])), "Closed");
        assert_name(store.finish_rotation(), "Closed");
    }
}

#[test]
fn only_records_of_the_previous_key_are_removed_by_locator() {
    let storage = Arc::new(MemoryStorage::new());
    let clone = storage.clone();
    let place = Place(Box::new(move || Strongroom::builder().storage(clone.clone())));
    let store = place.open(2, None).unwrap();
    store.store("id", b"data").unwrap();
    let locator = storage.list(None, 1).unwrap()[0].locator;
    assert_name(store.erase_unrotated(&locator), "InvalidArgument");
    let store = place.rotate(3, 2);
    let new = store.store("new", b"data").unwrap();
    let newest = storage.list(None, 2).unwrap()[1].locator;
    assert_name(store.erase_unrotated(&newest), "InvalidArgument");
    assert_eq!(store.retrieve("new", &new).unwrap(), b"data");
}

#[test]
fn generations_wrap_around() {
    let storage = Arc::new(MemoryStorage::new());
    let record = record_key(9);
    let index_key = |n: u32| IndexKey::from_bytes(&[&[7; 28][..], &n.to_le_bytes()].concat()).unwrap();
    let open = |n: u32| Strongroom::builder().storage(storage.clone()).clock(SystemTime::now).index_key(index_key(n));
    let options = WriteOptions::new().key(&record);
    open(0).open().unwrap().store_with("id", b"data", options).unwrap();
    for n in 1..600_u32 {
        let store = open(n).previous_index_key(index_key(n - 1)).open().unwrap();
        store.begin_rotation().unwrap();
        assert!(store.contains("id").unwrap());
        store.finish_rotation().unwrap();
        let generation = storage.list(None, 1).unwrap()[0].locator.as_bytes()[0];
        assert_eq!(u32::from(generation), n % 255 + 1);
    }
    assert_eq!(open(599).open().unwrap().retrieve("id", &record).unwrap(), b"data");
}

/// A read-only store cannot move records, but finds them.
#[test]
fn a_read_only_handle_reads_during_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let builder = || Strongroom::builder().path(&path);
    let first = builder().index_key(key(1)).open().unwrap();
    let old = first.store("id", b"data").unwrap();
    let long = first.store("long", pattern(LONG)).unwrap();
    drop(first);
    let read_only = || builder().clock(SystemTime::now).index_key(key(2)).previous_index_key(key(1)).read_only().open();
    let early = read_only().unwrap();
    assert_name(early.begin_rotation(), "Unsupported");
    let store = builder().clock(SystemTime::now).index_key(key(2)).previous_index_key(key(1)).open().unwrap();
    store.begin_rotation().unwrap();
    assert_eq!(early.retrieve("id", &old).unwrap(), b"data");
    let new = store.store("new", b"new").unwrap();
    let reader = read_only().unwrap();
    assert_eq!(reader.retrieve("id", &old).unwrap(), b"data");
    assert_eq!(reader.retrieve("new", &new).unwrap(), b"new");
    assert_eq!(remaining(&store), 2);
    // A record that is being read moves.
    let mut open = reader.open_record("long", &long).unwrap();
    open.read_exact(&mut [0; 10]).unwrap();
    assert!(store.contains("long").unwrap());
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert!(rest == pattern(LONG)[10..]);
    assert_eq!(remaining(&store), 1);
}

/// Damage hides which records remain under the previous key. Under the current key, it does not matter.
#[test]
fn damage_under_the_previous_key_prevents_the_end() {
    for damages_old in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let at = path.clone();
        let place = Place(Box::new(move || Strongroom::builder().path(&at)));
        let before = place.open(1, None).unwrap();
        let ids = ["a", "b", "c"];
        ids.iter().for_each(|id| drop(before.store(id, b"data").unwrap()));
        drop(before);
        let store = place.rotate(2, 1);
        ["d", "e"].iter().for_each(|id| drop(store.store(id, b"data").unwrap()));
        let order = if damages_old { "" } else { "DESC" };
        let sql = format!(
            "UPDATE record SET head = zeroblob(60) WHERE id = (SELECT id FROM record ORDER BY prefix {order} LIMIT 1)"
        );
        assert_eq!(rusqlite::Connection::open(&path).unwrap().execute(&sql, ()).unwrap(), 1);
        if damages_old {
            assert_name(store.rotation(10), "Corrupt");
            assert_name(store.finish_rotation(), "Corrupt");
        } else {
            assert_eq!(remaining(&store), 3);
            assert!(ids.iter().all(|id| store.contains(id).unwrap()));
            store.finish_rotation().unwrap();
        }
    }
}

/// Records that a damaged index passes over may be under the previous key.
#[test]
fn records_that_damage_hides_prevent_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let at = path.clone();
    let place = Place(Box::new(move || Strongroom::builder().path(&at)));
    let before = place.open(1, None).unwrap();
    let ids = ["a", "b", "c", "d", "e", "f"];
    ids.iter().for_each(|id| drop(before.store(id, b"data").unwrap()));
    before.close().unwrap();
    std::fs::copy(&path, folder.path().join("backup.db")).unwrap();
    hide_records(&path, 6, 2);

    let store = place.rotate(2, 1);
    assert_eq!(ids.iter().filter(|id| store.contains(id).unwrap()).count(), 2);
    assert_name(store.finish_rotation(), "Corrupt");
    store.close().unwrap();

    let open = |name| -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open(folder.path().join(name), Durability::Full).unwrap())
    };
    let (storage, backup) = (open("records.db"), open("backup.db"));
    let _ = repair(&storage, &*backup).unwrap();
    storage.close().unwrap();
    let store = place.open(2, Some(1)).unwrap();
    assert_eq!(remaining(&store), 4, "the previous key is still in use");
    assert!(ids.iter().all(|id| store.contains(id).unwrap()));
    store.finish_rotation().unwrap();
}

/// The outcome, once no other handle has the database's lock for too long.
fn patiently<T>(operation: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let outcome = poll_within(DEADLINE, || match operation() {
        Err(Error::Busy) => None,
        outcome => Some(outcome),
    });
    outcome.unwrap()
}

/// Writers of all kinds work on the same ids while others rotate, each with its own handle. No id has two records, and
/// each key that was acknowledged last opens its record.
#[test]
fn writers_work_during_a_rotation() {
    const WRITERS: usize = 8;
    each(|place| {
        let ids = rounds(400, 10_000);
        let before = place.open(1, None).unwrap();
        let mut keys = BTreeMap::new();
        for n in 0..ids {
            keys.insert(n, before.store(format!("{n}"), b"old").unwrap());
        }
        drop(before);
        // Half of them notice the beginning, half are opened after it.
        let mut handles: Vec<_> = (0..WRITERS / 2).map(|_| place.open(2, Some(1)).unwrap()).collect();
        handles.push(place.rotate(2, 1));
        handles.resize_with(WRITERS + 1, || place.open(2, Some(1)).unwrap());
        let ended = AtomicBool::new(false);
        let mut own: Vec<Vec<_>> = (0..WRITERS).map(|_| Vec::new()).collect();
        for (n, key) in keys {
            own[n % WRITERS].push((format!("{n}"), key));
        }
        let own: Vec<Vec<(String, RecordKey)>> = thread::scope(|scope| {
            let (ended, handles) = (&ended, &handles);
            let writer = |(store, own): (&Strongroom, Vec<(String, RecordKey)>)| {
                let mut kept = Vec::new();
                for (n, (id, key)) in own.into_iter().enumerate() {
                    let key = match n % 5 {
                        0 => patiently(|| store.replace(&id, &key, b"old")).unwrap(),
                        1 => patiently(|| store.rekey(&id, &key)).unwrap(),
                        2 => {
                            assert_eq!(patiently(|| store.take(&id, &key)).unwrap(), b"old");
                            patiently(|| store.store(&id, b"old")).unwrap()
                        }
                        3 => {
                            assert_name(patiently(|| store.store(&id, b"other")), "AlreadyExists");
                            key
                        }
                        _ => key,
                    };
                    assert_eq!(patiently(|| store.retrieve(&id, &key)).unwrap(), b"old");
                    kept.push((id, key));
                }
                kept
            };
            let rotation = scope.spawn(move || {
                let store = &handles[WRITERS];
                while !ended.load(Ordering::Relaxed) || remaining(store) > 0 {
                    (0..ids).for_each(|n| _ = patiently(|| store.contains(format!("{n}"))).unwrap());
                }
                patiently(|| store.finish_rotation()).unwrap();
            });
            let writers: Vec<_> = handles.iter().zip(own).map(|pair| scope.spawn(move || writer(pair))).collect();
            let own = writers.into_iter().map(|writer| writer.join_within(DEADLINE)).collect();
            ended.store(true, Ordering::Relaxed);
            rotation.join_within(DEADLINE);
            own
        });
        drop(handles);
        let store = place.open(2, None).unwrap();
        assert_eq!(store.stats().unwrap().records, ids as u64);
        assert_eq!(own.iter().map(Vec::len).sum::<usize>(), ids);
        for (id, key) in own.iter().flatten() {
            assert_eq!(store.retrieve(id, key).unwrap(), b"old");
        }
    });
}
