//! 1,000 concurrent calls to an encryption server: awaited on a runtime of two threads, beside blocking calls on threads.
//! `concurrent_client [ROUNDS]`. Each caller stores one record of 1 KiB after the other, durably, and then retrieves them.
//! Each measurement is a process of its own, for its threads and its memory; the server is in the process that starts them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::indexing_slicing, reason = "a benchmark")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use strongroom::{Endpoint, Error, RecordKey, Strongroom, aio};
use strongroom_server::{Config, Server, Service};

const CALLERS: usize = 1000;
/// The records of each caller.
const EACH: usize = 10;
/// How often each record is retrieved.
const READS: usize = 5;
const LEN: usize = 1024;

/// Stores and retrieves in a second, microseconds of the processor for each call, threads, MiB.
type Figures = [f64; 5];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [contestant, url] = &arguments[..] {
        let figures = measure(contestant, url).map(|figure| figure.to_string());
        return println!("{}", figures.join(" "));
    }
    let rounds = arguments.first().map_or(5, |rounds| rounds.parse().unwrap());
    let contestants = ["awaited", "64 threads", "256 threads", "spawn_blocking"];
    let mut found = contestants.map(|_| [(); 5].map(|()| Vec::new()));
    for round in 0..rounds {
        // Each begins a round in turn.
        for at in (0..contestants.len()).map(|at| (at + round) % contestants.len()) {
            let (contestant, found) = (contestants[at], &mut found[at]);
            found.iter_mut().zip(in_a_process(contestant)).for_each(|(all, figure)| all.push(figure));
        }
    }
    println!(
        "| {CALLERS} callers | stores in a second | retrieves in a second | awaited / this | processor time of a call | threads | memory |"
    );
    println!("|---|---|---|---|---|---|---|");
    let medians = found.map(|figures| figures.map(median));
    for (contestant, [stores, retrieves, time, threads, memory]) in contestants.iter().zip(medians) {
        let [store_ratio, retrieve_ratio] = [medians[0][0] / stores, medians[0][1] / retrieves];
        println!(
            "| {contestant} | {stores:.0} | {retrieves:.0} | {store_ratio:.2}, {retrieve_ratio:.2} | {time:.0} µs | {threads} | {memory:.0} MiB |"
        );
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The figures of a process, with a server of its own.
fn in_a_process(contestant: &str) -> Figures {
    let folder = tempfile::tempdir_in("target").unwrap();
    let store = Arc::new(Strongroom::open(folder.path().join("records.db")).unwrap());
    let (bound, addresses) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let config = Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap();
        runtime().block_on(async {
            let server = Server::bind(Service::encryption(store, &config).unwrap(), &config).await.unwrap();
            bound.send(server.addresses()).unwrap();
            server.serve(async { drop(stopped.await) }).await;
        });
    });
    let address = String::from(addresses.recv().unwrap().swap_remove(0));
    let child = Command::new(env::current_exe().unwrap()).args([contestant, &format!("http://{address}")]).output();
    let (child, mut figures) = (child.unwrap(), [0.0; 5]);
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let text = String::from_utf8(child.stdout).unwrap();
    figures.iter_mut().zip(text.split_whitespace()).for_each(|(figure, text)| *figure = text.parse().unwrap());
    stop.send(()).unwrap();
    server.join().unwrap();
    figures
}

/// A field of this process's status.
fn status(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// The seconds of this process.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn measure(contestant: &str, url: &str) -> Figures {
    let store = Strongroom::connect(&Endpoint::new(url).unwrap()).unwrap();
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    let most_threads = thread::spawn(move || {
        let mut most: f64 = 0.0;
        while !ended.load(Ordering::Relaxed) {
            most = most.max(status("Threads") - 1.0); // without this one
            thread::sleep(Duration::from_millis(20));
        }
        most
    });
    let [stores, retrieves] = match contestant.split_once(' ') {
        Some((threads, _)) => on_threads(&store, threads.parse().unwrap()),
        None if contestant == "awaited" => awaited(store),
        None => with_spawn_blocking(store),
    };
    has_ended.store(true, Ordering::Relaxed);
    let time = processor_time() * 1e6 / (CALLERS * EACH * (1 + READS)) as f64;
    [stores, retrieves, time, most_threads.join().unwrap(), status("VmHWM") / 1024.0]
}

fn id(caller: usize, n: usize) -> String {
    format!("{caller} {n}")
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

fn awaited(store: Strongroom) -> [f64; 2] {
    let store = aio::Strongroom::new(store);
    let retrieves = store.clone();
    on_tasks(
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

/// 64 threads wait for the answers to calls of tasks.
fn with_spawn_blocking(store: Strongroom) -> [f64; 2] {
    let store = Arc::new(store);
    let retrieves = Arc::clone(&store);
    on_tasks(
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

/// The rates of two kinds of calls on tasks.
fn on_tasks<S, R>(
    store: impl Fn(usize, usize) -> S + Clone + Send + 'static,
    retrieve: impl Fn(usize, usize, &RecordKey) -> R + Clone + Send + 'static,
) -> [f64; 2]
where
    S: Future<Output = Result<RecordKey, Error>> + Send + 'static,
    R: Future<Output = Result<Vec<u8>, Error>> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(64).enable_all().build().unwrap().block_on(async {
        let start = Instant::now();
        let writers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for n in 0..EACH {
                    keys.push(store(caller, n).await.unwrap());
                }
                keys
            })
        });
        let keys = join(writers.collect()).await;
        let stores = rate(CALLERS * EACH, start);

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
        [stores, rate(CALLERS * EACH * READS, start)]
    })
}

/// The rates of blocking calls on threads, which share the callers.
fn on_threads(store: &Strongroom, threads: usize) -> [f64; 2] {
    let each = (CALLERS * EACH).div_ceil(threads);
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
