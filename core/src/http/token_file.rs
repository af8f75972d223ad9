//! Reading the file with a client's token for a service.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use super::invalid_endpoint::InvalidEndpoint;
use crate::util::trusted_file::read_secret;

/// The text in the file at `path`, if no other user could have changed or read it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, InvalidEndpoint> {
    read_secret("the token's file", path).map_err(|source| match source.kind() {
        ErrorKind::InvalidData => InvalidEndpoint::Token { found: None },
        _ => InvalidEndpoint::File { what: "token", path: path.to_owned(), source },
    })
}
