//! Unread answers, which have a budget of bytes and time; disconnected clients, and unreachable storages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../../core/tests/support/intercept.rs"]
#[allow(dead_code, reason = "another crate's tests use the rest")]
mod intercept;
mod support;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use hyper::{Method, Request, StatusCode};
use intercept::Intercepted;
use serde_json::json;
use strongroom::Endpoint;
use strongroom::storage::{Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom_server::{Config, Scope};
use support::{Running, config, encryption, encryption_over, storage_with, token};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config();
    change(&mut config);
    config
}

/// An HTTP/2 client that reads no byte of any answer's body.
struct Unreading {
    sender: SendRequest<Bytes>,
    token: Option<String>,
}

impl Unreading {
    async fn connect(server: &Running, token: Option<&str>) -> Self {
        Self::connect_with_window(server, token, 0).await
    }

    async fn connect_with_window(server: &Running, token: Option<&str>, window: u32) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (sender, connection) =
            client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender, token: token.map(str::to_owned) }
    }

    async fn send(&mut self, method: Method, path: &str, body: &str) -> ResponseFuture {
        self.sender = self.sender.clone().ready().await.unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        request = request.header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (response, mut sending) = self.sender.send_request(request.body(()).unwrap(), false).unwrap();
        sending.send_data(body.to_owned().into(), true).unwrap();
        response
    }
}

/// The number of successful answers, and of those with the status `refused`; their bodies stay unread.
async fn count(responses: Vec<ResponseFuture>, refused: StatusCode) -> (usize, usize, Vec<RecvStream>) {
    let responses = timeout(Duration::from_secs(60), join_all(responses)).await.unwrap();
    let (mut begun, mut others, mut bodies) = (0, 0, Vec::new());
    for response in responses {
        let (head, body) = response.unwrap().into_parts();
        if head.status.is_success() {
            begun += 1;
        } else {
            assert_eq!(head.status, refused);
            others += 1;
        }
        bodies.push(body);
    }
    (begun, others, bodies)
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(test)
}

#[test]
fn unread_answers_are_within_the_budget_on_every_route() {
    let limits = |config: &mut Config| {
        config.limits.answer_bytes = 1 << 20;
        config.limits.wait_seconds = 1;
        config.limits.body_seconds = 60;
    };
    let server = encryption(&with(limits));
    let data = "A".repeat(200_000); // in base64
    let key = server.json("/v1/store", &json!({"id": "a", "data": data})).json()["key"].clone();
    let retrieve = json!({"id": "a", "key": key}).to_string();

    let memory = Arc::new(MemoryStorage::new());
    let locator = |n: u32| {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Locator::from_bytes(bytes)
    };
    (0..2000).for_each(|n| memory.put(&locator(n), &[7; 100], PutMode::Create).unwrap());
    memory.put(&locator(9999), &vec![7; 200_000], PutMode::Create).unwrap();
    let storage = storage_with(memory, &with(limits));
    let record: String = locator(9999).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();

    for (server, method, path, body, most) in [
        (&server, Method::POST, "/v1/retrieve", retrieve.as_str(), 5),
        (&storage, Method::GET, &format!("/v1/records/{record}"), "", 5),
        (&storage, Method::GET, "/v1/records", "", 8),
    ] {
        block_on(async {
            let mut bodies = Vec::new();
            let (mut begun, mut refused) = (0, 0);
            for _ in 0..2 {
                let mut client = Unreading::connect(server, None).await;
                let mut responses = Vec::new();
                for _ in 0..20 {
                    responses.push(client.send(method.clone(), path, body).await);
                }
                let (some, others, unread) = count(responses, StatusCode::SERVICE_UNAVAILABLE).await;
                begun += some;
                refused += others;
                bodies.push((client, unread));
            }
            assert!((1..=most).contains(&begun), "{path}: {begun} of 40 answers were kept for nobody");
            assert_eq!(begun + refused, 40);
            // Other clients' short answers are not delayed.
            server.send("GET /metrics", &[], b"").is(200);
            match method {
                Method::POST => server.json("/v1/stats", &json!({})).is(200),
                _ => server.send("GET /v1/stats", &[], b"").is(200),
            }
        });
    }
}

/// The bytes of an answer are released when it is sent or aborted.
#[test]
fn the_answer_budget_is_released() {
    let server = encryption(&with(|config| {
        config.limits.answer_bytes = 1 << 20;
        config.limits.wait_seconds = 30;
    }));
    let key = server.json("/v1/store", &json!({"id": "a", "data": "A".repeat(800_000)})).json()["key"].clone();
    let retrieve = json!({"id": "a", "key": key});
    for _ in 0..4 {
        block_on(async {
            let mut client = Unreading::connect(&server, None).await;
            let response = client.send(Method::POST, "/v1/retrieve", &retrieve.to_string()).await;
            assert_eq!(response.await.unwrap().status(), 200);
        });
        server.json("/v1/retrieve", &retrieve).is(200);
    }
}

#[test]
fn unauthenticated_connections_have_few_streams() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let erase = token(&file, &[Scope::Erase]);
    let server = encryption(&with(|config| {
        config.tokens = Some(file.clone());
        config.limits.wrong_tokens_per_minute = 1000;
        config.limits.body_seconds = 60;
    }));
    block_on(async {
        for (path, method) in [("/metrics", Method::GET), ("/v1/store", Method::POST), ("/unknown", Method::GET)] {
            let mut stranger = Unreading::connect(&server, Some("srt1wrong")).await;
            let mut responses = Vec::new();
            for _ in 0..60 {
                responses.push(stranger.send(method.clone(), path, "").await);
            }
            let responses = timeout(Duration::from_secs(60), join_all(responses)).await.unwrap();
            let refused = |reason: &h2::Error| reason.reason() == Some(Reason::REFUSED_STREAM);
            let (begun, others): (Vec<_>, Vec<_>) = responses.into_iter().partition(Result::is_ok);
            assert!((1..=8).contains(&begun.len()), "{path}: {} answers", begun.len());
            assert!(others.iter().all(|response| response.as_ref().is_err_and(refused)));
        }
        let mut client = Unreading::connect(&server, Some(&erase)).await;
        let mut responses = Vec::new();
        for _ in 0..60 {
            responses.push(client.send(Method::POST, "/v1/stats", "{}").await);
        }
        assert_eq!(count(responses, StatusCode::OK).await.0, 60);
    });
}

/// Short ones, too: they would keep the connection open forever.
#[test]
fn an_unread_answer_is_cut() {
    let server = encryption(&with(|config| {
        config.limits.body_seconds = 1;
        config.limits.body_max_seconds = 2;
        config.limits.idle_seconds = 1;
    }));
    let key = server.json("/v1/store", &json!({"id": "a", "data": "A".repeat(1 << 20)})).json()["key"].clone();
    block_on(async {
        let retrieve = json!({"id": "a", "key": key}).to_string();
        for (path, body) in [("/v1/stats", "{}"), ("/v1/retrieve", retrieve.as_str())] {
            let mut client = Unreading::connect(&server, None).await;
            let response = client.send(Method::POST, path, body).await.await.unwrap();
            assert_eq!(response.status(), 200);
            let end = timeout(Duration::from_secs(30), response.into_body().data()).await.expect("it is not cut");
            assert!(end.unwrap().is_err(), "{path}");
        }
    });
    server.wait_for_metric("strongroom_answers_cut_total", |cut| cut == 2);
    server.wait_for_metric("strongroom_connections", |open| open == 1); // the connection of the metrics request
}

/// The other streams of its connection continue, whether or not the client has room for the first bytes.
#[test]
fn an_unread_answer_ends_only_its_stream() {
    let server = encryption(&with(|config| {
        config.limits.body_seconds = 1;
        config.limits.body_bytes_per_second = 1 << 20;
    }));
    let key = server.json("/v1/store", &json!({"id": "a", "data": "A".repeat(1 << 20)})).json()["key"].clone();
    let retrieve = json!({"id": "a", "key": key}).to_string();
    block_on(async {
        for window in [0, 65_535] {
            let mut client = Unreading::connect_with_window(&server, None, window).await;
            let mut unread = Vec::new();
            // Each is too late at another check.
            for _ in 0..3 {
                unread.push(client.send(Method::POST, "/v1/retrieve", &retrieve).await.await.unwrap().into_body());
                sleep(Duration::from_millis(300)).await;
            }
            for mut body in unread {
                let end = async {
                    while let Some(data) = body.data().await {
                        if let Err(error) = data {
                            return Some(error);
                        }
                    }
                    None
                };
                let error = timeout(Duration::from_secs(30), end).await.expect("it is not cut").unwrap();
                assert!(error.is_reset() && error.is_remote(), "{window}: {error}");
                let other = client.send(Method::POST, "/v1/contains", r#"{"id":"a"}"#).await;
                assert_eq!(other.await.unwrap().status(), 200);
            }
        }
    });
    server.wait_for_metric("strongroom_answers_cut_total", |cut| cut >= 6);
}

/// The keys of a batch are in its answer alone.
#[test]
fn a_batch_without_memory_for_its_answer_is_not_stored() {
    let server = encryption(&with(|config| {
        config.limits.answer_bytes = 1 << 20;
        config.limits.wait_seconds = 1;
        config.limits.body_seconds = 60;
    }));
    let bytes = [("content-type", "application/octet-stream"), ("strongroom-id", "YQ")];
    let stored = server.send("POST /v1/store", &bytes, &vec![7; 24 << 20]).json();
    let mut unread = server.connect();
    unread.head(
        "POST /v1/retrieve",
        &[&bytes[..], &[("strongroom-key", stored["key"].as_str().unwrap())]].concat(),
        Some(0),
    );
    unread.stream.peek(&mut [0]).unwrap();
    let records: Vec<_> = (0..4_100).map(|n| json!({"id": n.to_string(), "data": ""})).collect();
    let batch = json!({"records": records});
    server.json("/v1/store-many", &batch).is_problem(503, 12, "Busy");
    assert_eq!(server.json("/v1/stats", &json!({})).json()["records"], 1);
    drop(unread);
    let answer = server.json("/v1/store-many", &batch); // waits for the memory of the other answer
    answer.is(201);
    assert_eq!(answer.json()["keys"].as_array().unwrap().len(), records.len());
}

/// Reads an answer of 4 MiB at this rate. Returns the number of bytes until it ends or is cut.
async fn read_slowly(server: &Running, key: &serde_json::Value, bytes_per_second: u32) -> Result<usize, usize> {
    let mut client = Unreading::connect_with_window(server, None, 32 << 10).await;
    let retrieve = json!({"id": "a", "key": key}).to_string();
    let response = client.send(Method::POST, "/v1/retrieve", &retrieve).await.await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut body, mut read) = (response.into_body(), 0);
    loop {
        match body.data().await {
            Some(Ok(bytes)) => {
                sleep(Duration::from_secs(1) * u32::try_from(bytes.len()).unwrap() / bytes_per_second).await;
                read += bytes.len();
                body.flow_control().release_capacity(bytes.len()).unwrap();
            }
            Some(Err(_)) => return Err(read),
            None => return Ok(read),
        }
    }
}

/// Each piece is progress, but not enough; and enough progress does not last forever.
#[test]
fn a_slow_reader_is_cut() {
    let (rate, time) = (
        // Half a second more for a stretch of 256 KiB.
        encryption(&with(|config| {
            config.limits.json_bytes = 8 << 20;
            config.limits.body_seconds = 1;
            config.limits.body_bytes_per_second = 512 << 10;
        })),
        encryption(&with(|config| {
            config.limits.json_bytes = 8 << 20;
            config.limits.body_seconds = 600;
            config.limits.body_max_seconds = 1;
        })),
    );
    let keys = [&rate, &time]
        .map(|server| server.json("/v1/store", &json!({"id": "a", "data": "A".repeat(4 << 20)})).json()["key"].clone());
    let read = |server, key, rate| timeout(Duration::from_secs(60), read_slowly(server, key, rate));
    let (below_rate, above_rate, too_long) = block_on(async {
        tokio::join!(read(&rate, &keys[0], 64 << 10), read(&rate, &keys[0], 3 << 20), read(&time, &keys[1], 1 << 20),)
    });
    assert!(below_rate.unwrap().is_err_and(|read| read < 1 << 20), "below the minimum rate");
    assert!(above_rate.unwrap().is_ok(), "above the minimum rate, for longer than the fixed time");
    assert!(too_long.unwrap().is_err(), "past the total deadline");
    rate.wait_for_metric("strongroom_answers_cut_total", |cut| cut == 1);
    time.wait_for_metric("strongroom_answers_cut_total", |cut| cut == 1);
}

/// Whether the metrics count this number of requests with this status.
fn counted(server: &Running, route: &str, status: u16, count: usize) -> bool {
    let line = format!("strongroom_requests_total{{route=\"{route}\",method=\"POST\",status=\"{status}\"}} {count}\n");
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        String::from_utf8(server.send("GET /metrics", &[], b"").body).unwrap().contains(&line)
    })
}

#[test]
fn an_abandoned_request_is_counted() {
    let (release, released) = mpsc::channel::<()>();
    let slow = Intercepted::before_put(Arc::new(MemoryStorage::new()), move || released.recv().unwrap());
    let server = encryption_over(Arc::new(slow), &config());
    block_on(async {
        let mut client = Unreading::connect(&server, None).await;
        let response = client.send(Method::POST, "/v1/store", r#"{"id":"a","data":""}"#).await;
        assert!(timeout(Duration::from_millis(300), response).await.is_err());
    });
    assert!(counted(&server, "/v1/store", 499, 1));
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 1);
    release.send(()).unwrap();
}

/// The storage's own client would retry for ten seconds, and does not distinguish reads and writes.
#[test]
fn an_unreachable_storage_is_reported_at_once() {
    let storage = storage_with(Arc::new(MemoryStorage::new()), &config());
    let url = format!("http://{}", storage.address);
    let remote = Arc::new(RemoteStorage::open(&Endpoint::new(&url).unwrap()).unwrap());
    let server = encryption_over(remote, &with(|config| config.store = Some(url.into())));
    let key = server.json("/v1/store", &json!({"id": "a", "data": ""})).json()["key"].clone();
    server.send("GET /readyz", &[], b"").is(200);
    drop(storage);

    server.send("GET /readyz", &[], b"").is_problem(503, 14, "Storage");
    server.json("/v1/retrieve", &json!({"id": "a", "key": key})).is_problem(503, 14, "Storage");
    server.json("/v1/store", &json!({"id": "b", "data": ""})).is_problem(502, 15, "Indeterminate");
    let headers = [("content-type", "application/octet-stream"), ("strongroom-id", "YQ")];
    let stored = server.send("POST /v1/store", &headers, b"data");
    assert!([(502, "15"), (503, "14")].contains(&(stored.status, stored.header("strongroom-code").unwrap())));
    server.send("GET /healthz", &[], b"").is(200);
}
