//! The cluster: how services find each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
#[cfg(feature = "cluster")]
use strongroom::ServiceAddress;

#[cfg(feature = "cluster")]
use crate::cluster::values::is_printable;
#[cfg(feature = "cluster")]
use crate::start_error::StartError;

/// The hosts of this machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// The services that find each other by gossip, if `join` names one. Each of them knows all others, whichever it joins.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Cluster {
    /// Addresses, `HOST:PORT`, of services to join; the service's own address may be among them. Empty: no cluster.
    pub join: Vec<String>,
    /// Files with the cluster's keys, the same for all its services. The first key encrypts the messages, and all of
    /// them decrypt. Without a key, a cluster is limited to this machine's loopback addresses.
    pub key_files: Vec<PathBuf>,
    /// The cluster's name: services of other clusters are not heard.
    pub name: String,
    /// The UDP address for messages. By default port 8422, on all addresses with a key, on 127.0.0.1 without one.
    pub listen: Option<SocketAddr>,
    /// The address at which the others reach it, if it is not `listen`.
    pub advertise: Option<SocketAddr>,
    /// The URL of the service for its clients. By default, it is made of the first address on which it listens.
    pub url: Option<String>,
    /// The zone of the service, such as a data centre: services prefer others in their zone.
    pub zone: Option<String>,
    /// The host names of storage services that may get this service's token: `storage.example`, or `*.example` for
    /// every name with one label more. Needed for `store = "cluster"`, unless `remote.authorities` is set.
    pub names: Vec<String>,
    /// The id of the store whose storage services are used, in hexadecimal, if the cluster has several stores.
    pub store_id: Option<String>,
    /// Milliseconds between two rounds of messages.
    pub interval_ms: u64,
    /// The suspicion at which a silent service counts as dead: its silence, in mean intervals between its messages.
    pub phi: f64,
    /// Seconds after which a message is refused, and by which clocks may differ.
    pub max_age_seconds: u64,
    /// Seconds after which a dead service is forgotten.
    pub forget_seconds: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            join: Vec::new(),
            key_files: Vec::new(),
            name: "strongroom".into(),
            listen: None,
            advertise: None,
            url: None,
            zone: None,
            names: Vec::new(),
            store_id: None,
            interval_ms: 500,
            phi: 12.0,
            max_age_seconds: 60,
            forget_seconds: 600,
        }
    }
}

impl Cluster {
    /// Whether the service takes part in a cluster.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.join.is_empty()
    }

    /// The hosts of storage services that the service trusts. Without a key, all services are on this machine.
    #[must_use]
    pub fn trusted_names(&self) -> Vec<String> {
        if self.names.is_empty() && self.key_files.is_empty() {
            return LOOPBACK.map(str::to_owned).to_vec();
        }
        self.names.clone()
    }

    /// Fails if a value is useless or dangerous.
    #[cfg(feature = "cluster")]
    pub(crate) fn check(&self) -> Result<(), StartError> {
        const DAY: u64 = 24 * 60 * 60;
        let is_text = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_store = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_address = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let checks = [
            ("join", self.join.iter().all(is_address), "addresses with a port, such as storage.example:8422"),
            ("name", is_text(&self.name), "1 to 64 visible ASCII characters"),
            ("zone", self.zone.as_deref().is_none_or(is_text), "1 to 64 visible ASCII characters"),
            (
                "url",
                self.url.as_deref().is_none_or(is_url),
                "https://HOST:PORT, http://LOOPBACK:PORT or unix:PATH, of at most 512 visible ASCII characters",
            ),
            ("store_id", self.store_id.as_ref().is_none_or(is_store), "32 hexadecimal digits"),
            ("interval_ms", (50..=60_000).contains(&self.interval_ms), "50 to 60,000"),
            ("phi", (1.0..=100.0).contains(&self.phi), "1 to 100"),
            ("max_age_seconds", (1..=DAY).contains(&self.max_age_seconds), "1 to 86,400"),
            ("forget_seconds", (10..=DAY).contains(&self.forget_seconds), "10 to 86,400"),
        ];
        match checks.into_iter().find(|(_, is_valid, _)| !is_valid) {
            Some((name, _, expected)) => Err(StartError::Cluster { name, expected }),
            None => Ok(()),
        }
    }
}

/// Whether other services accept this URL of a service, and clients can use it.
#[cfg(feature = "cluster")]
pub(crate) fn is_url(url: &str) -> bool {
    is_printable(url) && ServiceAddress { url: url.to_owned(), zone: None }.check().is_ok()
}
