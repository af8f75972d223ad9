//! Texts of the protocol.

use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::HeaderMap;
use hyper::header::{CONTENT_LENGTH, ETAG, HeaderValue};
use serde_json::Value;

use crate::storage::{Entry, HEAD_LEN, Head, LOCATOR_LEN, Locator};

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

/// A head as an `ETag`.
pub(super) fn etag(head: &Head) -> HeaderValue {
    let text = format!("\"{}\"", Base64UrlUnpadded::encode_string(head.as_bytes()));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\"")) // base64 is a header's text
}

/// The head in an `ETag`.
pub(super) fn head(headers: &HeaderMap) -> Option<Head> {
    let text = headers.get(ETAG)?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
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
        let locator: [u8; LOCATOR_LEN] = from_hex(line.get("locator")?.as_str()?)?;
        Some(Entry { locator: Locator::from_bytes(locator), len: line.get("bytes")?.as_u64()? })
    };
    page.get("records")?.as_array()?.iter().map(entry).collect()
}

pub(super) fn check_value(body: &[u8]) -> Option<[u8; 16]> {
    let body: Value = serde_json::from_slice(body).ok()?;
    from_hex(body.get("check_value")?.as_str()?)
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
