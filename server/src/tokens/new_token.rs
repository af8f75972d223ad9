//! Generation of tokens.

use std::sync::Arc;

use strongroom::protocol::secret_text::{self, SecretKind};
use zeroize::Zeroizing;

use super::bound_namespace::BoundNamespace;
use super::hashes::EXPIRES;
use super::scope::Scope;
use super::token_name;
use crate::random::random;

/// A new token, and the line that makes a service accept it.
#[derive(Debug)]
pub struct NewToken {
    text: Zeroizing<String>,
    scopes: Vec<Scope>,
    name: Option<Arc<str>>,
    expires_at: Option<u64>,
    namespace: Option<BoundNamespace>,
}

impl NewToken {
    /// A token of 32 random bytes.
    ///
    /// # Errors
    ///
    /// If the operating system provides no random bytes.
    pub fn generate(scopes: Vec<Scope>) -> Result<Self, strongroom::RandomError> {
        let bytes = Zeroizing::new(random()?);
        let text = secret_text::encode(SecretKind::Token, &bytes);
        Ok(Self { text, scopes, name: None, expires_at: None, namespace: None })
    }

    /// Names the token in logs and lists: 1 to 64 letters, digits, `.`, `_` and `-`. `None` for another name.
    #[must_use]
    pub fn named(self, name: &str) -> Option<Self> {
        Some(Self { name: Some(token_name::parse(name)?), ..self })
    }

    /// From this time on (Unix time in seconds), services refuse the token.
    #[must_use]
    pub fn expires_at(self, seconds: u64) -> Self {
        Self { expires_at: Some(seconds), ..self }
    }

    /// Binds the token to a namespace of at most 255 bytes: it then reaches no record of another one.
    #[must_use]
    pub fn bound_to(self, namespace: &[u8]) -> Self {
        Self { namespace: Some(BoundNamespace(namespace.into())), ..self }
    }

    /// The token: `srt1...`, for the client.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line for the services' file of tokens: the text's BLAKE3 hash, the scopes, and the name, the expiry
    /// time and the namespace if there are any.
    #[must_use]
    pub fn line(&self) -> String {
        let scopes: Vec<_> = self.scopes.iter().map(ToString::to_string).collect();
        let name = self.name.as_ref().map_or(String::new(), |name| format!(" {}{name}", token_name::PREFIX));
        let expires = self.expires_at.map_or(String::new(), |seconds| format!(" {EXPIRES}{seconds}"));
        let namespace = self.namespace.as_ref().map_or(String::new(), |namespace| format!(" {}", namespace.text()));
        format!("{} {}{name}{expires}{namespace}", blake3::hash(self.text.as_bytes()).to_hex(), scopes.join(","))
    }
}
