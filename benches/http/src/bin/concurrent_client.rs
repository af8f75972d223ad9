//! 1,000 concurrent calls to an encryption server: awaited on a runtime of two threads, beside blocking calls on
//! threads. `concurrent_client [ROUNDS]`. Each caller stores one record of 1 KiB after the other, durably, and then
//! retrieves them. Each measurement is a process of its own, for its threads and its memory; the server is in the
//! process that starts them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../../../src/callers.rs"]
mod callers;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use std::{env, fs};

use callers::{CALLERS, READS, awaited, median, on_threads, with_spawn_blocking};
use strongroom::{Endpoint, Strongroom};
use strongroom_http_benches::processor_time;
use strongroom_server::{Config, Server, Service};

/// The records of each caller.
const EACH: usize = 10;

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
        Some((threads, _)) => on_threads(&store, EACH, threads.parse().unwrap()),
        None if contestant == "awaited" => awaited(store, EACH),
        None => with_spawn_blocking(store, EACH, 64),
    };
    has_ended.store(true, Ordering::Relaxed);
    let time = processor_time("self").as_secs_f64() * 1e6 / (CALLERS * EACH * (1 + READS)) as f64;
    [stores, retrieves, time, most_threads.join().unwrap(), status("VmHWM") / 1024.0]
}
