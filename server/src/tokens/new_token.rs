//! Generation of tokens.

use strongroom::protocol::secret_text::{self, SecretKind};
use zeroize::Zeroizing;

use super::bound_namespace::BoundNamespace;
use super::scope::Scope;
use crate::random::random;

/// A new token, and the line that makes a service accept it.
#[derive(Debug)]
pub struct NewToken {
    text: Zeroizing<String>,
    scopes: Vec<Scope>,
    namespace: Option<BoundNamespace>,
}

impl NewToken {
    /// A token of 32 random bytes.
    ///
    /// # Errors
    ///
    /// If the operating system provides no random bytes.
    pub fn generate(scopes: Vec<Scope>) -> Result<Self, rand::rngs::SysError> {
        let bytes = Zeroizing::new(random()?);
        Ok(Self { text: secret_text::encode(SecretKind::Token, &bytes), scopes, namespace: None })
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

    /// The line for the services' file of tokens: the text's BLAKE3 hash, the scopes, and the namespace if there is one.
    #[must_use]
    pub fn line(&self) -> String {
        let scopes: Vec<_> = self.scopes.iter().map(ToString::to_string).collect();
        let namespace = self.namespace.as_ref().map_or(String::new(), |namespace| format!(" {}", namespace.text()));
        format!("{} {}{namespace}", blake3::hash(self.text.as_bytes()).to_hex(), scopes.join(","))
    }
}
