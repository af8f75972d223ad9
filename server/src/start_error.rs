//! The causes of a failed start.

use std::io;
use std::path::{Path, PathBuf};

use crate::tokens::hashes::InvalidTokens;

/// The cause of a failed start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address that other machines can reach has no TLS.
    #[error(
        "other machines can reach {0}: give a certificate (tls.certificate, tls.key), or listen on a loopback address or a Unix socket"
    )]
    NeedsTls(String),
    /// An address that other machines can reach requires neither tokens nor client certificates.
    #[error(
        "other machines can reach {0}: give tokens (tokens), or require client certificates (tls.client_authorities)"
    )]
    NeedsClients(String),
    /// An address that every user of the machine can reach requires neither tokens nor client certificates.
    #[error(
        "every user of this machine can reach {0}: give tokens (tokens), or listen on a Unix socket (unix:PATH); to allow access without tokens, set insecure_loopback"
    )]
    NeedsTokens(String),
    /// Other machines can read the metrics without TLS.
    #[error(
        "other machines can reach {0}, where the service answers probes and metrics without TLS: listen on a loopback address, or set insecure_health"
    )]
    HealthIsPublic(String),
    /// Services of other machines could take part in a cluster without a key.
    #[error(
        "a cluster without a key must not reach {0}: make a key with `strongroom key new --cluster --key-out PATH`, and give all services its file (cluster.key_files); without one, use loopback addresses only"
    )]
    NeedsClusterKey(String),
    /// In a cluster without a key, every user of the machine could propose a storage service and get the token.
    #[error(
        "every user of this machine could get the token of remote.token_file: make a key with `strongroom key new --cluster --key-out PATH`, and give all services of the cluster its file (cluster.key_files)"
    )]
    TokenNeedsClusterKey,
    /// The service does not know the address at which others reach it.
    #[error("the address at which other services reach this one is unknown: give it (cluster.advertise)")]
    NeedsAdvertise,
    /// The URL that the service's address gives is of no use to others.
    #[error(
        "others cannot use the URL of this service, {0}: give another one of at most 512 visible ASCII characters (cluster.url), or another first address (listen) or name (names)"
    )]
    NeedsUrl(String),
    /// The storage services are to be found in a cluster, but there is none.
    #[error("the store \"cluster\" is found by gossip: give the address of a service to join (cluster.join)")]
    NeedsJoin,
    /// Any host with a valid certificate could get the token.
    #[error(
        "any host could propose itself as a storage service and get the token: give the storage services' host names (cluster.names), or private authorities (remote.authorities)"
    )]
    NeedsTrustedNames,
    /// A host name is invalid.
    #[error("cluster.names must have host names such as storage.example or *.storage.example, without scheme and port")]
    TrustedNames,
    /// A value of the cluster's configuration is invalid.
    #[error("cluster.{name} must be {expected}")]
    Cluster {
        /// Its name in the configuration.
        name: &'static str,
        /// The valid values.
        expected: &'static str,
    },
    /// This build has no cluster.
    #[error("this build takes part in no cluster: it needs the feature `cluster`")]
    NoCluster,
    /// A limit is too small for any work, or too large.
    #[error("limits.{name} must be between {min} and 4,294,967,295")]
    Limit {
        /// Its name in the configuration.
        name: &'static str,
        /// The smallest valid value.
        min: u64,
    },
    /// The service cannot listen on an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of the configuration cannot be read, or written.
    #[error("cannot open the file of {name} ({})", path.display())]
    File {
        /// The file's name in the configuration.
        name: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The service would overwrite another file of the configuration.
    #[error("the file of {name} is also a file of {other}: give it a path of its own")]
    FileInUse {
        /// The name of the file that the service writes.
        name: &'static str,
        /// The name of the other one.
        other: &'static str,
    },
    /// A file of the configuration has an unexpected kind of content.
    #[error("the file of {name} holds {found}, not {expected}: give the right file")]
    WrongFile {
        /// The file's name in the configuration.
        name: &'static str,
        /// The actual kind.
        found: &'static str,
        /// The expected kind.
        expected: &'static str,
    },
    /// A key or a token is given instead of a path.
    #[error("{name} is a key or a token, not a path: write it into a file, and give the file's path")]
    SecretAsPath {
        /// The name in the configuration.
        name: &'static str,
    },
    /// The group of Unix sockets is unknown.
    #[error("socket_group is not a group of this machine: give a group's name or number")]
    NoSuchGroup,
    /// The log cannot be started.
    #[error("cannot start the log")]
    Log(#[source] io::Error),
    /// The audit log goes to systemd's journal, which cannot be reached.
    #[error("cannot write the audit log to systemd's journal")]
    Journal(#[source] io::Error),
    /// A pipe was read at the start, and cannot be read again.
    #[error("the file of {name} is not a regular file and cannot be reloaded: restart the service")]
    NotReloadable {
        /// The file's name in the configuration.
        name: &'static str,
    },
    /// A line of the tokens file is invalid.
    #[error(transparent)]
    Tokens(#[from] InvalidTokens),
    /// Certificates or keys are invalid, or do not match each other.
    #[error("the TLS files are invalid")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The encryption server's preparations failed.
    #[error(transparent)]
    Store(#[from] strongroom::Error),
    /// The operating system did not provide random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[from] strongroom::RandomError),
}

impl StartError {
    /// For `map_err`.
    pub(crate) fn file(name: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { name, path: path.to_path_buf(), source }
    }
}
