//! HTTP/2: many requests on one connection, which do not block each other.

use std::future::poll_fn;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::support::frames::{self, Frames};
use crate::support::wait::DEADLINE;
use crate::support::{Running, config, encryption, encryption_over, storage, storage_with};
use bytes::Bytes;
use h2::Reason;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use strongroom::RecordKey;
use strongroom::storage::{MemoryStorage, Storage};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn connect(server: &Running) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://localhost{path}")).header("content-type", "application/octet-stream");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

async fn body(response: Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn an_unread_body_blocks_no_other_stream() {
    let server = encryption(&config());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut sender = connect(&server).await;
        let data: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let stored = sender.send_request(request("/v1/store", &[("strongroom-id", "YQ")], data.clone())).await.unwrap();
        assert_eq!(stored.status(), 201);
        let stored: serde_json::Value = serde_json::from_slice(&body(stored).await).unwrap();
        let headers = [("strongroom-id", "YQ"), ("strongroom-key", stored["key"].as_str().unwrap())];
        let unread = sender.send_request(request("/v1/retrieve", &headers, Vec::new())).await.unwrap();
        let again = request("/v1/store", &[("strongroom-id", "YQ")], data.clone());
        let refused = timeout(Duration::from_secs(30), sender.send_request(again)).await.unwrap().unwrap();
        assert_eq!(refused.status(), 409);
        assert!(body(unread).await == data);
    });
}

/// h2 closes a connection with too many unread small DATA frames. One body that waits, in frames of 52 bytes, fills its
/// window first.
#[test]
fn a_body_in_small_frames_may_wait() {
    let mut config = config();
    (config.limits.long_bodies, config.limits.wait_seconds, config.limits.body_seconds) = (1, 180, 180);
    let server = encryption(&config);
    let bytes = ("content-type", "application/octet-stream");
    let mut other = server.connect();
    other.head("POST /v1/store", &[bytes, ("strongroom-id", "Yg")], Some(100_000));
    // The service reads the second part after it has taken the only permit.
    for (part, received) in [(66_000, 66_000), (4000, 70_000)] {
        other.stream.write_all(&vec![1; part]).unwrap();
        server.wait_for_metric("strongroom_received_bytes_total", |total| total == received);
    }

    let key = RecordKey::generate().unwrap().to_text();
    let data: Vec<u8> = (0..1_500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let headers = [bytes, ("strongroom-id", "YQ"), ("strongroom-key", &*key)];
    let request = headers
        .iter()
        .fold(Request::post("http://localhost/v1/store"), |request, (name, value)| request.header(*name, *value));
    let send = async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (answer, mut body) = sender.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
        let mut was_full = false;
        for frame in data.chunks(52) {
            body.reserve_capacity(frame.len());
            while body.capacity() < frame.len() {
                match timeout(Duration::from_millis(500), poll_fn(|context| body.poll_capacity(context))).await {
                    Ok(more) => {
                        more.unwrap().unwrap();
                    }
                    Err(_) if was_full => {}
                    Err(_) => {
                        was_full = true;
                        other.stream.write_all(&[1; 30_000]).unwrap(); // releases the permit
                    }
                }
            }
            body.send_data(Bytes::copy_from_slice(frame), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        assert!(was_full);
        assert_eq!(answer.await.unwrap().status(), 201);
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async { timeout(DEADLINE, send).await.unwrap() });
    other.answer(false).is(201);
    let stored = server.send("POST /v1/retrieve", &headers, b"");
    assert!(stored.status == 200 && stored.body == data);
}

/// Requests that are repeatedly begun and cancelled.
#[test]
fn cancelled_requests_leave_nothing() {
    let server = encryption(&config());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut sender = connect(&server).await;
        for _ in 0..10_000 {
            if sender.ready().await.is_err() {
                break; // the server may have closed the connection
            }
            let begun = sender.send_request(request("/v1/store", &[("strongroom-id", "YQ")], vec![0; 100_000]));
            let _ = timeout(Duration::from_micros(10), begun).await;
        }
        let mut other = connect(&server).await;
        let erased = other.send_request(request("/healthz", &[], Vec::new())).await.unwrap();
        assert_eq!(erased.status(), 405, "it is a POST, and answered");
    });
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 1);
    server.wait_for_metric("strongroom_connections", |open| open == 1);
}

/// Sends a request and a part of its body, and resets the stream once this part has arrived.
fn cut(server: &Running, path: &str, headers: &[(&str, &str)], part: &[u8], reason: Reason) {
    let received = server.metric("strongroom_received_bytes_total");
    let method = if path.starts_with("/v1/records/") { "PUT" } else { "POST" };
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.header("content-type", "application/octet-stream").body(()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut body = runtime.block_on(async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (answer, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::copy_from_slice(part), false).unwrap();
        tokio::spawn(answer);
        body
    });
    server.wait_for_metric("strongroom_received_bytes_total", |now| now == received + part.len() as u64);
    body.send_reset(reason);
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 1);
}

/// hyper ends the body of a stream that is reset with `NO_ERROR` as if it were complete. Proxies reset so when their
/// client disconnects.
#[test]
fn a_reset_body_stores_nothing() {
    let long = vec![7; 600_000];
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let memory = Arc::new(MemoryStorage::new());
        let server = encryption_over(memory.clone(), &config());
        let store = |headers: &[(&str, &str)], part: &[u8]| {
            cut(&server, "/v1/store", &[&[("strongroom-id", "YQ")], headers].concat(), part, reason);
            assert_eq!(memory.stats(0).unwrap().records, 0, "{reason}: {headers:?}");
        };
        store(&[("content-length", "5000")], &long[..1000]);
        store(&[("content-length", "5000000")], &long[..512 << 10]);
        store(&[], &long[..1000]);
        store(&[], &long);

        let bytes = ("content-type", "application/octet-stream");
        let stored = server.send("POST /v1/store", &[bytes, ("strongroom-id", "YQ")], &long);
        stored.is(201);
        let stored = stored.json();
        let headers = [("strongroom-id", "YQ"), ("strongroom-key", stored["key"].as_str().unwrap())];
        cut(&server, "/v1/replace", &headers, &long[..10], reason);
        let there = server.send("POST /v1/retrieve", &[&headers[..], &[bytes]].concat(), b"");
        assert!(there.status == 200 && there.body == long, "{reason}");

        let memory = Arc::new(MemoryStorage::new());
        let server = storage(memory.clone());
        cut(&server, &format!("/v1/records/{}", "7".repeat(64)), &[("if-none-match", "*")], &long[..1000], reason);
        cut(&server, &format!("/v1/records/{}", "7".repeat(64)), &[("content-length", "700000")], &long, reason);
        let one_of_two = [&[1; 32][..], &68_u64.to_le_bytes(), &[7; 68]].concat();
        cut(&server, "/v1/create-many", &[], &one_of_two, reason);
        assert_eq!(memory.stats(0).unwrap().records, 0, "{reason}");
    }
}

/// Streams that were on their way when the connection's end was announced, too.
#[test]
fn a_stop_answers_the_streams_of_its_connections() {
    let mut config = config();
    (config.limits.head_seconds, config.limits.body_seconds, config.limits.grace_seconds) = (1, 180, 180);
    let memory = Arc::new(MemoryStorage::new());
    let mut server = storage_with(memory.clone(), &config);
    let stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut frames = Frames::begin(stream);
    let headers = [("if-none-match", "*"), ("content-type", "application/octet-stream")];
    frames.request(1, &format!("PUT /v1/records/{}", "7".repeat(64)), &headers, true);
    frames.request(3, "GET /healthz", &[], false);
    assert_eq!(frames.next(3).unwrap().0, frames::HEADERS);
    server.begin_to_stop();
    while frames.next(0).unwrap().0 != frames::GOAWAY {}
    for stream in [5, 7] {
        frames.request(stream, "GET /healthz", &[], false);
        assert_eq!(frames.next(stream).unwrap().0, frames::HEADERS);
    }
    frames.end_body(1, &[7; 200]);
    assert_eq!(frames.next(1).unwrap().0, frames::HEADERS);
    while frames.next(0).is_some() {}
    server.wait();
    assert_eq!(memory.stats(0).unwrap().records, 1);
}
