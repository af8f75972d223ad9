//! Base64url without padding (RFC 4648 section 5): ids in headers, entity tags, heads and settings in JSON.

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

/// An id as the text of a header, wiped on drop.
#[must_use]
pub fn encode_id(id: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(encode(id))
}

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// The bytes of a text.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// A record's entity tag, its quotes included: the record's head.
#[must_use]
pub fn encode_etag(head: &[u8]) -> String {
    format!("\"{}\"", encode(head))
}

/// The head in an entity tag without its quotes; `None` for a tag of another length, which is not a record's.
#[must_use]
pub fn decode_tag<const LEN: usize>(tag: &str) -> Option<[u8; LEN]> {
    decode(tag)?.try_into().ok()
}

/// The head in a strong entity tag.
#[must_use]
pub fn decode_etag<const LEN: usize>(etag: &str) -> Option<[u8; LEN]> {
    decode_tag(etag.strip_prefix('"')?.strip_suffix('"')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let head = [0xfb; 68];
        assert_eq!(decode_etag(&encode_etag(&head)), Some(head));
        for wrong in ["", "\"", "\"\"", "abc", "\"YWJj\"", "W/\"YWJj\"", "\"YWJj=\""] {
            assert_eq!(decode_etag::<68>(wrong), None, "{wrong}");
        }
        assert_eq!(decode_etag("\"YWJj\""), Some(*b"abc"));
        assert_eq!(decode(&encode_id(b"\xfb\xff")), Some(b"\xfb\xff".to_vec()));
        for wrong in ["+_8", "YQ==", "Y", " YQ"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
