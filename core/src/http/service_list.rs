//! A list of services that its owner changes while calls are in flight.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::invalid_endpoint::InvalidEndpoint;
use super::trusted_names::TrustedNames;

/// A service in a [`ServiceList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its URL, as for [`Endpoint::new`](super::Endpoint::new), but of one service.
    pub url: String,
    /// Its zone, such as a data centre.
    pub zone: Option<String>,
}

impl ServiceAddress {
    /// Fails if the URL is invalid: a client then ignores the service.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::new`](super::Endpoint::new).
    pub fn check(&self) -> Result<(), InvalidEndpoint> {
        Address::parse(&self.url).map(drop)
    }

    /// Whether a client that trusts these names uses the service; see [`Endpoint::names`](super::Endpoint::names).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::Name`], and those of [`check`](Self::check).
    pub fn is_trusted(&self, names: &[String]) -> Result<bool, InvalidEndpoint> {
        let trusted = TrustedNames::new(names.iter().cloned());
        trusted.check()?;
        Ok(trusted.allow(&Address::parse(&self.url)?))
    }
}

/// The services of one store, which may change at any time, such as those that a discovery service knows. Clones share
/// the list. [`Endpoint::services`](super::Endpoint::services) uses it.
///
/// A service that is removed finishes its calls and gets no new ones. An empty list leaves the last services in use for
/// ten minutes, so that a fault of the discovery does not stop all calls.
#[derive(Clone, Default)]
pub struct ServiceList(Arc<Shared>);

#[derive(Default)]
struct Shared {
    version: AtomicU64,
    services: Mutex<Vec<Listed>>,
}

/// A service whose URL is valid.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) address: Address,
    pub(super) zone: Option<String>,
}

impl ServiceList {
    /// Replaces the list. A service whose URL is invalid is ignored; [`ServiceAddress::check`] tells why.
    pub fn set(&self, services: impl IntoIterator<Item = ServiceAddress>) {
        let new = Listed::valid(services.into_iter().map(|service| (service.url, service.zone)));
        let mut current = self.lock();
        if *current != new {
            *current = new;
            self.0.version.fetch_add(1, Ordering::Release);
        }
    }

    /// A number that grows with each change.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(super) fn current(&self) -> Vec<Listed> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.0.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ServiceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.current().iter().map(|service| service.address.to_string())).finish()
    }
}

impl Listed {
    pub(super) fn valid(services: impl Iterator<Item = (String, Option<String>)>) -> Vec<Self> {
        let mut valid: Vec<Self> = Vec::new();
        for (url, zone) in services {
            match Address::parse(&url) {
                Ok(address) if valid.iter().all(|other| other.address != address) => valid.push(Self { address, zone }),
                _ => {}
            }
        }
        valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> ServiceAddress {
        ServiceAddress { url: url.to_owned(), zone: None }
    }

    #[test]
    fn clones_share_the_valid_services() {
        let list = ServiceList::default();
        list.clone().set(["https://a.example", "http://b.example", "https://a.example:443/"].map(service));
        assert_eq!(format!("{list:?}"), "[\"https://a.example:443\"]");
        assert!(service("https://a.example").check().is_ok() && service("http://b.example").check().is_err());
        let version = list.version();
        list.set([service("https://a.example")]);
        assert_eq!(list.version(), version, "the same list is no change");
        list.set([]);
        assert!(list.version() > version && list.current().is_empty());
    }
}
