//! A store's location and the options for a service.

use std::path::Path;
use std::time::Duration;

use ::strongroom::{Builder, EndpointOptions, Error, Location, Strongroom};

/// The members of `strongroom_options` that are only for services.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct ServiceMembers<'a> {
    pub(crate) token_file: Option<&'a Path>,
    pub(crate) authorities_file: Option<&'a Path>,
    pub(crate) client_certificate_file: Option<&'a Path>,
    pub(crate) client_key_file: Option<&'a Path>,
    pub(crate) revocations_file: Option<&'a Path>,
    /// In milliseconds; 0 for the default.
    pub(crate) timeout: u64,
}

impl ServiceMembers<'_> {
    pub(crate) fn endpoint_options(self) -> EndpointOptions {
        let mut options = EndpointOptions::default();
        options.token_file = self.token_file.map(Path::to_path_buf);
        options.authorities = self.authorities_file.map(Path::to_path_buf);
        options.client_certificate = self.client_certificate_file.map(Path::to_path_buf);
        options.client_key = self.client_key_file.map(Path::to_path_buf);
        options.revocations = self.revocations_file.map(Path::to_path_buf);
        options.timeout = Some(self.timeout).filter(|timeout| *timeout != 0).map(Duration::from_millis);
        options
    }
}

/// A builder that opens the store at `path`.
pub(crate) fn builder_at(path: &Path, service: ServiceMembers<'_>) -> Result<Builder, Error> {
    Ok(Strongroom::builder().location(Location::parse(path)?.with_options(service.endpoint_options())?))
}

/// The location at `path` of a store that is used without its index key. A database needs no members.
pub(crate) fn location_of(path: &Path, service: Option<ServiceMembers<'_>>) -> Result<Location, Error> {
    let location = Location::parse(path)?;
    match service {
        None => Ok(location),
        Some(service) => location.with_options(service.endpoint_options()),
    }
}

/// A store of the encryption server at `url`.
#[cfg(feature = "remote")]
pub(crate) fn connect_to(url: &str, options: EndpointOptions) -> Result<Strongroom, Error> {
    let endpoint = ::strongroom::Endpoint::new(url).and_then(|endpoint| endpoint.with_options(options));
    Strongroom::connect(&endpoint?)
}

#[cfg(not(feature = "remote"))]
pub(crate) fn connect_to(_: &str, _: EndpointOptions) -> Result<Strongroom, Error> {
    Err(Error::Unsupported("this library was built without services (its feature `remote`)".into()))
}
