//! The deadline of a body, of a request or an answer: the minimum rate and the maximum time that both enforce.

use std::time::Duration;

use crate::config::limits::Limits;

/// The bytes after which the calculation of the rate restarts, so that a fast beginning does not compensate for a later
/// stall.
const STRETCH: u64 = 256 << 10;
/// The interval of deadline checks: a deadline becomes earlier when other requests wait.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// How many times faster a body must be while other requests wait for its permit.
const CONTENDED_FACTOR: u64 = 64;

/// Each [`STRETCH`] of a body may take a fixed time, and one second more for each `bytes_per_second` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferDeadline {
    granted: Duration,
    bytes_per_second: u64,
    longest: Duration,
    /// The bytes and the time of the current stretch.
    bytes: u64,
    waited: Duration,
}

impl TransferDeadline {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            granted: Duration::from_secs(limits.body_seconds),
            bytes_per_second: limits.body_bytes_per_second.max(1),
            longest: Duration::from_secs(limits.body_max_seconds),
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// The maximum time of a body, on whichever side the delay is.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Adds time that was spent waiting for the client.
    pub(crate) fn add_wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Adds bytes that the client has sent or received.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= STRETCH {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }

    /// The time left to wait for a client that has not received `unsent` bytes yet. While the body's permit is
    /// `contended`, the body must be faster.
    pub(crate) fn time_left(&self, unsent: u64, contended: bool) -> Duration {
        let rate =
            if contended { self.bytes_per_second.saturating_mul(CONTENDED_FACTOR) } else { self.bytes_per_second };
        let earned = Duration::from_secs(self.bytes.saturating_add(unsent) / rate);
        self.granted.saturating_add(earned).min(self.longest).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_extend_the_deadline_without_credit() {
        let mut deadline = TransferDeadline::new(&Limits::default());
        let left = |deadline: &TransferDeadline, contended| deadline.time_left(0, contended).as_secs();
        assert_eq!((left(&deadline, false), left(&deadline, true)), (10, 10));
        deadline.add_bytes(64 << 10);
        deadline.add_wait(Duration::from_secs(5));
        assert_eq!((left(&deadline, false), left(&deadline, true)), (69, 6));
        assert_eq!(deadline.time_left(64 << 10, true).as_secs(), 7, "what is there to be taken takes time");
        for _ in 0..1000 {
            deadline.add_bytes(1 << 20);
        }
        assert_eq!((left(&deadline, false), left(&deadline, true)), (10, 10));
        assert_eq!(deadline.time_left(u64::MAX, false).as_secs(), 3600);
    }
}
