//! Work in the background that blocks. A stop of the service interrupts it, because the process waits for its threads.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom::interrupt::interruptible;
use tokio::task::{JoinHandle, spawn_blocking};

thread_local! {
    /// Whether the work on this thread is interrupted.
    static INTERRUPTED: RefCell<Arc<AtomicBool>> = RefCell::default();
}

/// Runs work whose waits end once it is interrupted.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackgroundWork(Arc<AtomicBool>);

impl BackgroundWork {
    /// Runs `work` on a thread that may block.
    pub(crate) fn spawn<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        let interrupted = Arc::clone(&self.0);
        spawn_blocking(move || {
            INTERRUPTED.set(interrupted);
            interruptible(is_interrupted, work)
        })
    }

    /// Ends the waits of all work, also of work that begins later.
    pub(crate) fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_interrupted() -> bool {
    INTERRUPTED.with_borrow(|interrupted| interrupted.load(Ordering::Relaxed))
}
