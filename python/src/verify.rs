//! The search for damage in Python.

use std::num::NonZero;
use std::ops::ControlFlow;

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyString;
use strongroom::storage::{self, Repaired, VerifyPosition};
use strongroom::{Error, Location, VerifyOptions, VerifyReport, VerifyStep};

use crate::arguments::Natural;
use crate::error::Failure;
use crate::interrupt::detached;
use crate::location::{ClientCertificate, Timeout, check_path, endpoint_options};

/// Search a store that is not open for damage, without any key, not even the index key. Otherwise as
/// :meth:`Strongroom.verify`.
///
/// :param path: A path or URL, as for :func:`open`. A database must exist.
/// :param start_at: The position at which to start, or a locator, to start after its record.
/// :param bytes_per_second: Check at most this many bytes of records per second.
/// :param records_only: Do not check the database's pages and indexes.
/// :param progress: Called after each step with a :class:`Verification`.
/// :param token: The access token of a service, as for :func:`open`, and so are the other arguments.
/// :param token_file: The file with the token instead.
/// :param authorities: The file with the certificate authorities to trust.
/// :param client_certificate: The files of a client certificate and of its private key.
/// :param revocations: The file with certificate revocation lists.
/// :param timeout: The seconds that a call to a service may take until its answer begins.
/// :raises InvalidArgumentError: There is no store, or the position is one of another store.
/// :raises CorruptError: The damage prevents the search.
/// :raises AccessDeniedError: The service refuses the token or the client's certificate.
/// :raises StorageError: The storage cannot be read.
#[pyfunction]
#[pyo3(signature = (
    path, *, start_at=None, bytes_per_second=None, records_only=false, progress=None, token=None, token_file=None,
    authorities=None, client_certificate=None, revocations=None, timeout=None,
))]
#[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
pub(crate) fn verify(
    py: Python<'_>,
    path: PathBuf,
    start_at: Option<&str>,
    bytes_per_second: Option<Natural>,
    records_only: bool,
    progress: Option<Py<PyAny>>,
    token: Option<&Bound<'_, PyString>>,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    revocations: Option<PathBuf>,
    timeout: Option<Timeout>,
) -> Result<Verification, Failure> {
    check_path(&path)?;
    let options = options(start_at, bytes_per_second, records_only)?;
    let of_service = endpoint_options(token, token_file, authorities, client_certificate, revocations, timeout)?;
    let mut search = Search::new(py, progress)?;
    let report = detached(py, || {
        let storage = Location::parse(&path)?.with_options(of_service)?.open_existing_storage()?;
        let found = strongroom::verify(&*storage, &options, |step| search.step(&step));
        let _ = storage.close();
        Ok(found?)
    })?;
    search.finish(report)
}

pub(crate) fn options(
    start_at: Option<&str>,
    bytes_per_second: Option<Natural>,
    records_only: bool,
) -> Result<VerifyOptions, Failure> {
    let mut options = VerifyOptions::new();
    if let Some(position) = start_at {
        options = options.start_at(position.parse::<VerifyPosition>().map_err(Error::from)?);
    }
    if let Some(rate) = bytes_per_second {
        let rate = NonZero::new(rate.0).ok_or(Error::InvalidArgument("bytes_per_second must not be 0".into()))?;
        options = options.bytes_per_second(rate);
    }
    Ok(if records_only { options.records_only() } else { options })
}

/// A search, whose steps go to a function of the caller.
pub(crate) struct Search {
    progress: Option<Py<PyAny>>,
    damage: Vec<Damage>,
    raised: Option<PyErr>,
}

impl Search {
    pub(crate) fn new(py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<Self> {
        py.import("strongroom._records")?.call_method1("check_progress", (&progress,))?;
        Ok(Self { progress, damage: Vec::new(), raised: None })
    }

    pub(crate) fn step(&mut self, step: &VerifyStep<'_>) -> ControlFlow<()> {
        let damage: Vec<_> = step.damage.iter().map(Damage::from).collect();
        self.damage.extend_from_slice(&damage);
        let Some(progress) = &self.progress else { return ControlFlow::Continue(()) };
        let next = step.next.map(ToString::to_string);
        let step = Verification { records: step.records, bytes: step.bytes, damage, next };
        match Python::attach(|py| progress.call1(py, (step,)).map(drop)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    pub(crate) fn finish(self, report: VerifyReport) -> Result<Verification, Failure> {
        match self.raised {
            Some(error) => Err(error.into()),
            None => {
                let VerifyReport { records, bytes, .. } = report;
                Ok(Verification { records, bytes, damage: self.damage, next: None })
            }
        }
    }
}

/// The result of a search for damage, or of one of its steps.
#[pyclass(frozen, get_all, eq, module = "strongroom")]
#[derive(PartialEq)]
pub(crate) struct Verification {
    /// The number of records checked so far.
    records: u64,
    /// The number of bytes checked so far.
    bytes: u64,
    /// The damage: all of it in the result, that of the step in a step.
    damage: Vec<Damage>,
    /// Where the next step begins, and a later search can go on. ``None`` after the last record.
    next: Option<String>,
}

#[pymethods]
impl Verification {
    fn __repr__(&self) -> String {
        let Self { records, bytes, damage, .. } = self;
        format!("Verification(records={records}, bytes={bytes}, damage={})", damage.len())
    }
}

/// Damage in a store.
#[pyclass(frozen, get_all, eq, hash, module = "strongroom")]
#[derive(Clone, PartialEq, Hash)]
pub(crate) struct Damage {
    /// The locator of the damaged record, 64 hexadecimal digits. ``None`` if the damage is in no record, or its
    /// locator is not readable.
    locator: Option<String>,
    /// The place: ``row``, ``segment 3``, ``index record_prefix``, ``page 17``.
    place: String,
    /// The kind: ``checksum``, ``length``, ``missing``, ``mismatch``, ``orphan``, ``malformed``; or ``unsupported``:
    /// the record is intact, but a newer version may have written it.
    kind: &'static str,
}

impl From<&storage::Damage> for Damage {
    fn from(damage: &storage::Damage) -> Self {
        let locator = damage.locator.as_ref().map(storage::Locator::to_hex);
        Self { locator, place: damage.place.clone(), kind: damage.kind.name() }
    }
}

#[pymethods]
impl Damage {
    fn __repr__(&self) -> String {
        let Self { locator, place, kind } = self;
        let locator = locator.as_deref().map_or("None".to_owned(), |locator| format!("'{locator}'"));
        format!("Damage(locator={locator}, place={place:?}, kind='{kind}')")
    }
}

/// The result of a repair.
#[pyclass(frozen, get_all, eq, module = "strongroom")]
#[derive(PartialEq)]
pub(crate) struct Repair {
    /// The locators of the restored records.
    restored: Vec<String>,
    /// Damage that was not readable and is not in the copy; and records of which a repair removed the hidden row.
    lost: Vec<Damage>,
}

impl From<Repaired> for Repair {
    fn from(repaired: Repaired) -> Self {
        Self {
            restored: repaired.restored.iter().map(storage::Locator::to_hex).collect(),
            lost: repaired.lost.iter().map(Damage::from).collect(),
        }
    }
}

#[pymethods]
impl Repair {
    fn __repr__(&self) -> String {
        format!("Repair(restored={}, lost={})", self.restored.len(), self.lost.len())
    }
}
