//! Allocations of a store and of a retrieve. SQLite's own memory is not counted.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use strongroom::Strongroom;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: usize = 1000;

fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = Strongroom::open(folder.path().join("records.db")).unwrap();
    let data = vec![0x5a; 1024];
    let ids: Vec<_> = (0..=TIMES).map(|number| number.to_le_bytes()).collect();
    let mut keys = Vec::with_capacity(ids.len());
    keys.push(store.store(ids[0], &data).unwrap()); // prepares the statements
    black_box(store.retrieve(ids[0], &keys[0]).unwrap());

    println!("| 1 KiB, each of {TIMES} | allocations | bytes |\n|---|---|---|");
    measure("store", || keys.extend(ids[1..].iter().map(|id| store.store(id, &data).unwrap())));
    measure("retrieve", || {
        for (id, key) in ids[1..].iter().zip(&keys[1..]) {
            black_box(store.retrieve(id, key).unwrap());
        }
    });
}

fn measure(name: &str, work: impl FnOnce()) {
    let region = Region::new(COUNTED);
    work();
    let change = region.change();
    let count = change.allocations + change.reallocations;
    println!("| {name} | {} | {} |", count / TIMES, change.bytes_allocated / TIMES);
}
