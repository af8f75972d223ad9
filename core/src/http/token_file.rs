//! Reading the file with a client's token for a service.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::invalid_endpoint::InvalidEndpoint;

/// The most bytes that are read: a token's text and some white space around it.
const MAX_BYTES: usize = 1024;

/// The text in the file at `path`.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, InvalidEndpoint> {
    let unreadable = |source| InvalidEndpoint::File { what: "token", source };
    let file = File::open(path).map_err(unreadable)?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    let is_short = text.len() <= MAX_BYTES;
    let text = str::from_utf8(&text).ok().filter(|_| is_short).ok_or(InvalidEndpoint::Token { found: None })?;
    Ok(Zeroizing::new(text.to_owned()))
}
