//! Values that one thread at a time uses: the waits for them end with an interrupt, and a forked child is refused.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use strongroom::Error;
use strongroom::interrupt::is_interrupted;

use crate::error::Failure;
use crate::interrupt::{detached, release};

/// The interval at which a wait checks for an interrupt.
const INTERVAL: Duration = Duration::from_millis(50);

/// A value that one thread at a time uses, until it is closed.
pub(crate) struct Shared<T: Send + 'static> {
    state: Mutex<State<T>>,
    freed: Condvar,
    process: u32,
}

/// The value is boxed, so that no copies of its secrets remain where it was.
enum State<T> {
    Free(Box<T>),
    InUse,
    Closed,
}

impl<T: Send + 'static> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = Mutex::new(State::Free(Box::new(value)));
        Self { state, freed: Condvar::new(), process: std::process::id() }
    }

    /// In a forked child, a thread that exists only in the parent may use the value forever.
    fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Runs `work` on the value, detached.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send,
    ) -> Result<R, Failure> {
        self.with_option(py, |value| work(value.as_deref_mut().ok_or_else(closed)?))
    }

    /// As [`with`](Self::with). The value is closed if `work` takes it out.
    pub(crate) fn with_option<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Option<Box<T>>) -> Result<R, Failure> + Send,
    ) -> Result<R, Failure> {
        detached(py, || work(&mut self.acquire()?.value))
    }

    /// Takes the value out. Must be called detached.
    pub(crate) fn take(&self) -> Result<Box<T>, Failure> {
        self.acquire()?.value.take().ok_or_else(closed)
    }

    /// Takes the value out to close it; `None` if it is closed already, or belongs to a parent process. Fails only
    /// after an interrupt, and the value then stays. Must be called detached.
    pub(crate) fn take_to_close(&self) -> Result<Option<Box<T>>, Failure> {
        match self.take() {
            Err(Failure::Core(Error::Busy)) => Err(Error::Busy.into()),
            taken => Ok(taken.ok()),
        }
    }

    /// Whether the value was taken out.
    pub(crate) fn is_closed(&self) -> bool {
        // In a forked child, a thread that exists only in the parent may hold the lock.
        !self.is_forked() && matches!(*self.lock(), State::Closed)
    }

    /// Waits until no other thread uses the value.
    fn acquire(&self) -> Result<InUse<'_, T>, Failure> {
        if self.is_forked() {
            return Err(Error::Forked.into());
        }
        // Asked without the lock: a signal handler may take its time.
        while !is_interrupted() {
            let is_in_use = |state: &mut State<T>| matches!(state, State::InUse);
            let waited = self.freed.wait_timeout_while(self.lock(), INTERVAL, is_in_use);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            match mem::replace(&mut *state, State::InUse) {
                State::Free(value) => return Ok(InUse { shared: self, value: Some(value) }),
                State::InUse => {}
                State::Closed => {
                    *state = State::Closed;
                    return Err(closed());
                }
            }
        }
        Err(Error::Busy.into())
    }

    /// No code panics or waits while it holds this lock, so that a thread may take it attached.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Free(value) = mem::replace(state, State::Closed) {
            release(value);
        }
    }
}

/// The value, while a thread uses it.
struct InUse<'s, T: Send + 'static> {
    shared: &'s Shared<T>,
    value: Option<Box<T>>,
}

impl<T: Send + 'static> Drop for InUse<'_, T> {
    fn drop(&mut self) {
        // After a panic, its state is unknown.
        let value = self.value.take().filter(|_| !thread::panicking());
        *self.shared.lock() = value.map_or(State::Closed, State::Free);
        self.shared.freed.notify_all();
    }
}

pub(crate) fn closed() -> Failure {
    Failure::Python(PyValueError::new_err("I/O operation on closed file."))
}
