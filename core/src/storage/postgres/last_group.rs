//! How long a leader waits for the writers of the last group: they come back soon, because they have just got their
//! outcomes. Without this, they would miss the next commit, and each commit would serve only half of the writers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait, as a part of the time of the last commit.
const PART: u32 = 4;
/// The time between looks at the queue.
const STEP: Duration = Duration::from_micros(50);

/// The last group that was committed. Its two numbers may be of different groups: they only limit a wait.
#[derive(Default)]
pub(super) struct LastGroup {
    writers: AtomicUsize,
    micros: AtomicU64,
}

impl LastGroup {
    pub(super) fn note(&self, writers: usize, time: Duration) {
        self.writers.store(writers, Ordering::Relaxed);
        self.micros.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until the writers of the last group could have come, in addition to those that `waiting` counts now.
    pub(super) fn wait(&self, waiting: impl Fn() -> usize) {
        let longest = Duration::from_micros(self.micros.load(Ordering::Relaxed)) / PART;
        // The leader itself belonged to neither, or to one of them.
        let expected = (self.writers.load(Ordering::Relaxed) + waiting()).saturating_sub(1);
        let begin = Instant::now();
        while waiting() < expected && begin.elapsed() + STEP < longest {
            thread::sleep(STEP);
        }
    }
}
