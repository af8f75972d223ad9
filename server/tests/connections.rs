//! Connection limits: when connections keep their permits, and when they release them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use h2::{Ping, client};
use serde_json::json;
use strongroom::storage::{Locator, MemoryStorage, PutMode, Storage};
use strongroom_server::{Config, Scope};
use support::{config, encryption, encryption_over, storage_with, token};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const STORE: &str = "POST /v1/store";
const HEADERS: [(&str, &str); 2] = [("content-type", "application/octet-stream"), ("strongroom-id", "YQ")];

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config();
    change(&mut config);
    config
}

/// A slow client may continue, unless others wait for its permit.
#[test]
fn a_slow_reader_loses_its_connection_to_others() {
    let server = encryption(&with(|config| {
        config.limits.long_bodies = 1;
        config.limits.wait_seconds = 50;
    }));
    let stored = server.send(STORE, &HEADERS, &vec![0; 64 << 20]).json();
    let headers = [&HEADERS[..], &[("strongroom-key", stored["key"].as_str().unwrap())]].concat();
    let mut slow = server.connect();
    slow.head("POST /v1/retrieve", &headers, Some(0));
    slow.stream.peek(&mut [0]).unwrap();
    let reader = std::thread::spawn(move || {
        while slow.stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let answer = server.send("POST /v1/retrieve", &headers, b"");
    assert_eq!((answer.status, answer.whole), (200, true));
    drop(server);
    drop(reader); // megabytes for it remain in the system's buffers
}

/// A connection without a request releases its permit for one with a request.
#[test]
fn idle_connections_are_evicted_for_new_ones() {
    let server = encryption(&with(|config| {
        config.limits.connections = 8;
        config.limits.head_seconds = 600;
        config.limits.idle_seconds = 600;
    }));
    let mut quiet: Vec<_> = (0..8).map(|_| server.connect()).collect();
    quiet.iter_mut().skip(4).for_each(|client| client.send("GET /healthz", &[], b"").is(200));
    server.json("/v1/store", &json!({"id": "a", "data": ""})).is(201);
    assert!(quiet[0].is_closed(), "the first is quiet for the longest time");
}

/// The pace of a client blocks the writes of its answer, also while the server stops.
#[test]
fn a_download_continues_while_the_server_stops() {
    let memory = Arc::new(MemoryStorage::new());
    memory.put(&Locator::from_bytes([0x77; 32]), &vec![7; 24 << 20], PutMode::Create).unwrap();
    let mut server = storage_with(
        memory,
        &with(|config| {
            config.limits.head_seconds = 1;
            config.limits.grace_seconds = 60;
        }),
    );
    let mut client = server.connect();
    client.head(&format!("GET /v1/records/{}", "7".repeat(64)), &[], None);
    client.stream.peek(&mut [0]).unwrap();
    server.begin_to_stop();
    std::thread::sleep(Duration::from_millis(2500)); // longer than `head_seconds`
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.whole), (200, true));
    server.wait();
}

/// Those without a valid token first, and among equals the one that has been idle longest; none with a running request.
#[test]
fn connections_are_evicted_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let token = format!("Bearer {}", token(&file, &[Scope::Erase]));
    let server = encryption(&with(|config| {
        config.tokens = Some(file);
        config.limits.connections = 5;
        config.limits.head_seconds = 600;
        config.limits.idle_seconds = 600;
        config.limits.body_seconds = 600;
    }));
    let json = ("content-type", "application/json");
    let authenticated = || {
        let mut client = server.connect();
        client.send("POST /v1/stats", &[json, ("authorization", &token)], b"{}").is(200);
        std::thread::sleep(Duration::from_millis(5)); // idle times differ by milliseconds
        client
    };
    let stranger = || {
        let mut client = server.connect();
        client.send("GET /healthz", &[], b"").is(200);
        std::thread::sleep(Duration::from_millis(5));
        client
    };
    let mut busy = server.connect();
    busy.head("POST /v1/stats", &[json, ("authorization", &token)], Some(2));
    let clients = [authenticated(), stranger(), authenticated(), stranger()];
    let mut order = [1, 3, 0, 2].into_iter();
    let mut idle: Vec<_> = clients.into_iter().map(Some).collect();
    let mut new = Vec::new();
    for _ in 0..4 {
        new.push(authenticated()); // takes the permit of another one
        let evicted = order.next().unwrap();
        assert!(idle[evicted].take().unwrap().is_closed());
        for client in idle.iter().flatten() {
            client.stream.set_nonblocking(true).unwrap();
            let is_open = client.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            client.stream.set_nonblocking(false).unwrap();
            assert!(is_open, "another one is closed than number {evicted}");
        }
    }
    busy.stream.write_all(b"{}").unwrap();
    busy.answer(false).is(200);
}

/// `nc -N` and scripts send all requests, close their side, and then wait for the answers.
#[test]
fn requests_before_a_half_close_are_answered() {
    let memory = Arc::new(MemoryStorage::new());
    let server = encryption_over(memory.clone(), &config());
    for n in 0..20 {
        let mut client = server.connect();
        let requests: String = (0..8).map(|m| {
            let body = json!({"id": format!("{n} {m}"), "data": ""}).to_string();
            let version = if m == 7 { "1.0" } else { "1.1" }; // the last one ends the connection
            let len = body.len();
            format!("{STORE} HTTP/{version}\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}")
        }).collect();
        client.stream.write_all(requests.as_bytes()).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        client.stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches(" 201 Created\r\n").count(), 8, "{answers}");
        assert_eq!(answers.matches("{\"key\":\"srk1").count(), 8, "{answers}");
    }
    assert_eq!(memory.stats(0).unwrap().records, 160);
}

/// Answers without a body have no budget: while a client reads none, no further request begins.
#[test]
fn pipelined_requests_wait_for_a_client_that_does_not_read() {
    let server = encryption(&with(|config| config.limits.idle_seconds = 1));
    let mut client = server.connect();
    client.stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let requests = "HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(10_000);
    let all = (0..200).try_for_each(|_| client.stream.write_all(requests.as_bytes()));
    assert!(all.is_err(), "80 MB of requests were taken");
    server.wait_for_metric("strongroom_connections", |open| open == 1); // the one that asks
}

/// Bytes alone are not progress: HTTP/2 has frames without requests.
#[test]
fn pings_do_not_keep_a_connection_open() {
    let server = encryption(&with(|config| {
        config.limits.head_seconds = 1;
        config.limits.idle_seconds = 1;
    }));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for requests in [0, 1] {
            let stream = TcpStream::connect(server.address).await.unwrap();
            let (mut sender, mut connection) = client::handshake(stream).await.unwrap();
            let mut pings = connection.ping_pong().unwrap();
            let ended = tokio::spawn(connection);
            for _ in 0..requests {
                let request = hyper::Request::get("http://localhost/healthz").body(()).unwrap();
                let (response, _) = sender.send_request(request, true).unwrap();
                assert_eq!(response.await.unwrap().status(), 200);
            }
            let pinging = async {
                while pings.ping(Ping::opaque()).await.is_ok() {
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(Duration::from_secs(30), pinging).await.expect("the connection is open still");
            let _ = ended.await.unwrap();
        }
    });
}
