//! Parsing of requests: locators, ranges, queries and JSON.

use std::str::FromStr;

use hyper::header::HeaderValue;
use serde::Deserialize;
use serde_json::error::Category;
use strongroom::protocol::range::RangeSpec;
use strongroom::storage::Locator;

use crate::problem::Problem;

pub(crate) fn locator(text: &str) -> Result<Locator, Problem> {
    Locator::from_hex(text).ok_or_else(|| Problem::bad_request("a locator must be 64 lower-case hex digits"))
}

/// A number in a query or a header.
pub(crate) fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::bad_request(format!("{name} must be a number")))
}

/// The part of `len` bytes that a `Range` requests: its first byte and its length. `None` if the header must be ignored
/// (RFC 9110 section 14.2).
pub(crate) fn range(range: &HeaderValue, len: u64) -> Result<Option<(u64, u64)>, Problem> {
    let Some(range) = RangeSpec::parse(range) else { return Ok(None) };
    range.within(len).map(Some).ok_or_else(|| Problem::no_such_range(len))
}

/// The pairs of a query. No name or value here needs an escape.
pub(crate) fn query(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The JSON object in a body. An array of the fields' values, which serde also accepts, is an error.
pub(crate) fn object<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    const OTHER_FIELDS: &str = "the body does not have the fields of the operation";
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request(OTHER_FIELDS));
    }
    // Serde's message may quote the input.
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Problem::bad_request(OTHER_FIELDS),
        _ => Problem::bad_request("the body is not JSON"),
    })
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn a_range_behind_the_end_is_an_error_and_one_that_is_not_valid_is_ignored() {
        let range = |text| range(&HeaderValue::from_static(text), 10).map_err(|problem| problem.status);
        assert_eq!(range("bytes=2-5"), Ok(Some((2, 4))));
        assert_eq!(range("bytes=10-"), Err(StatusCode::RANGE_NOT_SATISFIABLE));
        assert_eq!(range("bytes=5-2"), Ok(None));
    }
}
