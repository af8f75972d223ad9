//! The class `Stats` of Python.

use pyo3::prelude::*;

/// The size of a store.
#[pyclass(frozen, get_all, eq, hash, module = "strongroom")]
#[derive(PartialEq, Hash)]
pub(crate) struct Stats {
    /// The number of records.
    records: u64,
    /// The bytes of all records: ciphertext and headers, without the database's own overhead.
    bytes: u64,
    /// The number of expired records among them, which :meth:`Strongroom.purge` removes.
    expired: u64,
    /// The bytes of removed records that the storage keeps for later ones, and that :meth:`Strongroom.compact`
    /// returns to the operating system; 0 from a storage that leaves this to its engine.
    free: u64,
}

impl From<strongroom::Stats> for Stats {
    fn from(stats: strongroom::Stats) -> Self {
        Self { records: stats.records, bytes: stats.bytes, expired: stats.expired, free: stats.free }
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let Self { records, bytes, expired, free } = self;
        format!("Stats(records={records}, bytes={bytes}, expired={expired}, free={free})")
    }
}
