//! A model of a store: random operations, done in the store and in a plain map, with the same outcomes.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use strongroom::{Builder, Error, IndexKey, RecordKey, Strongroom, WriteOptions};

use super::pattern::pattern;
use super::wait::{DEADLINE, Join};

/// The time at which the clock starts.
const START: u64 = 1_000_000;

/// A store whose clock and index key the model changes.
pub(crate) struct Place {
    /// Opens it, except for the index key.
    builder: Box<dyn Fn() -> Builder + Send + Sync>,
    clock: Arc<AtomicU64>,
    handle: RwLock<Handle>,
}

struct Handle {
    store: Strongroom,
    /// The number of the current index key.
    key: u8,
    is_rotating: bool,
}

impl Place {
    pub(crate) fn new(builder: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let store = open(builder(), &clock, 1, None);
        let handle = RwLock::new(Handle { store, key: 1, is_rotating: false });
        Self { builder: Box::new(builder), clock, handle }
    }

    fn set(&self, seconds: u64) {
        self.clock.store(START + seconds, Ordering::Relaxed);
    }

    fn namespace(&self, name: &str) -> Strongroom {
        self.handle.read().unwrap().store.namespace(name).unwrap()
    }

    fn purge(&self, limit: usize) -> usize {
        self.handle.read().unwrap().store.purge(limit).unwrap()
    }

    fn records(&self) -> u64 {
        self.handle.read().unwrap().store.stats().unwrap().records
    }

    fn is_rotating(&self) -> bool {
        self.handle.read().unwrap().is_rotating
    }

    fn remaining(&self) -> usize {
        let rotation = self.handle.read().unwrap().store.rotation(usize::MAX).unwrap();
        rotation.map_or(0, |rotation| rotation.remaining.len())
    }

    fn begin_rotation(&self) {
        let mut handle = self.handle.write().unwrap();
        let key = handle.key % 250 + 1;
        handle.store = open((self.builder)(), &self.clock, key, Some(handle.key));
        handle.store.begin_rotation().unwrap();
        (handle.key, handle.is_rotating) = (key, true);
    }

    fn finish_rotation(&self) {
        let mut handle = self.handle.write().unwrap();
        handle.store.finish_rotation().unwrap();
        handle.store = open((self.builder)(), &self.clock, handle.key, None);
        handle.is_rotating = false;
    }
}

fn open(builder: Builder, clock: &Arc<AtomicU64>, key: u8, previous: Option<u8>) -> Strongroom {
    let index_key = |number| IndexKey::from_bytes(&[number; 32]).unwrap();
    let now = Arc::clone(clock);
    let builder = builder.clock(move || time(now.load(Ordering::Relaxed))).index_key(index_key(key));
    previous.map(index_key).into_iter().fold(builder, Builder::previous_index_key).open().unwrap()
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[derive(Clone, Debug)]
enum Step {
    Store {
        id: usize,
        len: usize,
        options: Options,
    },
    Replace {
        id: usize,
        len: usize,
        options: Options,
    },
    Rekey {
        id: usize,
        options: Options,
    },
    Retrieve {
        id: usize,
    },
    Take {
        id: usize,
        in_pieces: bool,
    },
    Delete {
        id: usize,
    },
    Erase {
        id: usize,
    },
    Purge {
        limit: usize,
    },
    Wait {
        seconds: u64,
    },
    /// Begins a rotation of the index key, or completes it.
    Rotate,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    /// Seconds until the record expires.
    life: Option<u64>,
    pad: bool,
}

impl Options {
    fn at(self, now: u64) -> WriteOptions<'static> {
        let options = if self.pad { WriteOptions::new().pad() } else { WriteOptions::new() };
        self.life.map_or(options, |life| options.expires_at(time(START + now + life)))
    }
}

/// Two ids in each of two namespaces.
const IDS: [(&str, &str); 4] = [("", "first"), ("", "second"), ("tenant", "first"), ("tenant", "second")];

/// `alone`: whether nobody else uses the store, so that records may expire and the index key may change.
fn steps(alone: bool) -> impl Strategy<Value = Vec<Step>> {
    let id = || 0..IDS.len();
    let len = || prop_oneof![Just(0), Just(100), Just(16_376), Just(20_000), Just(300_000)];
    let life = if alone { prop_oneof![Just(None), (1..20_u64).prop_map(Some)].boxed() } else { Just(None).boxed() };
    let options = move || (life.clone(), any::<bool>()).prop_map(|(life, pad)| Options { life, pad });
    let step = prop_oneof![
        4 => (id(), len(), options()).prop_map(|(id, len, options)| Step::Store { id, len, options }),
        2 => (id(), len(), options()).prop_map(|(id, len, options)| Step::Replace { id, len, options }),
        2 => (id(), options()).prop_map(|(id, options)| Step::Rekey { id, options }),
        4 => id().prop_map(|id| Step::Retrieve { id }),
        2 => (id(), any::<bool>()).prop_map(|(id, in_pieces)| Step::Take { id, in_pieces }),
        1 => id().prop_map(|id| Step::Delete { id }),
        1 => id().prop_map(|id| Step::Erase { id }),
        1 => (0..4_usize).prop_map(|limit| Step::Purge { limit }),
        3 => (0..10_u64).prop_map(move |seconds| Step::Wait { seconds: if alone { seconds } else { 0 } }),
        u32::from(alone) => Just(Step::Rotate),
    ];
    prop::collection::vec(step, 0..40)
}

fn wrong_key() -> RecordKey {
    RecordKey::from_bytes(&[1; 32]).unwrap()
}

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

/// A record of the model.
struct Known {
    key: RecordKey,
    data: Vec<u8>,
    end: Option<u64>,
}

impl Known {
    fn has_expired(&self, now: u64) -> bool {
        self.end.is_some_and(|end| end <= now)
    }
}

/// The namespaces of a store, and the records that the model knows.
struct Model<'p> {
    place: &'p Place,
    /// Distinguishes the namespaces of models that use the store at the same time.
    suffix: String,
    spaces: [Strongroom; IDS.len()],
    known: BTreeMap<usize, Known>,
    now: u64,
}

impl<'p> Model<'p> {
    fn new(place: &'p Place, suffix: String) -> Self {
        let spaces = spaces(place, &suffix);
        Self { place, suffix, spaces, known: BTreeMap::new(), now: 0 }
    }

    fn do_step(&mut self, step: &Step, data: impl Fn(usize) -> Vec<u8>) {
        let now = self.now;
        match *step {
            Step::Store { id, len, options } => {
                let outcome = self.spaces[id].store_with(IDS[id].1, data(len), options.at(now));
                if self.known.get(&id).is_some_and(|known| !known.has_expired(now)) {
                    assert_name(outcome, "AlreadyExists");
                } else {
                    let end = options.life.map(|life| now + life);
                    self.known.insert(id, Known { key: outcome.unwrap(), data: data(len), end });
                }
            }
            Step::Replace { id, len, options } => self.change(id, |store, id, known| {
                let key = store.replace_with(id, &known.key, data(len), options.at(now))?;
                Ok(Some(Known { key, data: data(len), end: options.life.map(|life| now + life) }))
            }),
            Step::Rekey { id, options } => self.change(id, |store, id, known| {
                let key = store.rekey_with(id, &known.key, options.at(now))?;
                let end = options.life.map_or(known.end, |life| Some(now + life));
                Ok(Some(Known { key, data: known.data.clone(), end }))
            }),
            Step::Retrieve { id } => self.change(id, |store, id, known| {
                assert!(store.retrieve(id, &known.key)? == known.data);
                let Known { key, data, end } = known;
                Ok(Some(Known { key: key.duplicate(), data: data.clone(), end: *end }))
            }),
            Step::Take { id, in_pieces } => self.change(id, |store, id, known| {
                let data = if in_pieces {
                    let mut data = Vec::new();
                    store.take_record(id, &known.key)?.read_to_end(&mut data).unwrap();
                    data
                } else {
                    store.take(id, &known.key)?
                };
                assert!(data == known.data);
                Ok(None)
            }),
            Step::Delete { id } => match self.known.remove(&id) {
                None => assert_name(self.spaces[id].delete(IDS[id].1, &wrong_key()), "NotFound"),
                Some(known) => self.spaces[id].delete(IDS[id].1, &known.key).unwrap(),
            },
            Step::Erase { id } => {
                assert_eq!(self.spaces[id].erase(IDS[id].1).unwrap(), self.known.remove(&id).is_some());
            }
            Step::Purge { limit } => self.purge(limit),
            Step::Wait { seconds } => {
                self.now += seconds;
                self.place.set(self.now);
            }
            Step::Rotate => self.rotate(),
        }
    }

    /// An operation that needs the key of a record that has not expired. It returns the new record.
    fn change(&mut self, id: usize, operation: impl FnOnce(&Strongroom, &str, &Known) -> Result<Option<Known>, Error>) {
        let (store, name) = (&self.spaces[id], IDS[id].1);
        let Some(known) = self.known.get(&id) else {
            let nothing = Known { key: wrong_key(), data: Vec::new(), end: None };
            return assert_name(operation(store, name, &nothing), "NotFound");
        };
        let wrong = Known { key: wrong_key(), data: Vec::new(), end: None };
        assert_name(store.retrieve(name, &wrong.key), "WrongKey");
        let outcome = operation(store, name, known);
        if known.has_expired(self.now) {
            assert_name(outcome, "Expired");
        } else {
            match outcome.unwrap() {
                Some(new) => self.known.insert(id, new),
                None => self.known.remove(&id),
            };
        }
    }

    fn purge(&mut self, limit: usize) {
        let count = self.known.values().filter(|known| known.has_expired(self.now)).count().min(limit);
        assert_eq!(self.place.purge(limit), count);
        // If several have expired, the storage chooses.
        let is_stored = |id: usize| {
            let outcome = self.spaces[id].retrieve(IDS[id].1, &wrong_key());
            matches!(outcome, Err(Error::WrongKey))
        };
        let gone: Vec<_> = self.known.keys().copied().filter(|id| !is_stored(*id)).collect();
        assert_eq!(gone.len(), count);
        gone.iter().for_each(|id| assert!(self.known.remove(id).unwrap().has_expired(self.now)));
    }

    fn rotate(&mut self) {
        if self.place.is_rotating() {
            assert!(self.place.remaining() <= self.known.len());
            for (id, space) in self.spaces.iter().enumerate() {
                let is_known = self.known.get(&id).is_some_and(|known| !known.has_expired(self.now));
                assert_eq!(space.contains(IDS[id].1).unwrap(), is_known);
            }
            assert_eq!(self.place.remaining(), 0);
            self.place.finish_rotation();
        } else {
            self.place.begin_rotation();
            assert_eq!(self.place.remaining(), self.known.len());
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        self.spaces = spaces(self.place, &self.suffix);
    }

    /// Removes what is left.
    fn end(self) {
        for (id, space) in self.spaces.iter().enumerate() {
            assert_eq!(space.erase(IDS[id].1).unwrap(), self.known.contains_key(&id));
        }
    }
}

fn spaces(place: &Place, suffix: &str) -> [Strongroom; IDS.len()] {
    IDS.map(|(name, _)| place.namespace(&format!("{name}{suffix}")))
}

fn run(cases: u32, strategy: impl Strategy<Value = Vec<Vec<Step>>>, check: impl Fn(Vec<Vec<Step>>)) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let outcome = runner.run(&strategy, |steps| {
        check(steps);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Runs of random operations, with records that expire and rotations of the index key.
pub(crate) fn check_model(place: &Place, cases: u32) {
    run(cases, steps(true).prop_map(|steps| vec![steps]), |steps| {
        place.set(0);
        let mut model = Model::new(place, String::new());
        for (n, step) in steps.concat().iter().enumerate() {
            model.do_step(step, |len| pattern(len + n));
            assert_eq!(place.records(), model.known.len() as u64);
        }
        model.end();
        if place.is_rotating() {
            place.finish_rotation();
        }
    });
}

/// Runs of several threads, each in its own namespaces: none affects another. In the middle, a rotation of the index
/// key begins, and it is finished after them.
pub(crate) fn check_model_of_threads(place: &Place, cases: u32) {
    const THREADS: usize = 3;
    place.set(0);
    run(cases, prop::collection::vec(steps(false), THREADS), |steps| {
        let mut models: Vec<_> = (0..THREADS).map(|thread| Model::new(place, thread.to_string())).collect();
        let halves = steps.iter().map(|steps| steps.split_at(steps.len() / 2));
        let (first, second): (Vec<_>, Vec<_>) = halves.unzip();
        do_steps(&mut models, &first);
        place.begin_rotation();
        models.iter_mut().for_each(Model::reopen);
        do_steps(&mut models, &second);
        models.into_iter().for_each(Model::end);
        place.finish_rotation();
        assert_eq!(place.records(), 0);
    });
}

/// Does the steps of each model on a thread of its own.
fn do_steps(models: &mut [Model<'_>], steps: &[&[Step]]) {
    thread::scope(|scope| {
        let run = |(model, steps): (&mut Model<'_>, &[Step])| {
            steps.iter().enumerate().for_each(|(n, step)| model.do_step(step, |len| pattern(len + n)));
        };
        let threads = models.iter_mut().zip(steps).map(|(model, steps)| scope.spawn(move || run((model, *steps))));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().for_each(|thread| thread.join_within(DEADLINE));
    });
}
