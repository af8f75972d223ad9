//! The hosts that a client trusts to be services, so that a list from elsewhere cannot send its token to another host.

use std::fmt;
use std::net::IpAddr;

use super::address::Address;
use super::invalid_endpoint::InvalidEndpoint;

/// Names of hosts: `storage.example.org`, an address, or `*.example.org` for all names with one label more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrustedNames(Vec<String>);

impl TrustedNames {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let lower = |name: String| name.trim_matches(['[', ']']).to_ascii_lowercase();
        Self(names.into_iter().map(lower).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), InvalidEndpoint> {
        let is_valid = |name: &String| {
            let name = name.strip_prefix("*.").unwrap_or(name);
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
        };
        if self.0.iter().all(is_valid) { Ok(()) } else { Err(InvalidEndpoint::Name) }
    }

    /// Whether a list may propose this address. Without names, the authorities decide, so only TLS is trusted.
    pub(super) fn allow(&self, address: &Address) -> bool {
        match address.host() {
            None => false, // another machine's socket
            Some(_) if self.0.is_empty() => matches!(address, Address::Https { .. }),
            Some(host) => {
                let host = host.to_ascii_lowercase();
                let parent = host.split_once('.').map(|(_, parent)| parent);
                self.0.iter().any(|name| match name.strip_prefix("*.") {
                    Some(suffix) => parent == Some(suffix) && host.parse::<IpAddr>().is_err(),
                    None => *name == host,
                })
            }
        }
    }
}

impl fmt::Display for TrustedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(names: &[&str], url: &str) -> bool {
        let names = TrustedNames::new(names.iter().map(|name| (*name).to_owned()));
        names.check().unwrap();
        names.allow(&Address::parse(url).unwrap())
    }

    #[test]
    fn a_pattern_stands_for_one_label() {
        let names = ["one.example.org", "*.Storage.example", "127.0.0.1", "[::1]", "*.0.0.9"];
        for url in [
            "https://one.example.org:1",
            "https://ONE.example.org",
            "https://a.storage.example",
            "http://127.0.0.1:1",
            "https://[::1]:1",
        ] {
            assert!(allows(&names, url), "{url}");
        }
        for url in [
            "https://two.example.org",
            "https://one.example.org.evil.example",
            "https://evil-one.example.org",
            "https://storage.example",
            "https://a.b.storage.example",
            "https://astorage.example",
            "https://127.0.0.2",
            "https://127.0.0.9",
            "http://localhost:1",
            "unix:/run/one.example.org",
        ] {
            assert!(!allows(&names, url), "{url}");
        }
        assert!(allows(&[], "https://any.example") && !allows(&[], "http://127.0.0.1:1") && !allows(&[], "unix:/s"));
    }

    #[test]
    fn an_invalid_pattern_is_refused() {
        for name in ["", "*", "*.", "a.*.example", "**.example", "https://a.example", "a b", "*.*.example"] {
            let names = TrustedNames::new([name.to_owned()]);
            assert!(matches!(names.check(), Err(InvalidEndpoint::Name)), "{name:?}");
        }
    }
}
