//! Keys in Python: compared in constant time, never shown, copied only explicitly.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use strongroom::{InvalidKey, RecordKey};

use crate::bytes::Data;
use crate::error::Failure;

macro_rules! key_class {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "strongroom")]
        pub(crate) struct $name($inner);

        impl $name {
            pub(crate) fn inner(&self) -> &$inner {
                &self.0
            }

            /// A copy: the library's key has no `Clone`.
            pub(crate) fn copy(key: &$inner) -> Result<$inner, Failure> {
                Ok(<$inner>::from_bytes(key.expose_bytes())?)
            }
        }

        impl From<$inner> for $name {
            fn from(key: $inner) -> Self {
                Self(key)
            }
        }

        #[pymethods]
        impl $name {
            /// Make a new key from the operating system's random numbers.
            #[staticmethod]
            fn generate() -> Result<Self, Failure> {
                Ok(Self(<$inner>::generate()?))
            }

            #[doc = concat!("Read a key from its text, ``", $prefix, "1`` and 58 more characters. A leading byte order mark and")]
            /// surrounding white space are ignored, so that the content of a key file is valid as it is.
            ///
            /// :raises InvalidKeyError: The text has a typo, or is not such a key.
            #[staticmethod]
            fn from_text(text: &Bound<'_, PyString>) -> Result<Self, Failure> {
                // Python's own error would contain the text.
                let text = text.to_str().map_err(|_| InvalidKey::Text)?;
                Ok(Self(<$inner>::from_text(text)?))
            }

            /// Make a key of 32 bytes.
            ///
            /// :raises InvalidKeyError: There are not 32, or all are zero.
            #[staticmethod]
            fn from_bytes(data: Data<'_>) -> Result<Self, Failure> {
                Ok(Self(<$inner>::from_bytes(data.as_ref())?))
            }

            /// The key as text, which :meth:`from_text` reads. The ``str`` cannot be wiped from memory.
            fn to_text<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
                PyString::new(py, &self.0.to_text())
            }

            /// The key's 32 bytes. The ``bytes`` cannot be wiped from memory.
            fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
                PyBytes::new(py, self.0.expose_bytes())
            }

            fn __eq__(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0)
            }

            fn __repr__(&self) -> &'static str {
                concat!(stringify!($name), "(...)")
            }

            /// Refuse to pickle or copy the key.
            ///
            /// :raises TypeError: Always.
            fn __reduce__(&self) -> PyResult<()> {
                Err(PyTypeError::new_err("a key cannot be pickled or copied: use to_text() or to_bytes()"))
            }
        }
    };
}

key_class! {
    /// The only key that opens one record. It belongs to the caller; no store keeps it.
    ///
    /// Keys are compared in constant time, and have no hash. Their ``repr`` shows nothing, and their memory is wiped
    /// when they are freed: only :meth:`to_text` and :meth:`to_bytes` reveal a key.
    ///
    /// >>> key = Key.generate()
    /// >>> Key.from_text(key.to_text()) == key
    /// True
    /// >>> key
    /// Key(...)
    Key, RecordKey, "srk"
}

key_class! {
    /// The key that hides the ids of a store. It belongs to the operator, and is never stored in the database:
    /// without it no record can be found.
    ///
    /// >>> index_key = IndexKey.generate()
    /// >>> index_key.to_text().startswith("srx1")
    /// True
    IndexKey, strongroom::IndexKey, "srx"
}
