//! Addresses to listen on, and the mode of Unix sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom::protocol::secret_text;

/// An address to listen on: `127.0.0.1:8420`, `[::1]:8420` or `unix:/run/strongroom.sock`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// An IP address and a port; port 0 means any free port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only users of this machine can connect.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// A text is not an address to listen on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "an address must be an IP address with a port, such as 127.0.0.1:8420 or [::1]:8420, or unix:/path/of/a/socket"
)]
pub struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || secret_text::is_in_path(path.as_ref()) => Err(InvalidListenAddress),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidListenAddress),
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListenAddress;

    fn try_from(text: String) -> Result<Self, InvalidListenAddress> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        match address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// A Unix socket's permission bits, in octal as for `chmod`. Users with write permission may connect.
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
        self.0 & 0o002 != 0 // connecting requires write permission
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o600)
    }
}

/// A text is not the mode of a Unix socket.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a socket's mode must be three or four octal digits that let its owner read and write, such as 0600 or 0660")]
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
