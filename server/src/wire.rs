//! Texts of the protocol: hexadecimal, base64, ranges, queries and JSON.

use std::str::FromStr;

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

/// A number in a query.
pub(crate) fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::bad_request(format!("{name} is a number")))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// A record's `ETag`.
pub(crate) fn etag(head: &Head) -> String {
    format!("\"{}\"", base64(head.as_bytes()))
}

/// The entity tags of an `If-Match` or `If-None-Match` (RFC 9110 section 13.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever is there.
    Any,
    /// Those that can be a record's: no other matches anything.
    Heads(Vec<Head>),
}

impl Tags {
    /// Those of all headers of one name; nothing where there is none. Weak tags are only compared where `weak`.
    pub(crate) fn of<'h>(
        values: impl IntoIterator<Item = &'h HeaderValue>,
        weak: bool,
    ) -> Result<Option<Self>, Problem> {
        let invalid = || Problem::bad_request("a list of ETags, each in double quotes, or * is expected");
        let mut tags = None;
        for value in values {
            let mut rest = value.to_str().map_err(|_| invalid())?.trim();
            match (&mut tags, rest) {
                (None, "*") => tags = Some(Self::Any),
                (Some(_), "*") | (Some(Self::Any), _) => return Err(invalid()),
                (None | Some(Self::Heads(_)), _) => {
                    let Self::Heads(heads) = tags.get_or_insert(Self::Heads(Vec::new())) else { return Err(invalid()) };
                    while !rest.is_empty() {
                        let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
                        let (opaque, after) =
                            tag.strip_prefix('"').and_then(|tag| tag.split_once('"')).ok_or_else(invalid)?;
                        heads.extend(head(opaque).filter(|_| weak || !is_weak));
                        let after = after.trim_start();
                        rest = match after.strip_prefix(',') {
                            Some(after) => after.trim_start_matches([',', ' ', '\t']),
                            None if after.is_empty() => after,
                            None => return Err(invalid()),
                        };
                    }
                }
            }
        }
        Ok(tags)
    }

    /// Whether a record with this head is one of them, or that there is none.
    pub(crate) fn matches(&self, there: Option<&Head>) -> bool {
        match self {
            Self::Any => there.is_some(),
            Self::Heads(heads) => there.is_some_and(|there| heads.contains(there)),
        }
    }
}

/// The head in an entity tag, without its quotes.
pub(crate) fn head(tag: &str) -> Option<Head> {
    let bytes = from_base64(tag)?;
    if bytes.len() == strongroom::storage::HEAD_LEN { Head::of(&bytes) } else { None }
}

/// Whether an `If-Range` is the record's own tag: a date is none, since there are no dates here.
pub(crate) fn range_applies(if_range: Option<&HeaderValue>, etag: Option<&str>) -> bool {
    if_range.is_none_or(|value| etag.is_some_and(|etag| value.as_bytes().trim_ascii() == etag.as_bytes()))
}

/// The part of `len` bytes that a `Range` asks for: the first byte and the number of them. Nothing where it is to
/// be ignored: another unit, no valid range, or more than one (RFC 9110 section 14.2).
pub(crate) fn range(range: &HeaderValue, len: u64) -> Result<Option<(u64, u64)>, Problem> {
    let Some((first, last)) = parse_range(range) else { return Ok(None) };
    let (start, end) = match (first, last) {
        (None, suffix) => (len.saturating_sub(suffix.unwrap_or(0)), len),
        (Some(first), None) => (first, len),
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(len)),
    };
    if start < end { Ok(Some((start, end - start))) } else { Err(Problem::no_such_range(len)) }
}

/// The first and the last byte; without the first, the last is the number of bytes at the end.
fn parse_range(range: &HeaderValue) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, ranges) = range.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    // A number that no counter holds is beyond the end of any record.
    let number = |text: &str| match text {
        "" => Some(None),
        text if text.bytes().all(|digit| digit.is_ascii_digit()) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    let (first, last) = range.split_once('-')?;
    match (number(first)?, number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
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
    use hyper::StatusCode;

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
        let range =
            |text: &'static str, len| range(&HeaderValue::from_static(text), len).map_err(|problem| problem.status);
        let some = |start, count| Ok(Some((start, count)));
        assert_eq!(range("bytes=0-0", 10), some(0, 1));
        assert_eq!(range("bytes=2-5", 10), some(2, 4));
        assert_eq!(range("Bytes=2-", 10), some(2, 8));
        assert_eq!(range("bytes=-3", 10), some(7, 3));
        assert_eq!(range("bytes=-30", 10), some(0, 10));
        assert_eq!(range("bytes=9-99999999999999999999999", 10), some(9, 1));
        assert_eq!(range("bytes= ,2-5 ,", 10), some(2, 4));
        for beyond in ["bytes=10-", "bytes=10-11", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(range(beyond, 10), Err(StatusCode::RANGE_NOT_SATISFIABLE), "{beyond}");
        }
        assert_eq!(range("bytes=0-", 0), Err(StatusCode::RANGE_NOT_SATISFIABLE));
        for ignored in ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=1", "x", ""] {
            assert_eq!(range(ignored, 10), Ok(None), "{ignored}");
        }
        assert_eq!(content_range(2, 4, 10), "bytes 2-5/10");
    }

    #[test]
    fn tags() {
        let heads = [1, 2, 3].map(|byte| Head::of(&[byte; 68]).unwrap());
        let [one, two, three] = heads.map(|head| etag(&head));
        let tags = |texts: &[&str], weak| {
            let values: Vec<_> = texts.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
            Tags::of(&values, weak).map_err(|problem| problem.status)
        };
        let some = |heads: &[Head]| Ok(Some(Tags::Heads(heads.to_vec())));
        assert_eq!(tags(&[], false), Ok(None));
        assert_eq!(tags(&["*"], false), Ok(Some(Tags::Any)));
        assert_eq!(tags(&[&one], false), some(&heads[..1]));
        assert_eq!(tags(&[&format!("{one} ,, {two}"), &three], false), some(&heads));
        assert_eq!(tags(&[&format!("W/{one}, {two}")], false), some(&heads[1..2]));
        assert_eq!(tags(&[&format!("W/{one}, {two}")], true), some(&heads[..2]));
        assert_eq!(tags(&["\"another's\", \"\""], false), some(&[]));
        for wrong in ["x", "\"x", "\"a\" \"b\"", "*, *", "w/\"x\""] {
            assert_eq!(tags(&[wrong], false), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
        assert_eq!(tags(&["*", "*"], false), Err(StatusCode::BAD_REQUEST));
        assert_eq!(tags(&["*", &one], false), Err(StatusCode::BAD_REQUEST));
        assert!(Tags::Any.matches(Some(&heads[0])) && !Tags::Any.matches(None));
    }

    #[test]
    fn if_range_is_the_records_tag_or_the_range_is_ignored() {
        let value = HeaderValue::from_static("\"a\"");
        assert!(range_applies(None, None) && range_applies(Some(&value), Some("\"a\"")));
        for other in ["\"b\"", "W/\"a\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert!(!range_applies(Some(&HeaderValue::from_static(other)), Some("\"a\"")), "{other}");
        }
        assert!(!range_applies(Some(&value), None));
    }
}
