//! Purging expired records beside a writer: `purge [RECORDS [EXPIRED]]`, by default 100,000 expired ones among 1,000,000,
//! and then the same number alone: the cost must not depend on other records.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

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
        let (purge, [before, during]) = measure(&folder.path().join("records.db"), records, expired);
        println!("| {records} records | {purge:.1?} | {before:.2?} | {during:.2?} |");
    }
}

/// The time of the purge, and the 99th percentiles of stores before and during it.
fn measure(path: &Path, records: usize, expired: usize) -> (Duration, [Duration; 2]) {
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
