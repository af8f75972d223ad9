//! Bearer tokens. Services keep only their hashes, so that a copy of the file of tokens reveals no token.

pub(crate) mod authentication;
pub(crate) mod bound_namespace;
pub(crate) mod hashes;
pub(crate) mod new_token;
pub(crate) mod scope;
mod token_name;
pub(crate) mod uses;
