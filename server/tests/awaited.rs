//! Calls to an encryption server that no thread waits for: their number, their executors, their cancellation at each
//! point.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use strongroom::aio::Strongroom;
use strongroom::{Endpoint, Error, RecordKey, WriteOptions};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::pattern::pattern;
use crate::support::wait::{DEADLINE, Join, wait_for};
use crate::support::{config, encryption};

/// The client's limit of concurrent calls.
const MOST: usize = 64;

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(&format!("http://{address}")).unwrap().timeout(3 * DEADLINE)
}

fn blocking(address: SocketAddr) -> strongroom::Strongroom {
    strongroom::Strongroom::connect(&endpoint(address)).unwrap()
}

fn connect(address: SocketAddr) -> Strongroom {
    Strongroom::with_threads(blocking(address), NonZero::<usize>::MIN)
}

/// Runs `test` on a runtime of one thread.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.expect("it does not end") })
}

/// Polls `future` once, which begins it.
fn begin<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// A service whose connections a test plays. Each gets a thread.
struct Service {
    address: SocketAddr,
}

impl Service {
    fn new(serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, stream) = (Arc::clone(&serve), stream.unwrap());
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                thread::spawn(move || serve(Connection { stream, rest: Vec::new() }));
            }
        });
        Self { address }
    }

    /// A service that gives all connections to the test.
    fn played() -> (Self, Receiver<Connection>) {
        let (sender, receiver) = channel();
        (Self::new(move |connection| drop(sender.send(connection))), receiver)
    }
}

struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Connection {
    /// Reads more bytes; `false` at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 1 << 16];
        let len = self.stream.read(&mut buffer).unwrap_or(0);
        self.rest.extend_from_slice(&buffer[..len]);
        len > 0
    }

    /// Reads the head of the next request, and returns the length of its body; `None` at the end.
    fn head(&mut self) -> Option<usize> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.rest.drain(..end + 4).collect()).unwrap().to_ascii_lowercase();
                let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                return Some(len.map_or(0, |len| len.parse().unwrap()));
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Reads `len` bytes of a body; `None` if the client ends before.
    fn body(&mut self, len: usize) -> Option<()> {
        while self.rest.len() < len {
            if !self.read() {
                return None;
            }
        }
        self.rest.drain(..len);
        Some(())
    }

    fn request(&mut self) -> Option<()> {
        let len = self.head()?;
        self.body(len)
    }

    fn answer(&mut self, data: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nstrongroom-request-id: 1\r\ncontent-length: {}\r\n\r\n", data.len());
        let _ = self.stream.write_all(&[head.as_bytes(), data].concat());
    }

    /// Whether the client has ended the connection, after any bytes.
    fn has_ended(mut self) -> bool {
        while self.read() {}
        self.stream.take_error().is_ok()
    }
}

#[test]
fn no_thread_bounds_the_calls() {
    let (all_here, most) = (Arc::new(Barrier::new(MOST)), Arc::new([const { AtomicUsize::new(0) }; 2]));
    let counts = Arc::clone(&most);
    // The first answer comes when as many requests wait as the client sends at the same time.
    let service = Service::new(move |mut connection| {
        for n in 0.. {
            if connection.request().is_none() {
                break;
            }
            counts[1].fetch_max(counts[0].fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if n == 0 {
                all_here.wait();
            }
            counts[0].fetch_sub(1, Ordering::SeqCst);
            connection.answer(b"data");
        }
    });
    let store = connect(service.address);
    run(async {
        let key = RecordKey::generate().unwrap();
        let mut calls = JoinSet::new();
        for n in 0..2 * MOST {
            calls.spawn(store.retrieve(n.to_string(), &key));
        }
        while let Some(data) = calls.join_next().await {
            assert_eq!(data.unwrap().unwrap(), b"data");
        }
    });
    assert_eq!(most[1].load(Ordering::SeqCst), MOST);
}

/// Runs a future without any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (waker, mut future, start) = (Waker::from(Arc::new(Unpark(thread::current()))), pin!(future), Instant::now());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        assert!(start.elapsed() < DEADLINE, "it does not end");
        thread::park_timeout(DEADLINE);
    }
}

#[test]
fn each_call_needs_no_runtime() {
    let mut config = config();
    config.limits.batch_bytes = 100_000;
    let server = encryption(&config);
    block_on(async {
        let store = Strongroom::connect(&endpoint(server.address)).await.unwrap();
        let key = store.store("id", b"data").await.unwrap();
        assert_eq!(store.retrieve("id", &key).await.unwrap(), b"data");
        assert_eq!(store.retrieve_range("id", &key, 1..3).await.unwrap(), b"at");
        let mut buffer = [0; 9];
        assert_eq!(store.retrieve_into("id", &key, &mut buffer).await.unwrap(), 4);
        let key = store.replace("id", &key, pattern(600_000)).await.unwrap();
        let key = store.rekey("id", &key).await.unwrap();
        assert!(store.retrieve("id", &key).await.unwrap() == pattern(600_000));
        assert!(store.contains("id").await.unwrap() && !store.contains("other").await.unwrap());
        let keys = store.store_many(&[("one", "1"), ("two", "2")]).await.unwrap();
        let own = RecordKey::generate().unwrap();
        store.store_many_with(&[("three", "3", WriteOptions::new().key(&own))]).await.unwrap();
        assert_eq!(store.stats().await.unwrap().records, 4);
        // More than one answer may have, and a record that has more alone.
        let items = [("none", &own), ("id", &key), ("one", &keys[0]), ("two", &keys[1]), ("three", &own)];
        let mut found = store.retrieve_many(&items).await.unwrap().into_iter();
        assert!(matches!(found.next(), Some(Err(Error::NotFound))));
        let found: Vec<_> = found.map(Result::unwrap).collect();
        assert!(found[0] == pattern(600_000) && found[1..] == [b"1", b"2", b"3"]);

        assert_eq!(store.take("one", &keys[0]).await.unwrap(), b"1");
        store.delete("two", &keys[1]).await.unwrap();
        assert!(store.erase("three").await.unwrap() && !store.erase("three").await.unwrap());
        assert_eq!(store.purge(9).await.unwrap(), 0);
        let other = store.namespace("other").unwrap().padded();
        assert!(matches!(other.retrieve("id", &key).await, Err(Error::NotFound)));
        assert!(matches!(store.store("id", b"").await, Err(Error::AlreadyExists)));
        assert!(matches!(store.store("", b"").await, Err(Error::InvalidId)));
        assert!(matches!(
            store.verify(&strongroom::VerifyOptions::new(), |_| panic!("nothing is searched")).await,
            Err(Error::Unsupported(_))
        ));
        store.close().await.unwrap();
        assert!(matches!(store.retrieve("id", &key).await, Err(Error::Closed)));
    });
}

/// The points at which a call is cancelled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// The body is too long for the buffers of a connection.
    AfterHead,
    HalfBody,
    BeforeAnswer,
    HalfAnswer,
}

#[test]
fn a_cancelled_call_ends_its_connection() {
    for point in [Point::AfterHead, Point::HalfBody, Point::BeforeAnswer, Point::HalfAnswer] {
        let (service, connections) = Service::played();
        let store = connect(service.address);
        let key = RecordKey::generate().unwrap();
        let next = || connections.recv_timeout(DEADLINE).unwrap();
        let len = if point == Point::HalfAnswer { 10 } else { 32 << 20 };
        let data = vec![7; len];
        // A connection that is kept after a whole exchange.
        let mut before = Box::pin(store.retrieve("before", &key));
        begin(&mut before);
        let mut connection = next();
        connection.request().unwrap();
        connection.answer(b"before");
        assert_eq!(run(before).unwrap(), b"before");

        let mut call = Box::pin(store.store_with("id", &data, WriteOptions::new().key(&key)));
        begin(&mut call);
        let body = connection.head().expect("the connection is used again");
        assert_eq!(body, len);
        match point {
            Point::AfterHead => {}
            Point::HalfBody => connection.body(len / 2).unwrap(),
            Point::BeforeAnswer => connection.body(len).unwrap(),
            Point::HalfAnswer => {
                connection.body(len).unwrap();
                connection
                    .stream
                    .write_all(b"HTTP/1.1 200 OK\r\nstrongroom-request-id: 1\r\ncontent-length: 8\r\n\r\nhalf")
                    .unwrap();
                // Until the client has read it.
                thread::sleep(Duration::from_millis(20));
            }
        }
        drop(call);
        if let Point::AfterHead | Point::HalfBody = point {
            assert!(connection.body(len).is_none(), "{point:?}: the body is incomplete");
        }

        // The next call gets the answer to its own request, on another connection.
        let mut call = Box::pin(store.retrieve("next", &key));
        begin(&mut call);
        let mut other = next();
        connection.answer(b"of the cancelled call");
        other.request().unwrap();
        other.answer(b"next");
        assert_eq!(run(call).unwrap(), b"next", "{point:?}");
        assert!(connection.has_ended(), "{point:?}");
    }
}

#[test]
fn a_call_that_is_cancelled_before_it_is_sent_does_not_take_place() {
    // Before the first poll, and during the lookup of the service's name.
    let (service, connections) = Service::played();
    let (looked_up, lookups) = channel::<Sender<()>>();
    let lookup = move |_: &str| {
        let (release, released) = channel();
        looked_up.send(release).unwrap();
        let _ = released.recv_timeout(DEADLINE);
        Ok(vec![[127, 0, 0, 1].into()])
    };
    let url = format!("http://localhost:{}", service.address.port());
    let endpoint = Endpoint::new(&url).unwrap().resolver(lookup).timeout(3 * DEADLINE);
    let store = Strongroom::new(strongroom::Strongroom::connect(&endpoint).unwrap());
    drop(store.store("never polled", b"data"));
    let mut call = Box::pin(store.store("not sent", b"data"));
    begin(&mut call);
    let release = lookups.recv_timeout(DEADLINE).unwrap();
    drop(call);
    release.send(()).unwrap();
    let mut call = Box::pin(store.retrieve("sent", &RecordKey::generate().unwrap()));
    begin(&mut call);
    let answer = thread::spawn(move || {
        // A connection may come without a request: that of the cancelled call.
        let mut connection = wait_for(|| {
            let mut connection = connections.recv_timeout(DEADLINE).unwrap();
            connection.head().map(|len| (connection, len))
        });
        assert_eq!(connection.1, 0, "only the last call is sent");
        connection.0.answer(b"data");
    });
    thread::spawn(move || lookups.into_iter().for_each(|release| release.send(()).unwrap_or_default()));
    assert_eq!(run(call).unwrap(), b"data");
    answer.join_within(DEADLINE);
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_for_others_does_not_take_place() {
    let (service, connections) = Service::played();
    let store = connect(service.address);
    let key = RecordKey::generate().unwrap();
    let mut calls: Vec<_> = (0..MOST).map(|n| Box::pin(store.retrieve(n.to_string(), &key))).collect();
    calls.iter_mut().for_each(begin);
    let mut waiting = Box::pin(store.store("waiting", b"data"));
    begin(&mut waiting);
    let mut last = Box::pin(store.retrieve("last".to_owned(), &key));
    begin(&mut last);
    let requests: Vec<_> = (0..MOST).map(|_| connections.recv_timeout(DEADLINE).unwrap()).collect();
    drop(waiting);
    let longest = Arc::new(AtomicUsize::new(0));
    for mut connection in requests {
        let longest = Arc::clone(&longest);
        thread::spawn(move || {
            while let Some(len) = connection.head() {
                longest.fetch_max(len, Ordering::SeqCst);
                connection.answer(b"data");
            }
        });
    }
    for call in calls.into_iter().chain([last]) {
        assert_eq!(run(call).unwrap(), b"data");
    }
    assert_eq!(longest.load(Ordering::SeqCst), 0, "the cancelled call was sent");
    assert!(connections.try_recv().is_err(), "another connection was opened");
}

#[test]
fn calls_end_with_their_runtime_and_the_store_with_its_calls() {
    let (service, connections) = Service::played();
    let store = connect(service.address);
    let key = RecordKey::generate().unwrap();
    let next = || connections.recv_timeout(DEADLINE).unwrap();
    // A runtime that is shut down.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let calls = 20;
    (0..calls).for_each(|n| drop(runtime.spawn(store.retrieve(n.to_string(), &key))));
    let requests: Vec<_> = (0..calls).map(|_| next()).collect();
    drop(runtime);
    assert!(requests.into_iter().all(Connection::has_ended));

    // Futures that outlive all handles.
    let [mut dropped, mut awaited] = ["dropped", "awaited"].map(|id| Box::pin(store.retrieve(id, &key)));
    begin(&mut dropped);
    let of_dropped = next();
    begin(&mut awaited);
    let mut of_awaited = next();
    drop(store);
    drop(dropped);
    assert!(of_dropped.has_ended());
    of_awaited.request().unwrap();
    of_awaited.answer(b"data");
    assert_eq!(run(&mut awaited).unwrap(), b"data");
    assert!(of_awaited.has_ended(), "the store was not closed");
}

#[test]
fn awaited_and_blocking_calls_share_a_handle() {
    let server = encryption(&config());
    let blocking = Arc::new(blocking(server.address));
    let store = Strongroom::new(Arc::clone(&blocking));
    let key = blocking.store("id", b"data").unwrap();
    thread::scope(|scope| {
        // Blocking calls that come alone drive the connections themselves.
        scope.spawn(|| (0..300).for_each(|_| assert_eq!(blocking.retrieve("id", &key).unwrap(), b"data")));
        run(async {
            for n in 0..300 {
                let mut call = pin!(store.retrieve("id", &key));
                assert_eq!(poll_fn(|context| call.as_mut().poll(context)).await.unwrap(), b"data", "{n}");
            }
        });
    });
}
