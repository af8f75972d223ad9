//! Operations that the beginning of a rotation overtakes: it happens between any two of their steps, and others work at
//! once under the new key. No id has two records, none is lost, and a handle with both keys notices without an error.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use strongroom::storage::{Error as StorageError, MemoryStorage, PutMode};
use strongroom::{Error, IndexKey, RecordKey, Strongroom, WriteOptions};

use crate::support::hooked::{Shared, hooked};
use crate::support::{pattern, record_key};

const LONG: usize = 3_000_000;
/// More steps than an operation has.
const STEPS: usize = 40;

fn open(storage: &Shared, current: u8, previous: Option<u8>) -> Strongroom {
    let key = |number| IndexKey::from_bytes(&[number; 32]).unwrap();
    let builder = Strongroom::builder().storage(Arc::clone(storage)).clock(SystemTime::now).index_key(key(current));
    previous.into_iter().fold(builder, |builder, previous| builder.previous_index_key(key(previous))).open().unwrap()
}

/// A store before a rotation; the handle that another one overtakes before its step `step`, with these keys.
struct Race {
    slow: Strongroom,
    other: Arc<Strongroom>,
    /// Steps that are left before the event; then what the other handle did.
    steps: Arc<AtomicUsize>,
}

impl Race {
    fn new(keys: (u8, Option<u8>), event: impl FnOnce(&Strongroom) + Send + 'static) -> Self {
        let storage: Shared = Arc::new(MemoryStorage::new());
        open(&storage, 1, None);
        let other = Arc::new(open(&storage, 2, Some(1)));
        let steps = Arc::new(AtomicUsize::new(usize::MAX));
        let (left, faster, event) = (Arc::clone(&steps), Arc::clone(&other), Mutex::new(Some(event)));
        let slow = hooked(&storage, move |_, _| {
            if left.load(Ordering::Relaxed) != usize::MAX && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                left.store(usize::MAX, Ordering::Relaxed);
                faster.begin_rotation().unwrap();
                event.lock().unwrap().take().unwrap()(&faster);
            }
            Ok(())
        });
        Self { slow: open(&slow, keys.0, keys.1), other, steps }
    }

    /// The outcome of an operation before whose step `step` the event happens; `None` if it has fewer.
    fn at_step<T>(&self, step: usize, operation: impl FnOnce(&Strongroom) -> T) -> Option<T> {
        self.steps.store(step, Ordering::Relaxed);
        let outcome = operation(&self.slow);
        (self.steps.swap(usize::MAX, Ordering::Relaxed) == usize::MAX).then_some(outcome)
    }
}

type Use = fn(&Strongroom, &RecordKey) -> Result<(), Error>;

const READS: [Use; 5] = [
    |store, key| store.retrieve("id", key).map(|data| assert!(data == pattern(data.len()))),
    |store, key| store.retrieve_into("id", key, &mut vec![0; LONG]).map(drop),
    |store, key| store.retrieve_range("id", key, 20..22).map(|data| assert_eq!(data, [20, 21])),
    |store, key| store.retrieve_many(&[("id", key)])?.remove(0).map(drop),
    |store, key| {
        let mut data = Vec::new();
        store.open_record("id", key)?.read_to_end(&mut data).unwrap();
        assert!(data.len() > 9 && data == pattern(data.len()));
        Ok(())
    },
];

const CONTAINS: Use = |store, _| store.contains("id").map(|found| assert!(found));

#[test]
fn a_record_that_moves_is_found() {
    let others: [(Use, u64); 7] = [
        (CONTAINS, 1),
        (|store, key| store.replace("id", key, b"other").map(drop), 1),
        (|store, key| store.rekey("id", key).map(drop), 1),
        (|store, _| if matches!(store.store("id", b""), Err(Error::AlreadyExists)) { Ok(()) } else { panic!() }, 1),
        (|store, key| store.delete("id", key), 0),
        (|store, _| store.erase("id").map(|found| assert!(found)), 0),
        (|store, key| store.take("id", key).map(|data| assert!(data == pattern(data.len()))), 0),
    ];
    let mut overtaken = 0;
    for (n, (operation, records)) in READS.map(|read| (read, 1)).into_iter().chain(others).enumerate() {
        for len in [100, LONG] {
            for step in 0..STEPS {
                let race = Race::new((2, Some(1)), |other| {
                    let _ = other.contains("id").unwrap(); // moves it
                });
                let key = race.slow.store("id", pattern(len)).unwrap();
                let Some(outcome) = race.at_step(step, |store| operation(store, &key)) else { break };
                outcome.unwrap_or_else(|error| panic!("operation {n} on {len} bytes, step {step}: {error}"));
                assert_eq!(race.other.stats().unwrap().records, records, "operation {n}, step {step}");
                assert!(race.other.rotation(1).unwrap().unwrap().remaining.is_empty());
                overtaken += 1;
            }
        }
    }
    assert!(overtaken > 40, "{overtaken}");
}

/// The errors of a move that cannot be written now, or by this handle.
const REFUSALS: [fn() -> StorageError; 7] = [
    || StorageError::Unsupported("".into()),
    || StorageError::Full,
    || StorageError::Busy,
    || StorageError::Poisoned,
    || StorageError::AccessDenied("".into()),
    || StorageError::Backend("".into()),
    || StorageError::Indeterminate("".into()),
];

/// A record under the previous key, during the rotation: its key, a handle that moves records, and one whose moves fail
/// with this error, and which calls `before_call` at each step.
fn unmovable(
    len: usize,
    refusal: fn() -> StorageError,
    before_call: impl Fn(&Strongroom) + Send + Sync + 'static,
) -> (RecordKey, Arc<Strongroom>, Strongroom, Shared) {
    let storage: Shared = Arc::new(MemoryStorage::new());
    let key = open(&storage, 1, None).store("id", pattern(len)).unwrap();
    let mover = Arc::new(open(&storage, 2, Some(1)));
    mover.begin_rotation().unwrap();
    let other = Arc::clone(&mover);
    let unmoving = hooked(&storage, move |call, _| {
        before_call(&other);
        if call == "rename" { Err(refusal()) } else { Ok(()) }
    });
    (key, mover, open(&unmoving, 2, Some(1)), storage)
}

/// Read-only, or on a full disk, a handle reads records where they are, and finds those that another one moves.
#[test]
fn a_record_that_only_others_can_move_is_read() {
    let mut overtaken = 0;
    for (e, refusal) in REFUSALS.into_iter().enumerate() {
        for len in if e < 2 { &[100, LONG][..] } else { &[100] } {
            let is_read_only = matches!(refusal(), StorageError::Unsupported(_));
            for (n, read) in READS.into_iter().chain(is_read_only.then_some(CONTAINS)).enumerate() {
                for step in 0..=STEPS {
                    let steps = Arc::new(AtomicUsize::new(usize::MAX));
                    let left = Arc::clone(&steps);
                    let (key, _, reader, _) = unmovable(*len, refusal, move |mover| {
                        if left.load(Ordering::Relaxed) != usize::MAX && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                            assert!(mover.contains("id").unwrap());
                        }
                    });
                    steps.store(step, Ordering::Relaxed);
                    let outcome = read(&reader, &key);
                    outcome.unwrap_or_else(|error| panic!("{:?}, read {n} of {len}, step {step}: {error}", refusal()));
                    if steps.load(Ordering::Relaxed) != usize::MAX {
                        break; // it stayed
                    }
                    overtaken += 1;
                    assert!(step < STEPS);
                }
            }
        }
    }
    assert!(overtaken > 100, "{overtaken}");
}

/// A write needs the move. So does `contains`: after it, the record is none of those that remain, which the owner of
/// the ids then erases.
#[test]
fn a_record_that_cannot_be_moved_is_not_written() {
    let writes: [Use; 6] = [
        CONTAINS,
        |store, _| store.store("id", b"other").map(drop),
        |store, key| store.replace("id", key, b"other").map(drop),
        |store, key| store.rekey("id", key).map(drop),
        |store, key| store.delete("id", key),
        |store, key| store.take("id", key).map(drop),
    ];
    for refusal in &REFUSALS[1..] {
        let (key, mover, unmoving, _) = unmovable(100, *refusal, |_| ());
        for (n, write) in writes.into_iter().enumerate() {
            let outcome = write(&unmoving, &key).unwrap_err();
            assert_eq!(outcome.name(), Error::from(refusal()).name(), "write {n}");
        }
        assert!(mover.retrieve("id", &key).unwrap() == pattern(100));
    }
}

/// A refusal may take the time of a lock: one is enough for many reads.
#[test]
fn reads_do_not_wait_for_each_refusal() {
    let storage: Shared = Arc::new(MemoryStorage::new());
    let before = open(&storage, 1, None);
    let ids = ["id", "a", "b"];
    let keys = ids.map(|id| before.store(id, pattern(100)).unwrap());
    open(&storage, 2, Some(1)).begin_rotation().unwrap();
    let (moves, is_locked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, locked) = (Arc::clone(&moves), Arc::clone(&is_locked));
    let store = hooked(&storage, move |call, _| {
        if call == "rename" && locked.load(Ordering::Relaxed) {
            count.fetch_add(1, Ordering::Relaxed);
            return Err(StorageError::Busy);
        }
        Ok(())
    });
    let store = open(&store, 2, Some(1));
    let wanted: Vec<_> = ids.into_iter().zip(&keys).collect();
    assert!(store.retrieve_many(&wanted).unwrap().into_iter().all(|data| data.unwrap() == pattern(100)));
    for (id, key) in &wanted {
        assert!(store.namespace("").unwrap().retrieve(id, key).unwrap() == pattern(100));
    }
    READS.iter().for_each(|read| read(&store, &keys[0]).unwrap());
    assert_eq!(moves.load(Ordering::Relaxed), 1);
    for count in 2..4 {
        assert!(matches!(store.contains("id"), Err(Error::Busy)), "it tries again");
        assert_eq!(moves.load(Ordering::Relaxed), count);
    }
    is_locked.store(false, Ordering::Relaxed);
    assert!(ids.iter().all(|id| store.contains(id).unwrap()));
    store.finish_rotation().unwrap();
}

/// If an id has two records, the one under the current key counts, also for a handle that moves none.
#[test]
fn of_two_records_the_current_one_is_read() {
    for refusal in REFUSALS {
        let (key, mover, unmoving, storage) = unmovable(100, refusal, |_| ());
        let (locator, other) = (storage.list(None, 1).unwrap()[0].locator, [1; 200]);
        assert!(mover.contains("id").unwrap());
        storage.put(&locator, &other, PutMode::Create).unwrap();
        for read in READS {
            read(&unmoving, &key).unwrap();
        }
    }
}

/// If an id has two records, erasing it removes both, also on a handle that moves none: neither returns.
#[test]
fn of_two_records_both_are_erased() {
    for refusal in REFUSALS {
        for is_unmoving in [false, true] {
            for records in [&[0][..], &[1], &[0, 1]] {
                let (_, mover, unmoving, storage) = unmovable(100, refusal, |_| ());
                let old = storage.list(None, 1).unwrap()[0].locator;
                assert!(mover.contains("id").unwrap());
                let new = storage.list(None, 1).unwrap()[0].locator;
                storage.delete(&new, None).unwrap();
                for n in records {
                    storage.put(&[old, new][*n], &[1; 200], PutMode::Create).unwrap();
                }
                let store = if is_unmoving { &unmoving } else { &mover };
                assert!(store.erase("id").unwrap(), "records {records:?}");
                assert_eq!(storage.list(None, 1).unwrap(), []);
                assert!(!mover.contains("id").unwrap() && !store.erase("id").unwrap());
            }
        }
    }
}

/// A failure after one of two records was erased is no failure without effect.
#[test]
fn an_erasure_of_one_of_two_records_is_indeterminate() {
    let storage: Shared = Arc::new(MemoryStorage::new());
    open(&storage, 1, None).store("id", b"data").unwrap();
    let deletes = AtomicUsize::new(0);
    let failing = hooked(&storage, move |call, _| {
        let fails = call == "delete" && deletes.fetch_add(1, Ordering::Relaxed) == 1;
        if fails { Err(StorageError::Full) } else { Ok(()) }
    });
    let store = open(&failing, 2, Some(1));
    store.begin_rotation().unwrap();
    assert!(matches!(store.erase("id"), Err(Error::Indeterminate(_))));
    assert!(!store.erase("id").unwrap());
}

/// A long record that is replaced in pieces may fail, but then nothing has changed.
#[test]
fn a_replacement_in_pieces_succeeds_or_changes_nothing() {
    for len in [100, LONG] {
        for step in 0..STEPS {
            let race = Race::new((2, Some(1)), |other| {
                let _ = other.contains("id").unwrap(); // moves it
            });
            let key = race.slow.store("id", b"data").unwrap();
            let new = record_key(9);
            let replace = |store: &Strongroom| {
                let mut writer = store.replace_record_with("id", &key, WriteOptions::new().key(&new))?;
                writer.write_all(&pattern(len)).map_err(|error| error.downcast::<Error>().unwrap())?;
                writer.finish().map(drop)
            };
            match race.at_step(step, replace) {
                None => break,
                Some(Ok(())) => assert!(race.other.retrieve("id", &new).unwrap() == pattern(len)),
                Some(Err(Error::Conflict)) if len == LONG => {
                    assert_eq!(race.other.retrieve("id", &key).unwrap(), b"data");
                }
                Some(other) => panic!("{len}, step {step}: {other:?}"),
            }
            assert_eq!(race.other.stats().unwrap().records, 1);
        }
    }
}

const CREATIONS: [Use; 4] = [
    |store, key| store.store_with("id", pattern(100), WriteOptions::new().key(key)).map(drop),
    |store, key| store.store_reader_with("id", &pattern(LONG)[..], WriteOptions::new().key(key)).map(drop),
    |store, key| {
        let mut writer = store.create_record_with("id", WriteOptions::new().key(key))?;
        writer.write_all(&pattern(100)).unwrap();
        writer.finish().map(drop)
    },
    |store, key| {
        let options = WriteOptions::new().key(key);
        store.store_many_with(&[("before", pattern(1), options), ("id", pattern(100), options)]).map(drop)
    },
];

/// A handle with these keys that creates records under the previous key although the rotation has begun. Before its
/// first attempt to move or remove one of them, the other handle does `event`.
fn late_creator(
    keys: (u8, Option<u8>),
    event: impl FnOnce(&Strongroom) + Send + 'static,
) -> (Strongroom, Arc<Strongroom>) {
    let storage: Shared = Arc::new(MemoryStorage::new());
    open(&storage, 1, None);
    let other = Arc::new(open(&storage, 2, Some(1)));
    let (faster, event) = (Arc::clone(&other), Mutex::new(Some(event)));
    let slow = hooked(&storage, move |call, _| {
        match call {
            "put" | "create_many" | "commit" => faster.begin_rotation().unwrap(),
            "rename" | "delete" => event.lock().unwrap().take().into_iter().for_each(|event| event(&faster)),
            _ => {}
        }
        Ok(())
    });
    (open(&slow, keys.0, keys.1), other)
}

/// A record that is created as the rotation begins may be erased as one whose id is unknown. Then its creation does not
/// succeed.
#[test]
fn a_creation_whose_record_is_erased_is_indeterminate() {
    for (n, create) in CREATIONS.into_iter().enumerate() {
        for (keys, ids) in [(2, Some(1)), (1, None)].into_iter().flat_map(|keys| [(keys, 0), (keys, 2)]) {
            let (slow, other) = late_creator(keys, move |other| {
                for locator in other.rotation(usize::MAX).unwrap().unwrap().remaining {
                    assert!(other.erase_unrotated(&locator).unwrap());
                }
                for id in ["before", "id"].into_iter().take(ids) {
                    other.store(id, b"other").unwrap();
                }
            });
            let created = create(&slow, &record_key(8));
            let about = format!("creation {n} of {keys:?}, {ids} ids are used again: {created:?}");
            assert!(matches!(created, Err(Error::Indeterminate(_))), "{about}");
            assert_eq!(other.stats().unwrap().records, ids as u64, "{about}");
        }
    }
}

/// A handle with the previous key alone cannot distinguish the two.
#[test]
fn a_creation_whose_record_is_moved_succeeds_or_is_indeterminate() {
    for (n, create) in CREATIONS.into_iter().enumerate() {
        for keys in [(2, Some(1)), (1, None)] {
            let (slow, other) = late_creator(keys, |other| {
                let _ = other.contains("before").unwrap();
                assert!(other.contains("id").unwrap());
            });
            match create(&slow, &record_key(8)) {
                Ok(()) => assert_ne!(keys.1, None),
                Err(Error::Indeterminate(_)) => assert_eq!(keys.1, None),
                created => panic!("creation {n} of {keys:?}: {created:?}"),
            }
            assert!(other.retrieve("id", &record_key(8)).unwrap() == pattern(if n == 1 { LONG } else { 100 }));
        }
    }
}

/// A batch that fails leaves nothing, or the outcome is unknown: others may have moved or used one of its records.
#[test]
fn a_batch_of_which_a_part_is_moved_or_used_is_indeterminate() {
    let create = CREATIONS[3];
    for id in ["before", "id"] {
        let (slow, other) = late_creator((1, None), move |other| assert!(other.contains(id).unwrap()));
        let created = create(&slow, &record_key(8));
        assert!(matches!(created, Err(Error::Indeterminate(_))), "{id} is moved: {created:?}");
        assert!(other.retrieve(id, &record_key(8)).is_ok());
    }
    // The first record is moved, and the second one is refused; meanwhile, somebody takes the first one.
    let (storage, key): (Shared, _) = (Arc::new(MemoryStorage::new()), record_key(8));
    open(&storage, 1, None);
    let other = open(&storage, 2, Some(1));
    let slow = hooked(&storage, move |call, _| {
        match call {
            "create_many" => {
                other.begin_rotation().unwrap();
                other.store("id", b"other").unwrap();
            }
            "delete" => drop(other.take("before", &key)),
            _ => {}
        }
        Ok(())
    });
    let created = create(&open(&slow, 2, Some(1)), &record_key(8));
    assert!(matches!(created, Err(Error::Indeterminate(_))), "it is taken: {created:?}");
}

/// A record that is gone does not end the removal. A failure of the storage does: each other one may take as long.
#[test]
fn a_batch_is_removed_until_the_storage_fails() {
    let ids: Vec<_> = (0..50).map(|n| format!("{n}")).collect();
    for (fails, deletes, left) in [(false, 99, 1), (true, 4, 49)] {
        let storage: Shared = Arc::new(MemoryStorage::new());
        open(&storage, 1, None);
        let (other, count) = (Arc::new(open(&storage, 2, Some(1))), Arc::new(AtomicUsize::new(0)));
        let (faster, counted) = (Arc::clone(&other), Arc::clone(&count));
        let slow = hooked(&storage, move |call, _| {
            match call {
                "create_many" => {
                    faster.begin_rotation().unwrap();
                    faster.store("49", b"other").unwrap();
                }
                "delete" => match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => assert!(faster.erase("0").unwrap()), // before the removal of the refused record
                    3.. if fails => return Err(StorageError::Busy),
                    _ => {}
                },
                _ => {}
            }
            Ok(())
        });
        let records: Vec<_> = ids.iter().map(|id| (id, b"data")).collect();
        let created = open(&slow, 2, Some(1)).store_many(&records).map(drop);
        assert!(matches!(created, Err(Error::Indeterminate(_))), "{created:?}");
        assert_eq!((count.load(Ordering::Relaxed), other.stats().unwrap().records), (deletes, left));
    }
}

#[test]
fn of_two_creations_one_succeeds() {
    let (slow_key, other_key) = (record_key(8), record_key(9));
    let mut overtaken = [0, 0];
    for (n, create) in CREATIONS.into_iter().enumerate() {
        for (keys, also_creates) in [((2, Some(1)), true), ((2, Some(1)), false), ((1, None), true), ((1, None), false)]
        {
            for step in 0..STEPS {
                let (outcome_of_other, key) = (Arc::new(Mutex::new(None)), other_key.duplicate());
                let outcome = Arc::clone(&outcome_of_other);
                let race = Race::new(keys, move |other| {
                    if also_creates {
                        let options = WriteOptions::new().key(&key);
                        *outcome.lock().unwrap() = Some(other.store_with("id", b"other", options).is_ok());
                    }
                });
                let Some(created) = race.at_step(step, |store| create(store, &slow_key)) else { break };
                let other_created = *outcome_of_other.lock().unwrap() == Some(true);
                let about = format!("creation {n} of {keys:?}, {also_creates}, step {step}: {created:?}");
                match &created {
                    Ok(()) => assert!(!other_created, "{about}"),
                    Err(Error::AlreadyExists) => assert!(other_created, "{about}"),
                    Err(Error::IndexKeyMismatch) => assert_eq!(keys.1, None, "{about}"),
                    Err(_) => panic!("{about}"),
                }
                let is_open = |key| race.other.retrieve("id", key).is_ok();
                assert_eq!((is_open(&slow_key), is_open(&other_key)), (created.is_ok(), other_created), "{about}");
                let others = u64::from(n == 3 && created.is_ok());
                let expected = u64::from(created.is_ok() || other_created) + others;
                assert_eq!(race.other.stats().unwrap().records, expected, "{about}");
                if keys.1.is_some() {
                    let _ = race.other.contains("before").unwrap();
                    assert!(race.other.rotation(1).unwrap().unwrap().remaining.is_empty(), "{about}");
                }
                overtaken[usize::from(also_creates)] += 1;
            }
        }
    }
    assert!(overtaken.into_iter().all(|count| count > 8), "{overtaken:?}");
}

/// It tells other services which index key is in use.
#[test]
fn the_hint_at_the_index_key_follows_the_rotation() {
    let storage: Shared = Arc::new(MemoryStorage::new());
    let hint = |store: &Strongroom| store.identity().unwrap().index_key_hint.unwrap();
    let before = hint(&open(&storage, 1, None));
    let (one, other) = (open(&storage, 2, Some(1)), open(&storage, 2, Some(1)));
    assert_eq!((hint(&one), hint(&other)), (before, before));
    one.begin_rotation().unwrap();
    assert!(!other.contains("id").unwrap());
    assert_ne!(hint(&one), before);
    assert_eq!(hint(&one), hint(&other));
    one.begin_rotation().unwrap();
    one.finish_rotation().unwrap();
    one.begin_rotation().unwrap();
    open(&storage, 2, Some(1)).begin_rotation().unwrap();
    open(&storage, 2, None).begin_rotation().unwrap();
    assert_eq!(hint(&open(&storage, 2, None)), hint(&one));
}
