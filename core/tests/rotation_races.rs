//! Operations that the beginning of a rotation overtakes: it happens between any two of their steps, and others work at
//! once under the new key. No id has two records, none is lost, and a handle with both keys notices without an error.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
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

const READS: [Use; 6] = [
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
    |store, _| store.contains("id").map(|found| assert!(found)),
];

#[test]
fn a_record_that_moves_is_found() {
    let writes: [(Use, u64); 6] = [
        (|store, key| store.replace("id", key, b"other").map(drop), 1),
        (|store, key| store.rekey("id", key).map(drop), 1),
        (|store, _| if matches!(store.store("id", b""), Err(Error::AlreadyExists)) { Ok(()) } else { panic!() }, 1),
        (|store, key| store.delete("id", key), 0),
        (|store, _| store.erase("id").map(|found| assert!(found)), 0),
        (|store, key| store.take("id", key).map(|data| assert!(data == pattern(data.len()))), 0),
    ];
    let mut overtaken = 0;
    for (n, (operation, records)) in READS.map(|read| (read, 1)).into_iter().chain(writes).enumerate() {
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
            for (n, read) in READS.into_iter().enumerate() {
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

/// A write needs the move.
#[test]
fn a_record_that_cannot_be_moved_is_not_written() {
    let writes: [Use; 6] = [
        |store, _| store.store("id", b"other").map(drop),
        |store, key| store.replace("id", key, b"other").map(drop),
        |store, key| store.rekey("id", key).map(drop),
        |store, key| store.delete("id", key),
        |store, _| store.erase("id").map(drop),
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

#[test]
fn of_two_creations_one_succeeds() {
    type Create = fn(&Strongroom, &RecordKey) -> Result<(), Error>;
    let creations: [Create; 4] = [
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
    let (slow_key, other_key) = (record_key(8), record_key(9));
    let mut overtaken = [0, 0];
    for (n, create) in creations.into_iter().enumerate() {
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
