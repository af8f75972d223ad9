//! The search for damage in 1 GiB of records of several lengths, against reading the file: `verify [GIB]`. Everything is
//! in the system's page cache.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom::storage::SqliteStorage;
use strongroom::{Durability, Strongroom, VerifyOptions, verify};

const ROUNDS: usize = 5;
const BATCH_BYTES: usize = 64 << 20;

fn main() {
    let gib: usize = std::env::args().nth(1).map_or(1, |count| count.parse().unwrap());
    println!("| records of | read the file | records alone | all | most memory |");
    println!("|---|---|---|---|---|");
    for len in [1 << 20, 64 << 10, 16 << 10, 1 << 10] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("records.db");
        fill(&path, (gib << 30) / len, len);
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        let search = |options: &VerifyOptions| {
            assert!(verify(&storage, options, |_| ControlFlow::Continue(())).unwrap().is_clean());
        };
        let read = fastest(|| read(&path));
        let before = memory();
        let records = fastest(|| search(&VerifyOptions::new().records_only()));
        let all = fastest(|| search(&VerifyOptions::new()));
        println!("| {len} bytes | {read:.0?} | {records:.0?} | {all:.0?} | {before} to {} MiB |", memory());
    }
}

fn fill(path: &Path, records: usize, len: usize) {
    let store = Strongroom::builder().path(path).durability(Durability::Relaxed).open().unwrap();
    let data = vec![0x5a; len];
    let ids: Vec<_> = (0..records).collect();
    for batch in ids.chunks(BATCH_BYTES / len) {
        let items = batch.iter().map(|n| (n.to_le_bytes(), &*data)).collect::<Vec<_>>();
        store.store_many(&items).unwrap();
    }
    store.close().unwrap();
}

/// As `cat` does.
fn read(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 128 << 10];
    while file.read(&mut buffer).unwrap() > 0 {}
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..ROUNDS).map(time).min().unwrap_or_default()
}

/// The peak of this process's memory in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() >> 10
}
