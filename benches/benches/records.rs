//! Records in memory and in SQLite: sealed records in the storages, and data in the store on top of them.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strongroom::storage::{Durability, Locator, MemoryStorage, PutMode, SqliteStorage, Storage};
use strongroom::{IndexKey, Strongroom};

const LENS: [usize; 4] = [64, 1 << 10, 16 << 10, 1 << 20];

fn storages(folder: &Path) -> [(&'static str, Arc<dyn Storage>); 2] {
    let sqlite = SqliteStorage::open(folder.join("records.db"), Durability::Full).unwrap();
    [("memory", Arc::new(MemoryStorage::new())), ("SQLite", Arc::new(sqlite))]
}

/// Writes replace one record repeatedly, so that the file does not grow with the rounds.
fn storage(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(".").unwrap();
    for (name, storage) in storages(folder.path()) {
        let mut group = criterion.benchmark_group(format!("storage in {name}"));
        for len in LENS {
            let (locator, record) = (Locator::from_bytes([7; 32]), vec![0x5a; len.max(68)]);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new("put", len), |bencher| {
                bencher.iter(|| storage.put(&locator, &record, PutMode::Overwrite).unwrap());
            });
            group.bench_function(BenchmarkId::new("get", len), |bencher| {
                bencher.iter(|| black_box(storage.get(&locator).unwrap()));
            });
        }
        group.finish();
        storage.close().unwrap();
    }
}

fn service(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(".").unwrap();
    for (name, storage) in storages(folder.path()) {
        let index_key = IndexKey::generate().unwrap();
        let store = Strongroom::builder().storage(storage).index_key(index_key).open().unwrap();
        let mut group = criterion.benchmark_group(format!("store in {name}"));
        for len in LENS {
            let data = vec![0x5a; len];
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new("store, erase", len), |bencher| {
                bencher.iter(|| {
                    store.store("id", &data).unwrap();
                    store.erase("id").unwrap()
                });
            });
            let key = store.store("id", &data).unwrap();
            group.bench_function(BenchmarkId::new("retrieve", len), |bencher| {
                bencher.iter(|| black_box(store.retrieve("id", &key).unwrap()));
            });
            store.erase("id").unwrap();
        }
        group.finish();
        store.close().unwrap();
    }
}

criterion_group!(benches, storage, service);
criterion_main!(benches);
