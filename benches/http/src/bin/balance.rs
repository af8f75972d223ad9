//! The cost of the choice among services: `balance [SECONDS]`. One thread stores and retrieves records of 1 KiB over one
//! storage service, over two of the same database, and over one that is given twice: a hundred calls each, by turns, so that a
//! busy machine delays all of them alike. The last column has the choice alone: two processes have two caches of SQLite.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::time::{Duration, Instant};

use strongroom::{Endpoint, IndexKey, Strongroom};
use strongroom_http_benches::Server;

const LEN: usize = 1024;

fn main() {
    let seconds = std::env::args().nth(1).map_or(10, |seconds| seconds.parse().unwrap());
    let first = Server::storage_service();
    let second = Server::storage_service_beside(&first);
    let index_key = IndexKey::generate().unwrap();
    let open = |urls: &str| {
        let index_key = IndexKey::from_text(&index_key.to_text()).unwrap();
        Strongroom::builder().endpoint(Endpoint::new(urls).unwrap()).index_key(index_key).open().unwrap()
    };
    let urls = [&first, &second].map(|server| format!("http://{}", server.address));
    let twice = format!("{},http://localhost:{}", urls[0], first.address.port());
    let stores = [open(&urls[0]), open(&urls.join(",")), open(&twice)];
    println!("| 1 KiB, one connection, medians | one service | two | one / two | one, twice | one / twice |");
    println!("|---|---|---|---|---|---|");
    for work in ["store", "retrieve"] {
        let [one, two, twice] =
            medians(&stores, work, Duration::from_secs(seconds)).map(|time| time.as_secs_f64() * 1e6);
        let ratios = [one / two, one / twice];
        println!("| {work} | {one:.0} µs | {two:.0} µs | {:.3} | {twice:.0} µs | {:.3} |", ratios[0], ratios[1]);
    }
}

/// The median time of a call through each of them.
fn medians(stores: &[Strongroom; 3], work: &str, time: Duration) -> [Duration; 3] {
    let key = stores[0].store(format!("a record to {work}"), vec![7; LEN]).unwrap();
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
                    let _ = store.store(format!("{number} {at} {call}"), vec![7; LEN]).unwrap();
                } else {
                    assert_eq!(store.retrieve(format!("a record to {work}"), &key).unwrap().len(), LEN);
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
