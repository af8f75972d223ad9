//! The options of the connection to a service, the same for each interface.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// The options of the connection to a service, and the credentials for it. All are optional; `Location::with_options`
/// and `Endpoint::with_options` check them.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// The token to send, `srt1...`.
    pub token: Option<Zeroizing<String>>,
    /// A file with the token, instead of `token`.
    pub token_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust, in PEM, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// A file with the client certificate and its intermediate certificates, in PEM.
    pub client_certificate: Option<PathBuf>,
    /// A file with the client certificate's private key, in PEM.
    pub client_key: Option<PathBuf>,
    /// A file with certificate revocation lists, in PEM.
    pub revocations: Option<PathBuf>,
    /// The time limit of a call until its answer begins.
    pub timeout: Option<Duration>,
}

impl EndpointOptions {
    /// Whether no option is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Never shows the token.
impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, token_file, authorities, client_certificate, client_key, revocations, timeout } = self;
        f.debug_struct("EndpointOptions")
            .field("token", &token.as_ref().map(|_| ".."))
            .field("token_file", token_file)
            .field("authorities", authorities)
            .field("client_certificate", client_certificate)
            .field("client_key", client_key)
            .field("revocations", revocations)
            .field("timeout", timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let options = EndpointOptions { token: Some("srt1secret".to_owned().into()), ..EndpointOptions::default() };
        assert!(!options.is_empty() && EndpointOptions::default().is_empty());
        assert!(format!("{options:?}").contains("token: Some(\"..\")"), "{options:?}");
    }
}
