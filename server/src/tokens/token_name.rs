//! The name of a token, for logs and lists.

use std::sync::Arc;

/// Before the name, in a line of the file of tokens.
pub(super) const PREFIX: &str = "name=";

/// The most letters of a name.
const MAX_LEN: usize = 64;

/// A name of letters, digits, `.`, `_` and `-`; `None` if it is not one.
pub(super) fn parse(text: &str) -> Option<Arc<str>> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(is_valid)).then(|| text.into())
}
