//! Large values: Strongroom's streams compared with plain SQLite and age, in one run.
//!
//! `streams [MiB] [rounds]`; the tables are for README.md of this folder.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::cobblestone::{message_len, open_into, seal_into};
use strongroom::{RecordKey, Strongroom};

/// The length of Strongroom's own segments in SQLite.
const SEGMENT_LEN: usize = (1 << 20) - 1024;

/// `len` bytes of a pattern that is fast to make and not trivial to compress.
struct Pattern {
    block: Vec<u8>,
    left: usize,
}

impl Pattern {
    fn new(len: usize) -> Self {
        let block = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        Self { block, left: len }
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.left).min(self.block.len());
        buffer[..len].copy_from_slice(&self.block[..len]);
        self.left -= len;
        Ok(len)
    }
}

/// The speed of `work` on `len` bytes in MB/s.
fn speed(len: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    len as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// SQLite with the settings, rows and transactions of Strongroom's upload, without encryption.
fn plain_store(path: &Path, len: usize) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;
         CREATE TABLE segment (id INTEGER PRIMARY KEY, object INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL,
            UNIQUE (object, n)) STRICT;",
    )
    .unwrap();
    let mut source = Pattern::new(len);
    let mut segment = vec![0; SEGMENT_LEN];
    for n in 0..len.div_ceil(SEGMENT_LEN) {
        let end = SEGMENT_LEN.min(len - n * SEGMENT_LEN);
        source.read_exact(&mut segment[..end]).unwrap();
        if n + 1 == len.div_ceil(SEGMENT_LEN) {
            db.execute_batch("PRAGMA synchronous = FULL").unwrap(); // makes all of the data durable
        }
        let sql = "INSERT INTO segment (object, n, data) VALUES (1, ?1, ?2)";
        db.prepare_cached(sql).unwrap().execute((i64::try_from(n).unwrap(), &segment[..end])).unwrap();
    }
}

fn plain_open(path: &Path) {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare("SELECT data FROM segment WHERE object = 1 ORDER BY n").unwrap();
    let mut rows = statement.query(()).unwrap();
    while let Some(row) = rows.next().unwrap() {
        black_box(row.get::<_, Vec<u8>>(0).unwrap());
    }
}

fn read_all(store: &Strongroom, key: &RecordKey) {
    let mut reader = store.open_record("large", key).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while reader.read(&mut buffer).unwrap() > 0 {
        black_box(&buffer);
    }
}

/// Runs the program `age`, if it is installed, and waits until its output is on the disk.
fn age(arguments: &[&str], folder: &Path, output: Option<&str>) -> bool {
    let run =
        Command::new("age").args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).status();
    if let Some(output) = output.filter(|_| run.is_ok()) {
        File::open(folder.join(output)).unwrap().sync_all().unwrap();
    }
    run.is_ok_and(|status| status.success())
}

fn throughput(folder: &Path, len: usize, rounds: usize) {
    let names = [
        "store: plain SQLite, the same rows and transactions",
        "store: Strongroom, `store_reader`",
        "store: age, file to file",
        "open: AES-256-GCM on one core, in memory",
        "open: plain SQLite",
        "open: Strongroom, `open_record`",
        "open: age, file to nothing",
    ];
    let mut figures = names.map(|_| Vec::new());
    let plaintext = folder.join("plaintext");
    io::copy(&mut Pattern::new(len), &mut File::create(&plaintext).unwrap()).unwrap();
    let has_age = Command::new("age-keygen").args(["-o", "identity"]).current_dir(folder).output().is_ok();
    let recipient = if has_age { fs::read_to_string(folder.join("identity")).unwrap() } else { String::new() };
    let recipient = recipient.split_whitespace().find(|word| word.starts_with("age1")).unwrap_or_default();

    for _ in 0..rounds {
        let (plain, ours) = (folder.join("plain.db"), folder.join("records.db"));
        figures[0].push(speed(len, || plain_store(&plain, len)));
        figures[4].push(speed(len, || plain_open(&plain)));
        fs::remove_file(&plain).unwrap();

        let store = Strongroom::open(&ours).unwrap();
        let mut key = None;
        figures[1].push(speed(len, || key = Some(store.store_reader("large", Pattern::new(len)).unwrap())));
        figures[5].push(speed(len, || read_all(&store, &key.unwrap())));
        store.close().unwrap();
        fs::remove_file(&ours).unwrap();
        fs::remove_file(folder.join("records.db.index-key")).unwrap();

        let data = vec![7; 1 << 20];
        let mut message = vec![0; message_len(1 << 20).unwrap() as usize];
        seal_into(&[7; 32], b"", &data, &mut message).unwrap();
        let mut opened = vec![0; 1 << 20];
        figures[3].push(speed(500 << 20, || {
            (0..500).for_each(|_| open_into(&[7; 32], b"", black_box(&message), &mut opened).unwrap());
        }));

        if has_age {
            let seal = ["-r", recipient, "-o", "sealed.age", "plaintext"];
            figures[2].push(speed(len, || assert!(age(&seal, folder, Some("sealed.age")))));
            let open = ["-d", "-i", "identity", "-o", "/dev/null", "sealed.age"];
            figures[6].push(speed(len, || assert!(age(&open, folder, None))));
            fs::remove_file(folder.join("sealed.age")).unwrap();
        }
    }
    println!("| {} MiB, median of {rounds} | MB/s |\n|---|---|", len >> 20);
    for (name, values) in names.iter().zip(figures) {
        let figure = if values.is_empty() { "not installed".into() } else { format!("{:.0}", median(values)) };
        println!("| {name} | {figure} |");
    }
}

/// The latencies in ms of durable stores of 1 KiB, until `done`.
fn small_stores(store: &Strongroom, done: &AtomicBool) -> Vec<f64> {
    let mut latencies = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        store.store(format!("small {}", latencies.len()), [7; 1024]).unwrap();
        latencies.push(start.elapsed().as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn latency(folder: &Path, len: usize) {
    println!("\n| 1 KiB durable stores of one thread | stores/s | median | p99 | longest |\n|---|---|---|---|---|");
    for upload in [false, true] {
        let path = folder.join(format!("latency-{upload}.db"));
        let store = Strongroom::open(&path).unwrap();
        let done = AtomicBool::new(false);
        let start = Instant::now();
        let latencies = thread::scope(|scope| {
            let stores = scope.spawn(|| small_stores(&store, &done));
            if upload {
                store.store_reader("large", Pattern::new(len)).unwrap();
            } else {
                thread::sleep(Duration::from_secs(4));
            }
            done.store(true, Ordering::Relaxed);
            stores.join().unwrap()
        });
        let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let when = if upload { format!("while {} MiB are uploaded", len >> 20) } else { "alone".into() };
        println!("| {when} | {rate:.0} | {:.2} ms | {:.2} ms | {:.2} ms |", at(0.5), at(0.99), at(1.0));
        store.close().unwrap();
        fs::remove_file(path).unwrap();
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let len = arguments.next().unwrap_or(1024) << 20;
    let rounds = arguments.next().unwrap_or(5);
    let folder = tempfile::tempdir_in(".").unwrap();
    throughput(folder.path(), len, rounds);
    latency(folder.path(), len);
    io::stdout().flush().unwrap();
}
