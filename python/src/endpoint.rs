//! A store's path: a database's, or the URL of a storage service.

use std::path::PathBuf;
#[cfg(feature = "remote")]
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;
#[cfg(feature = "remote")]
use strongroom::Endpoint;
use strongroom::{Builder, Error, Strongroom};
use zeroize::Zeroizing;

use crate::error::Failure;

/// Arguments that are for services alone.
pub(crate) struct Service {
    pub(crate) token: Option<Zeroizing<String>>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) revocations: Option<PathBuf>,
    pub(crate) timeout: Option<f64>,
}

impl Service {
    fn is_any(&self) -> bool {
        self.token.is_some()
            || self.token_file.is_some()
            || self.authorities.is_some()
            || self.client_certificate.is_some()
            || self.revocations.is_some()
            || self.timeout.is_some()
    }
}

fn invalid(text: &'static str) -> Failure {
    Error::InvalidArgument(text.into()).into()
}

/// The text of a token.
pub(crate) fn token_text(token: Option<&Bound<'_, PyString>>) -> Result<Option<Zeroizing<String>>, Failure> {
    // The error of Python's own would carry the token.
    let text =
        token.map(|token| token.to_str().map_err(|_| invalid("the text is not a token: a token starts with \"srt1\"")));
    Ok(text.transpose()?.map(|text| Zeroizing::new(text.to_owned())))
}

/// A builder that opens what is at `path`.
pub(crate) fn builder_at(path: PathBuf, service: Service) -> Result<Builder, Failure> {
    let builder = Strongroom::builder();
    #[cfg(feature = "remote")]
    if let Some(url) = path.to_str().filter(|text| Endpoint::is_url(text)) {
        return Ok(builder.endpoint(endpoint(url, service)?));
    }
    if service.is_any() {
        return Err(invalid(if cfg!(feature = "remote") {
            "arguments for a service are given, and the path is no URL"
        } else {
            "arguments for a service are given, and this build of the package has none"
        }));
    }
    Ok(builder.path(path))
}

#[cfg(feature = "remote")]
fn endpoint(url: &str, service: Service) -> Result<Endpoint, Failure> {
    let mut endpoint = Endpoint::new(url).map_err(Error::from)?;
    endpoint = match (service.token, service.token_file) {
        (Some(_), Some(_)) => return Err(invalid("give a token or its file, not both")),
        (Some(token), None) => endpoint.token(token),
        (None, Some(path)) => endpoint.token_file(path),
        (None, None) => endpoint,
    };
    if let Some(path) = service.authorities {
        endpoint = endpoint.authorities(path);
    }
    if let Some((certificate, key)) = service.client_certificate {
        endpoint = endpoint.client_certificate(certificate, key);
    }
    if let Some(path) = service.revocations {
        endpoint = endpoint.revocations(path);
    }
    if let Some(seconds) = service.timeout {
        let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
        endpoint =
            endpoint.timeout(timeout.ok_or_else(|| invalid("a timeout is a number of seconds, and more than 0"))?);
    }
    Ok(endpoint)
}
