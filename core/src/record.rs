//! A record's header, and the context that binds a record to its id.
//!
//! ```text
//! record  = header || message
//! header  = version(1) = 1 || suite(1) = 1 || flags(2, LE) || expires_at(8, LE, Unix seconds, 0 = never)
//! message = Cobblestone-256(record key, context, plaintext)
//! context = "strongroom/v1" || 0 || header || LE64(len(namespace)) || namespace || LE64(len(id)) || id
//! ```

/// Bytes of a header.
pub const HEADER_LEN: usize = 12;

/// The most bytes of an id.
const MAX_ID_LEN: usize = 4096;
/// The most bytes of a namespace.
const MAX_NAMESPACE_LEN: usize = 255;

const VERSION: u8 = 1;
const SUITE: u8 = 1;
const LABEL: &[u8] = b"strongroom/v1\0";

/// The record has a version, a suite or flags that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's version, suite or flags are unknown: use a newer Strongroom")]
pub struct UnsupportedHeader;

/// Whether these bytes can be an id.
pub(crate) fn is_id(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= MAX_ID_LEN
}

/// Whether these bytes can be a namespace; the empty one is the default.
pub(crate) fn is_namespace(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_NAMESPACE_LEN
}

/// The header before a record's message: not encrypted, but authenticated by the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The time from which the record cannot be read: Unix time in seconds, 0 for never.
    pub expires_at: u64,
    /// Whether the plaintext has padding after the data (flag bit 0).
    pub padded: bool,
}

impl Header {
    /// The expiry time, if the record has one.
    #[must_use]
    pub fn expiry(&self) -> Option<u64> {
        Some(self.expires_at).filter(|time| *time != 0)
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [a, b, c, d, e, f, g, h] = self.expires_at.to_le_bytes();
        [VERSION, SUITE, u8::from(self.padded), 0, a, b, c, d, e, f, g, h]
    }

    /// The header with these bytes.
    ///
    /// # Errors
    ///
    /// [`UnsupportedHeader`] for any header that version 1 does not define.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, UnsupportedHeader> {
        match *bytes {
            [VERSION, SUITE, flags @ (0 | 1), 0, a, b, c, d, e, f, g, h] => {
                Ok(Self { expires_at: u64::from_le_bytes([a, b, c, d, e, f, g, h]), padded: flags == 1 })
            }
            _ => Err(UnsupportedHeader),
        }
    }

    /// The context under which the record of `id` with this header is sealed.
    #[must_use]
    pub fn context(&self, namespace: &[u8], id: &[u8]) -> Vec<u8> {
        let mut context = Vec::with_capacity(LABEL.len() + HEADER_LEN + 16 + namespace.len() + id.len());
        context.extend_from_slice(LABEL);
        context.extend_from_slice(&self.encode());
        for field in [namespace, id] {
            context.extend_from_slice(&(field.len() as u64).to_le_bytes());
            context.extend_from_slice(field);
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_ids_and_namespaces() {
        assert_eq!([0, 1, 4096, 4097].map(|len| is_id(&vec![7; len])), [false, true, true, false]);
        assert_eq!([0, 255, 256].map(|len| is_namespace(&vec![7; len])), [true, true, false]);
    }
}
