//! Where a service is, how it is known to be the right one, and what is shown to it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::crypto::aws_lc_rs as tls_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use zeroize::Zeroizing;

use super::connector::Place;

/// More than this is no token, and need not be read.
const TOKEN_LEN: usize = 4096;
/// How long a call may take, unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A moment that is centuries away cannot be told.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A service over HTTP: its address, and what proves both sides.
///
/// - `https://storage.example:8421`: TLS 1.3, with a certificate of an authority that the system trusts, or of
///   [`authorities`](Self::authorities).
/// - `http://127.0.0.1:8421`: without TLS, on this machine alone: a loopback address or `localhost`.
/// - `unix:/run/strongroom/storage.sock`: a Unix socket.
///
/// ```
/// use strongroom::Endpoint;
///
/// let endpoint = Endpoint::new("https://storage.example:8421")?.token_file("/run/secrets/storage-token");
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "an endpoint does nothing until it is opened"]
pub struct Endpoint {
    address: Address,
    token: Option<Token>,
    authorities: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    timeout: Duration,
}

#[derive(Clone)]
enum Address {
    Https { host: String, port: u16, name: ServerName<'static> },
    Loopback { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Clone)]
enum Token {
    Given(Arc<Zeroizing<String>>),
    File(PathBuf),
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// A text is no address of a service.
    #[error("an endpoint is https://HOST:PORT, http://LOOPBACK:PORT or unix:/path/of/a/socket, and nothing behind it")]
    Url,
    /// Plain HTTP is for this machine alone.
    #[error("http:// is for loopback addresses alone: give https://, or a Unix socket")]
    NeedsTls,
    /// Certificates are for TLS alone.
    #[error("authorities and client certificates are for https:// alone")]
    NoTls,
    /// A text is no token.
    #[error("a token is one line of visible characters")]
    Token,
    /// A file cannot be read.
    #[error("cannot read the file of the {what}")]
    File {
        /// What the file has.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Certificates and keys that do not go together, or are none.
    #[error("the certificates or the key cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Endpoint {
    /// The service at this address.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::Url`], [`InvalidEndpoint::NeedsTls`].
    pub fn new(url: &str) -> Result<Self, InvalidEndpoint> {
        let address = Address::parse(url)?;
        Ok(Self { address, token: None, authorities: None, client_certificate: None, timeout: TIMEOUT })
    }

    /// Whether a text is meant as an address of a service, and not as a path.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        ["https://", "http://", "unix:"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// Shows this token, `srt1...`, with each request.
    pub fn token(mut self, token: impl Into<Zeroizing<String>>) -> Self {
        self.token = Some(Token::Given(Arc::new(token.into())));
        self
    }

    /// Shows the token that is in this file, on a line. It is read when the endpoint is opened.
    pub fn token_file(mut self, path: impl AsRef<Path>) -> Self {
        self.token = Some(Token::File(path.as_ref().to_path_buf()));
        self
    }

    /// Trusts the authorities in this file, in PEM, and no others.
    pub fn authorities(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities = Some(path.as_ref().to_path_buf());
        self
    }

    /// Shows a certificate: that in the first file, and those between it and the authority; its private key is in the
    /// second. Both are in PEM.
    pub fn client_certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.client_certificate = Some((certificate.as_ref().to_path_buf(), key.as_ref().to_path_buf()));
        self
    }

    /// How long a call may take with all its repetitions until its answer begins, and how long an answer or a request that
    /// is long may stand still: 30 seconds unless said otherwise, a day at most. A third of it is for a service that cannot be
    /// reached, and for one attempt; none begins in the last sixth.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    pub(super) fn time(&self) -> Duration {
        self.timeout
    }

    /// What stands before each path.
    pub(super) fn base(&self) -> String {
        match &self.address {
            Address::Https { host, port, .. } => format!("https://{host}:{port}"),
            Address::Loopback { host, port } => format!("http://{host}:{port}"),
            Address::Unix(_) => "http://localhost".to_owned(),
        }
    }

    pub(super) fn place(&self) -> Result<Place, InvalidEndpoint> {
        let Address::Https { host, port, name } = &self.address else {
            if self.authorities.is_some() || self.client_certificate.is_some() {
                return Err(InvalidEndpoint::NoTls);
            }
            return Ok(match &self.address {
                Address::Unix(path) => Place::Unix(path.clone()),
                Address::Https { host, port, .. } | Address::Loopback { host, port } => {
                    Place::Loopback(without_brackets(host), *port)
                }
            });
        };
        Ok(Place::Tls { host: without_brackets(host), port: *port, name: name.clone(), config: self.tls()?.into() })
    }

    /// `Authorization: Bearer ...`, wiped when nobody has it any more.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, InvalidEndpoint> {
        let mut line = Zeroizing::new(Vec::with_capacity("Bearer ".len() + TOKEN_LEN));
        line.extend_from_slice(b"Bearer ");
        match &self.token {
            None => return Ok(None),
            Some(Token::Given(token)) => line.extend_from_slice(token.as_bytes()),
            Some(Token::File(path)) => {
                let file = |source| InvalidEndpoint::File { what: "token", source };
                let file = io::Read::take(fs::File::open(path).map_err(file)?, TOKEN_LEN as u64);
                io::Read::read_to_end(&mut { file }, &mut line)
                    .map_err(|source| InvalidEndpoint::File { what: "token", source })?;
            }
        }
        let len = line.trim_ascii_end().len();
        line.truncate(len);
        let token = line.get("Bearer ".len()..).unwrap_or_default();
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidEndpoint::Token);
        }
        let line = Bytes::from_owner(line);
        let mut value = HeaderValue::from_maybe_shared(line).map_err(|_| InvalidEndpoint::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn tls(&self) -> Result<ClientConfig, InvalidEndpoint> {
        let unusable = |error: rustls::Error| InvalidEndpoint::Tls(error.into());
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(path) => {
                for certificate in certificates(path, "authorities")? {
                    roots.add(certificate).map_err(unusable)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(tls_provider::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(unusable)?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.client_certificate {
            Some((certificate, key)) => {
                let chain = certificates(certificate, "client certificate")?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable("client certificate's key"))?;
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Address {
    fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = url.strip_prefix("unix:") {
            return if path.is_empty() { Err(InvalidEndpoint::Url) } else { Ok(Self::Unix(path.into())) };
        }
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let authority = uri.authority().ok_or(InvalidEndpoint::Url)?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() || url.contains('#') {
            return Err(InvalidEndpoint::Url);
        }
        let host = authority.host().to_owned();
        match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(without_brackets(&host)).map_err(|_| InvalidEndpoint::Url)?;
                Ok(Self::Https { host, port: authority.port_u16().unwrap_or(443), name })
            }
            Some("http") => {
                let address = without_brackets(&host).parse::<std::net::IpAddr>();
                // What `localhost` is, is looked at when it is connected to.
                let is_here = address.map_or(host == "localhost", |address| address.to_canonical().is_loopback());
                if !is_here {
                    return Err(InvalidEndpoint::NeedsTls);
                }
                Ok(Self::Loopback { host, port: authority.port_u16().unwrap_or(80) })
            }
            _ => Err(InvalidEndpoint::Url),
        }
    }
}

/// An IPv6 address, which stands in brackets in a URL.
fn without_brackets(host: &str) -> String {
    host.trim_matches(['[', ']']).to_owned()
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, InvalidEndpoint> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable(what))?;
    certificates.collect::<Result<_, _>>().map_err(unreadable(what))
}

/// The error itself is not told: it can have a line of the file, which may be a key's.
fn unreadable(what: &'static str) -> impl Fn(pem::Error) -> InvalidEndpoint {
    move |error| match error {
        pem::Error::Io(source) => InvalidEndpoint::File { what, source },
        _ => InvalidEndpoint::Tls(format!("the file of the {what} is not in PEM, or has nothing of the kind").into()),
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        Self::new(url)
    }
}

/// The address, as it is given; never the token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            _ => f.write_str(&self.base()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_here_or_behind_tls() {
        for url in [
            "http://127.0.0.1:8420",
            "http://127.9.9.9:1",
            "http://[::1]:8420",
            "http://localhost:8420",
            "https://storage.example:8421",
            "https://192.0.2.1:8421",
            "https://[2001:db8::1]:8421",
            "unix:/run/strongroom.sock",
        ] {
            assert_eq!(Endpoint::new(url).unwrap().to_string(), url);
        }
        assert_eq!(Endpoint::new("https://a.example/").unwrap().to_string(), "https://a.example:443");
        for url in ["http://192.0.2.1:8420", "http://localhost.example:8420", "http://0.0.0.0:1", "http://[::]:1"] {
            assert!(matches!(Endpoint::new(url), Err(InvalidEndpoint::NeedsTls)), "{url}");
        }
        for url in [
            "",
            "unix:",
            "records.db",
            "ftp://a.example",
            "https://",
            "https://user:pass@a.example",
            "https://a.example/prefix",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://a b",
            "https://:443",
        ] {
            assert!(matches!(Endpoint::new(url), Err(InvalidEndpoint::Url)), "{url}");
        }
    }

    #[test]
    fn a_token_is_a_line() {
        let token = |text: &str| {
            let endpoint = Endpoint::new("unix:/s").unwrap().token(text.to_owned());
            endpoint.authorization().map(|value| value.unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(token("srt1abc").unwrap(), "Bearer srt1abc");
        assert_eq!(token("srt1abc\n").unwrap(), "Bearer srt1abc");
        for wrong in ["", "\n", "a b", "a\nb", "\u{e4}"] {
            assert!(matches!(token(wrong), Err(InvalidEndpoint::Token)), "{wrong}");
        }
        let endpoint = Endpoint::new("unix:/s").unwrap();
        assert!(endpoint.authorization().unwrap().is_none());
        let missing = endpoint.token_file("/nowhere/at/all").authorization();
        assert!(matches!(missing, Err(InvalidEndpoint::File { what: "token", .. })));
    }

    #[test]
    fn no_secret_is_shown() {
        let endpoint = Endpoint::new("unix:/s").unwrap().token("srt1secret".to_owned());
        assert_eq!(format!("{endpoint:?} {endpoint}"), "Endpoint(unix:/s) unix:/s");
        assert_eq!(format!("{:?}", endpoint.authorization().unwrap().unwrap()), "Sensitive");
    }

    #[test]
    fn certificates_are_for_tls() {
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap().authorities("/ca.pem");
        assert!(matches!(endpoint.place(), Err(InvalidEndpoint::NoTls)));
        let endpoint = Endpoint::new("https://127.0.0.1:1").unwrap().authorities("/nowhere/ca.pem");
        assert!(matches!(endpoint.place(), Err(InvalidEndpoint::File { what: "authorities", .. })));
    }
}
