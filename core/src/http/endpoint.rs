//! The endpoint of a service: its addresses, the trusted authorities, and the client's credentials.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use super::address::Address;
use super::discovery::Source;
use super::invalid_endpoint::InvalidEndpoint;
use super::resolver::Resolver;
use super::service_list::ServiceList;
use super::tls::{Files, Tls};
use super::token_file;
use super::trusted_names::TrustedNames;
use super::upstreams::Upstreams;
use crate::endpoint_options::EndpointOptions;
use crate::protocol;
use crate::util::url::{cluster_urls, service_scheme};

/// The default time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time limit: the system cannot represent an instant centuries away.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A service over HTTP: its address, or those of several services of one store, the trusted authorities, and the
/// client's credentials.
///
/// - `https://storage.example:8421`: TLS 1.3, with a certificate of an authority that the system trusts, or one of
///   [`authorities`](Self::authorities).
/// - `http://127.0.0.1:8421`: without TLS, only for a loopback address or `localhost`.
/// - `unix:/run/strongroom/storage.sock`: a Unix socket.
/// - `https://one.example:8421,https://two.example:8421`: several services of the same store, as many as you like. Each
///   request goes to one of two random ones, that with fewer requests in flight from this client. A service that cannot
///   be reached gets no requests until it answers `/readyz` again, and a request that it certainly did not execute, or
///   that may be repeated, goes to another one at once. A streamed body goes elsewhere only before its first byte. A
///   service with another store than the others gets no requests.
/// - `https://storage.example:8421`, if the name has several addresses: the same, with a service at each of them, 64 at
///   most. The name is looked up again every ten seconds while the endpoint is in use.
/// - `cluster:https://one.example:8421,https://two.example:8421?names=*.example&zone=a`: all ready services of the
///   cluster to which these belong ([`cluster`](Self::cluster)). After the question mark are the trusted
///   [`names`](Self::names), separated by commas, and the preferred [`zone`](Self::zone), both if needed.
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
    pub(super) source: Source,
    pub(super) trusted: TrustedNames,
    pub(super) zone: Option<String>,
    pub(super) resolver: Resolver,
    token: Option<Token>,
    files: Box<Files>,
    timeout: Duration,
    upstreams: Upstreams,
}

#[derive(Clone)]
enum Token {
    Given(Arc<Zeroizing<String>>),
    File(PathBuf),
}

impl Endpoint {
    /// The service at this address, or the services at these addresses, separated by commas.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::Url`], [`InvalidEndpoint::Port`], [`InvalidEndpoint::SocketPath`],
    /// [`InvalidEndpoint::NeedsTls`].
    pub fn new(url: &str) -> Result<Self, InvalidEndpoint> {
        match cluster_urls(url) {
            Some(urls) => {
                let (urls, options) = urls.split_once('?').unwrap_or((urls, ""));
                let endpoint = Self::cluster(urls)?;
                options.split('&').filter(|option| !option.is_empty()).try_fold(endpoint, Self::with_option)
            }
            None => Ok(Self::with_source(Source::Given(parse(url)?))),
        }
    }

    /// The services of a cluster, which are found by asking those at these URLs, separated by commas, for
    /// `GET /v1/nodes`. The answer is asked for again every ten seconds while the endpoint is in use, from any service.
    /// If nobody answers, the last known services stay in use for ten minutes, then those at these URLs. They may
    /// include services of another kind, such as storage services for a client of encryption servers, which are only
    /// asked.
    ///
    /// The answer proposes services; it does not decide which ones are trusted. A service that is not at one of these
    /// URLs is used only if its host has one of the trusted [`names`](Self::names), or if the endpoint has
    /// [`authorities`](Self::authorities) of its own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn cluster(urls: &str) -> Result<Self, InvalidEndpoint> {
        Ok(Self::with_source(Source::Cluster(parse(urls)?)))
    }

    /// The services in a list that changes, all of the same store. It needs trusted [`names`](Self::names) or
    /// [`authorities`](Self::authorities), as [`cluster`](Self::cluster) does.
    pub fn services(list: &ServiceList) -> Self {
        Self::with_source(Source::List(list.clone()))
    }

    /// With an option of a cluster's text.
    fn with_option(self, option: &str) -> Result<Self, InvalidEndpoint> {
        match option.split_once('=') {
            Some(("names", names)) => Ok(self.names(names.split(','))),
            Some(("zone", zone)) if !zone.is_empty() => Ok(self.zone(zone)),
            _ => Err(InvalidEndpoint::Url),
        }
    }

    fn with_source(source: Source) -> Self {
        Self {
            source,
            trusted: TrustedNames::default(),
            zone: None,
            resolver: Resolver::default(),
            token: None,
            files: Box::default(),
            timeout: TIMEOUT,
            upstreams: Upstreams::default(),
        }
    }

    /// Trusts these hosts if a cluster or a list proposes them: `storage.example.org`, an address such as `192.0.2.1`,
    /// or `*.example.org` for all names with one label more. Other hosts are never contacted and get no token. An
    /// endpoint with given URLs does not need them.
    pub fn names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.trusted = TrustedNames::new(names.into_iter().map(Into::into));
        self
    }

    /// Prefers the services of this zone, if the cluster or the list tells the zones. The others are used if none of
    /// this zone can be reached.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Looks up the names of hosts by this function instead of the system's: for tests, and for names that the system
    /// does not know. A thread of the library calls it.
    pub fn resolver(mut self, lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        self.resolver = Resolver::new(lookup);
        self
    }

    /// Counts the calls together with those of other endpoints, such as an earlier one for the same services.
    pub fn count_in(mut self, upstreams: &Upstreams) -> Self {
        self.upstreams = upstreams.clone();
        self
    }

    /// The services that the endpoint uses, and counters of its calls.
    #[must_use]
    pub fn upstreams(&self) -> Upstreams {
        self.upstreams.clone()
    }

    /// Sets all options in one call, for interfaces that get them together.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::TwoTokens`], [`InvalidEndpoint::CertificateWithoutKey`], [`InvalidEndpoint::Timeout`]. Files
    /// are read when the endpoint is opened.
    pub fn with_options(mut self, options: EndpointOptions) -> Result<Self, InvalidEndpoint> {
        self = match (options.token, options.token_file) {
            (Some(_), Some(_)) => return Err(InvalidEndpoint::TwoTokens),
            (Some(token), None) => self.token(token),
            (None, Some(path)) => self.token_file(path),
            (None, None) => self,
        };
        self = match (options.client_certificate, options.client_key) {
            (Some(certificate), Some(key)) => self.client_certificate(certificate, key),
            (None, None) => self,
            _ => return Err(InvalidEndpoint::CertificateWithoutKey),
        };
        self.files.authorities = options.authorities.or(self.files.authorities);
        self.files.revocations = options.revocations.or(self.files.revocations);
        match options.timeout {
            Some(timeout) if timeout.is_zero() => Err(InvalidEndpoint::Timeout),
            Some(timeout) => Ok(self.timeout(timeout)),
            None => Ok(self),
        }
    }

    /// Sends this token, `srt1...`, with each request. Any other text, such as a key, is an error when the endpoint is
    /// opened, and is not sent.
    pub fn token(mut self, token: impl Into<Zeroizing<String>>) -> Self {
        self.token = Some(Token::Given(Arc::new(token.into())));
        self
    }

    /// Sends the token in this file, as [`token`](Self::token) does. White space around it and a byte order mark are
    /// ignored. The file is read when the endpoint is opened. It is refused if another user, except root, can change or
    /// read it; a file of root may be readable by all.
    pub fn token_file(mut self, path: impl AsRef<Path>) -> Self {
        self.token = Some(Token::File(path.as_ref().to_path_buf()));
        self
    }

    /// Trusts only the authorities in this file, in PEM.
    pub fn authorities(mut self, path: impl AsRef<Path>) -> Self {
        self.files.authorities = Some(path.as_ref().to_path_buf());
        self
    }

    /// Presents a client certificate. The first file has the certificate and its intermediate certificates, the second
    /// its private key. Both are in PEM.
    pub fn client_certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.files.client_certificate = Some((certificate.as_ref().to_path_buf(), key.as_ref().to_path_buf()));
        self
    }

    /// Rejects certificates of the service that this file revokes. The file has certificate revocation lists (CRL) in
    /// PEM, one of each authority in the service's chain. A certificate that no list covers is rejected, and so is one
    /// whose list is past its next update.
    ///
    /// The file is read when the endpoint is opened, and again before a new connection if it has changed. If it is then
    /// invalid, the connection fails. Existing connections continue.
    pub fn revocations(mut self, path: impl AsRef<Path>) -> Self {
        self.files.revocations = Some(path.as_ref().to_path_buf());
        self
    }

    /// The time limit of a call, including all retries, until its answer begins, and of a pause within a long answer or
    /// request: 30 seconds by default, a day at most. A third of it is the limit of one attempt, and of the attempts to
    /// reach the only service; no attempt begins in the last sixth. The answer itself may take one second more for each
    /// KiB.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    pub(super) fn time(&self) -> Duration {
        self.timeout
    }

    /// The configuration of TLS; `None` if no service needs it.
    pub(super) fn tls(&self) -> Result<Option<Arc<Tls>>, InvalidEndpoint> {
        self.trusted.check()?;
        let is_given = matches!(self.source, Source::Given(_));
        if !is_given && self.trusted.is_empty() && self.files.authorities.is_none() {
            return Err(InvalidEndpoint::NeedsNames);
        }
        let is_tls = |address: &Address| matches!(address, Address::Https { .. });
        let needs_tls = self.source.given().iter().any(is_tls);
        if !is_given || needs_tls {
            let tls = Tls::open(&self.files)?;
            if needs_tls {
                tls.config()?;
            }
            return Ok(Some(Arc::new(tls)));
        }
        if *self.files == Files::default() { Ok(None) } else { Err(InvalidEndpoint::NoTls) }
    }

    /// Whether both have a service in common.
    pub(crate) fn shares_service(&self, other: &Self) -> bool {
        let [own, other] = [self, other].map(|endpoint| match &endpoint.source {
            Source::Given(given) | Source::Cluster(given) => given.clone(),
            Source::List(list) => list.current().into_iter().map(|listed| listed.address).collect(),
        });
        own.iter().any(|one| other.iter().any(|other| one.to_string() == other.to_string()))
    }

    /// `Authorization: Bearer ...`.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, InvalidEndpoint> {
        match &self.token {
            None => Ok(None),
            Some(Token::Given(text)) => Ok(Some(protocol::token::authorization(text)?)),
            Some(Token::File(path)) => Ok(Some(protocol::token::authorization(&token_file::read(path)?)?)),
        }
    }
}

fn parse(urls: &str) -> Result<Vec<Address>, InvalidEndpoint> {
    split(urls).map(Address::parse).collect()
}

/// The URLs in a text, which commas separate. The path of a socket may contain commas.
fn split(urls: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(urls);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_end = |(at, _): &(usize, _)| text.get(at + 1..).is_some_and(|next| service_scheme(next).is_some());
        let end = text.match_indices(',').find(is_end).map(|(at, _)| at);
        rest = end.and_then(|end| text.get(end + 1..));
        text.get(..end.unwrap_or(text.len()))
    })
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        Self::new(url)
    }
}

/// Shows the addresses as given, never the token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Given(_) => {}
            Source::Cluster(_) => f.write_str("cluster:")?,
            Source::List(list) => return fmt::Debug::fmt(list, f),
        }
        for (n, address) in self.source.given().iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
        }
        let names = self.trusted.to_string();
        let names = (!names.is_empty()).then(|| format!("names={names}"));
        let options: Vec<_> = names.into_iter().chain(self.zone.iter().map(|zone| format!("zone={zone}"))).collect();
        let has_options = matches!(self.source, Source::Cluster(_)) && !options.is_empty();
        if has_options { write!(f, "?{}", options.join("&")) } else { Ok(()) }
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
    use crate::util::secret_text::{self, SecretKind};

    #[test]
    fn a_token_is_given_or_in_a_file() {
        let endpoint = Endpoint::new("unix:/s").unwrap();
        assert!(endpoint.authorization().unwrap().is_none());
        let missing = endpoint.clone().token_file("/nowhere/at/all").authorization();
        assert!(missing.unwrap_err().to_string().starts_with("cannot read \"/nowhere/at/all\""));
        let key = "srx1qqqqqqqqqq".to_owned();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, &key).unwrap();
        for wrong in [endpoint.clone().token(key), endpoint.token_file(&file)] {
            let refused = wrong.authorization();
            assert!(matches!(refused, Err(InvalidEndpoint::Token { found: Some("an index key") })), "{refused:?}");
        }
    }

    #[test]
    fn a_call_needs_time() {
        let endpoint = Endpoint::new("unix:/s").unwrap().timeout(Duration::ZERO);
        let opened = crate::http::services::Services::open(&endpoint, protocol::nodes::Role::Storage);
        assert!(matches!(opened, Err(InvalidEndpoint::Timeout)));
    }

    #[test]
    fn another_secret_is_named_and_not_shown() {
        let [record_key, index_key] = [SecretKind::RecordKey, SecretKind::IndexKey]
            .map(|kind| secret_text::encode(kind, &[7; 32]).as_str().to_owned());
        for (given, named) in [
            (record_key, "is not a token but a record key:"),
            (index_key.clone(), "is not a token but an index key:"),
            (index_key.to_uppercase() + "\n", "is not a token but an index key:"),
            ("-----BEGIN PRIVATE KEY-----\n".into(), "is not a token but a certificate or a private key in PEM:"),
            (index_key.replace("srx", "srz"), "is not a token:"),
            ("Bearer secret".into(), "is not a token:"),
            ("hunter2secret".into(), "is not a token:"),
            (String::new(), "is not a token:"),
        ] {
            let error = Endpoint::new("unix:/s").unwrap().token(given.clone()).authorization().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(named) && shown.contains("srt1"), "{shown}");
            let secret = given.trim().get(4..24).unwrap_or("secret");
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let endpoint = Endpoint::new("unix:/s").unwrap().token("srt1secret".to_owned());
        assert_eq!(format!("{endpoint:?} {endpoint}"), "Endpoint(unix:/s) unix:/s");
    }

    #[test]
    fn certificates_are_for_tls() {
        let plain = Endpoint::new("http://127.0.0.1:1").unwrap();
        for endpoint in [plain.clone().authorities("/ca.pem"), plain.revocations("/crl.pem")] {
            assert!(matches!(endpoint.tls(), Err(InvalidEndpoint::NoTls)));
        }
        let endpoint = Endpoint::new("https://127.0.0.1:1").unwrap().authorities("/nowhere/ca.pem");
        assert!(matches!(endpoint.tls(), Err(InvalidEndpoint::File { what: "authorities", .. })));
    }

    #[test]
    fn a_cluster_needs_trusted_names_or_authorities() {
        let text = "cluster:https://a.example:1,https://b.example:2?names=a.example,*.b.example&zone=c";
        let endpoint = Endpoint::new(text).unwrap();
        assert_eq!(endpoint.to_string(), text);
        assert!(endpoint.tls().is_ok());
        let given = Endpoint::new("Cluster:unix:/a").unwrap();
        assert_eq!(given.to_string(), "cluster:unix:/a");
        assert!(matches!(given.tls(), Err(InvalidEndpoint::NeedsNames)));
        let with_authorities = given.clone().authorities("/nowhere/ca.pem").tls();
        assert!(matches!(with_authorities, Err(InvalidEndpoint::File { .. })), "they decide");
        assert!(matches!(Endpoint::services(&ServiceList::default()).tls(), Err(InvalidEndpoint::NeedsNames)));
        assert!(matches!(given.names(["a b"]).tls(), Err(InvalidEndpoint::Name)));
        for text in ["?names", "?zone=", "?other=1", "?zone=a&x", ",x"] {
            let wrong = Endpoint::new(&format!("cluster:https://a.example{text}"));
            assert!(matches!(wrong, Err(InvalidEndpoint::Url)), "{text}");
        }
    }

    #[test]
    fn an_endpoint_may_have_several_addresses() {
        for urls in ["https://a.example:1,https://b.example:2", "unix:/a,b,http://127.0.0.1:1,unix:c,d"] {
            assert_eq!(Endpoint::new(urls).unwrap().to_string(), urls);
        }
        assert_eq!(Endpoint::new("unix:/a,b,http://127.0.0.1:1,unix:c,d").unwrap().source.given().len(), 3);
        for urls in ["https://a.example,", ",https://a.example", "https://a.example,,https://b.example", "https://a,b"]
        {
            assert!(matches!(Endpoint::new(urls), Err(InvalidEndpoint::Url)), "{urls}");
        }
        let [one, other, both] = ["unix:/a", "unix:/b", "unix:/b,unix:/a"].map(|urls| Endpoint::new(urls).unwrap());
        assert!(one.shares_service(&both) && both.shares_service(&other) && !one.shares_service(&other));
    }
}
