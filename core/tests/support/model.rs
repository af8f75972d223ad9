//! A model of a store: random operations, done in the store and in a plain map, with the same outcomes.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use strongroom::{Builder, Error, RecordKey, Strongroom, WriteOptions};

use super::wait::{DEADLINE, Join};

/// The time at which the clock starts.
const START: u64 = 1_000_000;

/// A store whose clock the model sets.
pub(crate) struct Timed {
    pub(crate) store: Strongroom,
    clock: Arc<AtomicU64>,
}

impl Timed {
    pub(crate) fn open(builder: Builder) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let now = Arc::clone(&clock);
        let store = builder.clock(move || time(now.load(Ordering::Relaxed))).open().unwrap();
        Self { store, clock }
    }

    fn set(&self, seconds: u64) {
        self.clock.store(START + seconds, Ordering::Relaxed);
    }
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[derive(Clone, Debug)]
enum Step {
    Store { id: usize, len: usize, options: Options },
    Replace { id: usize, len: usize, options: Options },
    Rekey { id: usize, options: Options },
    Retrieve { id: usize },
    Take { id: usize, in_pieces: bool },
    Delete { id: usize },
    Erase { id: usize },
    Purge { limit: usize },
    Wait { seconds: u64 },
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

/// `lives`: whether records expire.
fn steps(lives: bool) -> impl Strategy<Value = Vec<Step>> {
    let id = || 0..IDS.len();
    let len = || prop_oneof![Just(0), Just(100), Just(16_376), Just(20_000), Just(300_000)];
    let life = if lives { prop_oneof![Just(None), (1..20_u64).prop_map(Some)].boxed() } else { Just(None).boxed() };
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
        3 => (0..10_u64).prop_map(move |seconds| Step::Wait { seconds: if lives { seconds } else { 0 } }),
    ];
    prop::collection::vec(step, 0..40)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
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
struct Model<'t> {
    timed: &'t Timed,
    spaces: [Strongroom; IDS.len()],
    known: BTreeMap<usize, Known>,
    now: u64,
}

impl<'t> Model<'t> {
    /// `space` distinguishes the namespaces of models that use the store at the same time.
    fn new(timed: &'t Timed, space: &str) -> Self {
        let spaces = IDS.map(|(name, _)| timed.store.namespace(format!("{name}{space}")).unwrap());
        Self { timed, spaces, known: BTreeMap::new(), now: 0 }
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
                self.timed.set(self.now);
            }
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
        assert_eq!(self.timed.store.purge(limit).unwrap(), count);
        // If several have expired, the storage chooses.
        let is_stored = |id: usize| {
            let outcome = self.spaces[id].retrieve(IDS[id].1, &wrong_key());
            matches!(outcome, Err(Error::WrongKey))
        };
        let gone: Vec<_> = self.known.keys().copied().filter(|id| !is_stored(*id)).collect();
        assert_eq!(gone.len(), count);
        gone.iter().for_each(|id| assert!(self.known.remove(id).unwrap().has_expired(self.now)));
    }

    /// Removes what is left.
    fn end(self) {
        for (id, space) in self.spaces.iter().enumerate() {
            assert_eq!(space.erase(IDS[id].1).unwrap(), self.known.contains_key(&id));
        }
    }
}

fn run(cases: u32, strategy: impl Strategy<Value = Vec<Vec<Step>>>, check: impl Fn(Vec<Vec<Step>>)) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let outcome = runner.run(&strategy, |steps| {
        check(steps);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Runs of random operations, with records that expire.
pub(crate) fn check_model(timed: &Timed, cases: u32) {
    run(cases, steps(true).prop_map(|steps| vec![steps]), |steps| {
        timed.set(0);
        let mut model = Model::new(timed, "");
        for (n, step) in steps.concat().iter().enumerate() {
            model.do_step(step, |len| pattern(len + n));
            assert_eq!(timed.store.stats().unwrap().records, model.known.len() as u64);
        }
        model.end();
    });
}

/// Runs of several threads, each in its own namespaces: none affects another.
pub(crate) fn check_model_of_threads(timed: &Timed, cases: u32) {
    const THREADS: usize = 3;
    timed.set(0);
    run(cases, prop::collection::vec(steps(false), THREADS), |steps| {
        thread::scope(|scope| {
            let run = |(thread, steps): (usize, &Vec<Step>)| {
                let mut model = Model::new(timed, &thread.to_string());
                steps.iter().enumerate().for_each(|(n, step)| model.do_step(step, |len| pattern(len + n)));
                model.end();
            };
            let threads: Vec<_> = steps.iter().enumerate().map(|steps| scope.spawn(move || run(steps))).collect();
            threads.into_iter().for_each(|thread| thread.join_within(DEADLINE));
        });
        assert_eq!(timed.store.stats().unwrap().records, 0);
    });
}
