//! Arguments with parts, numbers, and the errors of arguments of another type.

use pyo3::exceptions::{PyArithmeticError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use strongroom::Error;

use crate::error::Failure;

/// The items of an iterable.
pub(crate) fn to_vec<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    iterable.try_iter()?.collect()
}

/// The items, which are pairs; `needed` describes one of them.
pub(crate) fn pairs<'a, 'py, A, B>(items: &'a [Bound<'py, PyAny>], needed: &str) -> PyResult<Vec<(A, B)>>
where
    A: FromPyObject<'a, 'py>,
    B: FromPyObject<'a, 'py>,
{
    items.iter().map(|item| pair(item.as_borrowed(), needed)).collect()
}

/// A tuple of two, which `needed` describes.
pub(crate) fn pair<'a, 'py, A, B>(object: Borrowed<'a, 'py, PyAny>, needed: &str) -> PyResult<(A, B)>
where
    A: FromPyObject<'a, 'py>,
    B: FromPyObject<'a, 'py>,
{
    if object.is_instance_of::<PyTuple>() { object.extract() } else { Err(wrong_type(&object, needed)) }
}

/// A position or a number of things. The largest one also stands for those that are larger.
#[derive(Clone, Copy)]
pub(crate) struct Natural(pub(crate) u64);

impl FromPyObject<'_, '_> for Natural {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract::<u64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                if object.lt(0)? {
                    return Err(Failure::Core(Error::InvalidArgument("a number must not be negative".into())).into());
                }
                Ok(Self(u64::MAX))
            }
            number => Ok(Self(number?)),
        }
    }
}

/// The number; infinity, of its sign, if it is too large for a `float`.
pub(crate) fn number(object: Borrowed<'_, '_, PyAny>, needed: &'static str) -> PyResult<f64> {
    let py = object.py();
    // `float()` also takes the dates and durations of NumPy, without their unit. They do not compare with a number.
    let number = object.extract().and_then(|number| match object.lt(0.0) {
        Err(error) if !error.is_instance_of::<PyArithmeticError>(py) => Err(error),
        _ => Ok(number), // `Decimal("NaN")` is not ordered
    });
    number.or_else(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(py) {
            return Ok(if object.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        if error.is_instance_of::<PyTypeError>(py) {
            return Err(wrong_type(&object, needed));
        }
        Err(error)
    })
}

/// The error of an object that is not what is needed.
pub(crate) fn wrong_type(object: &Bound<'_, PyAny>, needed: &str) -> PyErr {
    let found = object.get_type().name().map_or_else(|_| "this".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{needed} is needed, not '{found}'"))
}
