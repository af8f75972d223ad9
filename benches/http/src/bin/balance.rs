//! The cost of the choice among services: `balance [SECONDS [DATABASE]]`, where the database is SQLite's or
//! `postgres://...`. One thread stores and retrieves records of 1 KiB over one service, over two of the same database,
//! and over one that is given twice: a hundred calls each, by turns, so that a busy machine delays all of them alike.
//! The last column has the choice alone: two processes have two caches.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use strongroom::{Endpoint, IndexKey, Strongroom};
use strongroom_http_benches::Server;

const LEN: usize = 1024;

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(10, |seconds| seconds.parse().unwrap());
    let folder = Server::folder();
    let database = args.next().unwrap_or_else(|| folder.path().join("records.db").to_str().unwrap().to_owned());
    let key_file = folder.path().join("index.key");
    fs::write(&key_file, &*IndexKey::generate().unwrap().to_text()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let storage = |store: &str| Server::service(&["serve-storage", "--store", store]);
    let key_file = key_file.to_str().unwrap();
    let encryption = |store: &str| Server::service(&["serve", "--index-key-file", key_file, "--store", store]);
    let with_key = |urls: &str| {
        let builder = Strongroom::builder().endpoint(Endpoint::new(urls).unwrap());
        builder.index_key_file(key_file).open().unwrap()
    };
    let without = |urls: &str| Strongroom::connect(&Endpoint::new(urls).unwrap()).unwrap();

    let storages = [storage(&database), storage(&database)];
    let over_one = [encryption(&url(&storages[0])), encryption(&url(&storages[0]))];
    let over_choice = choices(&storages).map(|urls| encryption(&urls));
    let of_database = [encryption(&database), encryption(&database)];
    let time = Duration::from_secs(seconds);
    println!("| 1 KiB, one connection, medians | one service | two | one / two | one, twice | one / twice |");
    println!("|---|---|---|---|---|---|");
    measure("storage services, a library", &choices(&storages).map(|urls| with_key(&urls)), time);
    measure(
        "storage services, one encryption server",
        &over_choice.each_ref().map(|server| without(&url(server))),
        time,
    );
    measure("encryption servers, one storage service", &choices(&over_one).map(|urls| without(&urls)), time);
    measure("encryption servers, no storage service", &choices(&of_database).map(|urls| without(&urls)), time);
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// The URLs of one service, of two, and of one that is given twice.
fn choices(servers: &[Server; 2]) -> [String; 3] {
    let [one, two] = servers.each_ref().map(url);
    [one.clone(), format!("{one},{two}"), format!("{one},http://localhost:{}", servers[0].address.port())]
}

fn measure(what: &str, stores: &[Strongroom; 3], time: Duration) {
    for work in ["store", "retrieve"] {
        let [one, two, twice] = medians(stores, what, work, time).map(|time| time.as_secs_f64() * 1e6);
        let ratios = [one / two, one / twice];
        println!(
            "| {what}: {work} | {one:.0} µs | {two:.0} µs | {:.3} | {twice:.0} µs | {:.3} |",
            ratios[0], ratios[1]
        );
    }
}

/// The median time of a call through each of them.
fn medians(stores: &[Strongroom; 3], what: &str, work: &str, time: Duration) -> [Duration; 3] {
    let id = format!("{what}: a record to {work}");
    let key = stores[0].store(&id, vec![7; LEN]).unwrap();
    let mut times = [(); 3].map(|()| Vec::new());
    let start = Instant::now();
    for number in 0.. {
        if start.elapsed() > time {
            break;
        }
        for (at, (store, times)) in stores.iter().zip(&mut times).enumerate() {
            for call in 0..100 {
                let begun = Instant::now();
                if work == "store" {
                    let _ = store.store(format!("{what} {number} {at} {call}"), vec![7; LEN]).unwrap();
                } else {
                    assert_eq!(store.retrieve(&id, &key).unwrap().len(), LEN);
                }
                times.push(begun.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort();
        times.swap_remove(times.len() / 2)
    })
}
