//! A service's report to the others: whether it is ready, its load, and its store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom::protocol::nodes::NodeState;
use strongroom::{Error, StoreIdentity};
use tokio::time::{Instant, sleep};

use super::Cluster;
use crate::shared::Shared;

/// The time between two probes of a service that is ready, and of one that is not.
const READY: Duration = Duration::from_secs(1);
const NOT_READY: Duration = Duration::from_millis(250);
/// The time after which the identity is read again: the first program with an index key, and a rotation, change it.
const IDENTITY: Duration = Duration::from_secs(30);

/// Reads the identity of a service's store, and may block.
pub(crate) type Identity = dyn Fn() -> Result<Option<StoreIdentity>, Error> + Send + Sync;

/// Reports until it is aborted.
pub(crate) async fn report(cluster: Cluster, shared: Arc<Shared>, identity: Arc<Identity>) {
    let mut was_ready = false;
    let mut identified: Option<Instant> = None;
    loop {
        let is_ready = shared.readiness.probe().await.is_ok();
        if is_ready && identified.is_none_or(|at| at.elapsed() > IDENTITY) {
            let identity = Arc::clone(&identity);
            match shared.background.spawn(move || identity()).await {
                Ok(Ok(Some(found))) => {
                    cluster.set_store(&found);
                    identified = found.index_key_hint.map(|_| Instant::now());
                }
                Ok(Ok(None)) => identified = Some(Instant::now()),
                Ok(Err(error)) => {
                    let cause = error.full_message();
                    tracing::warn!(target: "strongroom", cause, "the store's identity cannot be read");
                }
                Err(_) => {}
            }
        }
        was_ready |= is_ready;
        let state = match (shared.is_draining(), is_ready) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Ready,
            (false, false) if was_ready => NodeState::Failing,
            (false, false) => NodeState::Starting,
        };
        cluster.set_state(state, shared.metrics.in_flight.load(Ordering::Relaxed));
        sleep(if is_ready { READY } else { NOT_READY }).await;
    }
}
