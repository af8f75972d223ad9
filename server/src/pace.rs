//! How long a body may take, in either direction.

use std::time::Duration;

use crate::config::Limits;

/// A body earns time with its bytes, but none that it could spend after so many more: what came fast at first does not pay
/// for a standstill.
const STRETCH: u64 = 256 << 10;
/// How many times faster a body must be while others wait for its place.
const HURRY: u64 = 64;

/// On each stretch of a body some seconds, and one more for each so many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    granted: Duration,
    bytes_per_second: u64,
    total: Duration,
    /// Of this stretch.
    bytes: u64,
    waited: Duration,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            granted: Duration::from_secs(limits.body_seconds),
            bytes_per_second: limits.body_bytes_per_second.max(1),
            total: Duration::from_secs(limits.body_most_seconds),
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// The most that a body takes, whoever is waited for.
    pub(crate) fn total(&self) -> Duration {
        self.total
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    pub(crate) fn passed(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= STRETCH {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }

    /// How long may still be waited for the client, which has `open` bytes to take. A slow body keeps no place that is
    /// `wanted`.
    pub(crate) fn left(&self, open: u64, wanted: bool) -> Duration {
        let rate = if wanted { self.bytes_per_second.saturating_mul(HURRY) } else { self.bytes_per_second };
        let earned = Duration::from_secs(self.bytes.saturating_add(open) / rate);
        self.granted.saturating_add(earned).min(self.total).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_with_bytes_and_is_not_saved_up() {
        let mut pace = Pace::new(&Limits::default());
        let left = |pace: &Pace, wanted| pace.left(0, wanted).as_secs();
        assert_eq!((left(&pace, false), left(&pace, true)), (10, 10));
        pace.passed(64 << 10);
        pace.waited(Duration::from_secs(5));
        assert_eq!((left(&pace, false), left(&pace, true)), (69, 6));
        assert_eq!(pace.left(64 << 10, true).as_secs(), 7, "what is there to be taken takes time");
        for _ in 0..1000 {
            pace.passed(1 << 20);
        }
        assert_eq!((left(&pace, false), left(&pace, true)), (10, 10));
        assert_eq!(pace.left(u64::MAX, false).as_secs(), 3600);
    }
}
