//! Texts of the protocol.

use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::HeaderMap;
use hyper::header::{CONTENT_LENGTH, ETAG, HeaderValue};
use serde_json::Value;

use crate::storage::{Entry, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator, Verified};

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A head as an `ETag`.
pub(super) fn etag(head: &Head) -> HeaderValue {
    let text = format!("\"{}\"", base64(head.as_bytes()));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\"")) // base64 is a header's text
}

/// The head in an `ETag`.
pub(super) fn head(headers: &HeaderMap) -> Option<Head> {
    head_of(headers.get(ETAG)?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?)
}

fn head_of(text: &str) -> Option<Head> {
    let mut bytes = [0; HEAD_LEN];
    let len = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
    (len == HEAD_LEN).then_some(Head::of(&bytes)).flatten()
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The lines of a page.
pub(super) fn entries(body: &[u8]) -> Option<Vec<Entry>> {
    let page: Value = serde_json::from_slice(body).ok()?;
    let entry = |line: &Value| {
        let info = Info { head: head_of(line.get("head")?.as_str()?)?, len: line.get("bytes")?.as_u64()? };
        Some(Entry { locator: locator(line.get("locator")?)?, info })
    };
    page.get("records")?.as_array()?.iter().map(entry).collect()
}

fn locator(value: &Value) -> Option<Locator> {
    from_hex::<LOCATOR_LEN>(value.as_str()?).map(Locator::from_bytes)
}

pub(super) fn verified(body: &[u8]) -> Option<Verified> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let next = match body.get("next")? {
        Value::Null => None,
        next => Some(locator(next)?),
    };
    Some(Verified {
        records: body.get("records")?.as_u64()?,
        bytes: body.get("bytes")?.as_u64()?,
        damaged: body.get("damaged")?.as_array()?.iter().map(locator).collect::<Option<_>>()?,
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 8).unwrap());
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        for wrong in ["", "0", "zz", "0g"] {
            assert_eq!(from_hex::<1>(wrong), None);
        }
        let version = Head::of(&[0xfb; HEAD_LEN]).unwrap();
        let headers = HeaderMap::from_iter([(ETAG, etag(&version))]);
        assert_eq!(head(&headers), Some(version));
        for wrong in ["", "\"\"", "abc", "\"YWJj\"", "W/\"YWJj\""] {
            let headers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static(wrong))]);
            assert_eq!(head(&headers), None);
        }
    }
}
