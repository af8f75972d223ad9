//! Scopes: the permissions of a token. `handle.rs` checks them before each request.

use std::fmt;
use std::str::FromStr;

/// A permission of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Scope {
    /// To store, replace, rekey and look for ids.
    Store,
    /// To retrieve.
    Retrieve,
    /// To take: to retrieve and remove at once.
    Take,
    /// To delete, erase, purge and count.
    Erase,
    /// All operations of the storage service.
    Storage,
    /// To see the page for operators.
    Monitor,
}

pub(super) const SCOPES: [(&str, Scope); 6] = [
    ("store", Scope::Store),
    ("retrieve", Scope::Retrieve),
    ("take", Scope::Take),
    ("erase", Scope::Erase),
    ("storage", Scope::Storage),
    ("monitor", Scope::Monitor),
];

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SCOPES.iter().find_map(|(name, scope)| (scope == self).then_some(*name));
        f.write_str(name.unwrap_or_default())
    }
}

/// A text is not a scope.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a scope must be store, retrieve, take, erase, storage or monitor")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        SCOPES.iter().find_map(|(name, scope)| (*name == text).then_some(*scope)).ok_or(InvalidScope)
    }
}
