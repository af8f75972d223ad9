//! A store that grows: `growth LOCATION [RECORDS [FIRST]]`, by default 10,000,000 records of 256 bytes. At the first
//! million (`FIRST`) and at the end, it measures stores, retrieves, a page of a list, and purge. The location must be
//! empty.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a benchmark")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{Locator, Storage};
use strongroom::{IndexKey, Location, RecordKey, Strongroom, WriteOptions};

const BATCH: u64 = 5_000;
const LEN: usize = 256;
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const EXPIRING: u64 = 5_000;
const PAGES: u64 = 50;

static NEXT: AtomicU64 = AtomicU64::new(1 << 40);

fn id(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

/// A number below `end`, in an order without a pattern.
fn scattered(n: u64, end: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) % end
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How often `threads` threads do their work in a second.
fn rate(threads: u64, work: impl Fn(u64) + Sync) -> f64 {
    let count = AtomicU64::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begun.elapsed() < TIME {
                    work(count.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    count.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

/// The median time of a call, in milliseconds.
fn milliseconds(mut call: impl FnMut(u64)) -> f64 {
    let time = |n| {
        let begun = Instant::now();
        call(n);
        begun.elapsed().as_secs_f64() * 1e3
    };
    median((0..PAGES).map(time).collect())
}

fn measure(store: &Strongroom, storage: &dyn Storage, records: u64, key: &RecordKey) {
    let row = |work: &str, unit: &str, value: f64| println!("| {records} | {work} | {value:.2} {unit} |");
    for threads in [1, 32] {
        let stores = (0..ROUNDS).map(|_| {
            rate(threads, |_| {
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                store.store_with(id(n), [0x5a; LEN], WriteOptions::new().key(key)).unwrap();
            })
        });
        row(&format!("stores, {threads} threads"), "/s", median(stores.collect()));
        let retrieves = (0..ROUNDS).map(|round| {
            rate(threads, |n| {
                let n = scattered(n + round as u64 * 7_919, records);
                assert_eq!(store.retrieve(id(n), key).unwrap().len(), LEN);
            })
        });
        row(&format!("retrieves, {threads} threads"), "/s", median(retrieves.collect()));
    }
    let list = |n: u64| {
        let mut after = [1; 32]; // the first generation of index keys
        after[1] = (scattered(n, 200)) as u8;
        assert_eq!(storage.list(Some(&Locator::from_bytes(after)), 1_000).unwrap().len(), 1_000);
    };
    row("a page of 1,000 of a list", "ms", milliseconds(list));
    row("a purge without expired records", "ms", milliseconds(|_| assert_eq!(store.purge(1_000).unwrap(), 0)));
    for n in 0..EXPIRING / 1_000 {
        let items: Vec<_> = (0..1_000)
            .map(|m| {
                let id = format!("expiring {records} {n} {m}");
                (id, [0x5a; LEN], WriteOptions::new().key(key).expires_in(Duration::from_secs(20)))
            })
            .collect();
        store.store_many_with(&items).unwrap();
    }
    thread::sleep(Duration::from_secs(22));
    let (begun, mut purged) = (Instant::now(), 0);
    while let some @ 1.. = store.purge(1_000).unwrap() {
        purged += some;
    }
    assert_eq!(purged as u64, EXPIRING);
    row("purge of 5,000 records, for each", "µs", begun.elapsed().as_secs_f64() * 1e6 / EXPIRING as f64);
    let begun = Instant::now();
    assert!(store.stats().unwrap().records >= records);
    row("stats", "s", begun.elapsed().as_secs_f64());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let location = arguments.next().unwrap();
    let records = arguments.next().map_or(10_000_000, |count| count.parse().unwrap());
    let first = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let key = RecordKey::from_bytes(&[7; 32]).unwrap();
    let parse = || Location::parse(&location).unwrap();
    let index_key = IndexKey::from_bytes(&[7; 32]).unwrap();
    let store = Strongroom::builder().location(parse()).index_key(index_key).open().unwrap();
    let storage = parse().open_existing_storage().unwrap();

    println!("| records | work | |");
    println!("|---|---|---|");
    for (from, to) in [(0, first), (first, records)] {
        let begun = Instant::now();
        let next = AtomicU64::new(from);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(BATCH, Ordering::Relaxed);
                        let end = to.min(start + BATCH);
                        if start >= end {
                            break;
                        }
                        let items: Vec<_> =
                            (start..end).map(|n| (id(n), [0x5a; LEN], WriteOptions::new().key(&key))).collect();
                        store.store_many_with(&items).unwrap();
                    }
                });
            }
        });
        let load = (to - from) as f64 / begun.elapsed().as_secs_f64();
        println!("| {to} | loading, in batches of 5,000 by two threads | {load:.0} /s |");
        measure(&store, &*storage, to, &key);
    }
}
