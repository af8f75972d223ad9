//! The native module of the Python package: `strongroom._strongroom`. The rest is in Python, in `python/strongroom`.
//!
//! All work is done detached from the interpreter, so that other threads can run. Locks are taken detached, too, so
//! that no thread waits for a lock while it prevents others from running.

#![forbid(unsafe_code)]

mod arguments;
mod bytes;
mod error;
mod interrupt;
mod key;
mod keyring;
mod location;
mod opening;
mod options;
mod record;
mod retention;
mod shared;
mod stats;
mod store;
mod transfer;
mod verify;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

#[pymodule]
mod _strongroom {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::interrupt::Cancellation;
    #[pymodule_export]
    use crate::key::{IndexKey, Key};
    #[pymodule_export]
    use crate::keyring::Keyring;
    #[pymodule_export]
    use crate::opening::{connect, open};
    #[pymodule_export]
    use crate::record::{NativeReader, NativeWriter};
    #[pymodule_export]
    use crate::retention::Retention;
    #[pymodule_export]
    use crate::stats::Stats;
    #[pymodule_export]
    use crate::store::Strongroom;
    #[pymodule_export]
    use crate::transfer::{Copied, copy};
    #[pymodule_export]
    use crate::verify::{Damage, Repair, Verification, verify};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::check_interpreter(module.py())
    }
}

/// Rejects every interpreter except the first one that imports this: the classes exist once per process, and a
/// subinterpreter would get those of another interpreter.
fn check_interpreter(py: Python<'_>) -> PyResult<()> {
    static MODULES: PyOnceLock<Py<PyAny>> = PyOnceLock::new(); // `sys.modules` is different in each interpreter
    let modules = py.import("sys")?.getattr("modules")?;
    if MODULES.get_or_init(py, || modules.clone().unbind()).bind(py).is(&modules) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "strongroom is in use by another interpreter of this process: import it in one interpreter only, or use processes",
    ))
}
