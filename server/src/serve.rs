//! A service: its listeners, its work in the background, and its graceful shutdown.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::accept::{OpenConnections, accept};
use crate::admin;
use crate::audit::Audit;
use crate::certificate_expiry;
#[cfg(feature = "cluster")]
use crate::cluster;
use crate::config::address::ListenAddress;
use crate::config::document::Config;
use crate::files::checked::read_on_thread;
use crate::listen::{Listener, listen, listen_for_operators, listen_for_probes};
use crate::maintenance;
use crate::purge;
use crate::reload::Reloader;
use crate::service::Service;
use crate::start_error::StartError;
use crate::store_metrics;
use crate::tls::Certificates;
use crate::tokens::uses;

/// Concurrent connections of operators. They are apart from the clients' ones, so that the page also works while the
/// service has no connection left.
const ADMIN_CONNECTIONS: usize = 32;
/// Concurrent connections of probes.
const HEALTH_CONNECTIONS: usize = 32;

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
        let tls = config.tls.clone();
        let tls = read_on_thread(move || tls.as_ref().map(Certificates::new).transpose());
        let (tls, certificate_end) = tls.await?.unzip();
        service.shared.metrics.certificate_end.store(certificate_end.unwrap_or(0), Ordering::Relaxed);
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
        if let Some(file) = &service.token_uses {
            background.spawn(uses::run(Arc::clone(file), Arc::clone(&service.shared)));
        }
        if let Some(interval) = service.purge_interval {
            background.spawn(purge::run(Arc::clone(&service.purge), interval, Arc::clone(&service.shared)));
        }
        if let Some(interval) = service.maintenance_interval {
            let work = service.shared.background.clone();
            background.spawn(maintenance::run(Arc::clone(&service.maintain), interval, work));
        }
        #[cfg(feature = "cluster")]
        if let Some(cluster) = service.shared.cluster.get() {
            let (shared, identity) = (Arc::clone(&service.shared), Arc::clone(&service.identity));
            background.spawn(cluster::report(cluster.clone(), shared, identity));
            if let Some(store) = service.late_store.clone() {
                background.spawn(store.open(cluster.clone(), service.shared.background.clone()));
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
        shared.background.interrupt();
        tracing::info!(target: "strongroom", "stopping: no new requests are accepted");
        let _ = ending.send(true); // fails only if no connection is left
        let finished = async { while loops.join_next().await.is_some() {} };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!(target: "strongroom", "requests were cut: the grace period is over");
            shared.stop();
        }
        loops.shutdown().await;
        let _ = timeout(OBSERVED, shared.observed.closed()).await; // the tasks of cut requests end by themselves
        shared.readiness.interrupt();
        if let Some(file) = &service.token_uses {
            file.save(|| service.shared.token_uses());
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

/// How long a stop waits for the lines of cut requests.
const OBSERVED: Duration = Duration::from_secs(5);
/// How long a service of a cluster drains, unless the configuration says otherwise.
const DRAIN_SECONDS: u64 = 2;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::thread;

    use strongroom::Error;
    use strongroom::interrupt::is_interrupted;
    use strongroom::protocol::nodes::Role;
    use strongroom::storage::MemoryStorage;

    use super::*;
    use crate::admin::Node;

    const DEADLINE: Duration = Duration::from_secs(180);

    /// The process waits for the threads of its runtime.
    #[test]
    fn a_stop_interrupts_work_in_the_background() {
        let addresses = "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\ninsecure_loopback = true";
        let config = Config::from_toml(addresses).unwrap();
        let mut service = Service::storage(Arc::new(MemoryStorage::new()), &config).unwrap();
        let (begin, begun) = channel();
        let wait = move |work: &'static str| {
            begin.send(work).unwrap();
            while !is_interrupted() {
                thread::sleep(Duration::from_millis(1));
            }
            Error::Busy
        };
        let [count, purge, maintain, expiry] = [(); 4].map(|()| wait.clone());
        service.count = Some(Arc::new(move || Err(count("count"))));
        service.purge = Arc::new(move |_| Err(purge("purge")));
        service.purge_interval = Some(Duration::from_millis(1));
        service.maintain = Arc::new(move || Err(maintain("maintain")));
        service.maintenance_interval = Some(Duration::from_millis(1));
        let background = service.shared.background.clone();
        service.node = Arc::new(Node::new(Role::Storage, &config, background, move |_, _| Err(expiry("expiry"))));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (end, ended) = channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(service, &config).await.unwrap();
                let Some(ListenAddress::Tcp(admin)) = server.admin_address() else { panic!("it is not bound") };
                thread::spawn(move || {
                    let request = b"GET /admin/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
                    let mut stream = TcpStream::connect(admin).unwrap();
                    stream.write_all(request).unwrap();
                    stream.read_to_end(&mut Vec::new()).unwrap();
                });
                server.serve(async { drop(stopped.await) }).await;
            });
            drop(runtime);
            end.send(()).unwrap();
        });
        let mut all: Vec<_> = (0..4).map(|_| begun.recv_timeout(DEADLINE).unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, ["count", "expiry", "maintain", "purge"]);
        stop.send(()).unwrap();
        ended.recv_timeout(DEADLINE).expect("a thread still works");
    }
}
