//! Reservations of the machine's cores.

use crate::util::sync::{AtomicUsize, Ordering};

pub(crate) struct Cores {
    count: usize,
    /// The number of threads of this process that do shared work. In a child forked during such work it is too high, so
    /// the child shares less.
    busy: AtomicUsize,
}

/// A reservation of cores, until it is dropped.
pub(crate) struct Share<'c> {
    pub(crate) cores: usize,
    all: &'c Cores,
}

impl Cores {
    pub(crate) fn new(count: usize) -> Self {
        Self { count, busy: AtomicUsize::new(0) }
    }

    /// The number of cores, free or not.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Reserves up to `wanted` free cores, and at least one: more threads than cores would slow each other down.
    pub(crate) fn take(&self, wanted: usize) -> Share<'_> {
        let taken = self.busy.fetch_add(wanted, Ordering::Relaxed);
        let cores = self.count.saturating_sub(taken).clamp(1, wanted);
        self.busy.fetch_sub(wanted - cores, Ordering::Relaxed);
        Share { cores, all: self }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.busy.fetch_sub(self.cores, Ordering::Relaxed);
    }
}
