//! The cost of the choice among services: `balance [SECONDS [ROUNDS]]`. One thread stores and retrieves records of 1 KiB over
//! one storage service, and over two of the same database, by turns.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::time::{Duration, Instant};

use strongroom::{Endpoint, IndexKey, Strongroom};
use strongroom_http_benches::Server;

const LEN: usize = 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = Duration::from_secs(arguments.next().map_or(2, |seconds| seconds.parse().unwrap()));
    let rounds: usize = arguments.next().map_or(5, |rounds| rounds.parse().unwrap());
    let first = Server::storage_service();
    let second = Server::storage_service_beside(&first);
    let index_key = IndexKey::generate().unwrap();
    let open = |urls: &str| {
        let index_key = IndexKey::from_text(&index_key.to_text()).unwrap();
        Strongroom::builder().endpoint(Endpoint::new(urls).unwrap()).index_key(index_key).open().unwrap()
    };
    let urls = [&first, &second].map(|server| format!("http://{}", server.address));
    let stores = [open(&urls[0]), open(&urls.join(","))];
    println!("| 1 KiB, one connection, median of {rounds} | one service | two services | two / one |");
    println!("|---|---|---|---|");
    let mut number = 0;
    for work in ["store", "retrieve"] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (store, rates) in stores.iter().zip(&mut rates) {
                number += 1;
                rates.push(rate(store, work, number, seconds));
            }
        }
        let [one, two] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates.swap_remove(rounds / 2)
        });
        println!("| {work} | {one:.0}/s | {two:.0}/s | {:.3} |", two / one);
    }
}

/// The number of calls in a second.
fn rate(store: &Strongroom, work: &str, number: usize, time: Duration) -> f64 {
    let key = store.store(format!("{number}"), vec![7; LEN]).unwrap();
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        if work == "store" {
            let _ = store.store(format!("{number} {calls}"), vec![7; LEN]).unwrap();
        } else {
            assert_eq!(store.retrieve(format!("{number}"), &key).unwrap().len(), LEN);
        }
        calls += 1;
    }
    f64::from(calls) / start.elapsed().as_secs_f64()
}
