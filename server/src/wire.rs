//! Texts of the protocol: hexadecimal, base64, ranges, queries and JSON.

use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::header::HeaderValue;
use serde::Deserialize;
use serde_json::error::Category;
use strongroom::storage::{Head, Locator};

use crate::problem::Problem;

/// The bytes of lower-case hexadecimal digits.
pub(crate) fn from_hex<const LEN: usize>(text: &[u8]) -> Option<[u8; LEN]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; LEN];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != LEN || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn locator(text: &str) -> Result<Locator, Problem> {
    let bytes = from_hex(text.as_bytes()).map(Locator::from_bytes);
    bytes.ok_or_else(|| Problem::bad_request("a locator is 64 lower-case hex digits"))
}

/// A record's `ETag`.
pub(crate) fn etag(head: &Head) -> String {
    format!("\"{}\"", Base64UrlUnpadded::encode_string(head.as_bytes()))
}

/// The head in an `If-Match`.
pub(crate) fn head(etag: &HeaderValue) -> Result<Head, Problem> {
    let text = etag.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let bytes = text.and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
    let head = bytes.filter(|bytes| bytes.len() == strongroom::storage::HEAD_LEN).and_then(|bytes| Head::of(&bytes));
    head.ok_or_else(|| Problem::bad_request("If-Match is one ETag: 68 bytes in base64url, in double quotes"))
}

/// What of `len` bytes a `Range` asks for: the first and the number of them.
pub(crate) fn range(range: &HeaderValue, len: u64) -> Result<(u64, u64), Problem> {
    parse_range(range, len).ok_or_else(|| Problem::no_such_range(len))
}

fn parse_range(range: &HeaderValue, len: u64) -> Option<(u64, u64)> {
    let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
    };
    let (start, end) = match (first, last) {
        ("", suffix) => (len.saturating_sub(number(suffix)?), len),
        (first, "") => (number(first)?, len),
        (first, last) if number(first)? <= number(last)? => (number(first)?, number(last)?.saturating_add(1).min(len)),
        _ => return None,
    };
    (start < end).then(|| (start, end - start))
}

/// The `Content-Range` of `count` bytes from `start` on, of `len`.
pub(crate) fn content_range(start: u64, count: u64, len: u64) -> String {
    format!("bytes {start}-{}/{len}", start + count - 1)
}

/// The pairs of a query. No name or value here needs an escape.
pub(crate) fn query(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The JSON object in a body. An array of the fields' values, which serde takes as well, is none.
pub(crate) fn object<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    const OTHER_FIELDS: &str = "the body's fields are not those of the operation";
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request(OTHER_FIELDS));
    }
    // What serde says may repeat what it found.
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Problem::bad_request(OTHER_FIELDS),
        _ => Problem::bad_request("the body is no JSON"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_in_one_way_alone() {
        let bytes = [0x00, 0x19, 0xaf, 0xff];
        assert_eq!(to_hex(&bytes), "0019afff");
        assert_eq!(from_hex(b"0019afff"), Some(bytes));
        for wrong in ["0019AFFF", "0019aff", "0019afff0", "0019afff00", "0019affg", "", "+019afff"] {
            assert_eq!(from_hex::<4>(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn ranges() {
        let range = |text: &'static str, len| parse_range(&HeaderValue::from_static(text), len);
        assert_eq!(range("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(range("bytes=2-5", 10), Some((2, 4)));
        assert_eq!(range("bytes=2-", 10), Some((2, 8)));
        assert_eq!(range("bytes=-3", 10), Some((7, 3)));
        assert_eq!(range("bytes=-30", 10), Some((0, 10)));
        assert_eq!(range("bytes=9-18446744073709551615", 10), Some((9, 1)));
        for wrong in ["bytes=10-", "bytes=5-2", "bytes=-0", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "x"]
        {
            assert_eq!(range(wrong, 10), None, "{wrong}");
        }
        assert_eq!(range("bytes=0-", 0), None);
        assert_eq!(content_range(2, 4, 10), "bytes 2-5/10");
    }
}
