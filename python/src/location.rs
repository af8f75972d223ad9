//! A store's location and the arguments for a service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;
use strongroom::{EndpointOptions, Error};
use zeroize::Zeroizing;

use crate::arguments::{number, pair};
use crate::error::Failure;

/// The files of a client certificate and of its private key.
#[derive(Clone)]
pub(crate) struct ClientCertificate((PathBuf, PathBuf));

impl FromPyObject<'_, '_> for ClientCertificate {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        pair(object, "a pair of the files of certificate and private key").map(Self)
    }
}

/// The seconds that a call may take. The library shortens long times, and rejects 0, which stands for every number that
/// is invalid.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(Duration);

impl FromPyObject<'_, '_> for Timeout {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let seconds = number(object, "a number")?;
        let other = if seconds > 0.0 { Duration::MAX } else { Duration::ZERO };
        Ok(Self(Duration::try_from_secs_f64(seconds).unwrap_or(other)))
    }
}

/// The options of the connection to a service.
pub(crate) fn endpoint_options(
    token: Option<&Bound<'_, PyString>>,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    revocations: Option<PathBuf>,
    timeout: Option<Timeout>,
) -> Result<EndpointOptions, Failure> {
    let mut options = EndpointOptions::default();
    options.token = token_text(token)?;
    options.token_file = token_file;
    options.authorities = authorities;
    (options.client_certificate, options.client_key) = client_certificate.map(|files| files.0).unzip();
    options.revocations = revocations;
    options.timeout = timeout.map(|timeout| timeout.0);
    let certificate = [&options.client_certificate, &options.client_key];
    let files = [&options.token_file, &options.authorities, &options.revocations].into_iter().chain(certificate);
    files.flatten().try_for_each(check_path)?;
    Ok(options)
}

/// A store of the encryption server at `url`.
#[cfg(feature = "remote")]
pub(crate) fn connect_to(url: &str, options: EndpointOptions) -> Result<strongroom::Strongroom, Error> {
    let endpoint = strongroom::Endpoint::new(url).and_then(|endpoint| endpoint.with_options(options));
    strongroom::Strongroom::connect(&endpoint?)
}

#[cfg(not(feature = "remote"))]
pub(crate) fn connect_to(_: &str, _: EndpointOptions) -> Result<strongroom::Strongroom, Error> {
    Err(Error::Unsupported("this library was built without services (its feature `remote`)".into()))
}

/// Rejects a path that no system call accepts.
pub(crate) fn check_path(path: impl AsRef<Path>) -> Result<(), Failure> {
    if path.as_ref().as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::InvalidArgument("a path has a NUL byte".into()).into());
    }
    Ok(())
}

/// The text of a token.
fn token_text(token: Option<&Bound<'_, PyString>>) -> Result<Option<Zeroizing<String>>, Failure> {
    // Python's own error would contain the token.
    let text = token.map(|token| {
        let invalid = |_| Error::InvalidArgument("the text is not a token: a token starts with \"srt1\"".into());
        token.to_str().map_err(invalid)
    });
    Ok(text.transpose()?.map(|text| Zeroizing::new(text.to_owned())))
}
