//! A counter of live values, such as connections and requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One counted value. Dropping it decreases the count.
#[derive(Debug)]
pub(crate) struct Counted {
    count: Arc<AtomicUsize>,
    /// The count before this value was added.
    pub(crate) before: usize,
}

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        Self { before: count.fetch_add(1, Ordering::Relaxed), count: Arc::clone(count) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
