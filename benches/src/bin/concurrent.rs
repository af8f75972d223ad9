//! 1,000 concurrent operations: async calls on a runtime of two threads, beside blocking calls on threads. `concurrent
//! [ROUNDS]`. Each caller stores one record of 1 KiB after the other, durably, and then retrieves them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use strongroom::{RecordKey, Strongroom, aio};

const CALLERS: usize = 1000;
/// The records of each caller.
const EACH: usize = 40;
/// How often each record is retrieved.
const READS: usize = 5;
const LEN: usize = 1024;

/// Operations in a second: stores, retrieves.
type Rates = [f64; 2];

fn main() {
    let rounds = std::env::args().nth(1).map_or(5, |rounds| rounds.parse().unwrap());
    let contestants: [(&str, &dyn Fn(Strongroom) -> Rates); 5] = [
        ("async, 1,000 tasks on 2 threads", &on_tasks),
        ("blocking, 64 threads", &|store| on_threads(&store, 64)),
        ("blocking, 2 threads", &|store| on_threads(&store, 2)),
        ("blocking, 1,000 threads", &|store| on_threads(&store, CALLERS)),
        ("spawn_blocking for each call", &with_spawn_blocking),
    ];
    let mut found = contestants.map(|_| [vec![], vec![]]);
    for _ in 0..rounds {
        for ((_, measure), found) in contestants.iter().zip(&mut found) {
            let folder = tempfile::tempdir_in(".").unwrap();
            let rates = measure(Strongroom::open(folder.path().join("records.db")).unwrap());
            found.iter_mut().zip(rates).for_each(|(all, rate)| all.push(rate));
        }
    }
    let medians = found.map(|rates| rates.map(median));
    println!("| {CALLERS} callers | stores in a second | retrieves in a second | async / this |");
    println!("|---|---|---|---|");
    let [of_async, ..] = medians;
    for ((name, _), rates) in contestants.iter().zip(medians) {
        let [stores, retrieves] = rates;
        let [store_ratio, retrieve_ratio] = [of_async[0] / stores, of_async[1] / retrieves];
        println!("| {name} | {stores:.0} | {retrieves:.0} | {store_ratio:.2}, {retrieve_ratio:.2} |");
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn on_tasks(store: Strongroom) -> Rates {
    let store = aio::Strongroom::new(store);
    let rates = runtime().block_on(async {
        let start = Instant::now();
        let writers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for n in 0..EACH {
                    keys.push(store.store(id(caller, n), [0x5a; LEN]).await.unwrap());
                }
                keys
            })
        });
        let keys = join(writers.collect()).await;
        let stores = rate(CALLERS * EACH, start);

        let start = Instant::now();
        let readers = keys.into_iter().enumerate().map(|(caller, keys)| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..READS {
                    for (n, key) in keys.iter().enumerate() {
                        assert_eq!(store.retrieve(id(caller, n), key).await.unwrap().len(), LEN);
                    }
                }
            })
        });
        join(readers.collect()).await;
        [stores, rate(CALLERS * EACH * READS, start)]
    });
    runtime().block_on(store.close()).unwrap();
    rates
}

async fn join<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut found = Vec::new();
    for task in tasks {
        found.push(task.await.unwrap());
    }
    found
}

fn with_spawn_blocking(store: Strongroom) -> Rates {
    let store = Arc::new(store);
    runtime().block_on(async {
        let start = Instant::now();
        let writers = (0..CALLERS).map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for n in 0..EACH {
                    let store = Arc::clone(&store);
                    let call = move || store.store(id(caller, n), [0x5a; LEN]).unwrap();
                    keys.push(Arc::new(tokio::task::spawn_blocking(call).await.unwrap()));
                }
                keys
            })
        });
        let keys: Vec<Vec<Arc<RecordKey>>> = join(writers.collect()).await;
        let stores = rate(CALLERS * EACH, start);

        let start = Instant::now();
        let readers = keys.into_iter().enumerate().map(|(caller, keys)| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..READS {
                    for (n, key) in keys.iter().enumerate() {
                        let (store, key) = (Arc::clone(&store), Arc::clone(key));
                        let call = move || store.retrieve(id(caller, n), &key).unwrap();
                        assert_eq!(tokio::task::spawn_blocking(call).await.unwrap().len(), LEN);
                    }
                }
            })
        });
        join(readers.collect()).await;
        [stores, rate(CALLERS * EACH * READS, start)]
    })
}

/// The callers' work, divided among threads.
fn on_threads(store: &Strongroom, threads: usize) -> Rates {
    let callers: Vec<_> = (0..CALLERS).collect();
    let start = Instant::now();
    let keys: Vec<Vec<(usize, Vec<RecordKey>)>> = thread::scope(|scope| {
        let writers = callers.chunks(CALLERS.div_ceil(threads)).map(|callers| {
            scope.spawn(move || {
                let store_all = |caller: &usize| {
                    let keys = (0..EACH).map(|n| store.store(id(*caller, n), [0x5a; LEN]).unwrap());
                    (*caller, keys.collect())
                };
                callers.iter().map(store_all).collect()
            })
        });
        writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let stores = rate(CALLERS * EACH, start);

    let start = Instant::now();
    thread::scope(|scope| {
        for callers in &keys {
            scope.spawn(move || {
                for _ in 0..READS {
                    for (caller, keys) in callers {
                        for (n, key) in keys.iter().enumerate() {
                            assert_eq!(store.retrieve(id(*caller, n), key).unwrap().len(), LEN);
                        }
                    }
                }
            });
        }
    });
    [stores, rate(CALLERS * EACH * READS, start)]
}
