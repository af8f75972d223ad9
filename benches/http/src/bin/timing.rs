//! Tests whether time reveals a missing record: `timing [REQUESTS]`. Over one connection, requests of three kinds
//! alternate: for a missing record, with a wrong key, and with a wrong key again. The last two are the same, so the
//! difference between their medians is noise. A server without protection is the control, which shows that the test
//! detects a difference.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::time::{Duration, Instant};

use strongroom::RecordKey;
use strongroom_http_benches::{Connection, Server, percentile, retrieve_body};

fn main() {
    let requests = std::env::args().nth(1).map_or(5000, |count| count.parse().unwrap());
    println!(
        "| {requests} of each, medians | missing record | wrong key | wrong key again | missing beside wrong | noise |"
    );
    println!("|---|---|---|---|---|---|");
    for id_len in [8, 4000] {
        measure(&format!("`strongroom serve`, ids of {id_len} bytes"), &Server::strongroom(&[]), requests, id_len);
        measure(&format!("no work against it, ids of {id_len} bytes"), &Server::plain("strongroom"), requests, id_len);
    }
}

fn measure(name: &str, server: &Server, requests: usize, id_len: usize) {
    let mut connection = Connection::new(server.address, None);
    let id = |number: usize| format!("{number:0id_len$}");
    // A store of 1,000 records, of which the requests use 100.
    (0..1000).for_each(|number| drop(connection.store(&id(number), 1024)));
    let wrong = RecordKey::generate().unwrap().to_text();
    let body = |number: usize| retrieve_body(&id(number), &wrong);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..requests + 200 {
        for turn in 0..3 {
            let kind = (round + turn) % 3;
            let number = round % 100 + if kind == 0 { 5000 } else { 0 };
            let body = body(number);
            let start = Instant::now();
            let (status, _) = connection.post("/v1/retrieve", &body).unwrap();
            if round >= 200 {
                times[kind].push(start.elapsed());
            }
            assert_eq!(status, 404);
        }
    }
    let [missing, wrong, again] = times.map(|mut times| percentile(&mut times, 50).as_secs_f64() * 1e6);
    let beside = |other: f64| format!("{:+.1} us, {:+.2} %", other - wrong, (other / wrong - 1.0) * 100.0);
    let (gap, noise) = (beside(missing), beside(again));
    println!("| {name} | {missing:.1} us | {wrong:.1} us | {again:.1} us | {gap} | {noise} |");
}
