//! Durable stores and retrieves of 1 KiB in PostgreSQL, against one `INSERT` for each commit and a prepared `SELECT` by
//! the same client with AES-256-GCM: `postgres URL [SECONDS [ROUNDS]]`. It makes tables in the database.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use strongroom::storage::PostgresConfig;
use strongroom::{IndexKey, Strongroom};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Statement};

const RECORDS: u64 = 1_000;
/// Always the same, because this measures only speed.
const NONCE: [u8; 12] = [7; 12];

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A new id or key of 32 bytes, in random order as locators are.
fn next_key() -> Vec<u8> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    [number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec(), vec![7; 24]].concat()
}

/// A connection with a runtime of its own, as the crate `postgres` has it.
struct Plain {
    runtime: Runtime,
    client: Client,
    insert: Statement,
    select: Statement,
    cipher: Aes256Gcm,
}

impl Plain {
    fn connect(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let config: Config = url.split("?schema").next().unwrap().parse().unwrap();
        let (client, connection) = runtime.block_on(config.connect(NoTls)).unwrap();
        runtime.spawn(connection);
        let insert = runtime.block_on(client.prepare("INSERT INTO bench_plain (key, body) VALUES ($1, $2)")).unwrap();
        let select = runtime.block_on(client.prepare("SELECT body FROM bench_plain WHERE key = $1")).unwrap();
        let cipher = Aes256Gcm::new(&[7; 32].into());
        Self { runtime, client, insert, select, cipher }
    }

    fn insert(&self, key: &[u8]) {
        let body = self.cipher.encrypt(&Nonce::from(NONCE), &[0x5a_u8; 1024][..]).unwrap();
        let parameters: [&(dyn ToSql + Sync); 2] = [&key, &body];
        assert_eq!(self.runtime.block_on(self.client.execute(&self.insert, &parameters)).unwrap(), 1);
    }

    fn select(&self, key: &[u8]) {
        let row = self.runtime.block_on(self.client.query_one(&self.select, &[&key])).unwrap();
        let data = self.cipher.decrypt(&Nonce::from(NONCE), row.get::<_, &[u8]>(0)).unwrap();
        assert_eq!(data.len(), 1024);
    }
}

/// How often `threads` threads do their work in a second. `make` runs once in each thread.
fn rate<F: FnMut()>(threads: usize, time: Duration, make: impl Fn(usize) -> F + Sync) -> f64 {
    let (total, barrier) = (Mutex::new(0.0), std::sync::Barrier::new(threads));
    thread::scope(|scope| {
        for thread in 0..threads {
            let (total, barrier, make) = (&total, &barrier, &make);
            scope.spawn(move || {
                let mut work = make(thread);
                barrier.wait();
                let (begun, mut count) = (Instant::now(), 0);
                while begun.elapsed() < time {
                    work();
                    count += 1;
                }
                *total.lock().unwrap() += f64::from(count) / begun.elapsed().as_secs_f64();
            });
        }
    });
    total.into_inner().unwrap()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let url = &arguments[0];
    let seconds = arguments.get(1).map_or(3, |seconds| seconds.parse().unwrap());
    let rounds = arguments.get(2).map_or(3, |rounds| rounds.parse().unwrap());
    let time = Duration::from_secs(seconds);

    let config = PostgresConfig::new(url).unwrap();
    let index_key = IndexKey::generate().unwrap();
    let store = Strongroom::builder().postgres(config).index_key(index_key).open().unwrap();
    let setup: Config = url.split("?schema").next().unwrap().parse().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (client, connection) = runtime.block_on(setup.connect(NoTls)).unwrap();
    runtime.spawn(connection);
    let tables =
        "DROP TABLE IF EXISTS bench_plain; CREATE TABLE bench_plain (key bytea PRIMARY KEY, body bytea NOT NULL)";
    runtime.block_on(client.batch_execute(tables)).unwrap();

    let data = [0x5a; 1024];
    println!("| work | Strongroom | the client alone | Strongroom / this |");
    println!("|---|---|---|---|");
    for threads in [1, 32, 128] {
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(threads, time, |_| || drop(store.store(next_key(), data).unwrap())));
            plain.push(rate(threads.min(32), time, |_| {
                let connection = Plain::connect(url);
                move || connection.insert(&next_key())
            }));
        }
        let (ours, plain) = (median(ours), median(plain));
        let connections = threads.min(32);
        println!(
            "| durable store of 1 KiB, {threads} threads, {connections} connections | {ours:.0} | {plain:.0} | {:.2} |",
            ours / plain
        );
    }

    let connection = Plain::connect(url);
    let keys: Vec<_> = (0..RECORDS).map(|n| (n, store.store(n.to_be_bytes(), data).unwrap())).collect();
    (0..RECORDS).for_each(|n| connection.insert(&n.to_be_bytes()));
    for threads in [1, 32] {
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(threads, time, |thread| {
                let (mut next, store, keys) = (thread * 97, &store, &keys);
                move || {
                    next = (next + 619) % keys.len();
                    let (n, key) = &keys[next];
                    assert_eq!(store.retrieve(n.to_be_bytes(), key).unwrap().len(), 1024);
                }
            }));
            plain.push(rate(threads, time, |thread| {
                let (connection, mut next) = (Plain::connect(url), thread as u64 * 97);
                move || {
                    next = (next + 619) % RECORDS;
                    connection.select(&next.to_be_bytes());
                }
            }));
        }
        let (ours, plain) = (median(ours), median(plain));
        println!("| retrieve of 1 KiB, {threads} threads | {ours:.0} | {plain:.0} | {:.2} |", ours / plain);
    }
}
