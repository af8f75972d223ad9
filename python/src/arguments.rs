//! Arguments with parts, and the errors of arguments of another type.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

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

/// The error of an object that is not what is needed.
pub(crate) fn wrong_type(object: &Bound<'_, PyAny>, needed: &str) -> PyErr {
    let found = object.get_type().name().map_or_else(|_| "this".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{needed} is needed, not '{found}'"))
}
