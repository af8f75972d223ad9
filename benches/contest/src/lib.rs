//! The interface of all contestants, and their measurement. Each contestant runs in its own process, because most
//! include their own SQLite.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]
#![allow(missing_docs, clippy::missing_panics_doc, clippy::cast_precision_loss, reason = "a benchmark")]

use std::env;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// The number of records in a transaction of a bulk load.
pub const BATCH: u64 = 10_000;

/// A store under test.
pub trait Contestant: Sync {
    /// Makes a store whose writes are durable when they return.
    fn create(path: &Path) -> Self;

    /// Stores records with these numbers in one transaction. The first call begins at 0, and each call continues after
    /// the previous one.
    fn fill(&mut self, numbers: Range<u64>, data: &[u8]);

    /// The handle of one thread.
    fn session(&self) -> impl Session;
}

/// The handle of one thread.
pub trait Session {
    /// Stores a record durably.
    fn store(&mut self, number: u64, data: &[u8]);

    /// Retrieves a record that [`Contestant::fill`] stored.
    fn retrieve(&mut self, number: u64) -> Vec<u8>;
}

/// The id of the record with this number. Ids are in no order, like random UUIDs.
#[must_use]
pub fn id(number: u64) -> [u8; 16] {
    // SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"): a permutation of all `u64`.
    let mix = |number: u64| {
        let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(number).to_le_bytes());
    id[8..].copy_from_slice(&mix(mix(number)).to_le_bytes());
    id
}

/// A measured workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Durable stores of `len` bytes by `threads` threads.
    Store { threads: usize, len: usize },
    /// The first `count` durable stores of a new store, of `len` bytes, by one thread.
    First { count: u64, len: usize },
    /// Retrieves of `len` bytes by `threads` threads, in random order, of `records` records.
    Retrieve { threads: usize, records: u64, len: usize },
    /// Bulk load of `records` records of `len` bytes, in transactions of [`BATCH`].
    Bulk { records: u64, len: usize },
}

impl Work {
    /// `store 8 1024`, `first 1500 1024`, `retrieve 1 10000 1024`, `bulk 1000000 256`.
    #[must_use]
    pub fn from_words(words: &[&str]) -> Option<Self> {
        let number = |index: usize| words.get(index)?.parse::<u64>().ok();
        let size = |index: usize| usize::try_from(number(index)?).ok();
        Some(match *words.first()? {
            "store" => Self::Store { threads: size(1)?, len: size(2)? },
            "first" => Self::First { count: number(1)?, len: size(2)? },
            "retrieve" => Self::Retrieve { threads: size(1)?, records: number(2)?, len: size(3)? },
            "bulk" => Self::Bulk { records: number(1)?, len: size(2)? },
            _ => return None,
        })
    }
}

/// The results of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Operations per second.
    pub rate: f64,
    /// The 99th percentile and the maximum of an operation's time in seconds; for a bulk load, of a transaction's.
    pub p99: f64,
    pub longest: f64,
    /// The highest 99th percentile of any thread.
    pub worst: f64,
    /// For a bulk load, the rates of its first and its last 100,000 records.
    pub ends: [f64; 2],
}

impl Figures {
    /// The figures in the line that [`run`] prints.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [rate, p99, longest, worst, first, last] = *numbers.as_slice() else { return None };
        Some(Self { rate, p99, longest, worst, ends: [first, last] })
    }
}

/// The program of a contestant: `SECONDS PATH WORK...`. Prints its figures in a line.
pub fn run<C: Contestant>(arguments: impl Iterator<Item = String>) {
    let arguments: Vec<String> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [seconds, path, work @ ..] = words.as_slice() else { panic!("SECONDS PATH WORK...") };
    let time = Duration::from_secs_f64(seconds.parse().unwrap());
    let contestant = C::create(Path::new(path));
    let Figures { rate, p99, longest, worst, ends: [first, last] } = match Work::from_words(work).unwrap() {
        Work::Store { threads, len } => store(&contestant, threads, len, time),
        Work::First { count, len } => first_stores(&contestant, count, len),
        Work::Retrieve { threads, records, len } => retrieve(contestant, threads, records, len, time),
        Work::Bulk { records, len } => bulk(contestant, records, len),
    };
    println!("{rate} {p99} {longest} {worst} {first} {last}");
}

/// The arguments of this program.
pub fn arguments() -> impl Iterator<Item = String> {
    env::args().skip(1)
}

fn store<C: Contestant>(contestant: &C, threads: usize, len: usize, time: Duration) -> Figures {
    let data = vec![0x5a; len];
    in_threads(contestant, threads, time, |session, thread, n| session.store(((thread as u64) << 32) | n, &data))
}

fn first_stores<C: Contestant>(contestant: &C, count: u64, len: usize) -> Figures {
    let (data, mut session, mut times) = (vec![0x5a; len], contestant.session(), Vec::new());
    let start = Instant::now();
    for number in 0..count {
        let before = Instant::now();
        session.store(number, &data);
        times.push(before.elapsed());
    }
    Figures { rate: count as f64 / start.elapsed().as_secs_f64(), ..figures(times) }
}

fn retrieve<C: Contestant>(mut contestant: C, threads: usize, records: u64, len: usize, time: Duration) -> Figures {
    let data = vec![0x5a; len];
    batches(records).for_each(|numbers| contestant.fill(numbers, &data));
    assert_eq!(contestant.session().retrieve(records / 2), data, "not what was stored");
    in_threads(&contestant, threads, time, |session, thread, n| {
        let number = u64::from_le_bytes(id(n)[..8].try_into().unwrap()).wrapping_add(thread as u64) % records;
        assert_eq!(black_box(session.retrieve(number)).len(), data.len(), "not what was stored");
    })
}

/// Lets threads work for a time, each with its own session.
fn in_threads<C: Contestant>(
    contestant: &C,
    threads: usize,
    time: Duration,
    work: impl Fn(&mut dyn Session, usize, u64) + Sync,
) -> Figures {
    let ready = Barrier::new(threads);
    let times: Vec<_> = thread::scope(|scope| {
        let (ready, work) = (&ready, &work);
        let start = |thread| {
            scope.spawn(move || {
                let mut session = contestant.session();
                ready.wait();
                let start = Instant::now();
                let (mut times, mut before) = (Vec::with_capacity(1 << 20), start);
                for n in 0.. {
                    work(&mut session, thread, n);
                    let now = Instant::now();
                    times.push(now - before);
                    before = now;
                    if now - start >= time {
                        break;
                    }
                }
                times
            })
        };
        let threads: Vec<_> = (0..threads).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // The last operation of each thread ended after the time limit.
    let in_time: usize = times.iter().map(|times| times.len() - 1).sum();
    let worst = times.iter().map(|times| figures(times.clone()).p99).fold(0.0, f64::max);
    Figures { rate: in_time as f64 / time.as_secs_f64(), worst, ..figures(times.concat()) }
}

fn bulk<C: Contestant>(mut contestant: C, records: u64, len: usize) -> Figures {
    let data = vec![0x5a; len];
    let mut times = Vec::new();
    let start = Instant::now();
    for numbers in batches(records) {
        let before = Instant::now();
        contestant.fill(numbers, &data);
        times.push(before.elapsed());
    }
    let elapsed = start.elapsed();
    let end = usize::try_from(100_000 / BATCH).unwrap().min(times.len());
    let rate_of =
        |times: &[Duration]| (times.len() as u64 * BATCH) as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let ends = [rate_of(&times[..end]), rate_of(&times[times.len() - end..])];
    Figures { rate: records as f64 / elapsed.as_secs_f64(), ends, ..figures(times) }
}

/// The record numbers of each transaction.
fn batches(records: u64) -> impl Iterator<Item = Range<u64>> {
    (0..records.div_ceil(BATCH)).map(move |batch| batch * BATCH..records.min((batch + 1) * BATCH))
}

/// The figures that are computed from the times alone.
fn figures(mut times: Vec<Duration>) -> Figures {
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100].as_secs_f64();
    Figures { rate: 0.0, p99, longest: times[times.len() - 1].as_secs_f64(), worst: p99, ends: [0.0; 2] }
}
