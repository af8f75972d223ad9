//! The locks of loom, in place of the standard library's, with the same interface.

use std::cell::Cell;
use std::sync::{Arc, LockResult};
use std::time::Duration;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Mutex, MutexGuard};

thread_local! {
    static TIMEOUTS: Cell<usize> = const { Cell::new(0) };
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The number of waits that may time out from now on in this run of a model, at any moment. The others do not: a thread
/// that nobody wakes is a deadlock.
pub(crate) fn allow_timeouts(count: usize) {
    TIMEOUTS.set(count);
}

/// The time that passes from now on after each moment.
pub(crate) fn let_time_pass(time: Duration) {
    PASSED.set(time);
}

#[derive(Clone, Copy)]
pub(crate) struct Instant;

impl Instant {
    pub(crate) fn now() -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "as in the standard library")]
    pub(crate) fn elapsed(self) -> Duration {
        PASSED.get()
    }
}

/// A condition variable whose waits may time out, which those of loom do not.
#[derive(Clone, Default)]
pub(crate) struct Condvar(Arc<Shared>);

#[derive(Default)]
struct Shared {
    changed: loom::sync::Condvar,
    is_time_over: AtomicBool,
}

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.changed.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.changed.notify_all();
    }

    pub(crate) fn wait<'g, T>(&self, guard: MutexGuard<'g, T>) -> LockResult<MutexGuard<'g, T>> {
        self.0.changed.wait(guard)
    }

    pub(crate) fn wait_while<'g, T>(
        &self,
        mut guard: MutexGuard<'g, T>,
        mut waits: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'g, T>> {
        while waits(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    #[allow(clippy::unwrap_in_result, clippy::unwrap_used, reason = "loom poisons no lock")]
    pub(crate) fn wait_timeout<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        _time: Duration,
    ) -> LockResult<(MutexGuard<'g, T>, WaitTimeoutResult)> {
        if let Some(left) = TIMEOUTS.get().checked_sub(1) {
            TIMEOUTS.set(left);
            let shared = Arc::clone(&self.0);
            loom::thread::spawn(move || {
                shared.is_time_over.store(true, Ordering::SeqCst);
                shared.changed.notify_all();
            });
        }
        let guard = self.wait(guard).unwrap();
        let is_over = self.0.is_time_over.swap(false, Ordering::SeqCst);
        Ok((guard, WaitTimeoutResult(is_over)))
    }

    #[allow(clippy::unwrap_in_result, clippy::unwrap_used, reason = "loom poisons no lock")]
    pub(crate) fn wait_timeout_while<'g, T>(
        &self,
        mut guard: MutexGuard<'g, T>,
        time: Duration,
        mut waits: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'g, T>, WaitTimeoutResult)> {
        while waits(&mut guard) {
            let waited;
            (guard, waited) = self.wait_timeout(guard, time).unwrap();
            if waited.timed_out() {
                let is_over = waits(&mut guard);
                return Ok((guard, WaitTimeoutResult(is_over)));
            }
        }
        Ok((guard, WaitTimeoutResult(false)))
    }
}
