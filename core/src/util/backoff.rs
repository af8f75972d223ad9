//! The growing pauses between attempts of any kind: each is twice as long as the last.

use std::time::Duration;

use crate::util::random;

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::between(FIRST, LONGEST)
    }

    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next pause: a random time in its upper half, so that clients that failed at the same time do not retry at
    /// the same time.
    pub(crate) fn pause(&mut self) -> Duration {
        let mut bytes = [0; 4];
        let _ = random::fill(&mut bytes); // if this fails, all clients wait for half the time
        self.next(u32::from_le_bytes(bytes))
    }

    /// As [`pause`](Self::pause), with this random number.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.longest);
        longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}
