//! Records that expire, under a clock that the tests set: each read, each write at an expired id, purging, bad times.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use strongroom::storage::{Error as StorageError, MemoryStorage, SqliteStorage, Storage};
use strongroom::{Durability, Error, RecordKey, RecordWriter, Strongroom, WriteOptions};

use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, Join, StopOnDrop};
use crate::support::{index_key, pattern, record_key};

/// The time at which each clock starts.
const START: u64 = 1_000_000;
/// More than a single row, so that it is written by an upload and read in parts.
const LONG: usize = 3_000_000;

/// A store whose clock the test sets, in seconds.
struct Timed {
    store: Strongroom,
    clock: Arc<AtomicU64>,
}

impl Timed {
    fn open(builder: strongroom::Builder) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let now = Arc::clone(&clock);
        let now = move || time(now.load(Ordering::Relaxed));
        Self { store: builder.clock(now).open().unwrap(), clock }
    }

    fn in_memory() -> Self {
        let storage = Arc::new(MemoryStorage::new());
        Self::open(Strongroom::builder().storage(storage).index_key(index_key()))
    }

    fn set(&self, seconds: u64) {
        self.clock.store(START + seconds, Ordering::Relaxed);
    }
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Options of a write that expires so many seconds after the start.
fn until(seconds: u64) -> WriteOptions<'static> {
    WriteOptions::new().expires_at(time(START + seconds))
}

fn each(test: impl Fn(&Timed)) {
    test(&Timed::in_memory());
    let folder = tempfile::tempdir().unwrap();
    test(&Timed::open(Strongroom::builder().path(folder.path().join("records.db"))));
}

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

fn written(mut writer: RecordWriter, data: &[u8]) -> Result<RecordKey, Error> {
    writer.write_all(data).map_err(|error| error.downcast::<Error>().unwrap())?;
    writer.finish()
}

/// Each way to write one new record.
type Write1 = fn(&Strongroom, &[u8], WriteOptions<'_>) -> Result<RecordKey, Error>;
const STORE: [Write1; 4] = [
    |store, data, options| store.store_with("id", data, options),
    |store, data, options| store.store_reader_with("id", data, options),
    |store, data, options| written(store.create_record_with("id", options)?, data),
    |store, data, options| Ok(store.store_many_with(&[("id", data, options)])?.remove(0)),
];

/// Each way to read the record, up to its first bytes.
type Read1 = fn(&Strongroom, &RecordKey) -> Result<(), Error>;
const READ: [Read1; 5] = [
    |store, key| store.retrieve("id", key).map(drop),
    |store, key| store.retrieve_into("id", key, &mut vec![0; LONG]).map(drop),
    |store, key| store.retrieve_range("id", key, 5..20).map(drop),
    |store, key| store.open_record("id", key).map(drop),
    |store, key| store.retrieve_many(&[("id", key)])?.remove(0).map(drop),
];

#[test]
fn every_read_ends_at_the_second() {
    for write in STORE {
        for len in [10, LONG] {
            each(|Timed { store, clock }| {
                let key = write(store, &pattern(len), until(50)).unwrap();
                clock.store(START + 49, Ordering::Relaxed);
                READ.iter().for_each(|read| read(store, &key).unwrap());
                assert!(store.contains("id").unwrap());
                assert_eq!(store.stats().unwrap().expired, 0);

                let mut reader = store.open_record("id", &key).unwrap();
                reader.read_exact(&mut [0; 5]).unwrap();
                clock.store(START + 50, Ordering::Relaxed);
                for read in READ {
                    assert_name(read(store, &key), "Expired");
                    assert_name(read(store, &record_key(1)), "WrongKey");
                }
                assert!(!store.contains("id").unwrap());
                assert_eq!((store.stats().unwrap().records, store.stats().unwrap().expired), (1, 1));
                let rest = reader.read_to_end(&mut Vec::new());
                if len == LONG {
                    assert_name(rest.map_err(|error| error.downcast::<Error>().unwrap()), "Expired");
                }
            });
        }
    }
}

#[test]
fn an_expired_record_is_not_replaced_and_can_be_removed() {
    each(|timed| {
        let store = &timed.store;
        let key = store.store_with("id", b"data", until(50)).unwrap();
        timed.set(50);
        assert_name(store.replace("id", &key, b"new"), "Expired");
        assert_name(store.replace_reader("id", &key, &b"new"[..]), "Expired");
        assert_name(store.replace_record("id", &key), "Expired");
        assert_name(store.replace("id", &record_key(1), b"new"), "WrongKey");
        assert_name(store.delete("id", &record_key(1)), "WrongKey");
        store.delete("id", &key).unwrap();
        assert_name(store.delete("id", &key), "NotFound");

        store.store_with("id", b"data", until(60)).unwrap();
        timed.set(60);
        assert!(store.erase("id").unwrap());
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

#[test]
fn a_replacement_has_its_own_expiry() {
    each(|timed| {
        let store = &timed.store;
        let first = store.store_with("id", b"1", until(50)).unwrap();
        let second = store.replace_with("id", &first, b"2", until(70)).unwrap();
        timed.set(69);
        assert_eq!(store.retrieve("id", &second).unwrap(), b"2");
        let third = store.replace("id", &second, b"3").unwrap();
        timed.set(1 << 40);
        assert_eq!(store.retrieve("id", &third).unwrap(), b"3", "it never expires");
        assert_eq!(store.purge(10).unwrap(), 0);
    });
}

#[test]
fn an_expired_id_is_free() {
    for write in STORE {
        for len in [10, LONG] {
            each(|timed| {
                let store = &timed.store;
                let old = store.store_with("id", pattern(len), until(50)).unwrap();
                timed.set(49);
                assert_name(write(store, &pattern(10), until(90)), "AlreadyExists");
                timed.set(50);
                let new = write(store, &pattern(len), until(90)).unwrap();
                assert!(store.retrieve("id", &new).unwrap() == pattern(len));
                assert_name(store.retrieve("id", &old), "WrongKey");
                assert_eq!(store.stats().unwrap().records, 1);
                assert_name(write(store, &pattern(10), until(90)), "AlreadyExists");
            });
        }
    }
}

#[test]
fn a_repeated_write_keeps_the_first_expiry() {
    each(|timed| {
        for write in STORE {
            let (store, key) = (&timed.store, RecordKey::generate().unwrap());
            timed.set(0);
            write(store, b"data", until(50).key(&key)).unwrap();
            timed.set(40);
            write(store, b"data", until(90).key(&key)).unwrap();
            assert_name(write(store, b"other", until(90).key(&key)), "AlreadyExists");
            timed.set(50);
            assert_name(store.retrieve("id", &key), "Expired");
            write(store, b"data", until(90).key(&key)).unwrap();
            assert_eq!(store.retrieve("id", &key).unwrap(), b"data", "a new record");
            assert!(store.erase("id").unwrap());
        }
    });
}

#[test]
fn a_batch_replaces_expired_records_only_as_a_whole() {
    each(|timed| {
        let store = &timed.store;
        store.store_with("expired", b"1", until(50)).unwrap();
        let lasting = store.store("lasting", b"2").unwrap();
        timed.set(50);
        let both = [("expired", b"3"), ("lasting", b"4")];
        assert_name(store.store_many(&both), "AlreadyExists");
        assert_eq!(store.retrieve("lasting", &lasting).unwrap(), b"2");
        assert!(!store.contains("expired").unwrap());
        store.store_many(&[("expired", b"3"), ("new", b"4")]).unwrap();
        assert_eq!(store.stats().unwrap().records, 3);
    });
}

/// One of several writers gets the id, however often a purge comes between.
#[test]
fn of_concurrent_stores_at_an_expired_id_one_wins() {
    const WRITERS: usize = 4;
    let rounds = rounds(50, 500);
    each(|timed| {
        let (store, ended) = (&timed.store, AtomicBool::new(false));
        thread::scope(|scope| {
            let _ended = StopOnDrop(&ended);
            let purger = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    store.purge(10).unwrap();
                }
            });
            for round in 0..rounds {
                let _ = store.store_with("id", b"old", until(round + 1));
                timed.set(round + 1);
                let start = Arc::new(Barrier::new(WRITERS));
                let write = |n: usize| {
                    let (data, start) = (n.to_le_bytes(), Arc::clone(&start));
                    scope.spawn(move || {
                        start.wait();
                        STORE[n % STORE.len()](store, &data, until(round + 2))
                    })
                };
                let writers: Vec<_> = (0..WRITERS).map(write).collect();
                let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join_within(DEADLINE)).collect();
                let mut keys = Vec::new();
                for (n, outcome) in outcomes.into_iter().enumerate() {
                    match outcome {
                        Ok(key) => keys.push((n, key)),
                        Err(error) => assert_eq!(error.name(), "AlreadyExists"),
                    }
                }
                let [(winner, key)] = &keys[..] else { panic!("{} writers won", keys.len()) };
                assert_eq!(store.retrieve("id", key).unwrap(), winner.to_le_bytes());
                timed.set(round + 2);
            }
            ended.store(true, Ordering::Relaxed);
            purger.join_within(DEADLINE);
        });
    });
}

#[test]
fn times_that_are_past_or_unknown_are_refused() {
    let seconds = Duration::from_secs;
    let (now, new) = (time(START), WriteOptions::new());
    let bad = [
        new.expires_at(now),
        new.expires_at(now - seconds(1)),
        new.expires_at(UNIX_EPOCH),
        new.expires_at(UNIX_EPOCH - seconds(1)),
        new.expires_in(Duration::ZERO),
    ];
    let good = [
        (new.expires_at(now + Duration::from_nanos(1)), 1),
        (new.expires_in(Duration::from_nanos(1)), 1),
        (new.expires_in(seconds(1)), 1),
        (new.expires_in(Duration::from_millis(1001)), 2),
    ];
    each(|timed| {
        for write in STORE {
            for options in bad {
                assert_name(write(&timed.store, b"data", options), "InvalidArgument");
            }
            for (options, seconds) in good {
                let key = write(&timed.store, b"data", options).unwrap();
                timed.set(seconds - 1);
                timed.store.retrieve("id", &key).unwrap();
                timed.set(seconds);
                assert_name(timed.store.retrieve("id", &key), "Expired");
                timed.store.delete("id", &key).unwrap();
                timed.set(0);
            }
            // The end of time.
            let key = write(&timed.store, b"data", new.expires_in(Duration::MAX)).unwrap();
            timed.set(1 << 60);
            assert_eq!(timed.store.retrieve("id", &key).unwrap(), b"data");
            assert_eq!(timed.store.purge(10).unwrap(), 0);
            timed.store.delete("id", &key).unwrap();
            timed.set(0);
        }
        let key = timed.store.store("other", b"data").unwrap();
        assert_name(timed.store.replace_with("other", &key, b"new", bad[0]), "InvalidArgument");
        assert_name(timed.store.replace_reader_with("other", &key, &b"new"[..], bad[0]), "InvalidArgument");
        assert_name(timed.store.replace_record_with("other", &key, bad[0]), "InvalidArgument");
        assert_eq!(timed.store.retrieve("other", &key).unwrap(), b"data");
    });
}

/// A record lives at least as long as asked: fractions of a second are rounded up.
#[test]
fn a_duration_counts_from_the_fraction_of_the_second() {
    let millis = Arc::new(AtomicU64::new(900));
    let clock = Arc::clone(&millis);
    let now = move || time(START) + Duration::from_millis(clock.load(Ordering::Relaxed));
    let builder = Strongroom::builder().storage(Arc::new(MemoryStorage::new())).index_key(index_key());
    let store = builder.clock(now).open().unwrap();
    let key = store.store_with("id", b"data", WriteOptions::new().expires_in(Duration::from_secs(1))).unwrap();
    assert_name(store.store_with("other", b"data", WriteOptions::new().expires_in(Duration::ZERO)), "InvalidArgument");
    for (time, lives) in [(1900, true), (1999, true), (2000, false)] {
        millis.store(time, Ordering::Relaxed);
        assert_eq!(store.retrieve("id", &key).is_ok(), lives, "{time}");
    }
}

/// A clock that is not set shows a time before 1970: then nothing that expires is stored or read.
#[test]
fn without_a_clock_nothing_that_expires_is_readable() {
    let storage = Arc::new(MemoryStorage::new());
    let open = |clock: SystemTime| {
        let builder = Strongroom::builder().storage(storage.clone()).index_key(index_key());
        builder.clock(move || clock).open().unwrap()
    };
    let key = open(time(START)).store_with("id", b"data", until(50)).unwrap();
    let unset = open(UNIX_EPOCH - Duration::from_secs(1));
    assert_name(unset.retrieve("id", &key), "Expired");
    assert_name(unset.store_with("other", b"data", until(50)), "InvalidArgument");
    assert_name(unset.store_with("other", b"data", WriteOptions::new().expires_in(Duration::MAX)), "InvalidArgument");
    // The record may be alive, so that nothing removes it.
    assert_name(unset.store("id", b"other"), "AlreadyExists");
    assert_name(unset.store_reader("id", &*pattern(LONG)), "AlreadyExists");
    assert_name(unset.store_many(&[("id", b"other")]), "AlreadyExists");
    assert!(unset.contains("id").unwrap());
    assert_eq!((unset.purge(10).unwrap(), unset.stats().unwrap().expired), (0, 0));
    assert_eq!(open(time(START)).retrieve("id", &key).unwrap(), b"data");
    let lasting = unset.store("lasting", b"data").unwrap();
    assert_eq!(unset.retrieve("lasting", &lasting).unwrap(), b"data");
}

#[test]
fn a_purge_removes_what_is_due_and_nothing_else() {
    each(|timed| {
        let store = &timed.store;
        let mut lasting = Vec::new();
        for n in 0..600 {
            let id = format!("{n}");
            match n % 3 {
                0 => lasting.push((store.store(&id, b"lasting").unwrap(), id)),
                1 => drop(store.store_with(&id, b"short", until(50 + n % 5)).unwrap()),
                _ => drop(store.store_with(&id, b"later", until(100)).unwrap()),
            }
        }
        let long = store.store_with("long", pattern(LONG), until(54)).unwrap();
        assert_eq!(store.purge(usize::MAX).unwrap(), 0);
        timed.set(54);
        assert_eq!((store.stats().unwrap().records, store.stats().unwrap().expired), (601, 201));
        assert_eq!((store.purge(0).unwrap(), store.purge(1).unwrap(), store.purge(150).unwrap()), (0, 1, 150));
        assert_eq!(store.stats().unwrap().expired, 50);
        assert_eq!((store.purge(usize::MAX).unwrap(), store.purge(10).unwrap()), (50, 0));
        assert_name(store.retrieve("long", &long), "NotFound");
        assert_eq!((store.stats().unwrap().records, store.stats().unwrap().expired), (400, 0));
        for (key, id) in &lasting {
            assert_eq!(store.retrieve(id, key).unwrap(), b"lasting");
        }
        timed.set(100);
        assert_eq!(store.purge(usize::MAX).unwrap(), 200);
        store.close().unwrap();
        assert_name(store.purge(0), "Closed");
    });
}

/// Damage to records of any kind keeps no other one from being removed.
#[test]
fn a_purge_and_maintenance_go_on_despite_damage() {
    for (damage, which) in ["locator = zeroblob(32)", "head = zeroblob(60)", "len = -1"]
        .into_iter()
        .flat_map(|damage| ["expires_at IS NULL", "expires_at < 1000060"].map(|which| (damage, which)))
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let storage = Arc::new(SqliteStorage::open(&path, Durability::Relaxed).unwrap());
        let timed = Timed::open(Strongroom::builder().storage(storage.clone()).index_key(index_key()));
        for n in 0..6 {
            let options = [WriteOptions::new(), until(50), until(60)].into_iter().nth(n % 3).unwrap();
            timed.store.store_with(format!("{n}"), b"data", options).unwrap();
        }
        let sql = format!("UPDATE record SET {damage} WHERE {which}");
        assert_eq!(Connection::open(&path).unwrap().execute(&sql, ()).unwrap(), 2, "{sql}");
        assert!(matches!(storage.list(None, 6), Err(StorageError::Corrupt)), "{sql}");
        timed.set(60);
        let due = if damage.starts_with("locator") || which.ends_with("NULL") { 4 } else { 2 };
        assert_eq!((timed.store.purge(10).unwrap(), timed.store.purge(10).unwrap()), (due, 0), "{sql}");
        timed.store.maintain().unwrap();
    }
}
