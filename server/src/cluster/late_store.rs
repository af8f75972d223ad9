//! Opens the store of an encryption server once its storage services are found, and puts it into its slot.

use std::sync::Arc;
use std::time::Duration;

use strongroom::{Error, ServiceList, Strongroom};
use tokio::time::sleep;

use super::{Cluster, Storages};
use crate::background_work::BackgroundWork;
use crate::encryption::store_slot::StoreSlot;

/// The pauses before another attempt: while the services are unknown, and after a failure.
const UNKNOWN: Duration = Duration::from_millis(200);
const FAILED: Duration = Duration::from_secs(1);

type Open = dyn Fn(ServiceList) -> Result<Strongroom, Error> + Send + Sync;

/// A store that is not open yet.
#[derive(Clone)]
pub(crate) struct LateStore {
    pub(crate) storages: Arc<Storages>,
    pub(crate) store: Arc<StoreSlot>,
    pub(crate) open: Arc<Open>,
}

impl LateStore {
    /// Opens the store once its services are known, and again until that succeeds.
    pub(crate) async fn open(self, cluster: Cluster, background: BackgroundWork) {
        loop {
            if !self.storages.are_found() {
                sleep(UNKNOWN).await;
                continue;
            }
            let (open, list) = (Arc::clone(&self.open), self.storages.list());
            let cause = match background.spawn(move || open(list)).await {
                Ok(Ok(store)) => {
                    if let Some(identity) = store.identity() {
                        self.storages.fix(identity.id_text());
                        cluster.set_store(&identity);
                    }
                    self.store.set(store);
                    tracing::info!(target: "strongroom", "the store of the cluster is open");
                    return;
                }
                Ok(Err(error)) => error.full_message(),
                Err(_) => "opening the store panicked".to_owned(),
            };
            if self.store.set_cause(cause.clone()) {
                tracing::warn!(target: "strongroom", cause, "the store of the cluster cannot be opened yet");
            }
            sleep(FAILED).await;
        }
    }
}
