//! A store's path: a database's, or the URL of a storage service.

use std::path::Path;
#[cfg(feature = "remote")]
use std::time::Duration;

#[cfg(feature = "remote")]
use ::strongroom::Endpoint;
use ::strongroom::{Builder, Error, Strongroom};

/// Options that are for services alone.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Service<'a> {
    pub(crate) token_file: Option<&'a Path>,
    pub(crate) authorities_file: Option<&'a Path>,
    pub(crate) client_certificate_file: Option<&'a Path>,
    pub(crate) client_key_file: Option<&'a Path>,
    pub(crate) revocations_file: Option<&'a Path>,
    pub(crate) timeout: u64,
}

/// A builder that opens what is at `path`.
pub(crate) fn builder_at(path: &Path, service: Service<'_>) -> Result<Builder, Error> {
    let builder = Strongroom::builder();
    #[cfg(feature = "remote")]
    if let Some(url) = path.to_str().filter(|text| Endpoint::is_url(text)) {
        return Ok(builder.endpoint(endpoint(url, service)?));
    }
    if service != Service::default() {
        let text = if cfg!(feature = "remote") {
            "options for a service are given, and the path is no URL"
        } else {
            "options for a service are given, and this build of the library has none"
        };
        return Err(Error::InvalidArgument(text.into()));
    }
    Ok(builder.path(path))
}

#[cfg(feature = "remote")]
fn endpoint(url: &str, service: Service<'_>) -> Result<Endpoint, Error> {
    let mut endpoint = Endpoint::new(url)?;
    if let Some(file) = service.token_file {
        endpoint = endpoint.token_file(file);
    }
    if let Some(file) = service.authorities_file {
        endpoint = endpoint.authorities(file);
    }
    match (service.client_certificate_file, service.client_key_file) {
        (Some(certificate), Some(key)) => endpoint = endpoint.client_certificate(certificate, key),
        (None, None) => {}
        _ => return Err(Error::InvalidArgument("give both a client certificate and its key, or neither".into())),
    }
    if let Some(file) = service.revocations_file {
        endpoint = endpoint.revocations(file);
    }
    if service.timeout != 0 {
        endpoint = endpoint.timeout(Duration::from_millis(service.timeout));
    }
    Ok(endpoint)
}
