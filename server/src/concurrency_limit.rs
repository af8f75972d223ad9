//! Concurrency limits. Requests above a limit wait for a limited time. A permit is acquired when the work begins, not
//! while a short body arrives, so that a slow client does not delay others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::limits::Limits;
use crate::counted::Counted;
use crate::problem::Problem;

/// A number of permits, which may count bytes, and a number of requests that may wait for one.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    wait: Duration,
}

impl ConcurrencyLimit {
    pub(crate) fn new(permits: usize, limits: &Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            waiting: Arc::default(),
            max_waiting: limits.waiting,
            wait: Duration::from_secs(limits.wait_seconds),
        }
    }

    /// Waits for a permit. 503 if too many requests wait, or the wait is too long.
    pub(crate) async fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.acquire_many(1).await
    }

    /// As [`acquire`](Self::acquire), for several permits.
    pub(crate) async fn acquire_many(&self, permits: u32) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let waiting = Counted::new(&self.waiting);
        if waiting.before >= self.max_waiting {
            return Err(Problem::overloaded());
        }
        match timeout(self.wait, Arc::clone(&self.permits).acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::overloaded()),
        }
    }

    /// Waits for a permit without limits, for work that has begun.
    pub(crate) async fn acquire_patiently(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_| Problem::internal("the service is stopping"))
    }

    /// The number of requests that wait for a permit.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
