//! What an operator may choose: the file's names are the fields' names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom::Location;
use strongroom::protocol::limits::{BATCH_BYTES, BYTES_PER_SECOND};

use crate::config_error::InvalidConfig;
use crate::secret_kind;

/// The configuration of a service.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The store, for the program that starts the service: the path of an SQLite database, or, for an encryption server,
    /// the address of a storage service.
    pub store: Option<PathBuf>,
    /// A file with the store's index key, for the program that starts the service.
    pub index_key_file: Option<PathBuf>,
    /// How the storage service is reached.
    pub remote: Remote,
    /// Where to listen. Empty: on loopback, port 8420 for an encryption server and 8421 for a storage service.
    pub listen: Vec<Address>,
    /// Names under which clients reach the service, besides `localhost` and loopback addresses: a request for another
    /// host is answered 421. With TLS and without names, every host is accepted: clients have checked the certificate.
    pub names: Vec<String>,
    /// Listen on loopback addresses without tokens: every user of this machine can then do everything.
    pub insecure_loopback: bool,
    /// The mode of Unix sockets: 0600 by default, their owner alone.
    pub socket_mode: SocketMode,
    /// The group of Unix sockets: a name or a number.
    pub socket_group: Option<String>,
    /// The file with the hashes and scopes of tokens. Without it, no token is asked for.
    pub tokens: Option<PathBuf>,
    /// TLS on all TCP addresses.
    pub tls: Option<Tls>,
    /// What is logged.
    pub log: Log,
    /// What one client, and all together, may take.
    pub limits: Limits,
}

impl Config {
    /// The configuration in a TOML document.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] where the document is no TOML, or has a name or a value that is not known.
    pub fn from_toml(document: &str) -> Result<Self, InvalidConfig> {
        toml::from_str(document).map_err(|error| InvalidConfig::new(document, &error))
    }

    /// Whether the store is behind a storage service.
    pub(crate) fn has_storage_elsewhere(&self) -> bool {
        let location = self.store.as_ref().and_then(|store| Location::parse(store).ok());
        matches!(location, Some(Location::Service(_)))
    }

    /// The configuration as a TOML document.
    ///
    /// # Errors
    ///
    /// Where a path is no Unicode text.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Where to listen: `127.0.0.1:8420`, `[::1]:8420` or `unix:/run/strongroom.sock`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An IP address and a port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A text is no address to listen on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an address is an IP address and a port, such as 127.0.0.1:8420 or [::1]:8420, or unix:/path/of/a/socket")]
pub struct InvalidAddress;

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || secret_kind::in_path(path.as_ref()) => Err(InvalidAddress),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidAddress),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// A Unix socket's permission bits, in octal, as `chmod` takes them: those with write permission may connect.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// The permission bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether every user of the machine may connect.
    pub(crate) fn is_for_all(self) -> bool {
        self.0 & 0o002 != 0 // connecting needs the right to write
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o600)
    }
}

/// A text is no mode of a Unix socket.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a socket's mode is three or four octal digits, such as 0600 or 0660, and lets its owner read and write")]
pub struct InvalidSocketMode;

impl FromStr for SocketMode {
    type Err = InvalidSocketMode;

    fn from_str(text: &str) -> Result<Self, InvalidSocketMode> {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if is_octal && bits & !0o777 == 0 && bits & 0o600 == 0o600 => Ok(Self(bits)),
            _ => Err(InvalidSocketMode),
        }
    }
}

impl TryFrom<String> for SocketMode {
    type Error = InvalidSocketMode;

    fn try_from(text: String) -> Result<Self, InvalidSocketMode> {
        text.parse()
    }
}

impl From<SocketMode> for String {
    fn from(mode: SocketMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// How a storage service is reached, for the program that starts an encryption server. Certificates and keys are in PEM.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Remote {
    /// A file with the token to show.
    pub token_file: Option<PathBuf>,
    /// The authorities to trust, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// The certificate to show, and those between it and the authority.
    pub client_certificate: Option<PathBuf>,
    /// The certificate's private key.
    pub client_key: Option<PathBuf>,
    /// Certificate revocation lists of the authorities in the storage service's chain. A certificate of which none tells is
    /// refused. The file is read again before a new connection once it has changed.
    pub revocations: Option<PathBuf>,
    /// How long a call may take with all its repetitions: 30 seconds unless said otherwise.
    pub timeout_seconds: Option<u64>,
}

/// TLS 1.3, from files in PEM.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities whose certificates a client must show one of.
    #[serde(default)]
    pub client_authorities: Option<PathBuf>,
    /// The authorities' revocation lists, in one file. Each authority needs one: a client whose status no list tells is
    /// refused. A list that has expired still counts.
    #[serde(default)]
    pub client_revocations: Option<PathBuf>,
}

/// What is logged, on stderr.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// From which level on.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// From which level on something is logged.
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

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object on each line.
    Json,
}

/// What one client, and all together, may take.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Threads that work on the storage.
    pub threads: usize,
    /// Bodies of more than 64 KiB at once: of requests and answers together.
    pub long: usize,
    /// Requests that wait for one of those; more are answered 503.
    pub waiting: usize,
    /// How long they wait before they are answered 503.
    pub wait_seconds: u64,
    /// Bytes of a JSON body, and of data in a JSON answer, sealed in base64.
    pub json_bytes: u64,
    /// Bytes of a `create-many` body, and of a `get-many` answer.
    pub batch_bytes: u64,
    /// Bytes of a body that is streamed.
    pub record_bytes: u64,
    /// Bytes of answers that clients have not taken yet, of all together; each connection has 64 KiB beside them.
    pub answer_bytes: u64,
    /// Seconds until a request's head must be there, and in HTTP/1 the next one's; and until TLS is agreed on.
    pub head_seconds: u64,
    /// Seconds of waiting for the client that are always granted to a body, of a request or of an answer...
    pub body_seconds: u64,
    /// ... and one more for each so many bytes that came or went, anew for each 256 KiB. While others wait for a long body's
    /// place, it must be 64 times faster.
    pub body_bytes_per_second: u64,
    /// Seconds after which a body must be there, or have been taken, in any case.
    pub body_most_seconds: u64,
    /// Seconds without a request under way after which an HTTP/2 connection is closed, and without a byte taken after which
    /// any is. In HTTP/1, `head_seconds` are for the next request.
    pub idle_seconds: u64,
    /// Seconds that requests under way have to finish when the service is told to end.
    pub grace_seconds: u64,
    /// Requests with wrong tokens in a minute, of all clients together; more are answered 429.
    pub wrong_tokens_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            threads: 64,
            long: 64,
            waiting: 256,
            wait_seconds: 5,
            json_bytes: 3 << 19,
            batch_bytes: BATCH_BYTES,
            record_bytes: 16 << 30,
            answer_bytes: 64 << 20,
            head_seconds: 10,
            body_seconds: 10,
            body_bytes_per_second: BYTES_PER_SECOND,
            body_most_seconds: 3600,
            idle_seconds: 60,
            grace_seconds: 30,
            wrong_tokens_per_minute: 60,
        }
    }
}

impl Limits {
    /// One with which nothing would be done, or which no timer or counter holds: its name, and the least it may be.
    pub(crate) fn unusable(&self) -> Option<(&'static str, u64)> {
        let most = u64::from(u32::MAX);
        let limits = [
            ("connections", 1, self.connections as u64),
            ("threads", 1, self.threads as u64),
            ("long", 1, self.long as u64),
            ("waiting", 0, self.waiting as u64),
            ("wait_seconds", 0, self.wait_seconds),
            ("answer_bytes", 1 << 20, self.answer_bytes),
            ("head_seconds", 1, self.head_seconds),
            ("body_seconds", 0, self.body_seconds),
            ("body_most_seconds", 1, self.body_most_seconds),
            ("idle_seconds", 1, self.idle_seconds),
            ("grace_seconds", 0, self.grace_seconds),
        ];
        let unusable = limits.into_iter().find(|(_, least, value)| !(*least..=most).contains(value));
        unusable.map(|(name, least, _)| (name, least))
    }
}
