//! Why an endpoint cannot be used.

use std::io;

use crate::protocol::token::InvalidToken;
use crate::util::secret_text;

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// A text is no address of a service.
    #[error("an endpoint is https://HOST:PORT, http://LOOPBACK:PORT or unix:/path/of/a/socket, and nothing behind it")]
    Url,
    /// A port that is no number, or none of TCP's.
    #[error("the port of an endpoint is a number from 1 to 65535")]
    Port,
    /// A path that no Unix socket can have.
    #[error("the path of a Unix socket has less than 108 bytes, and no NUL byte: choose a shorter one")]
    SocketPath,
    /// Plain HTTP is for this machine alone.
    #[error("http:// is for loopback addresses alone: give https://, or a Unix socket")]
    NeedsTls,
    /// Certificates are for TLS alone.
    #[error("authorities, revocations and client certificates are for https:// alone")]
    NoTls,
    /// A token and a file with one are given.
    #[error("give a token or its file, not both")]
    TwoTokens,
    /// A client certificate is given without its key, or a key alone.
    #[error("a client certificate needs its private key, and the key the certificate: give both, or neither")]
    CertificateWithoutKey,
    /// A time in which nothing can be done.
    #[error("a timeout is a number of seconds, and more than 0")]
    Timeout,
    /// A text is no token. It was not sent.
    #[error("the text is not a token{}: a token starts with \"srt1\"", secret_text::but(*found))]
    Token {
        /// The kind of the text, where it is known, such as "an index key".
        found: Option<&'static str>,
    },
    /// A token's checksum does not match. It was not sent.
    #[error("the token has a typo or is cut short: its checksum does not match")]
    TokenTypo,
    /// A file cannot be read.
    #[error("cannot read the file of the {what}")]
    File {
        /// What the file has.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The system starts no thread for the connections.
    #[error("cannot start a thread for the connections: the system has no memory or no place for one more")]
    Thread(#[source] io::Error),
    /// Certificates, keys and revocations that do not go together, or are none.
    #[error("the certificates, the key or the revocations cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<InvalidToken> for InvalidEndpoint {
    fn from(error: InvalidToken) -> Self {
        match error {
            InvalidToken::Kind(found) => Self::Token { found },
            InvalidToken::Typo => Self::TokenTypo,
        }
    }
}
