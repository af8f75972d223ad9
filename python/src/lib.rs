//! The native half of the Python package: `strongroom._strongroom`. What needs neither speed nor Rust is Python, in
//! `python/strongroom`.
//!
//! All work is done detached from the interpreter, so that other threads go on meanwhile. Locks are taken detached, too:
//! no thread waits for one while it keeps others from running.

#![forbid(unsafe_code)]

mod bytes;
mod endpoint;
mod error;
mod key;
mod record;
mod store;

use pyo3::pymodule;

#[pymodule]
mod _strongroom {
    #[pymodule_export]
    use crate::key::{IndexKey, Key};
    #[pymodule_export]
    use crate::record::{NativeReader, NativeWriter};
    #[pymodule_export]
    use crate::store::{Stats, Strongroom, open};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
