//! The parsers of untrusted input that the fuzz targets call. Not for other programs.

use hyper::header::{HeaderMap, HeaderValue};
use strongroom::protocol::names::STRONGROOM_CODE;
use strongroom::protocol::problem;
use strongroom::protocol::range::RangeSpec;
use strongroom::protocol::token;

pub use crate::cluster::{open_any_datagram as datagram, read_any_values as values};
use crate::conditions::Tags;
use crate::config::document::Config;

/// The checks of a configuration when a service starts.
pub fn check(config: &Config) {
    let _ = (config.cluster.check(), config.limits.unusable());
}

/// A header's value, as a range, a condition, a token and the number of an error.
pub fn headers(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let _ = RangeSpec::parse(&value).and_then(|range| range.within(1000));
    let _ = Tags::of([&value], true);
    let _ = token::shown_token(&value);
    let _ = problem::code_in(&HeaderMap::from_iter([(STRONGROOM_CODE, value)]));
}
