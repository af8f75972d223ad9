//! The state that all requests of a service share.

use std::sync::Arc;
#[cfg(feature = "cluster")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use strongroom::protocol::nodes::Nodes;
use tokio::sync::{Semaphore, watch};

use crate::audit::Audit;
use crate::background_work::BackgroundWork;
use crate::blocking_pool::BlockingPool;
#[cfg(feature = "cluster")]
use crate::cluster::Cluster;
use crate::concurrency_limit::ConcurrencyLimit;
use crate::config::document::Config;
use crate::config::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::readiness::Readiness;
use crate::request_ids::RequestIds;
use crate::start_error::StartError;
use crate::store_metrics::StoreMetrics;
use crate::token_file;
use crate::tokens::authentication::Authentication;
use crate::tokens::uses::{self, TokenUses};

/// Concurrent batches in memory.
const BATCHES: usize = 2;
/// Concurrent new encryptions of long records, each of which keeps a core busy.
const REKEYS: usize = 2;

/// The state of a service.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) pool: BlockingPool,
    pub(crate) background: BackgroundWork,
    /// Concurrent long bodies, and batches that are completely in memory.
    pub(crate) long: Arc<ConcurrencyLimit>,
    pub(crate) batches: Arc<ConcurrencyLimit>,
    /// Concurrent new encryptions of long records.
    pub(crate) rekeys: Arc<ConcurrencyLimit>,
    /// Bytes of unsent answers, in addition to each connection's allowance.
    pub(crate) answers: Arc<ConcurrencyLimit>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) store: StoreMetrics,
    /// `None` if no tokens are configured.
    pub(crate) authentication: Option<Authentication>,
    /// `None` if none is configured.
    pub(crate) audit: Option<Audit>,
    pub(crate) request_ids: RequestIds,
    /// Has a receiver for each request whose line in the audit log is not written yet.
    pub(crate) observed: watch::Sender<()>,
    /// Whether the service is about to stop.
    draining: AtomicBool,
    /// Whether its stop cuts the requests that still run.
    stopped: AtomicBool,
    /// Its part in the cluster, once it has joined.
    #[cfg(feature = "cluster")]
    pub(crate) cluster: OnceLock<Cluster>,
}

impl Shared {
    pub(crate) fn new(config: &Config, readiness: Arc<Readiness>) -> Result<Self, StartError> {
        let limits = &config.limits;
        if let Some((name, min)) = limits.unusable() {
            return Err(StartError::Limit { name, min });
        }
        config.check_outputs()?;
        let authentication = match &config.tokens {
            Some(path) => Some(Authentication::new(token_file::read(path)?, limits.wrong_tokens_per_minute)),
            None => None,
        };
        if let (Some(authentication), Some(path)) = (&authentication, &config.token_uses) {
            authentication.note_uses(&uses::read_earlier(path).map_err(StartError::file("token_uses", path))?);
        }
        let remote_storage = config.has_remote_storage().then(|| Arc::clone(&readiness));
        let limit = |permits| Arc::new(ConcurrencyLimit::new(permits, limits));
        Ok(Self {
            metrics: Metrics::default(),
            pool: BlockingPool::new(limits, remote_storage),
            background: BackgroundWork::default(),
            long: limit(limits.long_bodies),
            batches: limit(BATCHES),
            rekeys: limit(REKEYS),
            answers: limit(usize::try_from(limits.answer_bytes).unwrap_or(Semaphore::MAX_PERMITS)),
            readiness,
            store: StoreMetrics::new(config),
            authentication,
            audit: config.audit.as_deref().map(Audit::open).transpose()?,
            request_ids: RequestIds::new()?,
            observed: watch::Sender::new(()),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            #[cfg(feature = "cluster")]
            cluster: OnceLock::new(),
            limits: limits.clone(),
        })
    }

    /// Tells clients to use other services.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Notes that requests end from now on because the service has stopped.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The services of the cluster; `None` without one.
    #[cfg(feature = "cluster")]
    pub(crate) fn nodes(&self) -> Option<Nodes> {
        self.cluster.get().map(Cluster::nodes)
    }

    #[cfg(not(feature = "cluster"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn nodes(&self) -> Option<Nodes> {
        None
    }

    /// The datagrams of gossip, for the page for operators; null without a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn gossip(&self) -> Value {
        self.cluster.get().map_or(Value::Null, Cluster::datagrams)
    }

    #[cfg(not(feature = "cluster"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn gossip(&self) -> Value {
        Value::Null
    }

    /// The times at which tokens were last used.
    pub(crate) fn token_uses(&self) -> TokenUses {
        self.authentication.as_ref().map(Authentication::uses).unwrap_or_default()
    }

    /// All metrics, in Prometheus's text format.
    pub(crate) fn metrics_text(&self) -> String {
        let mut text = self.metrics.text(self.pool.waiting());
        let _ = self.store.write(&mut text);
        if let Some(audit) = &self.audit {
            let _ = metrics::write_audit(&mut text, audit.dropped_lines()); // writing to a string does not fail
        }
        #[cfg(feature = "cluster")]
        if let Some(cluster) = self.cluster.get() {
            let _ = cluster.write_metrics(&mut text); // writing to a string does not fail
        }
        text
    }
}
