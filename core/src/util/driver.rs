//! The lock of a runtime's event loop: one thread at a time waits for the system's events and runs the connections that
//! they concern.
//!
//! The runtime's thread drives, so that connections go on whatever the callers do. Calls that come alone, one soon
//! after the other, take the right for themselves: the thread gives it up, and takes it back when several calls wait at
//! the same time, when work begins that nobody waits for, or when no call has come for a while.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::util::sync::{Condvar, Instant, Mutex, MutexGuard};

/// The longest time between calls that follow each other.
const SOON: Duration = Duration::from_millis(10);
/// The number of such calls after which the thread gives up its right.
const ENOUGH: u32 = 4;

#[derive(Default)]
pub(crate) struct Driver {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the turn of the thread.
    yielded: Notify,
}

#[derive(Default)]
struct State {
    holder: Holder,
    /// The calls that wait for the thread.
    waiting: usize,
    /// The number of calls in a row that were alone.
    alone: u32,
    last_end: Option<Instant>,
    is_thread_needed: bool,
    is_stopped: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Holder {
    Thread,
    Caller,
    #[default]
    Nobody,
}

/// The right to drive, or the wait for the thread, during one call.
pub(crate) enum Turn<'d> {
    Caller(CallerTurn<'d>),
    Thread(ThreadTurn<'d>),
}

pub(crate) struct CallerTurn<'d>(&'d Driver);
pub(crate) struct ThreadTurn<'d>(&'d Driver);

impl Driver {
    /// The work of the thread, until [`stop`](Self::stop). `drive` runs the connections until the future ends.
    pub(crate) fn serve(&self, drive: impl Fn(Notified<'_>)) {
        let mut state = self.lock();
        while !state.is_stopped {
            if state.is_thread_due() {
                (state.holder, state.is_thread_needed, state.alone) = (Holder::Thread, false, 0);
                drop(state);
                // Waits for the end of a caller's turn.
                drive(self.yielded.notified());
                state = self.lock();
            } else {
                state = self.changed.wait_timeout(state, SOON).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_one();
        self.yielded.notify_one();
    }

    /// Begins a call.
    pub(crate) fn begin(&self) -> Turn<'_> {
        let mut state = self.lock();
        if state.holder == Holder::Nobody && !state.is_thread_needed {
            state.holder = Holder::Caller;
            return Turn::Caller(CallerTurn(self));
        }
        let is_alone = state.holder == Holder::Thread && state.waiting == 0 && state.is_soon();
        state.alone = if is_alone { state.alone.saturating_add(1) } else { 0 };
        state.waiting += 1;
        self.call_thread(state);
        Turn::Thread(ThreadTurn(self))
    }

    /// Lets the thread drive until [`end_wait`](Self::end_wait): a caller waits without a thread.
    #[cfg(all(feature = "remote", feature = "tokio"))]
    pub(crate) fn begin_wait(&self) {
        let mut state = self.lock();
        state.alone = 0;
        state.waiting += 1;
        self.call_thread(state);
    }

    /// Ends the wait of a call for the thread.
    pub(crate) fn end_wait(&self) {
        let mut state = self.lock();
        state.last_end = Some(Instant::now());
        state.waiting = state.waiting.saturating_sub(1);
        if state.holder == Holder::Thread && state.waiting == 0 && state.alone >= ENOUGH {
            state.holder = Holder::Nobody;
            self.yielded.notify_one();
        }
    }

    /// Lets the thread drive: there is work that nobody waits for.
    pub(crate) fn need_thread(&self) {
        let mut state = self.lock();
        state.alone = 0;
        self.call_thread(state);
    }

    fn call_thread(&self, mut state: MutexGuard<'_, State>) {
        if state.holder != Holder::Thread && !state.is_thread_needed {
            state.is_thread_needed = true;
            self.changed.notify_one();
        }
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_thread_due(&self) -> bool {
        self.is_thread_needed || (self.holder == Holder::Nobody && !self.is_soon())
    }

    /// Whether a call that begins now follows the last one.
    fn is_soon(&self) -> bool {
        self.last_end.is_some_and(|end| end.elapsed() < SOON)
    }
}

impl Drop for CallerTurn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.last_end = Some(Instant::now());
        // The thread may have taken the right already.
        if state.holder == Holder::Caller {
            state.holder = Holder::Nobody;
        }
    }
}

impl Drop for ThreadTurn<'_> {
    fn drop(&mut self) {
        self.0.end_wait();
    }
}
