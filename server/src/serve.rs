//! Connections from their first byte to their last: timers, limits, and an orderly end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::{Address, Config, Limits};
use crate::counted::Counted;
use crate::listen::{Accepted, Listener, Stream, listen};
use crate::reload::Reloader;
use crate::service::Service;
use crate::start::StartError;
use crate::tls::Certificates;

/// The most bytes of a request's head.
const HEAD_LEN: usize = 64 << 10;
/// The most headers of a request.
const HEADERS: usize = 64;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// What a client may send of one body, and of all on its connection, before it is read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// A service that listens, and is not served yet.
pub struct Server {
    service: Service,
    listeners: Vec<Listener>,
    reloader: Reloader,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on the addresses of `config`.
    ///
    /// # Errors
    ///
    /// Where an address cannot be listened on, or not safely: TCP needs tokens or clients' certificates, on loopback or
    /// else `insecure_loopback`, and TLS off the machine itself.
    pub async fn bind(service: Service, config: &Config) -> Result<Self, StartError> {
        let tls = config.tls.as_ref().map(Certificates::new).transpose()?;
        let default = [Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, service.port)))];
        let addresses = if config.listen.is_empty() { &default[..] } else { &config.listen };
        let listeners = listen(addresses, config, tls.as_ref()).await?;
        let reloader = Reloader::new(Arc::clone(&service.shared), config, tls);
        let server = Self { service, listeners, reloader };
        for address in server.addresses() {
            tracing::info!(target: "strongroom", address = String::from(address), "listening");
        }
        Ok(server)
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.iter().map(|listener| listener.address.clone()).collect()
    }

    /// Reads tokens and certificates anew while it serves.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `stop` is done; then takes no more requests, and returns when those under way are finished, or their
    /// time is up.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let Self { service, listeners, reloader: _ } = self;
        let limits = &service.shared.limits;
        let grace = Duration::from_secs(limits.grace_seconds);
        let server = Arc::new(Connections {
            builder: builder(limits),
            places: Arc::new(Semaphore::new(limits.connections)),
            head: Duration::from_secs(limits.head_seconds),
            idle: Duration::from_secs(limits.idle_seconds),
            service,
        });
        let (ending, ended) = watch::channel(false);
        let mut loops = JoinSet::new();
        for listener in listeners {
            loops.spawn(accept(Arc::clone(&server), listener, ended.clone()));
        }
        stop.await;
        tracing::info!(target: "strongroom", "stopping: no more requests are taken");
        let _ = ending.send(true); // nobody left to hear it is fine, too
        let finished = async { while loops.join_next().await.is_some() {} };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!(target: "strongroom", "requests were cut: the time to finish them was up");
        }
        loops.shutdown().await;
    }
}

struct Connections {
    service: Service,
    builder: Builder<TokioExecutor>,
    places: Arc<Semaphore>,
    head: Duration,
    idle: Duration,
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.head_seconds))
        .max_buf_size(HEAD_LEN)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 << 10)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(256 << 10);
    builder
}

/// Accepts connections until the end, and then waits for those that are open.
async fn accept(server: Arc<Connections>, listener: Listener, mut ended: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&server.places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            Some(next) = next => next,
            Some(_) = connections.join_next() => continue,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match accepted {
            Ok(accepted) => {
                let (server, ended) = (Arc::clone(&server), ended.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection(&server, accepted, ended).await;
                });
            }
            Err(error) => {
                // Too many open files, for instance: it passes when connections end.
                tracing::warn!(target: "strongroom", cause = %error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(server: &Connections, accepted: Accepted, mut ended: watch::Receiver<bool>) {
    let (hosts, mut replaced) = (accepted.hosts.clone(), pin!(accepted.replaced()));
    let established = tokio::select! {
        established = timeout(server.head, accepted.establish()) => established,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    let Ok(Ok(stream)) = established else {
        tracing::debug!(target: "strongroom", "TLS was not agreed on");
        return;
    };
    let _open = Counted::new(&server.service.shared.metrics.connections);
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let router = TowerToHyperService::new(server.service.router.clone());
    let answering = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(hosts.clone());
        answering.asked.store(true, Ordering::Relaxed);
        let busy = Counted::new(&answering.busy);
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let mut connection = pin!(server.builder.serve_connection(io, service));
    // Hyper's own timer does not run before it knows which HTTP it is.
    let first_request = activity.start + server.head;
    let (mut ending, mut waits_for_request) = (false, true);
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if outcome.is_err() {
                    tracing::debug!(target: "strongroom", "a connection broke");
                }
                return;
            }
            () = activity.idle(server.idle) => return,
            () = sleep_until(first_request), if waits_for_request => {
                waits_for_request = false;
                if !activity.asked.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = async {
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    () = replaced.as_mut() => {}
                }
            }, if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What happens on a connection.
struct Activity {
    /// There was a request.
    asked: AtomicBool,
    /// Requests whose answer has not begun.
    busy: Arc<AtomicUsize>,
    start: Instant,
    /// Milliseconds from the start to the last byte.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { asked: AtomicBool::new(false), busy: Arc::default(), start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns once there was no byte for `limit`, and nothing to wait for.
    async fn idle(&self, limit: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let until = match self.busy.load(Ordering::Relaxed) {
                0 if last.elapsed() >= limit => return,
                0 => last + limit,
                _ => Instant::now() + limit,
            };
            sleep_until(until).await;
        }
    }
}

/// A stream that notes when bytes pass.
struct Watched {
    stream: Box<dyn Stream>,
    activity: Arc<Activity>,
}

impl Watched {
    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.activity.note();
        }
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.noted(outcome)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.noted(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
