//! Clients that are slow, send wrong lengths or too much, or lack permission.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]

#[path = "../../core/tests/support/intercept.rs"]
#[allow(dead_code, reason = "another crate's tests use the rest")]
mod intercept;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use intercept::Intercepted;
use serde_json::json;
use strongroom::storage::{Locator, MemoryStorage, PutMode, Storage};
use strongroom_server::{Config, Scope};
use support::wait::{DEADLINE, Join, wait_for};
use support::{Client, Running, config, encryption, encryption_over, storage_with, token};

const STORE: &str = "POST /v1/store";
const HEADERS: [(&str, &str); 2] = [("content-type", "application/octet-stream"), ("strongroom-id", "YQ")];

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config();
    change(&mut config);
    config
}

/// A request that runs until its body arrives.
fn half_a_request(server: &Running) -> Client {
    let mut client = server.connect();
    client.head(STORE, &HEADERS, Some(10));
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 2); // including the metrics request
    client
}

#[test]
fn half_open_connections_are_closed_and_others_served() {
    let server = encryption(&with(|config| config.limits.head_seconds = 1));
    let mut silent: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let mut half: Vec<_> = (0..200).map(|_| server.connect()).collect();
    half.iter_mut()
        .for_each(|client| client.stream.write_all(b"POST /v1/store HTTP/1.1\r\nhost: localhost\r\n").unwrap());
    let start = Instant::now();
    server.json("/v1/store", &json!({"id": "a", "data": ""})).is(201);
    assert!(silent.iter_mut().chain(&mut half).all(Client::is_closed));
    assert!(start.elapsed() < Duration::from_secs(30), "they are closed long before a minute of silence");
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    let memory = Arc::new(MemoryStorage::new());
    let server = encryption_over(memory.clone(), &config());
    for path in [STORE, "POST /v1/retrieve", "POST /v1/erase"] {
        let mut client = server.connect();
        let json = [("content-type", "application/json")];
        client.head(path, if path == STORE { &HEADERS } else { &json }, Some(1000));
        // Ten bytes per second: never idle, and never finished.
        let mut stream = client.stream.try_clone().unwrap();
        let dribble = std::thread::spawn(move || {
            while stream.write_all(b"{").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        client.answer(false).is_problem(408, 12, "Busy");
        assert!(client.is_closed());
        dribble.join_within(DEADLINE);
    }
    assert_eq!(memory.stats(0).unwrap().records, 0);
}

#[test]
fn a_body_that_is_too_long_is_413() {
    let memory = Arc::new(MemoryStorage::new());
    let server = encryption_over(
        memory.clone(),
        &with(|config| {
            config.limits.record_bytes = 1 << 20;
            config.limits.json_bytes = 1000;
        }),
    );
    let mut liar = server.connect();
    liar.head(STORE, &HEADERS, Some(10 << 30));
    liar.answer(false).is_problem(413, 8, "TooLarge"); // before the body arrives

    let chunked = ("transfer-encoding", "chunked");
    for (headers, path) in [(&HEADERS[..], STORE), (&[("content-type", "application/json")], "POST /v1/retrieve")] {
        let mut endless = server.connect();
        endless.head(path, &[headers, &[chunked]].concat(), None);
        let mut stream = endless.stream.try_clone().unwrap();
        let pour = std::thread::spawn(move || {
            let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
        });
        endless.answer(false).is_problem(413, 8, "TooLarge");
        pour.join_within(DEADLINE); // the server aborts it
    }
    let body = json!({"id": "a", "data": "A".repeat(1000)});
    server.json("/v1/store", &body).is_problem(413, 8, "TooLarge");
    server.send(STORE, &HEADERS, &vec![0; 1 << 20]).is(201);
    server.send(STORE, &HEADERS, &vec![0; (1 << 20) + 1]).is_problem(413, 8, "TooLarge");
    assert_eq!(memory.stats(0).unwrap().records, 1);

    let storage = storage_with(Arc::new(MemoryStorage::new()), &with(|config| config.limits.batch_bytes = 1000));
    storage.send("POST /v1/create-many", &HEADERS[..1], &[0; 1001]).is_problem(413, 8, "TooLarge");
    for n in 0..2 {
        let record = [&[n; 32][..], &500_u64.to_le_bytes(), &[n; 500]].concat();
        storage.send("POST /v1/create-many", &HEADERS[..1], &record).is(204);
    }
    let two = [[0; 32], [1; 32]].concat();
    storage.send("POST /v1/get-many", &HEADERS[..1], &two).is(200);
    let three = [&two[..], &[0; 32]].concat();
    storage.send("POST /v1/get-many", &HEADERS[..1], &three).is_problem(413, 8, "TooLarge");
}

#[test]
fn requests_beyond_the_limit_are_503() {
    let ((arrive, arrived), (release, released)) = (channel(), channel());
    let memory = Arc::new(MemoryStorage::new());
    let slow = Intercepted::before_put(memory.clone(), move || {
        arrive.send(()).unwrap();
        released.recv_timeout(DEADLINE).unwrap();
    });
    let config = with(|config| {
        config.limits.threads = 1;
        config.limits.waiting = 1;
        config.limits.wait_seconds = 1;
    });
    let server = encryption_over(Arc::new(slow), &config);
    let mut first = server.connect();
    first.head("POST /v1/store", &[("content-type", "application/json")], Some(20));
    first.stream.write_all(br#"{"id":"a","data":""}"#).unwrap();
    arrived.recv_timeout(DEADLINE).unwrap();
    let start = Instant::now();
    let mut second = server.connect();
    second.head("POST /v1/stats", &[("content-type", "application/json")], Some(2));
    second.stream.write_all(b"{}").unwrap();
    server.wait_for_metric("strongroom_requests_waiting", |waiting| waiting == 1);
    let third = server.json("/v1/stats", &json!({}));
    third.is_problem(503, 12, "Busy");
    assert_eq!(third.header("retry-after"), Some("1"));
    second.answer(false).is_problem(503, 12, "Busy");
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited");
    server.send("GET /healthz", &[], b"").is(200);

    release.send(()).unwrap();
    first.answer(false).is(201);
    server.json("/v1/stats", &json!({})).is(200);
}

/// Long bodies have their own permits, so that they delay only each other.
#[test]
fn slow_bodies_do_not_block_short_ones() {
    let server = encryption(&with(|config| {
        config.limits.threads = 1;
        config.limits.long_bodies = 1;
        config.limits.waiting = 0;
        config.limits.body_seconds = 60;
    }));
    let mut slow: Vec<_> = (0..100).map(|_| server.connect()).collect();
    slow.iter_mut().for_each(|client| client.head(STORE, &HEADERS, Some(1000)));
    let mut long = server.connect();
    long.head(STORE, &HEADERS, Some(200_000));
    long.stream.write_all(&[0; 100_000]).unwrap();
    server.wait_for_metric("strongroom_received_bytes_total", |bytes| bytes == 100_000);
    server.json("/v1/stats", &json!({})).is(200);
    server.send(STORE, &HEADERS, &[0; 200_000]).is_problem(503, 12, "Busy");
    server.json("/v1/retrieve", &json!({"data": "A".repeat(100_000)})).is_problem(503, 12, "Busy");
    long.stream.write_all(&[0; 100_000]).unwrap();
    long.answer(false).is(201);
    server.send(STORE, &HEADERS, &[0; 200_000]).is_problem(409, 2, "AlreadyExists");
}

/// A client that does not read its answer loses the permit, and then the connection.
#[test]
fn a_sleeping_client_blocks_nobody() {
    const LEN: u64 = 64 << 20;
    let server = encryption(&with(|config| {
        config.limits.long_bodies = 1;
        config.limits.wait_seconds = 50;
    }));
    let stored = server.send(STORE, &HEADERS, &vec![0; LEN as usize]).json();
    let headers = [&HEADERS[..], &[("strongroom-key", stored["key"].as_str().unwrap())]].concat();
    let mut sleeper = server.connect();
    sleeper.head("POST /v1/retrieve", &headers, Some(0));
    sleeper.stream.peek(&mut [0]).unwrap(); // the answer has begun
    let start = Instant::now();
    let answer = server.send("POST /v1/retrieve", &headers, b"");
    assert_eq!((answer.status, answer.whole), (200, true));
    assert!(start.elapsed() > Duration::from_millis(500), "it waited for the place");
    server.wait_for_metric("strongroom_connections", |open| open == 1); // the one that asks
    // Announced bytes do not count as sent.
    server.wait_for_metric("strongroom_sent_bytes_total", |bytes| (LEN..LEN * 3 / 2).contains(&bytes));
    server.wait_for_metric("strongroom_answers_cut_total", |cut| cut == 1);
    assert!(!sleeper.answer(false).whole);
}

#[test]
fn an_idle_connection_is_closed() {
    let server = encryption(&with(|config| config.limits.head_seconds = 1));
    let mut client = server.connect();
    let headers = [("content-type", "application/json")];
    client.send("POST /v1/stats", &headers, b"{}").is(200);
    client.send("POST /v1/stats", &headers, b"{}").is(200); // on the same connection
    assert!(client.is_closed());
}

#[test]
fn malformed_http_is_refused() {
    let server = encryption(&config());
    let bomb = format!("POST /v1/store HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("POST /v1/store HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let lying = "POST /v1/store HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n";
    let twice = "POST /v1/stats HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x";
    for (junk, refused) in [
        ("\0\x01\x02\r\n\r\n", false),
        ("\x16\x03\x01\x02\0\x01\0", false),
        (&bomb, false),
        (&many, false),
        (lying, true),
        (twice, true),
    ] {
        let mut client = server.connect();
        let _ = client.stream.write_all(junk.as_bytes());
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("HTTP/1.1 2") && answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
        assert!(!refused || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.json("/v1/stats", &json!({})).is(200);
}

/// An unread answer keeps its permit, so its memory is bounded.
#[test]
fn unread_batches_keep_their_permits() {
    let memory = Arc::new(MemoryStorage::new());
    let locator = Locator::from_bytes([1; 32]);
    memory.put(&locator, &vec![7; 32 << 20], PutMode::Create).unwrap();
    let server = storage_with(memory, &with(|config| config.limits.wait_seconds = 1));
    let ask = || {
        let mut client = server.connect();
        client.head("POST /v1/get-many", &[HEADERS[0]], Some(32));
        client.stream.write_all(locator.as_bytes()).unwrap();
        client.stream.peek(&mut [0]).unwrap(); // the answer has begun
        client
    };
    let asleep = [ask(), ask()];
    assert_eq!(ask().answer(false).status, 503);
    drop(asleep);
    assert!((0..10).any(|_| ask().answer(false).status == 200));
}

#[test]
fn tokens_have_scopes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let (store, retrieve, erase, storage) = (
        token(&file, &[Scope::Store]),
        token(&file, &[Scope::Retrieve]),
        token(&file, &[Scope::Erase]),
        token(&file, &[Scope::Storage]),
    );
    let config = with(|config| {
        config.tokens = Some(file.clone());
        config.limits.wrong_tokens_per_minute = 3;
    });
    let server = encryption(&config);
    let send = |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        server.send(&format!("POST {path}"), &[("authorization", &bearer), ("content-type", "application/json")], b"{}")
    };
    // An authorized request has no fields, which is the next error.
    for (path, scope) in [
        ("/v1/store", &store),
        ("/v1/replace", &store),
        ("/v1/retrieve", &retrieve),
        ("/v1/delete", &erase),
        ("/v1/erase", &erase),
        ("/v1/stats", &erase),
    ] {
        for token in [&store, &retrieve, &erase, &storage] {
            let answer = send(path, token);
            match (token == scope, path) {
                (false, _) => answer.is_problem(403, 21, "AccessDenied"),
                (true, "/v1/stats") => answer.is(200),
                (true, _) => answer.is_problem(400, 19, "InvalidArgument"),
            }
        }
    }
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        server.send(&format!("GET {open}"), &[], b"").is(200);
    }
    let without = server.json("/v1/stats", &json!({}));
    without.is_problem(401, 21, "AccessDenied");
    assert_eq!(without.header("www-authenticate"), Some("Bearer"));
    for _ in 0..3 {
        send("/v1/stats", &format!("{erase}q")).is_problem(401, 21, "AccessDenied");
    }
    let limited = send("/v1/stats", "srt1wrong");
    limited.is_problem(429, 12, "Busy");
    server.wait_for_metric("strongroom_throttled_requests_total", |count| count == 1);
    assert_eq!(limited.header("retry-after"), Some("1"));
    send("/v1/stats", &erase).is(200);

    let service = storage_with(Arc::new(MemoryStorage::new()), &config);
    let stats = |token| service.send("GET /v1/stats", &[("authorization", &format!("bearer {token}"))], b"");
    stats(&storage).is(200);
    stats(&erase).is_problem(403, 21, "AccessDenied");
}

#[test]
fn a_stop_finishes_active_requests() {
    let memory = Arc::new(MemoryStorage::new());
    let mut server = encryption_over(memory.clone(), &with(|config| config.limits.body_seconds = 60));
    let mut client = half_a_request(&server);
    let mut idle = server.connect();
    idle.send("GET /healthz", &[], b"").is(200);
    server.begin_to_stop();
    assert!(idle.is_closed());
    wait_for(|| TcpStream::connect(server.address).err());
    client.stream.write_all(&[0; 10]).unwrap();
    client.answer(false).is(201);
    assert!(client.is_closed());
    server.wait();
    assert_eq!(memory.stats(0).unwrap().records, 1);
}

#[test]
fn a_stop_has_a_deadline() {
    let memory = Arc::new(MemoryStorage::new());
    let mut server = encryption_over(
        memory.clone(),
        &with(|config| {
            config.limits.body_seconds = 60;
            config.limits.grace_seconds = 1;
        }),
    );
    let mut client = half_a_request(&server);
    server.begin_to_stop();
    server.wait();
    assert!(client.is_closed());
    assert_eq!(memory.stats(0).unwrap().records, 0);
}
