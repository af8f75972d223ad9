//! A service, before it runs: its routes, its configuration and its backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::MethodRouter;
use strongroom::Upstreams;
use strongroom::protocol::names;
#[cfg(feature = "cluster")]
use strongroom::protocol::nodes::Role;
use strongroom::storage::StorageMetrics;

use crate::admin::Node;
use crate::backend::Backend;
use crate::call::Call;
#[cfg(feature = "cluster")]
use crate::cluster::{Identity, LateStore};
use crate::config::document::Config;
use crate::handle::handle;
use crate::health;
use crate::maintenance::Maintain;
use crate::operator_routes::operations;
use crate::problem::Problem;
use crate::purge::Purge;
use crate::readiness::Readiness;
use crate::route::{Access, Route};
use crate::shared::Shared;
use crate::start_error::StartError;
use crate::store_metrics::Count;
use crate::tokens::uses::UsesFile;

/// One of the two services.
pub struct Service {
    pub(crate) router: Router,
    pub(crate) shared: Arc<Shared>,
    pub(crate) purge: Arc<Purge>,
    /// `None` if expired records are removed only on request.
    pub(crate) purge_interval: Option<Duration>,
    pub(crate) maintain: Arc<Maintain>,
    /// `None` if the store is maintained only on request.
    pub(crate) maintenance_interval: Option<Duration>,
    /// The routes of the listener for probes.
    pub(crate) health: Router,
    /// `None` if the records are elsewhere, where counting them costs more.
    pub(crate) count: Option<Arc<Count>>,
    /// The file with the times of the last uses of tokens, if there are tokens.
    pub(crate) token_uses: Option<Arc<UsesFile>>,
    /// This node, for its operators.
    pub(crate) node: Arc<Node>,
    /// The default port.
    pub(crate) port: u16,
    #[cfg(feature = "cluster")]
    pub(crate) role: Role,
    #[cfg(feature = "cluster")]
    pub(crate) identity: Arc<Identity>,
    /// The store that is found in the cluster.
    #[cfg(feature = "cluster")]
    pub(crate) late_store: Option<LateStore>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new<B: Backend>(
        backend: B,
        routes: &'static [Route<B>],
        config: &Config,
    ) -> Result<Self, StartError> {
        let backend = Arc::new(backend);
        let probed = Arc::clone(&backend);
        let readiness = Arc::new(Readiness::new(move || probed.ready()));
        let shared = Arc::new(Shared::new(config, readiness)?);
        let purged = Arc::clone(&backend);
        let purge: Arc<Purge> = Arc::new(move |limit| purged.purge(limit));
        let interval = |seconds: u64| Some(Duration::from_secs(seconds)).filter(|interval| !interval.is_zero());
        let purge_interval = interval(config.purge.interval_seconds);
        let maintained = Arc::clone(&backend);
        let maintain: Arc<Maintain> = Arc::new(move || maintained.maintain());
        // Maintenance of a bucket lists it, and a storage service maintains its own store.
        let maintenance_interval =
            interval(config.maintenance.interval_seconds).filter(|_| !config.has_remote_storage());
        #[cfg(feature = "cluster")]
        let identified = Arc::clone(&backend);
        let expiring = Arc::clone(&backend);
        let expiry_times = move |until, most| expiring.expiry_times(until, most);
        let node = Arc::new(Node::new(B::ROLE, config, shared.background.clone(), expiry_times));
        let health = health::router(&backend, &shared);
        let counted = Arc::clone(&backend);
        let count: Arc<Count> = Arc::new(move || counted.stats());
        Ok(Self {
            health,
            count: (!config.has_remote_storage()).then_some(count),
            router: router(backend, routes, &shared, config.cluster.is_active()),
            shared,
            purge,
            purge_interval,
            maintain,
            maintenance_interval,
            token_uses: config.tokens.as_ref().and(config.token_uses.clone()).map(UsesFile::new).map(Arc::new),
            node,
            port: B::PORT,
            #[cfg(feature = "cluster")]
            role: B::ROLE,
            #[cfg(feature = "cluster")]
            identity: Arc::new(move || identified.identity()),
            #[cfg(feature = "cluster")]
            late_store: None,
        })
    }

    /// Logs the version and the protection of the service.
    pub(crate) fn log_start(&self, config: &Config) {
        let clients = config.tls.as_ref().is_some_and(|tls| tls.client_authorities.is_some());
        tracing::info!(
            target: "strongroom",
            version = env!("CARGO_PKG_VERSION"),
            store = config.store_kind(),
            tls = config.tls.is_some(),
            client_certificates = clients,
            tokens = config.tokens.is_some(),
            audit = config.audit.is_some(),
            "starting"
        );
    }

    /// Shows the operations of the store's storage ([`Builder::storage_metrics`](strongroom::Builder::storage_metrics))
    /// in the metrics. The storage service does so by itself.
    #[must_use]
    pub fn with_storage_metrics(self, metrics: StorageMetrics) -> Self {
        let _ = self.shared.metrics.storage.set(metrics); // the first ones stay
        self
    }

    /// Shows the storage services of an endpoint ([`Endpoint::upstreams`](strongroom::Endpoint::upstreams)) in the
    /// metrics.
    #[must_use]
    pub fn with_upstreams(self, upstreams: Upstreams) -> Self {
        let _ = self.shared.metrics.upstreams.set(upstreams); // the first one stays
        self
    }
}

fn router<B: Backend>(backend: Arc<B>, routes: &'static [Route<B>], shared: &Arc<Shared>, in_cluster: bool) -> Router {
    let is_served = |route: &&Route<B>| in_cluster || route.path != names::NODES;
    let routes = routes.iter().chain(operations()).filter(is_served);
    let router = routes.fold(Router::new(), |router, route| add_route(router, route, &backend, shared));
    with_fallbacks(router, shared, B::NAME)
}

pub(crate) fn add_route<B: Backend>(
    router: Router,
    route: &'static Route<B>,
    backend: &Arc<B>,
    shared: &Arc<Shared>,
) -> Router {
    let (backend, shared) = (Arc::clone(backend), Arc::clone(shared));
    let (path, access, handler) = (route.path, route.access, route.handler);
    let answer = move |request: Request| {
        let (backend, shared) = (Arc::clone(&backend), Arc::clone(&shared));
        handle(Arc::clone(&shared), path, access, request, move |connection, head, body| async move {
            let is_on_records = matches!(access, Access::Scope(_));
            let backend = if is_on_records { backend.for_request(&head)? } else { backend };
            handler(Call { backend, shared, connection, head, body }).await
        })
    };
    router.route(path, MethodRouter::new().on(route.method, answer))
}

/// Answers all other requests with 404 and 405. `service` names the one that answers.
pub(crate) fn with_fallbacks(router: Router, shared: &Arc<Shared>, service: &'static str) -> Router {
    let (no_path, no_method) = (Arc::clone(shared), Arc::clone(shared));
    router
        .fallback(move |request| {
            let problem = move |_, _, _| async move { Err(Problem::no_such_path(service)) };
            handle(no_path, "unknown", Access::Everybody, request, problem)
        })
        .method_not_allowed_fallback(move |request| {
            handle(no_method, "unknown", Access::Everybody, request, |_, _, _| async { Err(Problem::no_such_method()) })
        })
}

#[cfg(test)]
mod tests {
    use strongroom::storage::MemoryStorage;

    use super::*;

    #[test]
    fn a_remote_store_is_maintained_on_request() {
        let is_maintained = |config: &Config| {
            let service = Service::storage(Arc::new(MemoryStorage::new()), config).unwrap();
            service.maintenance_interval.is_some()
        };
        let mut config = Config::default();
        assert!(is_maintained(&config));
        for (store, expected) in [
            ("records.db", true),
            (":memory:", true),
            ("https://storage.example", false),
            ("unix:/run/socket", false),
            ("s3://bucket/prefix", false),
            ("postgres://host/database", false),
            ("cluster", false),
        ] {
            config.store = Some(store.into());
            assert_eq!(is_maintained(&config), expected, "{store}");
        }
        config.store = None;
        config.maintenance.interval_seconds = 0;
        assert!(!is_maintained(&config));
    }
}
