//! Time limits of a call: in total, and without activity.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::failure::Failure;
use crate::protocol::limits::BYTES_PER_SECOND;

/// The remaining time to wait for a service. Each byte that it sends adds time.
#[derive(Clone, Copy)]
pub(crate) struct TimeBudget {
    left: Duration,
    /// The time that is deducted for a lost connection, in addition to the wait.
    loss: Duration,
}

impl TimeBudget {
    pub(crate) fn new(time: Duration) -> Self {
        Self { left: time, loss: time / 10 }
    }

    /// The result of `future`, unless it takes too long.
    pub(super) async fn watch<T>(&mut self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let begun = Instant::now();
        let outcome = timeout(self.left, future).await;
        self.spend(begun.elapsed());
        outcome.unwrap_or_else(|_| Err(Failure::too_late()))
    }

    pub(crate) fn spend(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
    }

    pub(crate) fn spend_loss(&mut self) {
        self.spend(self.loss);
    }

    pub(crate) fn earn(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(transfer_time(bytes));
    }

    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.left.is_zero() { Err(Failure::too_late()) } else { Ok(()) }
    }
}

/// The longest time for the transfer of so many bytes.
pub(crate) fn transfer_time(bytes: usize) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SECOND)
}

/// Measures the time without activity. It is paused while the call waits for the caller.
#[derive(Clone)]
pub(super) struct IdleTimer {
    /// `None` while the timer is paused.
    last: Arc<Mutex<Option<Instant>>>,
    longest: Duration,
}

impl IdleTimer {
    pub(super) fn new(longest: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(Some(Instant::now()))), longest }
    }

    /// Records activity.
    pub(super) fn tick(&self) {
        *self.last() = Some(Instant::now());
    }

    pub(super) fn stop(&self) {
        *self.last() = None;
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> Instant {
        self.last().unwrap_or_else(Instant::now) + self.longest
    }

    /// The result of `future`, unless there is no activity for too long.
    pub(super) async fn watch<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = std::pin::pin!(future);
        loop {
            let end = self.end();
            tokio::select! {
                biased;
                outcome = &mut future => return Ok(outcome),
                () = sleep_until(end) => if self.end() <= Instant::now() {
                    return Err(Failure::too_late());
                },
            }
        }
    }
}
