//! A real server on its own port, and a client that sends raw bytes.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod frames;
#[path = "../../../core/tests/support/model.rs"]
pub(crate) mod model;
#[path = "../../../core/tests/support/pattern.rs"]
pub(crate) mod pattern;
pub(crate) mod proxied_service;
pub(crate) mod proxy;
#[path = "../../../core/tests/support/wait.rs"]
pub(crate) mod wait;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use strongroom::storage::{MemoryStorage, Storage};
use strongroom::{IndexKey, Strongroom};
use strongroom_server::{Config, ListenAddress, NewToken, Reloader, Scope, Server, Service};
use tokio::sync::oneshot;
use wait::{DEADLINE, Join};

/// A server in a thread. It stops when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// The address of the page for operators.
    pub(crate) admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The configuration of most tests: the default limits, with short waits.
pub(crate) fn config() -> Config {
    let mut config = Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap();
    config.limits.body_seconds = 1;
    config.limits.grace_seconds = 10;
    config
}

pub(crate) fn start(service: Service, config: &Config) -> Running {
    start_with_reloader(service, config).0
}

pub(crate) fn start_with_reloader(service: Service, config: &Config) -> (Running, Reloader) {
    let (stop, stopped) = oneshot::channel();
    let (bound, addresses) = std::sync::mpsc::channel();
    let config = config.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(service, &config).await.unwrap();
            bound.send((server.addresses(), server.admin_address(), server.reloader())).unwrap();
            server.serve(async { drop(stopped.await) }).await;
        });
    });
    let (mut addresses, admin, reloader) = addresses.recv_timeout(DEADLINE).unwrap();
    let tcp = |address| match address {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(_) => ([0, 0, 0, 0], 0).into(),
    };
    let (address, admin) = (tcp(addresses.remove(0)), admin.map(tcp));
    (Running { address, admin, stop: Some(stop), thread: Some(thread) }, reloader)
}

pub(crate) fn storage(storage: Arc<dyn Storage>) -> Running {
    storage_with(storage, &config())
}

pub(crate) fn storage_with(storage: Arc<dyn Storage>, config: &Config) -> Running {
    start(Service::storage(storage, config).unwrap(), config)
}

/// An encryption server with a storage in memory.
pub(crate) fn encryption(config: &Config) -> Running {
    encryption_over(Arc::new(MemoryStorage::new()), config)
}

pub(crate) fn encryption_over(storage: Arc<dyn Storage>, config: &Config) -> Running {
    let store = Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    start(Service::encryption(Arc::new(store.open().unwrap()), config).unwrap(), config)
}

/// Writes a file that only its owner can read.
pub(crate) fn write_secret(file: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(file, content).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Writes a file with the hash of a new token with `scopes`, and returns the token's text.
pub(crate) fn token(file: &Path, scopes: &[Scope]) -> String {
    let token = NewToken::generate(scopes.to_vec()).unwrap();
    let mut lines = std::fs::read_to_string(file).unwrap_or_default();
    lines.push_str(&token.line());
    std::fs::write(file, lines + "\n").unwrap();
    token.text().to_owned()
}

impl Running {
    pub(crate) fn begin_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until all connections are closed.
    pub(crate) fn wait(&mut self) {
        self.thread.take().unwrap().join_within(DEADLINE);
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A connection to the page for operators.
    pub(crate) fn connect_as_operator(&self) -> Client {
        Client::connect(self.admin.unwrap())
    }

    /// Sends one request on its own connection.
    pub(crate) fn send(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().send(request, headers, body)
    }

    /// Waits until a metric of the server has the right value.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = String::from_utf8(self.send("GET /metrics", &[], b"").body).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    pub(crate) fn wait_for_metric(&self, name: &str, is_right: impl Fn(u64) -> bool) {
        let mut value = 0;
        let became_right = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            value = self.metric(name);
            is_right(value)
        });
        assert!(became_right, "{name} is {value}, and not as it should be");
    }

    /// A request in JSON.
    pub(crate) fn json(&self, path: &str, body: &Value) -> Answer {
        self.send(&format!("POST {path}"), &[("content-type", "application/json")], body.to_string().as_bytes())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let has_ended = wait::poll_within(DEADLINE, || thread.is_finished().then_some(())).is_some();
            assert!(has_ended || std::thread::panicking(), "the server does not stop");
            let is_well = !has_ended || thread.join().is_ok();
            assert!(is_well || std::thread::panicking(), "the server has panicked");
        }
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
    /// The method and path of the last request.
    request: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has the length in the head.
    pub(crate) whole: bool,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, rest: Vec::new(), request: String::new() }
    }

    pub(crate) fn send(&mut self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.head(request, headers, Some(body.len() as u64));
        let _ = self.stream.write_all(body); // the server may reject it halfway
        self.answer(request.starts_with("HEAD"))
    }

    /// Sends a request's head, with a length that need not be the body's.
    pub(crate) fn head(&mut self, request: &str, headers: &[(&str, &str)], len: Option<u64>) {
        self.request = request.to_owned();
        let mut head = format!("{request} HTTP/1.1\r\nhost: localhost\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if let Some(len) = len {
            head.push_str(&format!("content-length: {len}\r\n"));
        }
        self.stream.write_all((head + "\r\n").as_bytes()).unwrap();
    }

    /// Reads an answer.
    pub(crate) fn answer(&mut self, without_body: bool) -> Answer {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more(), "the connection ended before an answer: {:?}", String::from_utf8_lossy(&self.rest));
        };
        let head = String::from_utf8(self.rest.drain(..end).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        check_documented(&self.request, status);
        let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
        let len = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        if !without_body && status != 204 {
            while self.rest.len() < len && self.more() {}
            answer.whole = self.rest.len() >= len;
            answer.body = self.rest.drain(..len.min(self.rest.len())).collect();
        }
        answer
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let read = self.stream.read(&mut buffer);
        let is_late = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_late, "nothing came, and the connection is open");
        let read = read.unwrap_or(0);
        self.rest.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        !self.more()
    }
}

/// Checks that the OpenAPI documents have this answer to this request.
fn check_documented(request: &str, status: u16) {
    let (method, path) = request.split_once(' ').unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let path = if path.starts_with("/v1/records/") { "/v1/records/{locator}" } else { path };
    let responses = DOCUMENTS.iter().filter_map(|document| {
        let document: Value = serde_json::from_str(document).unwrap();
        let responses = document["paths"].get(path)?.get(method.to_lowercase())?["responses"].clone();
        responses.is_object().then_some(responses)
    });
    let responses: Vec<_> = responses.collect();
    let known = responses.is_empty() || responses.iter().any(|responses| responses.get(status.to_string()).is_some());
    assert!(known, "{status} is no documented answer of {method} {path}");
}

const DOCUMENTS: [&str; 3] = [
    include_str!("../../openapi/admin.json"),
    include_str!("../../openapi/encryption.json"),
    include_str!("../../openapi/storage.json"),
];

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that the answer is this problem, in the common form.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: u8, title: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("strongroom-code"), Some(code.to_string().as_str()));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        self.is_kept_by_nobody();
        let problem = self.json();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert_eq!((&problem["code"], &problem["title"]), (&code.into(), &title.into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 5);
        assert_eq!(problem.as_object().unwrap().len(), 5);
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.is_kept_by_nobody();
    }

    #[track_caller]
    fn is_kept_by_nobody(&self) {
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("strongroom-request-id").map(str::len), Some(16));
        assert_eq!(self.header("access-control-allow-origin"), None);
    }
}
