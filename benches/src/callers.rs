//! Concurrent callers, each of which stores one record of 1 KiB after the other, and then retrieves them: as tasks on a
//! runtime of two threads, or as blocking calls on threads. All of them return the operations in a second.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use strongroom::{Error, RecordKey, Strongroom, aio};

pub(crate) const CALLERS: usize = 1000;
/// How often each record is retrieved.
pub(crate) const READS: usize = 5;
const LEN: usize = 1024;

/// Stores and retrieves in a second.
pub(crate) type Rates = [f64; 2];

/// Awaits calls; each caller has `each` records.
pub(crate) fn awaited(store: Strongroom, each: usize) -> Rates {
    let store = aio::Strongroom::new(store);
    let retrieves = store.clone();
    on_tasks(
        each,
        1, // no call of these tasks blocks
        move |caller, n| {
            let store = store.clone();
            async move { store.store(id(caller, n), [0x5a; LEN]).await }
        },
        move |caller, n, key| {
            let (store, key) = (retrieves.clone(), key.duplicate());
            async move { store.retrieve(id(caller, n), &key).await }
        },
    )
}

/// The same tasks; at most `threads` threads wait for the blocking calls.
pub(crate) fn with_spawn_blocking(store: Strongroom, each: usize, threads: usize) -> Rates {
    let store = Arc::new(store);
    let retrieves = Arc::clone(&store);
    on_tasks(
        each,
        threads,
        move |caller, n| {
            let store = Arc::clone(&store);
            async move { tokio::task::spawn_blocking(move || store.store(id(caller, n), [0x5a; LEN])).await.unwrap() }
        },
        move |caller, n, key| {
            let (store, key) = (Arc::clone(&retrieves), key.duplicate());
            async move { tokio::task::spawn_blocking(move || store.retrieve(id(caller, n), &key)).await.unwrap() }
        },
    )
}

fn on_tasks<S, R>(
    each: usize,
    blocking_threads: usize,
    store: impl Fn(usize, usize) -> S + Clone + Send + 'static,
    retrieve: impl Fn(usize, usize, &RecordKey) -> R + Clone + Send + 'static,
) -> Rates
where
    S: Future<Output = Result<RecordKey, Error>> + Send + 'static,
    R: Future<Output = Result<Vec<u8>, Error>> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(blocking_threads).enable_all().build().unwrap().block_on(async {
        let start = Instant::now();
        let writers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for n in 0..each {
                    keys.push(store(caller, n).await.unwrap());
                }
                keys
            })
        });
        let keys = join(writers.collect()).await;
        let stores = rate(CALLERS * each, start);

        let start = Instant::now();
        let readers = keys.into_iter().enumerate().map(|(caller, keys)| {
            let retrieve = retrieve.clone();
            tokio::spawn(async move {
                for _ in 0..READS {
                    for (n, key) in keys.iter().enumerate() {
                        assert_eq!(retrieve(caller, n, key).await.unwrap().len(), LEN);
                    }
                }
            })
        });
        join(readers.collect()).await;
        [stores, rate(CALLERS * each * READS, start)]
    })
}

/// Blocking calls on threads, which share the callers' work.
pub(crate) fn on_threads(store: &Strongroom, each: usize, threads: usize) -> Rates {
    let each = (CALLERS * each).div_ceil(threads);
    let start = Instant::now();
    let keys: Vec<Vec<_>> = thread::scope(|scope| {
        let write = |thread| (0..each).map(|n| store.store(id(thread, n), [0x5a; LEN]).unwrap()).collect();
        let writers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || write(thread))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let stores = rate(each * threads, start);

    let start = Instant::now();
    thread::scope(|scope| {
        for (thread, keys) in keys.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..READS {
                    for (n, key) in keys.iter().enumerate() {
                        assert_eq!(store.retrieve(id(thread, n), key).unwrap().len(), LEN);
                    }
                }
            });
        }
    });
    [stores, rate(each * threads * READS, start)]
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn id(caller: usize, n: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&caller.to_le_bytes());
    id[8..].copy_from_slice(&n.to_le_bytes());
    id
}

fn rate(operations: usize, start: Instant) -> f64 {
    operations as f64 / start.elapsed().as_secs_f64()
}

async fn join<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
