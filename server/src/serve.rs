//! Serving connections: timers, limits and graceful shutdown.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin;
use crate::audit::Audit;
use crate::certificate_expiry;
#[cfg(feature = "cluster")]
use crate::cluster;
use crate::config::address::ListenAddress;
use crate::config::document::Config;
use crate::connection::{Connection, ConnectionTimeouts};
use crate::counted::Counted;
use crate::listen::{Accepted, Established, Listener, listen, listen_for_operators, listen_for_probes};
use crate::monitored_stream::MonitoredStream;
use crate::observation::RefusedStream;
use crate::purge;
use crate::reload::Reloader;
use crate::service::Service;
use crate::shared::Shared;
use crate::start_error::StartError;
use crate::store_metrics;
use crate::tls::{self, Certificates};
use crate::tokens::uses;

/// The most bytes of a request's head.
const HEAD_LEN: usize = 64 << 10;
/// The most headers of a request.
const HEADERS: usize = 64;
/// Concurrent requests on an HTTP/2 connection.
const STREAMS: u32 = 64;
/// Bytes of answers that HTTP/2 buffers in addition to their slices.
const SEND_BUFFER: usize = 64 << 10;
/// Concurrent connections of operators. They are apart from the clients' ones, so that the page also works while the
/// service has no connection left.
const ADMIN_CONNECTIONS: usize = 32;
/// Concurrent connections of probes.
const HEALTH_CONNECTIONS: usize = 32;
/// The time limit for closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Unread bytes that a client may send, of one body and on the whole connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// A service that listens, but does not answer yet.
pub struct Server {
    service: Service,
    listeners: Vec<Listener>,
    /// The listener of the page for operators.
    admin: Option<Listener>,
    /// The listener for probes.
    health: Option<Listener>,
    reloader: Reloader,
    /// How long it still serves after it was told to stop.
    drain: Duration,
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
    /// If listening on an address fails or is unsafe: TCP requires tokens or client certificates (not on loopback with
    /// `insecure_loopback`), and TLS unless the address is loopback.
    pub async fn bind(service: Service, config: &Config) -> Result<Self, StartError> {
        let tls = config.tls.as_ref().map(Certificates::new).transpose()?;
        let default = [ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, service.port)))];
        let addresses = if config.listen.is_empty() { &default[..] } else { &config.listen };
        let listeners = listen(addresses, config, tls.as_ref()).await?;
        let admin = match &config.admin {
            Some(address) => Some(listen_for_operators(address, config, tls.as_ref()).await?),
            None => None,
        };
        let health = match &config.health {
            Some(address) => Some(listen_for_probes(address, config).await?),
            None => None,
        };
        if let Some(tls) = &config.tls {
            service.shared.metrics.certificate_end.store(tls::certificate_end(tls)?, Ordering::Relaxed);
        }
        let reloader = Reloader::new(Arc::clone(&service.shared), config, tls);
        let drain = config.limits.drain_seconds.unwrap_or(if config.cluster.is_active() { DRAIN_SECONDS } else { 0 });
        let server = Self { service, listeners, admin, health, reloader, drain: Duration::from_secs(drain) };
        server.service.log_start(config);
        for address in server.addresses() {
            tracing::info!(target: "strongroom", address = String::from(address), "listening");
        }
        if let Some(address) = server.admin_address() {
            tracing::info!(target: "strongroom", address = String::from(address), "listening for operators");
        }
        if let Some(address) = server.health_address() {
            tracing::info!(target: "strongroom", address = String::from(address), "listening for probes");
        }
        certificate_expiry::warn(&server.service.shared);
        if config.cluster.is_active() {
            #[cfg(not(feature = "cluster"))]
            return Err(StartError::NoCluster);
            #[cfg(feature = "cluster")]
            server.join_cluster(config).await?;
        }
        Ok(server)
    }

    /// The addresses, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|listener| listener.address.clone()).collect()
    }

    /// The address of the page for operators.
    #[must_use]
    pub fn admin_address(&self) -> Option<ListenAddress> {
        self.admin.as_ref().map(|listener| listener.address.clone())
    }

    /// The address for probes.
    #[must_use]
    pub fn health_address(&self) -> Option<ListenAddress> {
        self.health.as_ref().map(|listener| listener.address.clone())
    }

    /// A handle that reloads tokens and certificates of the running service.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `stop` completes. Then it accepts no more requests, and returns when the running ones are finished,
    /// or their time limit has passed.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let Self { service, listeners, admin, health, reloader: _, drain } = self;
        let shared = &service.shared;
        let grace = Duration::from_secs(shared.limits.grace_seconds);
        let server = Arc::new(OpenConnections::new(shared, service.router.clone(), shared.limits.connections));
        let mut background = JoinSet::new();
        background.spawn(certificate_expiry::run(Arc::clone(&service.shared)));
        if let Some(count) = &service.count {
            background.spawn(store_metrics::run(Arc::clone(count), Arc::clone(&service.shared)));
        }
        if let Some(path) = &service.token_uses {
            background.spawn(uses::run(path.clone(), Arc::clone(&service.shared)));
        }
        if let Some(interval) = service.purge_interval {
            background.spawn(purge::run(Arc::clone(&service.purge), interval, Arc::clone(&service.shared)));
        }
        if let Some(maintenance) = &service.maintenance {
            background.spawn(Arc::clone(maintenance).run());
        }
        #[cfg(feature = "cluster")]
        if let Some(cluster) = service.shared.cluster.get() {
            let (shared, identity) = (Arc::clone(&service.shared), Arc::clone(&service.identity));
            background.spawn(cluster::report(cluster.clone(), shared, identity));
            if let Some(store) = service.late_store.clone() {
                background.spawn(store.open(cluster.clone()));
            }
        }
        let (ending, ended) = watch::channel(false);
        let mut loops = JoinSet::new();
        for listener in listeners {
            loops.spawn(accept(Arc::clone(&server), listener, ended.clone()));
        }
        if let Some(listener) = admin {
            let router = admin::router(shared, &service.node, listener.address.is_local());
            let server = OpenConnections::new(shared, router, ADMIN_CONNECTIONS);
            loops.spawn(accept(Arc::new(server), listener, ended.clone()));
        }
        if let Some(listener) = health {
            let server = OpenConnections::new(shared, service.health.clone(), HEALTH_CONNECTIONS);
            loops.spawn(accept(Arc::new(server), listener, ended.clone()));
        }
        stop.await;
        if !drain.is_zero() {
            tracing::info!(target: "strongroom", seconds = drain.as_secs(), "draining: not ready, but serving");
            service.shared.drain();
            #[cfg(feature = "cluster")]
            service.shared.cluster.get().into_iter().for_each(cluster::Cluster::drain);
            sleep(drain).await;
        }
        background.abort_all();
        tracing::info!(target: "strongroom", "stopping: no new requests are accepted");
        let _ = ending.send(true); // fails only if no connection is left
        let finished = async { while loops.join_next().await.is_some() {} };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!(target: "strongroom", "requests were cut: the grace period is over");
        }
        loops.shutdown().await;
        if let Some(path) = &service.token_uses {
            uses::save(path, &service.shared.token_uses());
        }
        service.shared.audit.iter().for_each(Audit::flush);
        #[cfg(feature = "cluster")]
        service.shared.cluster.get().into_iter().for_each(cluster::Cluster::leave);
    }

    /// Begins to gossip.
    #[cfg(feature = "cluster")]
    async fn join_cluster(&self, config: &Config) -> Result<(), StartError> {
        let service = &self.service;
        let storages = service.late_store.as_ref().map(|store| Arc::clone(&store.storages));
        let url = |advertised| self.url(config, advertised);
        let cluster = cluster::Cluster::join(&config.cluster, service.role, url, storages).await?;
        let _ = service.shared.cluster.set(cluster); // a service is bound once
        Ok(())
    }

    /// The URL of the first address, for other machines if it is one of theirs.
    #[cfg(feature = "cluster")]
    fn url(&self, config: &Config, advertised: SocketAddr) -> String {
        match self.listeners.first().map(|listener| &listener.address) {
            Some(ListenAddress::Tcp(address)) => {
                let (scheme, name) = match &config.tls {
                    Some(_) => ("https", config.names.first()),
                    None => ("http", None),
                };
                let ip = if address.ip().is_unspecified() { advertised.ip() } else { address.ip() };
                let host = SocketAddr::new(ip, address.port());
                name.map_or(format!("{scheme}://{host}"), |name| format!("{scheme}://{name}:{}", address.port()))
            }
            Some(unix) => unix.clone().into(),
            None => String::new(),
        }
    }
}

/// How long a service of a cluster drains, unless the configuration says otherwise.
const DRAIN_SECONDS: u64 = 2;

struct OpenConnections {
    router: Router,
    shared: Arc<Shared>,
    builder: Builder<TokioExecutor>,
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
    fn new(shared: &Arc<Shared>, router: Router, connections: usize) -> Self {
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

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
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
async fn accept(server: Arc<OpenConnections>, listener: Listener, mut ended: watch::Receiver<bool>) {
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
    let (hosts, mut replaced) = (accepted.hosts.clone(), pin!(accepted.replaced()));
    let established = tokio::select! {
        established = timeout(server.head, accepted.establish()) => established,
        () = connection.is_evicted() => return,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    let Ok(Ok(Established { stream, client, namespace })) = established else {
        tracing::debug!(target: "strongroom", "the TLS handshake failed");
        return;
    };
    connection.set_client(client);
    let _open = Counted::new(&server.shared.metrics.connections);
    let io = TokioIo::new(MonitoredStream::new(stream, Arc::clone(connection)));
    let router = TowerToHyperService::new(server.router.clone());
    let answering = Arc::clone(connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let connection = Arc::clone(&answering);
        let active_request = connection.begin(request.version() == Version::HTTP_2);
        request.extensions_mut().insert(hosts.clone());
        request.extensions_mut().insert(Arc::clone(&connection));
        if let Some(namespace) = &namespace {
            request.extensions_mut().insert(namespace.clone());
        }
        let router = router.clone();
        async move {
            connection.writable().await;
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
        _ = serving.as_mut() => return,
        () = connection.expired(server.timeouts) => CLOSE_TIMEOUT,
        () = connection.is_evicted() => EVICTION,
        () = replaced.as_mut() => server.head,
        _ = ended.wait_for(|ended| *ended) => server.head,
    };
    // A request that arrived in the meantime is answered.
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = serving.as_mut() => {}
        () = async { sleep(close_timeout).await; connection.expired(ConnectionTimeouts::NONE).await } => {}
    }
}
