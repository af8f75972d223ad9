//! The hosts that a request may name. A web page can send requests to a loopback address through its own host name (DNS
//! rebinding); such requests are detected by that name.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Version;
use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

use crate::config::address::ListenAddress;
use crate::config::document::Config;
use crate::problem::Problem;

/// The hosts that requests on one connection may name.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// Any host: for a Unix socket, which no web page can reach, and for TLS, whose client has checked the certificate.
    Any,
    /// `localhost`, loopback addresses and these names, in lower case.
    LoopbackAnd(Arc<[String]>),
}

impl Hosts {
    pub(crate) fn new(address: &ListenAddress, config: &Config) -> Self {
        match config.tls.is_some() && config.names.is_empty() {
            true => Self::Any,
            false => Self::without_tls(address, config),
        }
    }

    /// For a listener that has no TLS, although others may have it.
    pub(crate) fn without_tls(address: &ListenAddress, config: &Config) -> Self {
        match address {
            ListenAddress::Unix(_) => Self::Any,
            ListenAddress::Tcp(_) => Self::LoopbackAnd(config.names.iter().map(|name| canonical(name)).collect()),
        }
    }

    /// Fails if the target or the header names another host, or if the host is missing where HTTP requires one.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), Problem> {
        let mut headers = head.headers.get_all(HOST).iter();
        let header = match (headers.next(), headers.next()) {
            (header, None) => header,
            _ => return Err(Problem::bad_request("Host is given twice")),
        };
        let header = header.map(|value| Authority::try_from(value.as_bytes())).transpose();
        let header = header.map_err(|_| Problem::bad_request("Host is not a host and port"))?;
        let named = [head.uri.authority(), header.as_ref()];
        if named == [None, None] && head.version > Version::HTTP_10 {
            return Err(Problem::bad_request("Host is missing"));
        }
        let is_ours = |authority: &Authority| match self {
            Self::Any => true,
            Self::LoopbackAnd(names) => !authority.as_str().contains('@') && is_known(authority.host(), names),
        };
        if named.into_iter().flatten().all(is_ours) { Ok(()) } else { Err(Problem::misdirected()) }
    }
}

fn is_known(host: &str, names: &[String]) -> bool {
    let host = canonical(host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.to_canonical().is_loopback()) || host == "localhost" || names.contains(&host)
}

/// In lower case, and without the dot of a fully qualified name.
fn canonical(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check(hosts: &Hosts, target: &str, headers: &[&str], version: Version) -> u16 {
        let mut request = Request::builder().uri(target).version(version);
        for header in headers {
            request = request.header(HOST, *header);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        hosts.check(&head).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_loopback_and_configured_names_are_hosts() {
        let tcp: ListenAddress = "127.0.0.1:8420".parse().unwrap();
        let config = Config { names: vec!["Strongroom.Internal".into()], ..Config::default() };
        let hosts = Hosts::new(&tcp, &config);
        for host in [
            "localhost",
            "LOCALHOST:8420",
            "localhost.",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8420",
            "[::ffff:127.0.0.1]",
            "strongroom.internal:80",
        ] {
            assert_eq!(check(&hosts, "/", &[host], Version::HTTP_11), 200, "{host}");
            assert_eq!(check(&hosts, &format!("http://{host}/"), &[], Version::HTTP_2), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8420",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "0.0.0.0",
            "x@localhost",
            "strongroom",
            "[::]",
        ] {
            assert_eq!(check(&hosts, "/", &[host], Version::HTTP_11), 421, "{host}");
            assert_eq!(check(&hosts, "/", &[host], Version::HTTP_10), 421, "{host}");
            assert_eq!(check(&hosts, &format!("http://{host}/"), &["localhost"], Version::HTTP_11), 421, "{host}");
            assert_eq!(check(&hosts, "http://localhost/", &[host], Version::HTTP_2), 421, "{host}");
        }
        assert_eq!(check(&hosts, "/", &[], Version::HTTP_10), 200, "as curl --http1.0 and scripts do");
    }

    #[test]
    fn without_tls_and_unix_sockets_no_other_host_is_accepted() {
        let [tcp, unix] = ["127.0.0.1:1", "unix:/x"].map(|address| address.parse::<ListenAddress>().unwrap());
        let plain = Config::default();
        let with_tls = Config::from_toml("[tls]\ncertificate = \"c\"\nkey = \"k\"").unwrap();
        let named = Config { names: vec!["a.example".into()], ..with_tls.clone() };
        let status = |address, config, host| check(&Hosts::new(address, config), "/", &[host], Version::HTTP_11);
        assert_eq!(status(&tcp, &plain, "a.example"), 421);
        assert_eq!(status(&unix, &plain, "a.example"), 200);
        assert_eq!(status(&tcp, &with_tls, "b.example"), 200);
        assert_eq!(status(&tcp, &named, "a.example"), 200);
        assert_eq!(status(&tcp, &named, "b.example"), 421);
        for hosts in [Hosts::Any, Hosts::new(&tcp, &named)] {
            assert_eq!(check(&hosts, "/", &[], Version::HTTP_11), 400);
            assert_eq!(check(&hosts, "/", &[], Version::HTTP_2), 400);
            assert_eq!(check(&hosts, "/", &["localhost", "localhost"], Version::HTTP_11), 400);
            assert_eq!(check(&hosts, "/", &["local host"], Version::HTTP_11), 400);
        }
    }
}
