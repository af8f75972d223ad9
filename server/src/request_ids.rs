//! Names of requests, for the log and for clients.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::random;
use crate::start_error::StartError;

/// Names of requests: a keyed hash of their number, so that a name does not tell how many requests there were.
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
