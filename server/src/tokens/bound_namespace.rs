//! The namespace to which a token or a client certificate is bound.

use std::sync::Arc;

use strongroom::protocol::base64url;

/// The only namespace that a client reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundNamespace(pub(crate) Arc<[u8]>);

/// Before the name, in a line of the file of tokens.
pub(super) const PREFIX: &str = "namespace=";

impl BoundNamespace {
    /// `None` if the name is too long.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        (name.len() <= MAX_LEN).then(|| Self(name.into()))
    }

    /// `namespace=`, and the name in base64url: a name may have any bytes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::new(&base64url::decode(text.strip_prefix(PREFIX)?)?)
    }

    pub(super) fn text(&self) -> String {
        format!("{PREFIX}{}", base64url::encode(&self.0))
    }
}

/// The most bytes of a namespace.
const MAX_LEN: usize = 255;
