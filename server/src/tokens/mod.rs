//! Bearer tokens: services know their hashes alone, so that a copy of the file of tokens shows none.

pub(crate) mod authentication;
pub(crate) mod hashes;
pub(crate) mod new_token;
pub(crate) mod scope;
