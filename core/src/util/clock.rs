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

    /// Whether this is the system's clock.
    pub(crate) fn is_system(&self) -> bool {
        self.0.is_none()
    }

    /// The Unix time; `None` if the clock shows a time before 1970, because it is not set.
    pub(crate) fn now(&self) -> Option<Duration> {
        let now = self.0.as_ref().map_or_else(SystemTime::now, |now| now());
        now.duration_since(UNIX_EPOCH).ok()
    }

    /// The Unix time in seconds; 0, at which nothing has expired, if the clock is not set.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.now().map_or(0, |now| now.as_secs())
    }

    /// Whether a record with this expiry time must not be read. Without a clock, it may have expired.
    pub(crate) fn forbids(&self, expires_at: Option<u64>) -> bool {
        expires_at.is_some_and(|time| self.now().is_none_or(|now| time <= now.as_secs()))
    }

    /// Whether a record with this expiry time may be replaced or removed. Without a clock, it may still be alive.
    pub(crate) fn has_passed(&self, expires_at: Option<u64>) -> bool {
        expires_at.is_some_and(|time| time <= self.unix_seconds())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(..)" } else { "Clock" })
    }
}
