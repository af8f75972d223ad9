//! The function `copy` of Python.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyString;
use strongroom::storage::Locator;
use strongroom::transfer::CopyOptions;
use strongroom::{Location, transfer};

use crate::arguments::Natural;
use crate::error::Failure;
use crate::interrupt::detached;
use crate::location::{ClientCertificate, Timeout, check_path, endpoint_options};

/// Copy all records of a store to another place, without any key: for backups, for restoring them, and for moves.
/// Both may be in use meanwhile.
///
/// The destination must be new, or an earlier copy of the same store: records that it has already are skipped, so that
/// a repeated call copies changes, and continues an interrupted one. It then opens with the index key of the source,
/// whose file is not copied. Each record that was written is compared with what the destination returns.
///
/// Check :attr:`Copied.complete`: damaged records of the source, and those that exceed the limit of the destination,
/// are skipped.
///
/// :param source: A path or URL, as for :func:`open`.
/// :param destination: A path or URL, too. A missing database is made.
/// :param mirror: Also delete the records at the destination that the source does not have.
/// :param workers: The number of threads, from 1 to 64: more for a distant service.
/// :param token: The access token of both services, as for :func:`open`, and so are the other arguments.
/// :param token_file: The file with the token instead.
/// :param destination_token: The access token of the destination, if it is another one.
/// :param destination_token_file: The file with that token instead.
/// :param authorities: The file with the certificate authorities to trust.
/// :param client_certificate: The files of a client certificate and of its private key.
/// :param revocations: The file with certificate revocation lists.
/// :param timeout: The seconds that a call to a service may take until its answer begins.
/// :raises InvalidArgumentError: There is no store at the source, the destination has another store, or both are the
///     same.
/// :raises ConflictError: Others change the destination all the time.
/// :raises StorageFullError: The destination is full. Records that were copied before stay.
/// :raises AccessDeniedError: A service refuses the token or the client's certificate.
/// :raises StorageError: A storage cannot be read or written.
#[pyfunction]
#[pyo3(signature = (
    source, destination, *, mirror=false, workers=4, token=None, token_file=None, destination_token=None,
    destination_token_file=None, authorities=None, client_certificate=None, revocations=None, timeout=None,
))]
#[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
pub(crate) fn copy(
    py: Python<'_>,
    source: PathBuf,
    destination: PathBuf,
    mirror: bool,
    #[pyo3(from_py_with = worker_count)] workers: usize,
    token: Option<&Bound<'_, PyString>>,
    token_file: Option<PathBuf>,
    destination_token: Option<&Bound<'_, PyString>>,
    destination_token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    revocations: Option<PathBuf>,
    timeout: Option<Timeout>,
) -> Result<Copied, Failure> {
    [&source, &destination].into_iter().try_for_each(check_path)?;
    let its_own = destination_token.is_some() || destination_token_file.is_some();
    let (other, other_file) =
        if its_own { (destination_token, destination_token_file) } else { (token, token_file.clone()) };
    let to_options = endpoint_options(
        other,
        other_file,
        authorities.clone(),
        client_certificate.clone(),
        revocations.clone(),
        timeout,
    )?;
    let from_options = endpoint_options(token, token_file, authorities, client_certificate, revocations, timeout)?;
    let (from, to) = (Location::parse(source)?, Location::parse(destination)?);
    // Options that no place can use are an error.
    let (from, to) = match (is_local(&from), is_local(&to)) {
        (true, false) => (from, to.with_options(to_options)?),
        (false, true) => (from.with_options(from_options)?, to),
        _ => (from.with_options(from_options)?, to.with_options(to_options)?),
    };
    let options = CopyOptions::new().mirror(mirror).workers(workers);
    let copied = detached(py, || Ok(transfer::copy(&from, &to, options, &mut |_| ())?))?;
    Ok(Copied(copied))
}

/// The library rejects a number that is too large.
fn worker_count(number: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(usize::try_from(number.extract::<Natural>()?.0).unwrap_or(usize::MAX))
}

fn is_local(location: &Location) -> bool {
    matches!(location, Location::Memory | Location::Database(_))
}

/// The result of :func:`copy`.
#[pyclass(frozen, module = "strongroom")]
pub(crate) struct Copied(transfer::Copied);

#[pymethods]
impl Copied {
    /// The number of records that were written to the destination.
    #[getter]
    fn records(&self) -> u64 {
        self.0.records
    }

    /// Their bytes: ciphertext and headers.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// The number of records that the destination had already.
    #[getter]
    fn unchanged(&self) -> u64 {
        self.0.unchanged
    }

    /// The number of records that were deleted at the destination.
    #[getter]
    fn deleted(&self) -> u64 {
        self.0.deleted
    }

    /// The locators of the damaged records of the source, which were not copied; an earlier copy of one was kept.
    /// One that ends in 48 zeros stands for all records at a place that the source cannot list.
    #[getter]
    fn damaged(&self) -> Vec<String> {
        self.0.damaged.iter().map(Locator::to_hex).collect()
    }

    /// The locators of the records that exceed the limit of the destination, which were not copied.
    #[getter]
    fn too_large(&self) -> Vec<String> {
        self.0.too_large.iter().map(Locator::to_hex).collect()
    }

    /// Whether the destination has all records of the source.
    #[getter]
    fn complete(&self) -> bool {
        self.0.is_complete()
    }

    fn __repr__(&self) -> String {
        let transfer::Copied { records, bytes, unchanged, deleted, .. } = self.0;
        format!(
            "Copied(records={records}, bytes={bytes}, unchanged={unchanged}, deleted={deleted}, damaged={}, too_large={})",
            self.0.damaged.len(),
            self.0.too_large.len()
        )
    }
}
