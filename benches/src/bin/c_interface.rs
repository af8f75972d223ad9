//! The additional cost of a call from C compared with Rust: a program in C and this one alternately retrieve the same
//! records.
//!
//! `c_interface PROGRAM [rounds]`, where PROGRAM is benches/c/retrieve.c; the table is for README.md of this folder.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "figures")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use strongroom::{RecordKey, Strongroom};

const RECORDS: u32 = 1000;
const RETRIEVALS: u32 = 200_000;

fn main() {
    let program = env::args().nth(1).unwrap();
    let rounds = env::args().nth(2).map_or(11, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (path, keys_path) = (folder.path().join("records.db"), folder.path().join("keys"));
    println!("| retrieve, one thread, median of {rounds} | Rust | C | C / Rust |");
    println!("|---|---|---|---|");
    for len in [64, 1024, 16 * 1024] {
        let store = Strongroom::open(&path).unwrap();
        let data = vec![0x5a; len];
        let ids: Vec<_> = (0..RECORDS).map(|id| (id.to_le_bytes(), &data)).collect();
        let keys = store.store_many(&ids).unwrap();
        let bytes: Vec<u8> = keys.iter().flat_map(RecordKey::expose_bytes).copied().collect();
        fs::write(&keys_path, bytes).unwrap();
        store.close().unwrap();

        let (mut rust, mut c) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            rust.push(in_rust(&path, &keys));
            let numbers = [RECORDS, RETRIEVALS].map(|number| number.to_string());
            let output = Command::new(&program).args([&path, &keys_path]).args(numbers).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            c.push(String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap());
        }
        let (rust, c) = (median(rust), median(c));
        println!("| {len} bytes | {rust} ns | {c} ns | {:.3} |", c as f64 / rust as f64);
        for file in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// The nanoseconds of one retrieve.
fn in_rust(path: &Path, keys: &[RecordKey]) -> u64 {
    let store = Strongroom::open(path).unwrap();
    let start = Instant::now();
    for id in (0..RECORDS).cycle().take(RETRIEVALS as usize) {
        black_box(store.retrieve(id.to_le_bytes(), &keys[id as usize]).unwrap());
    }
    let elapsed = start.elapsed();
    store.close().unwrap();
    u64::try_from(elapsed.as_nanos()).unwrap() / u64::from(RETRIEVALS)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
