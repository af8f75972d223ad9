//! The clock of a store, for expiry times.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system's clock, or another one for tests.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// The Unix time in seconds. If the clock shows a time before 1970, it is not set, and every time counts as past.
    pub(crate) fn now(&self) -> u64 {
        self.since_1970().as_secs()
    }

    /// As [`now`](Self::now), with the fraction of the second.
    pub(crate) fn since_1970(&self) -> Duration {
        let now = self.0.as_ref().map_or_else(SystemTime::now, |now| now());
        now.duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX)
    }

    /// Whether a record with this expiry time has expired.
    pub(crate) fn is_past(&self, expires_at: Option<u64>) -> bool {
        expires_at.is_some_and(|time| time <= self.now())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(..)" } else { "Clock" })
    }
}
