//! Reading the file with a client's token for a service.

use std::fs::File;
use std::path::Path;

use zeroize::Zeroizing;

use super::invalid_endpoint::InvalidEndpoint;
use crate::util::trusted_file::read_checked;

/// The most bytes that are read: a token's text and some white space around it.
const MAX_BYTES: usize = 1024;

/// The text in the file at `path`, if no other user could have changed or read it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, InvalidEndpoint> {
    let unreadable = |source| InvalidEndpoint::File { what: "token", path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let text = read_checked("the token's file", path, file, None, MAX_BYTES + 1);
    let text = text.map_err(|refused| unreadable(refused.into()))?;
    let is_short = text.len() <= MAX_BYTES;
    let text = str::from_utf8(&text).ok().filter(|_| is_short).ok_or(InvalidEndpoint::Token { found: None })?;
    Ok(Zeroizing::new(text.to_owned()))
}
