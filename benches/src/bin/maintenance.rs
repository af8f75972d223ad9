//! Maintenance beside a writer: `maintenance [RECORDS [EXPIRED]]`.
//!
//! The purge of expired records, by default 100,000 among 1,000,000, and then the same number alone: the cost must not
//! depend on other records. The removal of a record of 400 MB, and compaction.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use strongroom::{Strongroom, WriteOptions};

const BATCH: usize = 10_000;
const LEN: usize = 1024;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|count| count.parse().unwrap());
    let records = arguments.next().unwrap_or(1_000_000);
    let expired = arguments.next().unwrap_or(100_000);
    println!("| {expired} expired of | purge | p99 of a writer before | during the purge |");
    println!("|---|---|---|---|");
    for records in [records, expired] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let (purge, [before, during]) = purge(&folder.path().join("records.db"), records, expired);
        println!("| {records} records | {purge:.1?} | {before:.2?} | {during:.2?} |");
    }
    let folder = tempfile::tempdir_in(".").unwrap();
    space(&folder.path().join("records.db"));
}

/// The time of the purge, and the 99th percentiles of stores before and during it.
fn purge(path: &Path, records: usize, expired: usize) -> (Duration, [Duration; 2]) {
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&seconds);
    let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
    let store = Strongroom::builder().path(path).clock(now).open().unwrap();
    let hour = WriteOptions::new().expires_in(Duration::from_secs(3600));
    let ids: Vec<_> = (0..records).collect();
    for batch in ids.chunks(BATCH) {
        let items = batch.iter().map(|n| {
            // Spread evenly over all records.
            let expires = n * expired / records != (n + 1) * expired / records;
            (n.to_le_bytes(), [0x5a; LEN], if expires { hour } else { WriteOptions::new() })
        });
        store.store_many_with(&items.collect::<Vec<_>>()).unwrap();
    }
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let before = p99(&store, "before", &ended, || thread::sleep(Duration::from_secs(5)), scope);
        seconds.fetch_add(2 * 3600, Ordering::Relaxed);
        let start = Instant::now();
        let mut purge = Duration::ZERO;
        let work = || {
            assert_eq!(store.purge(usize::MAX).unwrap(), expired);
            purge = start.elapsed();
        };
        let during = p99(&store, "during", &ended, work, scope);
        (purge, [before, during])
    })
}

/// Prints the times of the removal of a long record, of its reclamation in the background, and of compaction.
fn space(path: &Path) {
    const LONG: u64 = 400_000_000;

    let store = Strongroom::open(path).unwrap();
    let free = || store.stats().unwrap().free;
    let key = store.store_reader("long", io::repeat(0x5a).take(LONG)).unwrap();
    let ended = AtomicBool::new(false);
    println!("\n| removing 400 MB | time | p99 of a writer meanwhile |");
    println!("|---|---|---|");
    thread::scope(|scope| {
        let time = |name: &'static str, work: &mut dyn FnMut()| {
            let (mut time, start) = (Duration::ZERO, Instant::now());
            let p99 = p99(&store, name, &ended, || (work(), time = start.elapsed()).0, scope);
            println!("| {name} | {time:.2?} | {p99:.2?} |");
        };
        time("nothing", &mut || thread::sleep(Duration::from_secs(5)));
        time("delete", &mut || store.delete("long", &key).unwrap());
        time("in the background", &mut || {
            // Until it grows no more: the writer uses some of it.
            let mut before = 0;
            while free() > before {
                before = free();
                thread::sleep(Duration::from_millis(500));
            }
        });
        time("compact", &mut || assert!(store.compact(u64::MAX).unwrap() > LONG / 2));
    });
}

/// The 99th percentile of the stores of another thread during `work`.
fn p99<'scope, 'store: 'scope>(
    store: &'store Strongroom,
    name: &'static str,
    ended: &'store AtomicBool,
    work: impl FnOnce(),
    scope: &'scope thread::Scope<'scope, 'store>,
) -> Duration {
    ended.store(false, Ordering::Relaxed);
    let writer = scope.spawn(move || {
        let mut times = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let start = Instant::now();
            store.store(format!("{name} {}", times.len()), [0x5a; LEN]).unwrap();
            times.push(start.elapsed());
        }
        times
    });
    work();
    ended.store(true, Ordering::Relaxed);
    let mut times = writer.join().unwrap();
    times.sort();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}
