//! The audit log and the metrics tell how each answer ended.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use strongroom::storage::{self, Locator, MemoryStorage, PutMode, RemoteStorage, Storage, VerifyPosition};
use strongroom::{Endpoint, RecordKey};
use strongroom_server::Config;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::hooked::{Shared, hooked};
use crate::support::frames::Frames;
use crate::support::wait::wait_for;
use crate::support::{Client, Running, config, encryption_over, storage_with};

/// More than the buffers of a connection hold.
const LEN: usize = 24 << 20;
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

fn audited() -> (TempDir, Config) {
    let (folder, mut config) = (tempfile::tempdir().unwrap(), config());
    config.audit = Some(folder.path().join("audit"));
    config.limits.body_seconds = 180;
    (folder, config)
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("audit")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The status and the outcome in the last of `count` lines.
fn outcome(folder: &Path, count: usize) -> (u64, String) {
    let lines = wait_for(|| Some(lines(folder)).filter(|lines| lines.len() >= count));
    assert_eq!(lines.len(), count);
    let last = lines.last().unwrap();
    (last["status"].as_u64().unwrap(), last["outcome"].as_str().unwrap().to_owned())
}

/// A service with a long record, and the request for it.
struct Long {
    server: Running,
    folder: TempDir,
    /// Makes the storage fail.
    fails: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
    request: String,
    headers: Vec<(&'static str, String)>,
}

impl Long {
    fn start(encrypted: bool, change: impl FnOnce(&mut Config)) -> Self {
        let ((folder, mut config), memory) = (audited(), Arc::new(MemoryStorage::new()));
        change(&mut config);
        let fails = Arc::<AtomicBool>::default();
        let has_failed = Arc::<AtomicBool>::default();
        let (fail, failed, inner): (_, _, Shared) = (Arc::clone(&fails), Arc::clone(&has_failed), memory.clone());
        let storage = hooked(&inner, move |method, _| match method {
            "read_at" if fail.load(Ordering::Relaxed) => {
                failed.store(true, Ordering::Relaxed);
                Err(storage::Error::Backend("the disk is broken".into()))
            }
            _ => Ok(()),
        });
        if !encrypted {
            memory.put(&Locator::from_bytes([0x77; 32]), &vec![7; LEN], PutMode::Create).unwrap();
            let (server, request) = (storage_with(storage, &config), format!("GET /v1/records/{}", "7".repeat(64)));
            return Self { server, folder, fails, has_failed, request, headers: Vec::new() };
        }
        let server = encryption_over(storage, &config);
        let key = RecordKey::generate().unwrap().to_text().to_string();
        server
            .send("POST /v1/store", &[OCTETS, ("strongroom-id", "YQ"), ("strongroom-key", &key)], &vec![7; LEN])
            .is(201);
        assert_eq!(outcome(folder.path(), 1), (201, "ok".into()));
        let headers = vec![("strongroom-id", "YQ".into()), ("strongroom-key", key), (OCTETS.0, OCTETS.1.into())];
        Self { server, folder, fails, has_failed, request: "POST /v1/retrieve".into(), headers }
    }

    /// A connection on which the answer has begun.
    fn begin(&self) -> Client {
        let mut client = self.server.connect();
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client.head(&self.request, &headers, Some(0));
        assert_eq!(client.stream.peek(&mut [0]).unwrap(), 1);
        client
    }

    /// The lines before that of the answer.
    fn earlier(&self) -> usize {
        self.headers.len().min(1)
    }

    /// Checks the end of an answer: the line in the audit log, its errors and the answers that clients did not read.
    fn ended(&self, expected: &str, error: &str, cut: u64) {
        assert_eq!(outcome(self.folder.path(), self.earlier() + 1), (200, expected.into()));
        let errors = format!("strongroom_errors_total{{error=\"{error}\"}}");
        assert_eq!(self.server.metric(&errors), u64::from(expected == error));
        assert_eq!(self.server.metric("strongroom_answers_cut_total"), cut);
    }
}

#[test]
fn an_answer_that_the_storage_cuts_is_no_success_and_no_fault_of_the_client() {
    for encrypted in [false, true] {
        let long = Long::start(encrypted, |_| {});
        let mut client = long.begin();
        long.fails.store(true, Ordering::Relaxed);
        let answer = client.answer(false);
        assert!(answer.status == 200 && !answer.whole);
        long.ended("Storage", "Storage", 0);

        let long = Long::start(encrypted, |_| {});
        let (method, path) = long.request.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        let request = long.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let stream = TcpStream::connect(long.server.address).await.unwrap();
            let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            long.fails.store(true, Ordering::Relaxed);
            assert!(answer.into_body().collect().await.is_err());
        });
        long.ended("Storage", "Storage", 0);
    }
}

#[test]
fn an_answer_is_audited_at_its_end() {
    for encrypted in [false, true] {
        let long = Long::start(encrypted, |_| {});
        let mut client = long.begin();
        assert_eq!(lines(long.folder.path()).len(), long.earlier());
        let answer = client.answer(false);
        assert!(answer.whole && answer.body.len() == LEN);
        long.ended("ok", "Storage", 0);

        let long = Long::start(encrypted, |_| {});
        drop(long.begin());
        long.ended("ClientGone", "Storage", 1);
    }
}

/// A client that does not read, and leaves, hides no failure of the storage.
#[test]
fn a_failure_behind_unread_bytes_is_counted() {
    let long = Long::start(false, |_| {});
    let mut client = long.begin();
    long.fails.store(true, Ordering::Relaxed);
    // It may also see the end of the answer.
    while !long.has_failed.load(Ordering::Relaxed) && client.stream.read_exact(&mut [0; 1 << 10]).is_ok() {}
    drop(client);
    long.server.wait_for_metric("strongroom_errors_total{error=\"Storage\"}", |errors| errors == 1);
    assert_eq!(outcome(long.folder.path(), 1).0, 200);
}

#[test]
fn requests_that_a_stop_cuts_are_audited() {
    for is_http2 in [false, true] {
        let mut long = Long::start(false, |config| config.limits.grace_seconds = 1);
        let stream = std::net::TcpStream::connect(long.server.address).unwrap();
        let mut open = Vec::new();
        if is_http2 {
            let mut frames = Frames::begin(stream);
            frames.request(1, "POST /v1/purge", &[("content-type", "application/json")], true);
            frames.request(3, &long.request, &[], false);
            frames.next(3).unwrap();
            open.push(frames.into_inner());
        } else {
            let mut client = long.server.connect();
            client.head("POST /v1/purge", &[("content-type", "application/json")], Some(10));
            long.server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 2);
            open.extend([client.stream, long.begin().stream, stream]);
        }
        long.server.begin_to_stop();
        long.server.wait();
        let lines = lines(long.folder.path());
        assert_eq!(lines.iter().map(|line| &line["outcome"]).collect::<Vec<_>>(), ["Closed", "Closed"]);
        drop(open);
    }
}

/// Each request about one record names it, wherever its locator stands.
#[test]
fn each_request_about_a_record_is_audited_with_its_locator() {
    let (folder, config) = audited();
    let server = storage_with(Arc::new(MemoryStorage::new()), &config);
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap();
    let remote = RemoteStorage::open(&endpoint).unwrap();
    let [from, to] = [0xab, 0xcd].map(|byte| Locator::from_bytes([byte; 32]));
    remote.put(&from, &[7; 200], PutMode::Create).unwrap();
    let head = remote.info(&from).unwrap().unwrap().head;
    remote.verify(Some(&VerifyPosition::Record(from)), 1).unwrap();
    remote.rename(&from, &head, &to).unwrap();
    remote.verify(None, 1).unwrap();
    remote.delete(&to, Some(&head)).unwrap();
    drop((remote, server));
    let of_records = lines(folder.path()).into_iter().map(|line| {
        let operation = line["operation"].as_str().unwrap().to_owned();
        (operation, line["locator"].as_str().unwrap_or_default().to_owned())
    });
    let [from, to] = ["abababababababab", "cdcdcdcdcdcdcdcd"];
    let expected = [
        ("PUT /v1/records/{locator}", from),
        ("HEAD /v1/records/{locator}", from),
        ("POST /v1/verify", from),
        ("POST /v1/rename", from),
        ("POST /v1/verify", ""),
        ("DELETE /v1/records/{locator}", to),
    ];
    let expected = expected.map(|(operation, locator)| (operation.to_owned(), locator.to_owned()));
    assert_eq!(of_records.collect::<Vec<_>>(), expected);
}
