//! The parsers of untrusted input that the fuzz targets call. Not for other programs.

use hyper::header::HeaderValue;
use strongroom::protocol::range::RangeSpec;
use strongroom::protocol::token;

pub use crate::cluster::open_any_datagram as datagram;
use crate::conditions::Tags;
use crate::tokens::hashes::TokenHashes;

/// The lines of a file of tokens.
pub fn token_hashes(file: &str) {
    let _ = TokenHashes::parse(file);
}

/// A header's value, as a range, a condition and a token.
pub fn headers(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let _ = RangeSpec::parse(&value).and_then(|range| range.within(1000));
    let _ = Tags::of([&value], true);
    let _ = token::shown_token(&value);
}
