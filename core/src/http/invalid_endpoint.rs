//! The reason why an endpoint cannot be used.

use std::io;
use std::path::PathBuf;

use crate::protocol::token::InvalidToken;
use crate::util::secret_text;

/// The reason why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// The text is not the address of a service.
    #[error(
        "an endpoint must be https://HOST:PORT, http://LOOPBACK:PORT or unix:/path/of/a/socket, with nothing after it"
    )]
    Url,
    /// The port is not a number from 1 to 65535.
    #[error("the port of an endpoint must be a number from 1 to 65535")]
    Port,
    /// The path is not valid for a Unix socket.
    #[error("the path of a Unix socket must have less than 108 bytes and no NUL byte: choose another")]
    SocketPath,
    /// The target of plain HTTP is not a loopback address.
    #[error("http:// is only for loopback addresses: use https:// or a Unix socket")]
    NeedsTls,
    /// A trusted name is not a host.
    #[error("a trusted name must be the name of a host, an address, or *.example.org")]
    Name,
    /// A cluster or a list would decide which hosts get the token.
    #[error(
        "a cluster needs the names of its hosts, such as *.example.org, or authorities of its own: otherwise every host with a \
         valid certificate could get the token"
    )]
    NeedsNames,
    /// Certificates are given without TLS.
    #[error("authorities, revocations and client certificates are only for https://")]
    NoTls,
    /// Both a token and a token file are given.
    #[error("give a token or its file, not both")]
    TwoTokens,
    /// A client certificate is given without its key, or a key without a certificate.
    #[error("a client certificate and its private key belong together: give both or neither")]
    CertificateWithoutKey,
    /// The timeout is not a number above 0.
    #[error("a timeout must be a number of seconds above 0")]
    Timeout,
    /// The text is not a token. It was not sent.
    #[error("the text is not a token{}: a token starts with \"srt1\"", secret_text::but(*found))]
    Token {
        /// The kind of the text, if it is known, such as "an index key".
        found: Option<&'static str>,
    },
    /// A token's checksum does not match. It was not sent.
    #[error("the token has a typo or is cut short: its checksum does not match")]
    TokenTypo,
    /// A file cannot be read.
    #[error("cannot read {path:?}, the file of the {what}")]
    File {
        /// The contents of the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No authorities are given, and the system has none.
    #[error("the certificate of a service could not be verified")]
    NoAuthorities(#[source] io::Error),
    /// The system could not start a thread for the connections.
    #[error("cannot start a thread for the connections: the system is out of memory or threads")]
    Thread(#[source] io::Error),
    /// The certificates, keys and revocations are not valid, or do not match.
    #[error("the certificates, the key or the revocation lists are invalid")]
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
