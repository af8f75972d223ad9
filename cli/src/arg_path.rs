//! The parser of paths on the command line, which rejects keys and tokens.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use strongroom::protocol::secret_text::{is_in_path, looks_like_secret};

/// A parser of paths. It rejects a key or a token, which messages about a missing file would show.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if is_in_path(&path) {
            Err("a key or a token is never an argument, because other users can read it there: put it in a file")
        } else {
            Ok(path)
        }
    })
}

/// Whether `text` is a key or a token, or one with a typo.
pub(crate) fn looks_like_key(text: &OsStr) -> bool {
    looks_like_secret(text.as_encoded_bytes())
}
