//! Conversion of the library's errors into the exceptions of `strongroom.exceptions`.

use std::io;
use std::iter::successors;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use strongroom::{Error, InvalidKey, RandomError};

/// The cause of a failed call.
pub(crate) enum Failure {
    Core(Error),
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<InvalidKey> for Failure {
    fn from(error: InvalidKey) -> Self {
        Self::Core(error.into())
    }
}

impl From<RandomError> for Failure {
    fn from(error: RandomError) -> Self {
        Self::Core(error.into())
    }
}

/// The library's readers and writers wrap its errors.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Core(error.downcast().unwrap_or_else(|error| Error::Storage(error.into())))
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Core(error) => Python::attach(|py| {
                exception(py, &error).unwrap_or_else(|missing| without_class(py, error.full_message(), missing))
            }),
        }
    }
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let exception = PyErr::from_type(class(py, error.code())?, (error.full_message(),));
    if let Some(number) = errno(error) {
        exception.value(py).setattr("errno", number)?;
    }
    Ok(exception)
}

/// The exception if its class cannot be imported: at the end of the interpreter.
fn without_class(py: Python<'_>, message: String, missing: PyErr) -> PyErr {
    let exception = PyRuntimeError::new_err(message);
    exception.set_cause(py, Some(missing));
    exception
}

/// The system's number of a failed input or output, if a cause has it.
fn errno(error: &Error) -> Option<i32> {
    let Error::Storage(source) = error else { return None };
    let source: &(dyn std::error::Error + 'static) = source.as_ref();
    let mut causes = successors(Some(source), |error| error.source());
    // Windows has numbers of its own.
    if cfg!(unix) { causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error()) } else { None }
}

/// The error of an id that is a `str` without UTF-8. The library has no error for it.
pub(crate) fn not_text(py: Python<'_>) -> PyErr {
    let message = "a text id must not have lone surrogates";
    match class(py, Error::InvalidId.code()) {
        Ok(class) => PyErr::from_type(class, (message,)),
        Err(missing) => without_class(py, message.to_owned(), missing),
    }
}

/// The exception class with this number; the base class for a number of a newer library.
fn class(py: Python<'_>, code: u8) -> PyResult<Bound<'_, PyType>> {
    // Not cached: a module that is imported again has new classes.
    let exceptions = py.import("strongroom.exceptions")?;
    match exceptions.getattr("_BY_CODE")?.cast::<PyDict>()?.get_item(code)? {
        Some(class) => Ok(class.cast_into()?),
        None => Ok(exceptions.getattr("StrongroomError")?.cast_into()?),
    }
}
