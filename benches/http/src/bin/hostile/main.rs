//! Measures the effect of hostile clients on honest ones, and on the server's memory: `hostile [SECONDS [each|WORD]]`;
//! `each` runs the attacks one by one, another word those whose names have it. Fails if the memory exceeds its budget,
//! and does not end if an attack does nothing. The times are only printed.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]

mod unread;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use strongroom_http_benches::{Connection, Server, millis, percentile, retrieve_body, store_body};

/// The limit of the server's memory, in MiB: half of the units' `MemoryMax`, which also counts the system's buffers for
/// its sockets and files.
const BUDGET: u64 = 512;
const HALF_OPEN: usize = 1000;
const DRIBBLES: usize = 200;
const HONEST: usize = 8;
const TEN_GIB: u64 = 10 << 30;
const BYTES: &str = "Content-Type: application/octet-stream\r\nStrongroom-Id: YQ";
const JSON: &str = "Content-Type: application/json";

fn main() {
    let seconds = Duration::from_secs(std::env::args().nth(1).map_or(10, |seconds| seconds.parse().unwrap()));
    let word = std::env::args().nth(2);
    let each = word.is_some();
    let is_chosen = |attack: &&Attack| word.as_deref().is_none_or(|word| word == "each" || attack.0.contains(word));
    let tokens = tempfile::tempdir().unwrap();
    let file = tokens.path().join("tokens");
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let mut new_token = Command::new(format!("{target}/release/strongroom"));
    let token = new_token.args(["token", "new", "--scopes", "store,retrieve", "--tokens"]).arg(&file).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let gossip = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gossip = GOSSIP.get_or_init(|| gossip).to_string();
    let cluster = ["--gossip-listen", &gossip, "--join", &gossip];
    let server = Server::strongroom(&[&["--tokens", file.to_str().unwrap()], &cluster[..]].concat());
    let keys: Vec<_> = {
        let mut first = Connection::new(server.address, Some(&token));
        (0..1000).map(|number| first.store(&format!("record {number}"), 1024)).collect()
    };
    println!("| {HONEST} honest clients, 1 KiB | requests | store p50 | p99 | retrieve p50 | p99 | peak memory |");
    println!("|---|---|---|---|---|---|---|");

    let peak = AtomicU64::new(0);
    let measure = |name: &str, attacks: &[Attack]| {
        server.forget_peak_memory();
        let stop = AtomicBool::new(false);
        let counts: Vec<_> = attacks.iter().map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            let (stop, token, keys) = (&stop, token.as_str(), &keys);
            for ((_, attack), count) in attacks.iter().zip(&counts) {
                scope.spawn(move || attack(server.address, token, stop, count));
            }
            // Waits until every attack has begun.
            while counts.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
                sleep(Duration::from_millis(10));
            }
            sleep(seconds / 10);
            let end = Instant::now() + seconds;
            let clients: Vec<_> = (0..HONEST)
                .map(|client| scope.spawn(move || honest(server.address, token, keys, client, end)))
                .collect();
            let [mut stores, mut retrieves]: [Vec<Duration>; 2] = Default::default();
            for client in clients {
                let (some, others) = client.join().unwrap();
                stores.extend(some);
                retrieves.extend(others);
            }
            stop.store(true, Ordering::Relaxed);
            let (count, memory) = (stores.len() + retrieves.len(), server.peak_memory());
            peak.fetch_max(memory, Ordering::Relaxed);
            let [s50, s99] = [50, 99].map(|percent| millis(percentile(&mut stores, percent)));
            let [r50, r99] = [50, 99].map(|percent| millis(percentile(&mut retrieves, percent)));
            println!("| {name} | {count} | {s50} | {s99} | {r50} | {r99} | {memory} MiB |");
        });
        for ((what, _), count) in attacks.iter().zip(&counts) {
            let count = count.load(Ordering::Relaxed);
            eprintln!("{name}: {count} {what}");
        }
    };
    let refused: [Attack; 5] = [
        ("half-open connections", half_open),
        ("bodies of a byte a second", dribble),
        ("lies about lengths", lie),
        ("bytes of endless bodies, and of 10 GiB with a wrong token", pour),
        ("wrong tokens", wrong_tokens),
    ];
    let unread: [Attack; 4] = [
        ("answers of 1 MiB that nobody takes, on 12 connections", unread::answers),
        ("answers without a token that nobody takes, on 400 connections", unread::metrics),
        ("connections that send PINGs alone", unread::pings),
        ("long answers, of which 4 KiB a second are taken", unread::slow_readers),
    ];
    let gossip: [Attack; 1] = [("datagrams that are no messages, a million a minute", datagrams)];
    let body: [Attack; 1] = [("bytes of a body of 10 GiB", ten_gib)];
    if each {
        for attack in refused.iter().chain(&unread).chain(&gossip).chain(&body).filter(is_chosen) {
            measure("alone", &[]);
            measure(attack.0, std::slice::from_ref(attack));
        }
    }
    for _ in 0..if each { 0 } else { 3 } {
        measure("alone", &[]);
        measure("beside hostile ones", &refused);
        measure("beside ones that take no answers", &unread);
        measure("beside a million false datagrams a minute", &gossip);
    }
    if !each {
        measure("beside a body of 10 GiB with a right token", &body);
    }
    let memory = peak.into_inner();
    assert!(memory <= BUDGET, "{memory} MiB are more than the budget of {BUDGET} MiB");
}

/// Makes each id new.
static STORED: AtomicU64 = AtomicU64::new(0);

/// A name, and a function that attacks until it is stopped, and counts its actions.
type Attack = (&'static str, fn(SocketAddr, &str, &AtomicBool, &AtomicU64));

/// Stores and retrieves alternately, a hundred times per second.
fn honest(
    address: SocketAddr,
    token: &str,
    keys: &[String],
    client: usize,
    end: Instant,
) -> (Vec<Duration>, Vec<Duration>) {
    let mut connection = Connection::new(address, Some(token));
    let (mut stores, mut retrieves) = (Vec::new(), Vec::new());
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        let store = number % 2 == 0;
        let (path, body, expected) = if store {
            ("/v1/store", store_body(&format!("new {}", STORED.fetch_add(1, Ordering::Relaxed)), 1024), 201)
        } else {
            let record = (client * 7919 + number) % keys.len();
            ("/v1/retrieve", retrieve_body(&format!("record {record}"), &keys[record]), 200)
        };
        let start = Instant::now();
        let (status, answer) = connection.post(path, &body).unwrap();
        let times = if store { &mut stores } else { &mut retrieves };
        times.push(start.elapsed());
        assert_eq!(status, expected, "{answer}");
        sleep(Duration::from_millis(10).saturating_sub(start.elapsed()));
    }
    (stores, retrieves)
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(5))).ok()?;
    Some(stream)
}

fn head(headers: &str, token: &str, length: &str) -> String {
    let path = if headers == BYTES { "store" } else { "retrieve" };
    format!(
        "POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{length}\r\n\r\n"
    )
}

/// Silent connections and incomplete heads. A closed connection is opened again.
fn half_open(address: SocketAddr, _: &str, stop: &AtomicBool, done: &AtomicU64) {
    let open = |number: usize| {
        let mut stream = connect(address)?;
        if number.is_multiple_of(2) {
            stream.write_all(b"POST /v1/store HTTP/1.1\r\nHost: localhost\r\n").ok()?;
        }
        stream.set_nonblocking(true).ok()?;
        done.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    };
    let mut streams: Vec<_> = (0..HALF_OPEN).map(open).collect();
    while !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(200));
        for (number, stream) in streams.iter_mut().enumerate() {
            let is_closed = stream.as_mut().is_none_or(|stream| {
                stream.read(&mut [0; 512]).map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true)
            });
            if is_closed {
                *stream = open(number);
            }
        }
    }
}

/// Bodies of one byte per second.
fn dribble(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let open = |number: usize| {
        let mut stream = connect(address)?;
        let headers = if number.is_multiple_of(2) { BYTES } else { JSON };
        stream.write_all(head(headers, token, "Content-Length: 100000").as_bytes()).ok()?;
        done.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    };
    let mut streams: Vec<_> = (0..DRIBBLES).map(open).collect();
    while !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_secs(1));
        for (number, stream) in streams.iter_mut().enumerate() {
            if stream.as_mut().is_none_or(|stream| stream.write_all(b"{").is_err()) {
                *stream = open(number);
            }
        }
    }
}

/// Wrong lengths: far above the limit, far above the body's length, and below it.
fn lie(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let requests = [
        (head(JSON, token, "Content-Length: 10737418240"), &b"{"[..]),
        (head(BYTES, token, "Content-Length: 99999999999999"), b"x"),
        (head(BYTES, token, "Content-Length: 99999999999999999999999"), b"x"),
        (head(BYTES, token, "Content-Length: 100000"), b"cut"),
        (head(JSON, token, "Content-Length: 2"), b"{}more than this"),
    ];
    while !stop.load(Ordering::Relaxed) {
        for (head, body) in &requests {
            if let Some(mut stream) = connect(address) {
                let _ = stream.write_all(&[head.as_bytes(), body].concat());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut [0; 512]);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(50));
    }
}

/// Endless bodies instead of short ones, and 10 GiB with a wrong token, each until the server aborts it.
fn pour(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let chunk = [b"10000\r\n", &[b' '; 65536][..], b"\r\n"].concat();
    let requests = [
        head(JSON, token, "Transfer-Encoding: chunked"),
        head(BYTES, "srt1wrong", "Transfer-Encoding: chunked"),
        head(BYTES, "srt1wrong", &format!("Content-Length: {TEN_GIB}")),
    ];
    while !stop.load(Ordering::Relaxed) {
        for head in &requests {
            let Some(mut stream) = connect(address) else { continue };
            let _ = stream.write_all(head.as_bytes());
            while !stop.load(Ordering::Relaxed) && stream.write_all(&chunk).is_ok() {
                done.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                sleep(Duration::from_millis(2)); // 30 MB/s, as over a network, instead of the speed of a copy in memory
            }
        }
    }
}

/// Guessed tokens: 500 per second.
fn wrong_tokens(address: SocketAddr, _: &str, stop: &AtomicBool, done: &AtomicU64) {
    let mut connection = Connection::new(address, Some("srt1wrong"));
    while !stop.load(Ordering::Relaxed) {
        let (status, _) = connection.post("/v1/retrieve", "{}").unwrap();
        assert!(status == 401 || status == 429, "{status}");
        done.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(2));
    }
}

/// The address for gossip of the server, which is alone in its cluster.
static GOSSIP: OnceLock<SocketAddr> = OnceLock::new();

/// A million datagrams in a minute: too short, with another key, and long. None is answered.
fn datagrams(_: SocketAddr, _: &str, stop: &AtomicBool, done: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let contents = [1, 60, 100, 1_400].map(|len| vec![1; len]);
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_micros()).unwrap() / 60;
        while done.load(Ordering::Relaxed) < due {
            let content = &contents[usize::try_from(done.fetch_add(1, Ordering::Relaxed)).unwrap() % contents.len()];
            let _ = socket.send_to(content, GOSSIP.get().unwrap());
        }
        sleep(Duration::from_millis(5));
    }
    assert!(socket.recv(&mut [0; 100]).is_err(), "a datagram was answered");
}

/// A body sent as fast as the server accepts it, and aborted at the end of the time, so that nothing is stored.
fn ten_gib(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let mut stream = connect(address).unwrap();
    stream.write_all(head(BYTES, token, &format!("Content-Length: {TEN_GIB}")).as_bytes()).unwrap();
    let piece = vec![0x5a; 1 << 20];
    while !stop.load(Ordering::Relaxed) && done.load(Ordering::Relaxed) < TEN_GIB && stream.write_all(&piece).is_ok() {
        done.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}
