//! The address of a service. An invalid address is rejected, never corrected.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::Authority;
use rustls::pki_types::ServerName;

use super::invalid_endpoint::InvalidEndpoint;
use crate::util::url::service_scheme;

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    Https { host: String, port: u16, name: ServerName<'static> },
    Loopback { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        let (scheme, rest) = service_scheme(url).ok_or(InvalidEndpoint::Url)?;
        if scheme == "unix" {
            return socket(rest).map(Self::Unix);
        }
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let authority = uri.authority().ok_or(InvalidEndpoint::Url)?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() || url.contains('#') {
            return Err(InvalidEndpoint::Url);
        }
        let host = authority.host().to_owned();
        if scheme == "https" {
            let name = ServerName::try_from(without_brackets(&host)).map_err(|_| InvalidEndpoint::Url)?;
            return Ok(Self::Https { host, port: port(authority, 443)?, name });
        }
        let address = without_brackets(&host).parse::<std::net::IpAddr>();
        // `localhost` is resolved and checked when a connection is made.
        let is_localhost = host.eq_ignore_ascii_case("localhost");
        if !address.map_or(is_localhost, |address| address.to_canonical().is_loopback()) {
            return Err(InvalidEndpoint::NeedsTls);
        }
        Ok(Self::Loopback { host, port: port(authority, 80)? })
    }
}

impl Address {
    /// The part of a URL before its path.
    pub(super) fn base(&self) -> String {
        match self {
            Self::Unix(_) => "http://localhost".to_owned(),
            _ => self.to_string(),
        }
    }

    /// The host's name or address, without brackets; `None` for a Unix socket.
    pub(super) fn host(&self) -> Option<String> {
        match self {
            Self::Https { host, .. } | Self::Loopback { host, .. } => Some(without_brackets(host)),
            Self::Unix(_) => None,
        }
    }

    /// The name of a host that may have several addresses, each of another machine. `localhost` is one machine.
    pub(super) fn shared_name(&self) -> Option<&str> {
        match self {
            Self::Https { host, name: ServerName::DnsName(_), .. } if !host.eq_ignore_ascii_case("localhost") => {
                Some(host)
            }
            _ => None,
        }
    }

    /// Whether this name and port are those of the address.
    pub(super) fn is_at(&self, name: &str, port: u16) -> bool {
        self.shared_name() == Some(name) && matches!(self, Self::Https { port: own, .. } if *own == port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https { host, port, .. } => write!(f, "https://{host}:{port}"),
            Self::Loopback { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The port of an authority, or `default` if it has no colon. The crate `http` accepts any text after the colon, and
/// then reports no port.
fn port(authority: &Authority, default: u16) -> Result<u16, InvalidEndpoint> {
    let behind_host = authority.as_str().get(authority.host().len()..).ok_or(InvalidEndpoint::Url)?;
    if behind_host.is_empty() {
        return Ok(default);
    }
    let digits = behind_host.strip_prefix(':').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port != 0);
    port.ok_or(InvalidEndpoint::Port)
}

/// The path of a Unix socket, which has a lower length limit than other paths.
fn socket(path: &str) -> Result<PathBuf, InvalidEndpoint> {
    if path.is_empty() {
        return Err(InvalidEndpoint::Url);
    }
    #[cfg(unix)]
    std::os::unix::net::SocketAddr::from_pathname(path).map_err(|_| InvalidEndpoint::SocketPath)?;
    Ok(path.into())
}

/// Removes the brackets around an IPv6 address in a URL.
pub(super) fn without_brackets(host: &str) -> String {
    host.trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    #[test]
    fn an_address_is_local_or_needs_tls() {
        for url in [
            "http://127.0.0.1:8420",
            "http://127.9.9.9:1",
            "http://[::1]:8420",
            "http://localhost:8420",
            "https://storage.example:8421",
            "https://192.0.2.1:8421",
            "https://[2001:db8::1]:65535",
            "unix:/run/strongroom.sock",
            "unix:relative.sock",
        ] {
            assert_eq!(Endpoint::new(url).unwrap().to_string(), url);
        }
        for (url, shown) in [
            ("https://a.example/", "https://a.example:443"),
            ("http://127.0.0.1", "http://127.0.0.1:80"),
            ("http://[::1]/", "http://[::1]:80"),
            ("HTTPS://a.example:1", "https://a.example:1"),
            ("http://LOCALHOST:1", "http://LOCALHOST:1"),
            ("Unix:/s", "unix:/s"),
        ] {
            assert_eq!(Endpoint::new(url).unwrap().to_string(), shown);
        }
        for url in ["http://192.0.2.1:8420", "http://localhost.example:8420", "http://0.0.0.0:1", "http://[::]:1"] {
            assert!(matches!(Endpoint::new(url), Err(InvalidEndpoint::NeedsTls)), "{url}");
        }
    }

    #[test]
    fn an_invalid_address_is_refused() {
        for url in [
            "",
            "unix:",
            "records.db",
            "ftp://a.example",
            "https:",
            "https://",
            "https:/a.example",
            "https:a.example",
            "https:///a.example",
            "https://user:pass@a.example",
            "https://user@a.example",
            "https://a.example/prefix",
            "https://a.example//",
            "https://a.example/?q",
            "https://a.example?",
            "https://a.example/#f",
            "https://a.example#",
            "https://a b",
            "https://a%2eexample",
            "https://a.example%00",
            "https://[::1",
            "https://::1",
            "https://[fe80::1%25eth0]:1",
            "https://:443",
            "https://a.example:1:2",
            " https://a.example",
            "https://a.example ",
            "https://a.example\n",
            "https://a_.example\\b",
        ] {
            assert!(matches!(Endpoint::new(url), Err(InvalidEndpoint::Url | InvalidEndpoint::Port)), "{url:?}");
        }
    }

    /// None of these texts means the default port.
    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for place in ["https://a.example", "http://127.0.0.1", "http://[::1]", "https://[2001:db8::1]"] {
            for port in
                [":", ":0", ":00", ":65536", ":99999", ":4294967376", ":+80", ":-80", ":8o", ":0x50", ":80a", ":٣"]
            {
                let url = format!("{place}{port}");
                assert!(matches!(Endpoint::new(&url), Err(InvalidEndpoint::Port | InvalidEndpoint::Url)), "{url}");
                assert!(matches!(Endpoint::new(&(url + "/")), Err(InvalidEndpoint::Port | InvalidEndpoint::Url)));
            }
        }
        assert!(matches!(Endpoint::new("http://127.0.0.1:99999"), Err(InvalidEndpoint::Port)));
    }

    #[cfg(unix)]
    #[test]
    fn a_sockets_path_fits() {
        for path in ["/a\0b", &"x".repeat(109)] {
            assert!(matches!(Endpoint::new(&format!("unix:{path}")), Err(InvalidEndpoint::SocketPath)));
        }
    }
}
