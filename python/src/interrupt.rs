//! How a waiting call learns of an interruption: by a signal handler that raises (Ctrl-C) or by asyncio's cancellation.
//!
//! A call works detached from the interpreter. While it waits, the library calls [`poll`] regularly, which lets Python
//! run its signal handlers, as always in the main thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use strongroom::Error;
use strongroom::interrupt::interruptible;

use crate::error::Failure;

thread_local! {
    /// The exception that a signal handler raised while a call of this thread waited.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// Whether this thread is attached inside a detached call, which may hold locks of the library, and so runs signal
    /// handlers or finalizers.
    static HANDLING: Cell<bool> = const { Cell::new(false) };
    static CANCELLED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Runs `work` detached. An exception of a signal handler ends the waits of `work`, and is raised, with the failure of
/// `work` as its cause.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    check_not_handling()?;
    if is_cancelled() {
        return Err(Error::Busy.into());
    }
    run(py, poll, work)
}

/// As [`detached`], to close something: asyncio's cancellation neither refuses nor ends it.
pub(crate) fn closing<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    check_not_handling()?;
    run(py, handler_raises, work)
}

fn run<T: Send>(
    py: Python<'_>,
    poll: fn() -> bool,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let outcome = py.detach(|| interruptible(poll, work));
    let Some(raised) = RAISED.take() else { return outcome };
    if let Err(error) = outcome {
        raised.set_cause(py, Some(error.into()));
    }
    Err(raised.into())
}

/// Runs `work` attached, inside a detached call.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, Failure> {
    let outcome = Python::try_attach(|py| {
        HANDLING.set(true);
        let outcome = work(py);
        HANDLING.set(false);
        outcome
    });
    Ok(outcome.ok_or(Error::Busy)??) // without an interpreter, the outcome is not needed
}

/// Frees `value` detached, because this may wait for threads of the library. Without interrupts: the end of an object
/// cannot raise their exceptions.
pub(crate) fn release<T: Send + 'static>(value: T) {
    if HANDLING.get() {
        // It may need a lock that the interrupted call holds.
        let _ = std::thread::Builder::new().spawn(|| drop(value));
    } else {
        let _ = Python::try_attach(|py| py.detach(|| drop(value)));
    }
}

/// Fails in a signal handler that runs inside a call: a store could wait for a lock that the call holds.
fn check_not_handling() -> Result<(), Failure> {
    if HANDLING.get() {
        return Err(PyRuntimeError::new_err(
            "a signal handler ran while a call of this thread waited, and cannot use a store itself: raise an exception \
             to end the call, or set a flag",
        )
        .into());
    }
    Ok(())
}

/// Whether the call of this thread must end.
fn poll() -> bool {
    is_cancelled() || handler_raises()
}

/// Runs the signal handlers, and returns whether one raised.
fn handler_raises() -> bool {
    // Without an interpreter, the outcome is not needed.
    Python::try_attach(|py| {
        HANDLING.set(true);
        let outcome = py.check_signals();
        HANDLING.set(false);
        outcome.map_err(|error| RAISED.set(Some(error))).is_err()
    })
    .unwrap_or(true)
}

fn is_cancelled() -> bool {
    CANCELLED.with_borrow(|cancelled| cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)))
}

/// Ends a call of another thread, for asyncio.
#[pyclass(frozen, module = "strongroom._strongroom")]
pub(crate) struct Cancellation(Arc<AtomicBool>);

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    /// End the waits of the call that :meth:`run` makes, now or later.
    fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Return the result of ``call`` for these arguments.
    #[pyo3(signature = (call, /, *args, **kwargs))]
    fn run<'py>(
        &self,
        call: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let before = CANCELLED.replace(Some(Arc::clone(&self.0)));
        let outcome = call.call(args, kwargs);
        CANCELLED.set(before);
        outcome.map_err(|error| {
            let py = call.py();
            if !error.is_instance_of::<PyStopIteration>(py) {
                return error;
            }
            // An awaited call cannot raise it: it would never end.
            let raised = PyRuntimeError::new_err("a function of the caller raised StopIteration");
            raised.set_cause(py, Some(error));
            raised
        })
    }
}
