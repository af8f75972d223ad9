//! Request ids, for the log and for clients.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::random;
use crate::start_error::StartError;

/// Request ids: a keyed hash of a counter, so that an id does not reveal the number of requests.
pub(crate) struct RequestIds {
    key: [u8; 32],
    last: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Result<Self, StartError> {
        Ok(Self { key: random()?, last: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::keyed_hash(&self.key, &number.to_le_bytes()).to_hex();
        hash.get(..16).unwrap_or_default().to_owned()
    }
}
