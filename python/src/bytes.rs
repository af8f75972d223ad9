//! Conversion of bytes from and to Python: without a copy if other threads cannot change them, otherwise with a copy
//! that is wiped.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySlice, PyString};
use strongroom::{Error, Wiped};

use crate::arguments::wrong_type;
use crate::error::{Failure, not_text};

/// A copy for Python, or a `MemoryError`. `PyBytes::new` would panic.
pub(crate) fn to_python<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |to| {
        to.copy_from_slice(bytes);
        Ok(())
    })
}

/// Bytes that do not change while other threads run: those of a `bytes` (or of a `str`, as UTF-8), or a copy of any
/// other buffer's content.
pub(crate) enum Data<'a> {
    Borrowed(&'a [u8]),
    Copied(Wiped),
}

impl AsRef<[u8]> for Data<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl<'a> Data<'a> {
    /// The bytes of an object, which `needed` describes.
    fn of(object: Borrowed<'a, '_, PyAny>, needed: &str) -> PyResult<Self> {
        if let Ok(bytes) = object.extract() {
            return Ok(Self::Borrowed(bytes));
        }
        let py = object.py();
        let buffer = match PyBuffer::<u8>::get(&object) {
            Ok(buffer) => buffer,
            Err(error) if error.is_instance_of::<PyTypeError>(py) => return Err(wrong_type(&object, needed)),
            Err(_) => PyBuffer::get(&byte_view(&object)?)?, // the buffer's elements are not bytes
        };
        let too_large = |_| PyErr::from(Failure::Core(Error::TooLarge));
        let mut copy = Wiped::zeros(buffer.len_bytes()).map_err(too_large)?;
        buffer.copy_to_slice(py, &mut copy)?;
        Ok(Self::Copied(copy))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Data<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Self::of(object, "a bytes-like object")
    }
}

/// An id: the UTF-8 of a text, or bytes.
pub(crate) struct Id<'a>(Data<'a>);

impl AsRef<[u8]> for Id<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Id<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyString>() {
            // Python's own error would contain the id.
            let text: &'a str = object.extract().map_err(|_| not_text(object.py()))?;
            return Ok(Self(Data::Borrowed(text.as_bytes())));
        }
        Data::of(object, "a str or a bytes-like object").map(Self)
    }
}

/// A memoryview of the object's bytes, which must be contiguous.
pub(crate) fn byte_view<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let view = PyMemoryView::from(object)?;
    if view.getattr("nbytes")?.extract::<usize>()? == 0 {
        // Python's cast refuses several dimensions with a zero among them.
        let (py, is_read_only) = (object.py(), view.getattr("readonly")?.is_truthy()?);
        let empty = if is_read_only { PyBytes::new(py, &[]).into_any() } else { PyByteArray::new(py, &[]).into_any() };
        return Ok(PyMemoryView::from(&empty)?.into_any());
    }
    if !view.getattr("c_contiguous")?.is_truthy()? {
        let remedy = "the buffer is not contiguous: use a contiguous copy, for example by numpy.ascontiguousarray";
        return Err(PyTypeError::new_err(remedy));
    }
    view.call_method1("cast", ("B",))
}

/// Copies `bytes` into a [`byte_view`], from `offset` on.
///
/// Must be called attached: otherwise another thread could read or write the buffer at the same time.
pub(crate) fn write_into(view: &Bound<'_, PyAny>, offset: usize, bytes: &[u8]) -> PyResult<()> {
    part(view, offset, bytes.len())?.copy_from_slice(view.py(), bytes)
}

/// Fills `bytes` with the start of a [`byte_view`]. Must be called attached, as [`write_into`].
pub(crate) fn read_from(view: &Bound<'_, PyAny>, bytes: &mut [u8]) -> PyResult<()> {
    part(view, 0, bytes.len())?.copy_to_slice(view.py(), bytes)
}

fn part(view: &Bound<'_, PyAny>, offset: usize, len: usize) -> PyResult<PyBuffer<u8>> {
    let end = offset.checked_add(len).and_then(|end| isize::try_from(end).ok());
    let (Ok(start), Some(end)) = (isize::try_from(offset), end) else {
        return Err(Failure::Core(Error::TooLarge).into());
    };
    PyBuffer::get(&view.get_item(PySlice::new(view.py(), start, end, 1))?)
}
