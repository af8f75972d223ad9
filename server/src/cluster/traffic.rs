//! The traffic of gossip in numbers, and the last datagram that was refused for each reason, which tells operators what
//! is wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::seal::Refused;

/// How long a refused datagram is a problem.
const RECENT: Duration = Duration::from_secs(60);

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: Count,
    pub(crate) received: Count,
    /// Datagrams that could not be sent.
    pub(crate) unsent: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
    last: Mutex<[Option<RefusedDatagram>; REASONS.len()]>,
    /// The largest difference between another service's clock and ours, in milliseconds, since it was last asked for.
    skew: AtomicI64,
}

/// Datagrams and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) datagrams: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Bytes of the largest datagram.
    pub(crate) largest: AtomicU64,
}

impl Count {
    pub(super) fn add(&self, bytes: usize) {
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.largest.fetch_max(bytes as u64, Ordering::Relaxed);
    }
}

/// The reasons of refusals, as metrics name them.
pub(crate) const REASONS: [&str; 6] = ["format", "key", "replayed", "altered", "time", "content"];

/// A datagram that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedDatagram {
    pub(super) reason: Refused,
    /// The address from which it came, which may be forged.
    pub(super) from: SocketAddr,
    at: Instant,
}

impl Traffic {
    /// Counts a refusal. Returns whether it is the first one for its reason in a while, and so worth a line of the log.
    pub(super) fn refuse(&self, reason: Refused, from: SocketAddr) -> bool {
        let index = index(reason);
        if let Some(count) = self.refused.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = last.get_mut(index) else { return false };
        let is_first = last.is_none_or(|last| now.duration_since(last.at) > RECENT);
        *last = Some(RefusedDatagram { reason, from, at: now });
        is_first
    }

    /// The last datagram refused for each reason, in the last minute.
    pub(super) fn recently_refused(&self) -> Vec<RefusedDatagram> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().flatten().filter(|datagram| datagram.at.elapsed() < RECENT).copied().collect()
    }

    /// The number of refusals for each of [`REASONS`].
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn note_skew(&self, skew: i64) {
        if skew.unsigned_abs() > self.skew.load(Ordering::Relaxed).unsigned_abs() {
            self.skew.store(skew, Ordering::Relaxed);
        }
    }

    /// The largest difference of clocks since the last call, in milliseconds.
    pub(super) fn take_skew(&self) -> i64 {
        self.skew.swap(0, Ordering::Relaxed)
    }
}

fn index(reason: Refused) -> usize {
    match reason {
        Refused::Format => 0,
        Refused::Key => 1,
        Refused::Replayed => 2,
        Refused::Altered => 3,
        Refused::Time(_) => 4,
        Refused::Content => 5,
    }
}

/// The name of a reason in metrics and logs.
pub(super) fn name(reason: Refused) -> &'static str {
    REASONS.get(index(reason)).copied().unwrap_or_default()
}
