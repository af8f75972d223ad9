//! The records that no known id names, in Python.

use pyo3::prelude::*;

/// The records of a store, told apart by known ids: the result of :meth:`Strongroom.retention`.
#[pyclass(frozen, module = "strongroom")]
pub(crate) struct Retention(strongroom::Retention);

impl Retention {
    pub(crate) fn inner(&self) -> &strongroom::Retention {
        &self.0
    }
}

impl From<strongroom::Retention> for Retention {
    fn from(retention: strongroom::Retention) -> Self {
        Self(retention)
    }
}

#[pymethods]
impl Retention {
    /// The number of records with a known id.
    #[getter]
    fn kept(&self) -> u64 {
        self.0.kept
    }

    /// The number of known ids without a record.
    #[getter]
    fn missing(&self) -> u64 {
        self.0.missing
    }

    /// The number of all other records.
    #[getter]
    fn others(&self) -> u64 {
        self.0.others
    }

    /// The bytes of the ciphertexts of all other records.
    #[getter]
    fn other_bytes(&self) -> u64 {
        self.0.other_bytes
    }

    fn __repr__(&self) -> String {
        let strongroom::Retention { kept, missing, others, other_bytes, .. } = &self.0;
        format!("Retention(kept={kept}, missing={missing}, others={others}, other_bytes={other_bytes})")
    }
}
