//! Load tests of `strongroom serve` and of the plain server, each in its own process, alternately: `load [SECONDS
//! [ROUNDS]]`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::thread;
use std::time::{Duration, Instant};

use strongroom_http_benches::{Connection, Server, millis, percentile, retrieve_body, store_body};

const RECORDS: usize = 10_000;
const LEN: usize = 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = Duration::from_secs(arguments.next().map_or(5, |seconds| seconds.parse().unwrap()));
    let rounds = arguments.next().map_or(3, |rounds| rounds.parse().unwrap());
    println!("| 1 KiB, median of {rounds} | Strongroom | p99 | plain SQLite | p99 | Strongroom / plain |");
    println!("|---|---|---|---|---|---|");
    for work in ["store", "retrieve"] {
        for connections in [1, 8, 32] {
            let mut figures: [Vec<(f64, Duration)>; 2] = Default::default();
            for _ in 0..rounds {
                figures[0].push(run(&Server::strongroom(&[]), work, connections, seconds));
                figures[1].push(run(&Server::plain("sqlite"), work, connections, seconds));
            }
            let [(ours, our_p99), (plain, plain_p99)] = figures.map(median);
            let connections =
                if connections == 1 { "1 connection".into() } else { format!("{connections} connections") };
            println!(
                "| {work}, {connections} | {ours:.0}/s | {} | {plain:.0}/s | {} | {:.2} |",
                millis(our_p99),
                millis(plain_p99),
                ours / plain
            );
        }
    }
}

/// Requests per second, and the 99th percentile of their times.
fn run(server: &Server, work: &str, connections: usize, seconds: Duration) -> (f64, Duration) {
    let keys = if work == "retrieve" { fill(server) } else { Vec::new() };
    let (keys, end) = (&keys, Instant::now() + seconds);
    let client = |client: usize| {
        let mut connection = Connection::new(server.address, None);
        let (mut times, mut number) = (Vec::new(), client);
        while Instant::now() < end {
            // Large steps, which visit all records.
            number += 7919;
            let (path, body, expected) = if work == "store" {
                ("/v1/store", store_body(&format!("{client}-{number}"), LEN), 201)
            } else {
                let number = number % RECORDS;
                ("/v1/retrieve", retrieve_body(&format!("record {number}"), &keys[number]), 200)
            };
            let start = Instant::now();
            let (status, answer) = connection.post(path, &body).unwrap();
            times.push(start.elapsed());
            assert_eq!(status, expected, "{answer}");
        }
        times
    };
    let mut times: Vec<_> = thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..connections).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    (times.len() as f64 / seconds.as_secs_f64(), percentile(&mut times, 99))
}

/// Stores the records to be retrieved.
fn fill(server: &Server) -> Vec<String> {
    const CLIENTS: usize = 16;
    thread::scope(|scope| {
        let client = |client: usize| {
            let mut connection = Connection::new(server.address, None);
            let numbers = client * RECORDS / CLIENTS..(client + 1) * RECORDS / CLIENTS;
            numbers.map(|number| connection.store(&format!("record {number}"), LEN)).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn median(mut figures: Vec<(f64, Duration)>) -> (f64, Duration) {
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    figures[figures.len() / 2]
}
