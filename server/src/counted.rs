//! Counting what there is at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    count: Arc<AtomicUsize>,
    /// How many there were before this one.
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
