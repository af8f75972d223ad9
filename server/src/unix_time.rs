//! The time for expiry.

use std::time::{SystemTime, UNIX_EPOCH};

/// The Unix time in seconds; 0, at which nothing has expired, if the clock is not set.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
