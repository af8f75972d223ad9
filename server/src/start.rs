//! Why a service does not start.

use std::io;

use crate::token::InvalidTokens;

/// Why a service does not start: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// What is sent over a network is encrypted.
    #[error(
        "{0} is reached by others than this machine: give a certificate (tls.certificate, tls.key), or listen on a loopback address or a Unix socket"
    )]
    NeedsTls(String),
    /// What is open to a network is not open to all.
    #[error(
        "{0} is reached by others than this machine: give tokens (tokens), or ask for clients' certificates (tls.client_authorities)"
    )]
    NeedsClients(String),
    /// There is nothing to listen on.
    #[error("there is no address to listen on: give one (listen)")]
    NoAddress,
    /// A limit that stops everything, or that is none.
    #[error("limits.{name} is to be between {least} and 4,294,967,295")]
    Limit {
        /// Its name in the configuration.
        name: &'static str,
        /// The least that it may be.
        least: u64,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the configuration cannot be read.
    #[error("cannot read the file of {name}")]
    File {
        /// The file's name in the configuration.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file of tokens has a line that is none.
    #[error(transparent)]
    Tokens(#[from] InvalidTokens),
    /// Certificates and keys that do not go together, or are none.
    #[error("the files of tls cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The encryption server's own preparations.
    #[error(transparent)]
    Store(#[from] strongroom::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[from] rand::rngs::SysError),
}

impl StartError {
    /// To be used in `map_err`.
    pub(crate) fn file(name: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { name, source }
    }
}
