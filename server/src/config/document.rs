//! The fields of a configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strongroom::Location;

use super::address::{ListenAddress, SocketMode};
use super::cluster::Cluster;
use super::invalid::InvalidConfig;
use super::limits::Limits;

/// The configuration of a service.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The store, for the program that starts the service: the path of an SQLite database or, for an encryption server,
    /// the address of a storage service, or `cluster`: the storage services that it finds by gossip.
    pub store: Option<PathBuf>,
    /// A file with the store's index key, for the program that starts the service.
    pub index_key_file: Option<PathBuf>,
    /// A command that prints the index key, instead of its file, for the program that starts the service. It is not run
    /// by a shell.
    pub index_key_command: Option<String>,
    /// A file with the previous index key, before and while the index key is rotated.
    pub previous_index_key_file: Option<PathBuf>,
    /// Hides the lengths of all records that the store writes from now on. The store's settings keep this.
    pub pad: bool,
    /// The connection to the storage service.
    pub remote: Remote,
    /// The addresses to listen on. If empty: loopback, port 8420 for an encryption server and 8421 for a storage
    /// service.
    pub listen: Vec<ListenAddress>,
    /// The address of the page for operators; none by default. On a loopback address or a Unix socket, the page needs
    /// neither TLS nor a token; elsewhere it needs both, and the token the scope `monitor`.
    pub admin: Option<ListenAddress>,
    /// The address for `/healthz`, `/readyz` and `/metrics`, without TLS and client certificates; none by default. The
    /// other addresses have them, too.
    pub health: Option<ListenAddress>,
    /// Allows `health` on an address that other machines can reach: they can then read the metrics, which show the
    /// amount of work.
    pub insecure_health: bool,
    /// The host names of the service, in addition to `localhost` and loopback addresses. A request for another host is
    /// answered with 421. With TLS and without names, every host is accepted, because clients check the certificate.
    pub names: Vec<String>,
    /// Allows loopback addresses without tokens. Every user of this machine then has all permissions.
    pub insecure_loopback: bool,
    /// The mode of Unix sockets; with the default, 0600, only their owner can connect.
    pub socket_mode: SocketMode,
    /// The group of Unix sockets: a name or a number.
    pub socket_group: Option<String>,
    /// The file with the hashes and scopes of tokens. Without it, requests need no token.
    pub tokens: Option<PathBuf>,
    /// The file for the times at which tokens were last used, which `strongroom token list` shows.
    pub token_uses: Option<PathBuf>,
    /// The audit log: a file, or `journal` for systemd's. None by default.
    pub audit: Option<PathBuf>,
    /// TLS, for all TCP addresses.
    pub tls: Option<Tls>,
    /// The log.
    pub log: Log,
    /// The removal of expired records.
    pub purge: Purge,
    /// The removal of deleted ciphertext from a database and its log.
    pub maintenance: Maintenance,
    /// The services that find each other, if there are several.
    pub cluster: Cluster,
    /// Limits for each client, and for all clients in total.
    pub limits: Limits,
}

impl Config {
    /// The configuration in a TOML document.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] if the document is not TOML, or has an unknown name or an invalid value.
    pub fn from_toml(document: &str) -> Result<Self, InvalidConfig> {
        toml::from_str(document).map_err(|error| InvalidConfig::new(document, &error))
    }

    /// Whether the store is in a storage service or an object store.
    pub(crate) fn has_remote_storage(&self) -> bool {
        if self.has_store_in_cluster() {
            return true;
        }
        let location = self.store.as_ref().and_then(|store| Location::parse(store).ok());
        !matches!(location, None | Some(Location::Memory | Location::Database(_)))
    }

    /// The folder of the database, if the store is one.
    pub(crate) fn database_folder(&self) -> Option<PathBuf> {
        match Location::parse(self.store.as_ref()?).ok()? {
            Location::Database(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Some(folder.map_or_else(|| ".".into(), PathBuf::from))
            }
            _ => None,
        }
    }

    /// The kind of the store, for the log: its location may have a password.
    pub(crate) fn store_kind(&self) -> &'static str {
        if self.has_store_in_cluster() {
            return "cluster";
        }
        match self.store.as_ref().and_then(|store| Location::parse(store).ok()) {
            Some(Location::Memory) => "memory",
            None | Some(Location::Database(_)) => "database",
            Some(Location::Service(_)) => "storage service",
            _ => "remote storage",
        }
    }

    /// Whether the storage services of the store are found in the cluster: `store = "cluster"`.
    #[must_use]
    pub fn has_store_in_cluster(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.as_os_str() == "cluster")
    }

    /// The configuration as a TOML document.
    ///
    /// # Errors
    ///
    /// If a path is not valid Unicode.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// The connection to a storage service, for the program that starts an encryption server. Certificates and keys are in
/// PEM.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Remote {
    /// A file with the token for the storage service.
    pub token_file: Option<PathBuf>,
    /// A command that prints the token, instead of its file. It is run once, when the service starts, and not by a
    /// shell.
    pub token_command: Option<String>,
    /// The certificate authorities to trust, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// The client's certificate, and the intermediate certificates.
    pub client_certificate: Option<PathBuf>,
    /// The certificate's private key.
    pub client_key: Option<PathBuf>,
    /// Certificate revocation lists of the authorities in the storage service's chain. A certificate that no list
    /// covers is rejected. A changed file is read again before the next connection.
    pub revocations: Option<PathBuf>,
    /// The time limit of a call including all retries; 30 seconds by default.
    pub timeout_seconds: Option<u64>,
}

/// TLS 1.3, from files in PEM.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, and the intermediate certificates.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of client certificates. A client must present a certificate of one of them.
    #[serde(default)]
    pub client_authorities: Option<PathBuf>,
    /// The authorities' revocation lists, in one file. Each authority needs a list: a client certificate that no list
    /// covers is rejected. An expired list remains in effect.
    #[serde(default)]
    pub client_revocations: Option<PathBuf>,
    /// Namespaces by the DNS names in client certificates. If there are any, a client reaches only the namespace of its
    /// certificate's name, and one whose certificate has none of these names, or those of several namespaces, reaches
    /// no record.
    #[serde(default)]
    pub client_namespaces: BTreeMap<String, String>,
}

/// The removal of expired records in the background.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Purge {
    /// Seconds between two runs; 0 for none, if records are removed only on request.
    pub interval_seconds: u64,
}

impl Default for Purge {
    fn default() -> Self {
        Self { interval_seconds: 60 }
    }
}

/// Maintenance in the background: it removes the ciphertext of deleted records from a database and its log, and the
/// leftovers of interrupted writes. Only a store on this machine (`store` is a path, or not set) is
/// maintained: a storage service maintains its own store, and maintenance of a bucket lists all of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Maintenance {
    /// Seconds between two runs; 0 for none, if the store is maintained only on request.
    pub interval_seconds: u64,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { interval_seconds: 3600 }
    }
}

/// The log on stderr.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The lowest level that is logged.
    pub level: LogLevel,
    /// The format of a line.
    pub format: LogFormat,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs: an object on each line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::Config;
    use crate::config::invalid::FIELDS;

    #[test]
    fn an_error_names_line_and_field_and_no_value() {
        const SECRET: &str = "srx1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s";
        for (document, expected) in [
            ("[log]\nlevel = \"SECRET\"", "line 2 (level): expected one of `error`"),
            ("[log]\nlevel = \"x, expected SECRET\"", "line 2 (level): expected one of `error`"),
            ("[log]\nformat = SECRET", "line 2 (format): expected TOML"),
            ("SECRET = 1", "line 1: expected one of `store`"),
            ("\nSECRET", "line 2: expected TOML"),
            ("[SECRET]\nx = 1", "line 1: expected one of `store`"),
            ("[limits]\nthreads = \"SECRET\"", "line 2 (threads): expected usize"),
            ("[limits]\nSECRET = 1", "line 2: expected one of `connections`"),
            ("listen = [\"SECRET\"]", "line 1 (listen): an address must"),
            ("listen = [\"unix:SECRET\"]", "line 1 (listen): an address must"),
            ("listen = \"SECRET\"", "line 1 (listen): expected a sequence"),
            ("socket_mode = \"SECRET\"", "line 1 (socket_mode): a socket's mode"),
            ("[tls]\nkey = \"SECRET\"", "line 1: missing field `certificate`"),
            ("tls = \"SECRET\"", "line 1 (tls): expected struct Tls"),
            ("insecure_loopback = \"SECRET\"", "line 1 (insecure_loopback): expected a boolean"),
            ("store = \"a\"\nstore = \"SECRET\"", "line 2 (store): expected TOML"),
            ("[remote]\ntoken = \"SECRET\"", "line 2: expected one of `token_file`"),
            ("remote = { token_file = [\"SECRET\"] }", "line 1 (remote): expected"),
            ("[cluster]\nlisten = \"SECRET\"", "line 2 (listen): expected an IP address with a port"),
            ("[cluster]\nphi = \"SECRET\"", "line 2 (phi): expected f64"),
        ] {
            let error = Config::from_toml(&document.replace("SECRET", SECRET)).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}, not {expected}");
            for message in [error.to_string(), format!("{error:?}")] {
                assert!(!message.contains("srx1") && !message.contains("qqqsy"), "{message}");
            }
        }
    }

    #[test]
    fn all_fields_are_known() {
        let document = "[a]\nx = 1";
        let known = |document: &str| Config::from_toml(document).unwrap_err().expected().to_owned();
        let tables =
            ["", "[remote]\n", "[log]\n", "[purge]\n", "[maintenance]\n", "[cluster]\n", "[limits]\n", "[tls]\n"];
        let mut names: Vec<String> = Vec::new();
        for table in tables {
            let expected = known(&format!("{table}nothing = 1"));
            names.extend(expected.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        assert_eq!(names, FIELDS, "{}", known(document));
    }
}
