//! Small records by many threads: Strongroom beside plain SQLite, each store durable when it returns, in one run.
//!
//! `stores [seconds] [rounds]`; the table is for README.md of this folder.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "figures")]

use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use strongroom::Strongroom;

const DATA: [u8; 1024] = [0x5a; 1024];

/// What one run of some threads gave: stores in a second, and the latencies' 99th percentile and maximum.
struct Figures {
    rate: f64,
    p99: Duration,
    longest: Duration,
}

fn main() {
    let seconds: f64 = env::args().nth(1).map_or(3.0, |seconds| seconds.parse().unwrap());
    let rounds: usize = env::args().nth(2).map_or(5, |rounds| rounds.parse().unwrap());
    let time = Duration::from_secs_f64(seconds);
    println!(
        "| 1 KiB durable stores, median of {rounds} | plain SQLite | p99 | longest | Strongroom | p99 | longest | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for threads in [1, 2, 4, 8, 16, 32] {
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(in_folder(|path| plain_sqlite(path, threads, time)));
            ours.push(in_folder(|path| strongroom(path, threads, time)));
        }
        let (plain, ours) = (median(plain), median(ours));
        let shown = |figures: &Figures| {
            let ms = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
            format!("{:.0}/s | {} | {}", figures.rate, ms(figures.p99), ms(figures.longest))
        };
        println!("| {threads} threads | {} | {} | {:.2} |", shown(&plain), shown(&ours), ours.rate / plain.rate);
    }
}

/// Runs `work` with a database in a new folder, on the disk of the current one.
fn in_folder(work: impl FnOnce(&Path) -> Figures) -> Figures {
    let folder = tempfile::tempdir_in(".").unwrap();
    work(&folder.path().join("records.db"))
}

fn strongroom(path: &Path, threads: usize, time: Duration) -> Figures {
    let store = Strongroom::open(path).unwrap();
    measure(threads, time, |thread| {
        let store = &store;
        move |n| drop(store.store(id(thread, n), DATA).unwrap())
    })
}

/// A connection for each thread and a transaction for each record, with the settings that Strongroom has.
fn plain_sqlite(path: &Path, threads: usize, time: Duration) -> Figures {
    let connect = || {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        let settings = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            PRAGMA wal_autocheckpoint = 1024; PRAGMA secure_delete = ON;
            CREATE TABLE IF NOT EXISTS record (id BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT;";
        connection.execute_batch(settings).unwrap();
        connection
    };
    drop(connect());
    measure(threads, time, |thread| {
        let mut connection = connect();
        move |n| {
            let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate).unwrap();
            let sql = "INSERT INTO record (id, data) VALUES (?1, ?2)";
            transaction.prepare_cached(sql).unwrap().execute((id(thread, n), DATA)).unwrap();
            transaction.commit().unwrap();
        }
    })
}

fn id(thread: usize, n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    id[8..].copy_from_slice(&(thread as u64).to_le_bytes());
    id
}

/// Lets threads store for a while, each with what `make` gives it.
fn measure<S: FnMut(u64)>(threads: usize, time: Duration, make: impl Fn(usize) -> S + Sync) -> Figures {
    let start = Instant::now();
    let mut latencies: Vec<Duration> = thread::scope(|scope| {
        let work = |thread| {
            let make = &make;
            scope.spawn(move || {
                let mut store = make(thread);
                let mut latencies = Vec::new();
                while start.elapsed() < time {
                    let before = Instant::now();
                    store(latencies.len() as u64);
                    latencies.push(before.elapsed());
                }
                latencies
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Figures { rate, p99: latencies[latencies.len() * 99 / 100], longest: latencies[latencies.len() - 1] }
}

fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    figures.swap_remove(figures.len() / 2)
}
