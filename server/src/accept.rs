//! Accepting and serving connections: their limits and timers, eviction of idle ones, and their end.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, ConnectionTimeouts};
use crate::counted::Counted;
use crate::http2_stream::StreamExecutor;
use crate::listen::{Accepted, Established, Listener};
use crate::observation::RefusedStream;
use crate::problem::Problem;
use crate::response;
use crate::shared::Shared;

/// The most bytes of a request's head.
const HEAD_LEN: usize = 64 << 10;
/// The most headers of a request.
const HEADERS: usize = 64;
/// Concurrent requests on an HTTP/2 connection.
const STREAMS: u32 = 64;
/// Bytes of answers that HTTP/2 buffers in addition to their slices.
const SEND_BUFFER: usize = 64 << 10;
/// The time limit for closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Unread bytes that a client may send, of one body and on the whole connection. h2 closes a connection if its unread
/// DATA frames are small and many: each counts with the bytes that it lacks to 256, up to half the connection's window.
/// The smaller window lets one body have frames of 52 bytes; with 1 MiB they would need 128.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

pub(crate) struct OpenConnections {
    router: Router,
    shared: Arc<Shared>,
    builder: Builder<StreamExecutor>,
    permits: Arc<Semaphore>,
    open: Mutex<ConnectionsByNumber>,
    head: Duration,
    timeouts: ConnectionTimeouts,
}

/// All open connections, each with its own number.
#[derive(Default)]
struct ConnectionsByNumber {
    last: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

impl OpenConnections {
    pub(crate) fn new(shared: &Arc<Shared>, router: Router, connections: usize) -> Self {
        Self {
            router,
            shared: Arc::clone(shared),
            builder: builder(),
            permits: Arc::new(Semaphore::new(connections)),
            open: Mutex::default(),
            head: Duration::from_secs(shared.limits.head_seconds),
            timeouts: ConnectionTimeouts::new(&shared.limits),
        }
    }

    /// A permit for a connection. If none is free, the connection that has been idle longest is closed, those without a
    /// valid token first.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            self.evict_one();
            // A connection that has just begun a request keeps its permit; then another connection is evicted.
            let permit = timeout(EVICTION, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(permit) = permit {
                return permit.ok();
            }
        }
    }

    fn evict_one(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = open.connections.values().filter_map(|connection| Some((connection.quiet()?, connection)));
        let longest = quiet.min_by_key(|(order, _)| *order);
        if let Some((_, connection)) = longest {
            connection.evict();
        }
    }

    fn opened(&self) -> (u64, Arc<Connection>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.last += 1;
        let (number, connection) = (open.last, Connection::new());
        open.connections.insert(number, Arc::clone(&connection));
        (number, connection)
    }

    fn closed(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).connections.remove(&number);
    }
}

/// The time for a connection to release its permit before another is evicted.
const EVICTION: Duration = Duration::from_millis(100);

fn builder() -> Builder<StreamExecutor> {
    let mut builder = Builder::new(StreamExecutor);
    builder
        .http1()
        // A client that has closed its side may still read the answers. The first write or a deadline detects a
        // disconnected client.
        .half_close(true)
        .timer(TokioTimer::new())
        .max_buf_size(HEAD_LEN)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 << 10)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// Accepts connections until the shutdown, and then waits for the open ones.
pub(crate) async fn accept(server: Arc<OpenConnections>, listener: Listener, mut ended: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match accepted {
            Ok(accepted) => {
                let permit = tokio::select! {
                    permit = server.permit() => permit,
                    _ = ended.wait_for(|ended| *ended) => break,
                };
                let (server, ended) = (Arc::clone(&server), ended.clone());
                // Here, because tasks begin in any order, and the connection's idle time begins.
                let (number, connection) = server.opened();
                connections.spawn(async move {
                    let _permit = permit;
                    serve(&server, &connection, accepted, ended).await;
                    server.closed(number);
                });
            }
            Err(error) => {
                // For example too many open files, until connections end.
                tracing::warn!(target: "strongroom", cause = %error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    server: &OpenConnections,
    connection: &Arc<Connection>,
    accepted: Accepted,
    mut ended: watch::Receiver<bool>,
) {
    let (hosts, replaced) = (accepted.hosts.clone(), accepted.replaced.clone());
    let established = tokio::select! {
        established = timeout(server.head, accepted.establish(connection)) => established,
        () = connection.is_evicted() => return,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    let Ok(Ok(Established { stream, client, namespace })) = established else {
        tracing::debug!(target: "strongroom", "the TLS handshake failed");
        return;
    };
    connection.set_client(client);
    let _open = Counted::new(&server.shared.metrics.connections);
    let io = TokioIo::new(stream);
    let router = TowerToHyperService::new(server.router.clone());
    let answering = Arc::clone(connection);
    let was_replaced = replaced.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let connection = Arc::clone(&answering);
        // After a GOAWAY, hyper accepts streams until the client acknowledges a PING, which it need not do. A stop, which
        // ends the connections soon, answers those that were on their way.
        let is_refused = was_replaced.is_replaced();
        let active_request = (!is_refused).then(|| connection.begin(request.version() == Version::HTTP_2));
        request.extensions_mut().insert(hosts.clone());
        request.extensions_mut().insert(Arc::clone(&connection));
        if let Some(namespace) = &namespace {
            request.extensions_mut().insert(namespace.clone());
        }
        let router = router.clone();
        async move {
            connection.writable().await;
            if is_refused {
                let peer = connection.client().map(|client| client.peer.as_str());
                tracing::info!(target: "strongroom", peer, "a request on a connection from before a reload is refused");
                return match request.version() {
                    Version::HTTP_2 => Err(h2::Error::from(h2::Reason::REFUSED_STREAM)),
                    _ => Ok(response::problem(Problem::reloaded()).map(|_| Body::empty())),
                };
            }
            let Ok(answer) = router.call(request).await;
            drop(active_request); // the answer counts as a running request itself
            match answer.extensions().get::<RefusedStream>() {
                Some(RefusedStream) => Err(h2::Error::from(h2::Reason::REFUSED_STREAM)),
                None => Ok(answer),
            }
        }
    });
    let mut serving = pin!(server.builder.serve_connection(io, service));
    let close_timeout = tokio::select! {
        biased;
        () = replaced.wait() => server.head, // first: no request is read after it
        _ = serving.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => server.head,
        () = connection.expired(server.timeouts) => CLOSE_TIMEOUT,
        () = connection.is_evicted() => EVICTION,
    };
    // After a timeout or an eviction, a request that arrived in the meantime is answered.
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = serving.as_mut() => {}
        () = async { sleep(close_timeout).await; connection.expired(server.timeouts.closing()).await } => {}
    }
}
