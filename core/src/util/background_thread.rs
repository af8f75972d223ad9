//! A thread that works while it is requested: the first request starts it, and it ends by itself after a time without
//! requests, or with its owner.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::util::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use crate::util::threads::{self, JoinHandle};

#[derive(Default)]
pub(crate) struct BackgroundThread {
    shared: Arc<Requests>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The requests, as the thread sees them.
#[derive(Default)]
pub(crate) struct Requests {
    /// Whether the thread runs, or is being started.
    running: AtomicBool,
    /// Whether there has been a request since the thread's last check.
    wanted: AtomicBool,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl BackgroundThread {
    /// Starts a thread of this name that does `work`, unless it runs. A request is lost if the thread is just ending.
    pub(crate) fn request(&self, name: &str, work: impl FnOnce(&Requests) + Send + 'static) {
        self.shared.wanted.store(true, Ordering::Relaxed);
        if self.shared.running.load(Ordering::Relaxed) || self.shared.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut thread = lock(&self.thread);
        if *lock(&self.shared.ended) {
            return;
        }
        if let Some(before) = thread.take() {
            let _ = before.join(); // it has ended its work
        }
        let shared = Arc::clone(&self.shared);
        let work = move || {
            work(&shared);
            shared.running.store(false, Ordering::Release);
        };
        *thread = threads::spawn(name, work).ok();
        if thread.is_none() {
            self.shared.running.store(false, Ordering::Release);
        }
    }

    /// Ends the thread for good, and waits for its end.
    pub(crate) fn end(&self) {
        *lock(&self.shared.ended) = true;
        self.shared.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

impl Requests {
    /// Waits for `time`. Returns whether the thread must end.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let ended = self.changed.wait_timeout_while(lock(&self.ended), time, |ended| !*ended);
        *ended.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether there has been a request since the last call.
    pub(crate) fn take(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
