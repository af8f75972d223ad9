//! Records that are read once: each length, what consumes nothing, concurrent callers, abandoned claims.

use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::Connection;
use strongroom::interrupt::{interruptible, is_interrupted};
use strongroom::storage::{Error as StorageError, Head, MemoryStorage, PutMode, SqliteStorage, Storage};
use strongroom::{Durability, Error, RecordKey, Strongroom, WriteOptions};

use crate::support::hooked::{Shared, hooked};
use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, Join};
use crate::support::{SIZES, each_store, index_key, memory_store, pattern, record_key};

const LONG: usize = 3_000_000;

/// The names of the ways to take a record.
type Take = fn(&Strongroom, &str, &RecordKey) -> Result<Vec<u8>, Error>;
const TAKES: [Take; 2] = [
    |store, id, key| store.take(id, key),
    |store, id, key| {
        let mut data = Vec::new();
        let read = store.take_record(id, key)?.read_to_end(&mut data);
        read.map(|_| data).map_err(|error| error.downcast::<Error>().unwrap())
    },
];

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

#[test]
fn a_record_is_taken_once() {
    each_store(|store| {
        for (size, take) in SIZES.into_iter().chain([300_000, LONG]).flat_map(|size| TAKES.map(|take| (size, take))) {
            let key = store.store("id", pattern(size)).unwrap();
            assert_name(take(store, "id", &record_key(1)), "WrongKey");
            assert_name(take(store, "other", &key), "NotFound");
            assert_name(take(store, "", &key), "InvalidId");
            assert!(take(store, "id", &key).unwrap() == pattern(size), "{size} bytes");
            assert_name(take(store, "id", &key), "NotFound");
            assert_name(store.retrieve("id", &key), "NotFound");
            assert!(!store.contains("id").unwrap());
            assert_eq!(store.stats().unwrap().records, 0, "nothing is left");
        }
    });
}

/// In two steps, data is delivered at least once: an end between them leaves the record, and a confirmation removes
/// only the version that was fetched.
#[test]
fn what_is_fetched_and_not_confirmed_stays() {
    each_store(|store| {
        for size in [100, LONG] {
            let key = store.store("id", pattern(size)).unwrap();
            let mut ended = store.open_record("id", &key).unwrap();
            ended.read_exact(&mut [0; 10]).unwrap();
            drop(ended);
            assert!(store.retrieve("id", &key).unwrap() == pattern(size));
            let newer = store.replace("id", &key, b"newer").unwrap();
            assert_name(store.delete("id", &key), "WrongKey");
            assert_eq!(store.retrieve("id", &newer).unwrap(), b"newer");
            store.delete("id", &newer).unwrap();
            assert_name(store.delete("id", &newer), "NotFound");
        }
    });
}

#[test]
fn a_damaged_record_is_not_consumed() {
    for (size, take) in [0, 100, LONG].into_iter().flat_map(|size| TAKES.map(|take| (size, take))) {
        let (store, storage) = memory_store();
        let key = store.store("id", pattern(size)).unwrap();
        let locator = storage.list(None, 1).unwrap()[0].locator;
        let mut record = storage.get(&locator).unwrap().unwrap();
        *record.last_mut().unwrap() ^= 1;
        storage.put(&locator, &record, PutMode::Overwrite).unwrap();
        assert_name(take(&store, "id", &key), "Corrupt");
        assert_eq!(storage.list(None, 2).unwrap()[0].locator, locator);
        *record.last_mut().unwrap() ^= 1;
        storage.put(&locator, &record, PutMode::Overwrite).unwrap();
        assert!(take(&store, "id", &key).unwrap() == pattern(size));
    }
}

#[test]
fn one_of_many_callers_gets_the_data() {
    const CALLERS: usize = 64;
    each_store(|store| {
        for round in 0..rounds(10, 1000) {
            let data = pattern(if round % 5 == 0 { 300_000 } else { 100 });
            let key = store.store("id", &data).unwrap();
            let barrier = Barrier::new(CALLERS);
            let outcomes: Vec<_> = thread::scope(|scope| {
                let caller = |n: usize| {
                    let (barrier, key) = (&barrier, &key);
                    move || {
                        barrier.wait();
                        TAKES[n % 2](store, "id", key)
                    }
                };
                let callers: Vec<_> = (0..CALLERS).map(|n| scope.spawn(caller(n))).collect();
                callers.into_iter().map(|caller| caller.join_within(DEADLINE)).collect()
            });
            let taken: Vec<_> = outcomes.iter().flatten().collect();
            assert_eq!(taken, [&data]);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::NotFound))), "{outcomes:?}");
            assert_eq!(store.stats().unwrap().records, 0);
        }
    });
}

#[test]
fn a_reader_of_a_taken_record_is_the_only_one() {
    each_store(|store| {
        let key = store.store("id", pattern(LONG)).unwrap();
        let mut reader = store.take_record("id", &key).unwrap();
        assert_eq!(reader.len().unwrap(), LONG as u64);
        assert_name(store.take_record("id", &key), "NotFound");
        assert!(!store.contains("id").unwrap());
        let new = store.store("id", b"new").unwrap();
        reader.seek(SeekFrom::Start(2_000_000)).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest == pattern(LONG)[2_000_000..]);
        assert_eq!(store.stats().unwrap().records, 2);
        drop(reader);
        assert_eq!(store.stats().unwrap().records, 1);

        drop(store.take_record("id", &new).unwrap());
        assert_name(store.retrieve("id", &new), "NotFound");
    });
}

#[test]
fn an_open_reader_loses_a_record_that_is_taken() {
    each_store(|store| {
        let key = store.store("id", pattern(LONG)).unwrap();
        let mut open = store.open_record("id", &key).unwrap();
        assert!(store.take("id", &key).unwrap() == pattern(LONG));
        let read = open.read_to_end(&mut Vec::new()).unwrap_err().downcast::<Error>().unwrap();
        assert!(matches!(read, Error::Conflict), "{read:?}");
    });
}

/// A store in memory with a clock that the test sets, in seconds.
fn timed(seconds: u64) -> (Strongroom, Arc<AtomicU64>) {
    timed_over(Arc::new(MemoryStorage::new()), seconds)
}

fn timed_over(storage: Shared, seconds: u64) -> (Strongroom, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(seconds));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let builder = Strongroom::builder().storage(storage).index_key(index_key());
    (builder.clock(now).open().unwrap(), clock)
}

#[test]
fn an_expired_record_is_not_taken() {
    for take in TAKES {
        let (store, clock) = timed(1_000_000);
        let key = store.store_with("id", b"data", WriteOptions::new().expires_in(Duration::from_secs(10))).unwrap();
        clock.fetch_add(10, Ordering::Relaxed);
        assert_name(take(&store, "id", &key), "Expired");
        assert_name(take(&store, "id", &record_key(1)), "WrongKey");
        assert_eq!(store.stats().unwrap().records, 1);
        clock.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(take(&store, "id", &key).unwrap(), b"data");
    }
}

const DAY: u64 = 24 * 60 * 60;

/// Stores records, and takes them with readers that never end; `gap` seconds between two.
fn abandon_claims(store: &Strongroom, clock: &AtomicU64, gap: u64) {
    for _ in 0..3 {
        let key = store.store("id", b"data").unwrap();
        let _ = std::mem::ManuallyDrop::new(store.take_record("id", &key).unwrap());
        clock.fetch_add(gap, Ordering::Relaxed);
    }
}

/// A damaged claim, or a damaged record behind the claims, keeps no other claim.
#[test]
fn abandoned_claims_are_removed_despite_damage() {
    for damage in ["locator = zeroblob(32)", "head = zeroblob(60)", "len = -1"] {
        for (n, by_purge) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("records.db");
            let storage = Arc::new(SqliteStorage::open(&path, Durability::Relaxed).unwrap());
            let (store, clock) = timed_over(storage.clone(), 1_000_000);
            abandon_claims(&store, &clock, 1000);
            store.store("lasting", b"data").unwrap();
            let order = "SELECT id FROM record ORDER BY prefix";
            let sql = format!("UPDATE record SET {damage} WHERE id = ({order} LIMIT 1 OFFSET {n})");
            let connection = Connection::open(&path).unwrap();
            assert_eq!(connection.execute(&sql, ()).unwrap(), 1, "{sql}");
            assert!(matches!(storage.list(None, 4), Err(StorageError::Corrupt)), "{sql}");
            clock.fetch_add(2 * DAY, Ordering::Relaxed);
            if by_purge {
                assert_eq!(store.purge(10).unwrap(), if n == 3 { 3 } else { 2 }, "{sql}");
            } else {
                store.maintain().unwrap();
            }
            let left: i64 = connection.query_row("SELECT count(*) FROM record", (), |row| row.get(0)).unwrap();
            assert_eq!(left, if n == 3 { 1 } else { 2 }, "{sql}");
        }
    }
}

#[test]
fn a_claim_that_cannot_be_removed_keeps_no_other() {
    // The last one: a newer program has written to the locator from which the record was claimed.
    for error in [|| StorageError::Corrupt, || StorageError::Conflict, || StorageError::Unsupported("".into())] {
        let memory: Shared = Arc::new(MemoryStorage::new());
        let (store, clock) = timed_over(Arc::clone(&memory), 1_000_000);
        abandon_claims(&store, &clock, 1);
        let first = memory.list(None, 1).unwrap()[0].locator;
        let storage = hooked(&memory, move |call, locator| match call {
            "delete" if locator == first.as_bytes() => Err(error()),
            _ => Ok(()),
        });
        let (store, clock) = timed_over(storage, 1_000_000 + 2 * DAY);
        let expiring = WriteOptions::new().expires_in(Duration::from_secs(1));
        store.store_with("expired", b"data", expiring).unwrap();
        clock.fetch_add(1, Ordering::Relaxed);
        let purged = [10; 2].map(|limit| store.purge(limit).unwrap());
        assert_eq!(purged, [3, 0], "the other claims, and the expired record");
        store.maintain().unwrap();
        assert_eq!(memory.list(None, 10).unwrap().len(), 1);
    }
}

/// A process may end between the claim and the removal of a record.
#[test]
fn an_abandoned_claim_is_removed_after_a_day() {
    type Clean = fn(&Strongroom) -> bool;
    let cleanings: [Clean; 2] = [
        |store| store.purge(10).unwrap() > 0,
        |store| {
            let before = store.stats().unwrap().records;
            store.maintain().unwrap();
            store.stats().unwrap().records < before
        },
    ];
    for clean in cleanings {
        let (store, clock) = timed(1_000_000);
        let lasting = store.store("lasting", b"data").unwrap();
        for n in 0..3 {
            let key = store.store("id", b"data").unwrap();
            let _abandoned = std::mem::ManuallyDrop::new(store.take_record("id", &key).unwrap());
            assert_name(store.take("id", &key), "NotFound");
            assert!(!clean(&store), "claim {n}");
            clock.fetch_add(100, Ordering::Relaxed);
        }
        clock.store(1_000_000 + DAY - 1, Ordering::Relaxed);
        assert!(!clean(&store));
        clock.store(1_000_000 + DAY + 100, Ordering::Relaxed);
        assert!(clean(&store));
        assert_eq!(store.stats().unwrap().records, 2, "the last claim and the lasting record");
        clock.store(0, Ordering::Relaxed);
        assert!(!clean(&store), "the clock is not set");
        clock.store(1_000_000 + 2 * DAY, Ordering::Relaxed);
        assert!(clean(&store) && !clean(&store));
        assert_eq!(store.retrieve("lasting", &lasting).unwrap(), b"data");
        assert_eq!(store.stats().unwrap().records, 1);
    }
}

/// Once the record is claimed, nobody else can get it.
#[test]
fn an_interrupt_after_the_claim_leaves_nothing() {
    for take in TAKES {
        let memory: Shared = Arc::new(MemoryStorage::new());
        let storage = hooked(&memory, |call, _| match call {
            "rename" => {
                while !is_interrupted() {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
            "delete" if is_interrupted() => Err(StorageError::Busy),
            _ => Ok(()),
        });
        let (store, _) = timed_over(storage, 1_000_000);
        let key = store.store("id", b"data").unwrap();
        let _ = interruptible(|| true, || take(&store, "id", &key));
        assert_eq!(memory.list(None, 1).unwrap(), []);
    }
}

/// The storage claims the record, but the caller does not wait for the answer: the record is there as before.
#[test]
fn an_interrupted_claim_is_undone() {
    for take in TAKES {
        let memory: Shared = Arc::new(MemoryStorage::new());
        let is_first = AtomicBool::new(true);
        let storage = hooked(&memory, move |call, _| match call {
            "renamed" if is_first.swap(false, Ordering::Relaxed) => {
                while !is_interrupted() {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(StorageError::Indeterminate("no answer".into()))
            }
            _ => Ok(()),
        });
        let (store, _) = timed_over(storage, 1_000_000);
        let key = store.store("id", b"data").unwrap();
        let outcome = interruptible(|| true, || take(&store, "id", &key));
        assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{outcome:?}");
        assert_eq!(take(&store, "id", &key).unwrap(), b"data");
    }
}

#[test]
fn a_claim_is_listed_first_and_not_under_an_id() {
    let (store, storage) = memory_store();
    for n in 0..300 {
        store.store(format!("{n}"), b"data").unwrap();
    }
    let key = store.store("id", b"data").unwrap();
    let before: Vec<_> = storage.list(None, 1000).unwrap();
    let reader = store.take_record("id", &key).unwrap();
    let claim = storage.list(None, 1).unwrap().remove(0);
    assert_eq!(claim.locator.as_bytes()[0], 0);
    assert!(before.iter().all(|entry| entry.locator.as_bytes()[0] == 1));
    assert!(before.iter().any(|entry| entry.info == claim.info), "it is the same version");
    assert_eq!(Head::of(&storage.get(&claim.locator).unwrap().unwrap()), Some(claim.info.head));
    drop(reader);
    assert!(storage.info(&claim.locator).unwrap().is_none());
}

/// A reader that reads ahead removes the record, too.
#[cfg(feature = "object-store")]
#[test]
fn a_long_record_is_removed_when_its_reader_ends() {
    let store = crate::support::object_store();
    let key = store.store("long", pattern(30 << 20)).unwrap();
    let mut data = Vec::new();
    store.take_record("long", &key).unwrap().read_to_end(&mut data).unwrap();
    assert!(data == pattern(30 << 20));
    assert_eq!(store.stats().unwrap().records, 0);
}
