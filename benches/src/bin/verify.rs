//! The search for damage in 1 GiB of records of several lengths, against reading the file: `verify [GIB]`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use strongroom::storage::SqliteStorage;
use strongroom::{Durability, Strongroom, VerifyOptions, verify};

const ROUNDS: usize = 3;
const BATCH_BYTES: usize = 64 << 20;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [path, records, len] = &*arguments {
        return fill(Path::new(path), records.parse().unwrap(), len.parse().unwrap());
    }
    let gib: usize = arguments.first().map_or(1, |count| count.parse().unwrap());
    println!("| records of | file cached: read it | records alone | all | not cached: read it | all | peak memory |");
    println!("|---|---|---|---|---|---|---|");
    for len in [1 << 20, 64 << 10, 1 << 10] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("records.db");
        // In a process of its own, because this one measures its memory.
        let arguments = [path.to_str().unwrap(), &((gib << 30) / len).to_string(), &len.to_string()];
        assert!(Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap().success());
        let search = |options: &VerifyOptions| {
            let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
            assert!(verify(&storage, options, |_| ControlFlow::Continue(())).unwrap().is_clean());
        };
        let cached = || read(&path);
        let read_cached = fastest(cached, || read(&path));
        let records = fastest(cached, || search(&VerifyOptions::new().records_only()));
        let all = fastest(cached, || search(&VerifyOptions::new()));
        let read_cold = fastest(|| forget(&path), || read(&path));
        let cold = fastest(|| forget(&path), || search(&VerifyOptions::new()));
        let memory = memory();
        println!(
            "| {len} bytes | {read_cached:.2?} | {records:.2?} | {all:.2?} | {read_cold:.2?} | {cold:.2?} | {memory} MiB |"
        );
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

/// Removes the file from the system's cache.
fn forget(path: &Path) {
    let file = format!("of={}", path.display());
    let arguments = [&*file, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"];
    assert!(Command::new("dd").args(arguments).status().unwrap().success());
}

fn fastest(before: impl Fn(), work: impl Fn()) -> Duration {
    let time = |_| {
        before();
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
