//! Conversion of texts to C's characters.

use std::ffi::c_char;

/// A text in C's characters, without a NUL byte at its end.
pub(crate) fn c_chars(text: &str) -> impl Iterator<Item = c_char> {
    text.bytes().map(|byte| c_char::from_le_bytes([byte]))
}
