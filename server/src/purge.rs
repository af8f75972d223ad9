//! The removal of expired records in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom::Error;
use tokio::time::{Instant, sleep};

use crate::shared::Shared;

/// The most records of a step.
const STEP: usize = 128;

/// Removes at most this number of expired records of a backend, and returns their number.
pub(crate) type Purge = dyn Fn(usize) -> Result<usize, Error> + Send + Sync;

/// Purges at each interval, until it is aborted.
pub(crate) async fn run(purge: Arc<Purge>, interval: Duration, shared: Arc<Shared>) {
    loop {
        sleep(interval).await;
        let mut purged = 0;
        let outcome = loop {
            let (purge, start) = (Arc::clone(&purge), Instant::now());
            match shared.background.spawn(move || purge(STEP)).await {
                Ok(Ok(0)) => break Ok(()),
                Ok(Ok(count)) => {
                    purged += count as u64;
                    shared.metrics.purged.fetch_add(count as u64, Ordering::Relaxed);
                }
                Ok(Err(error)) => break Err(error.full_message()),
                Err(_) => break Err("the purge panicked".to_owned()),
            }
            sleep(start.elapsed()).await; // at most half of the time, so that other writers have the rest
        };
        if purged > 0 {
            tracing::info!(target: "strongroom", records = purged, "expired records were removed");
        }
        if let Err(cause) = outcome {
            tracing::warn!(target: "strongroom", cause, "expired records could not be removed");
        }
    }
}
