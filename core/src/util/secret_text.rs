//! Secrets as text: 32 bytes in Bech32m (BIP 350), whose prefix names the kind. A secret of the wrong kind is rejected
//! with the name of its kind.

use std::path::Path;

use bech32::primitives::decode::{CheckedHrpstring, CheckedHrpstringError, ChecksumError};
use bech32::{Bech32m, Hrp};
use zeroize::Zeroizing;

/// Bytes of a secret.
pub const SECRET_LEN: usize = 32;

/// The length of the shortest text that [`looks_like_secret`] accepts: a complete text has 62 characters, a truncated
/// one fewer.
const SHORTEST: usize = 41;

/// The kinds of secrets that have a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Opens one record.
    RecordKey,
    /// Hides the ids of a store.
    IndexKey,
    /// Sent by a client to a service.
    Token,
    /// Encrypts the messages between the services of a cluster.
    ClusterKey,
}

impl SecretKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::RecordKey, Self::IndexKey, Self::Token, Self::ClusterKey];

    /// The first characters of a text of this kind.
    #[must_use]
    pub const fn start(self) -> &'static str {
        match self {
            Self::RecordKey => "srk1",
            Self::IndexKey => "srx1",
            Self::Token => "srt1",
            Self::ClusterKey => "src1",
        }
    }

    /// The kind in messages, with its article.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RecordKey => "a record key",
            Self::IndexKey => "an index key",
            Self::Token => "a token",
            Self::ClusterKey => "a cluster key",
        }
    }

    /// The kind whose prefix `text` has, in upper or lower case.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| starts_with(text.as_bytes(), kind.start()))
    }

    /// The part before the separator `1`.
    fn hrp(self) -> &'static str {
        self.start().trim_end_matches('1')
    }
}

/// The reason why a text is not a secret of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidText {
    /// It has another prefix.
    Kind,
    /// The checksum does not match.
    Checksum,
    /// It is truncated or has an invalid character.
    Text,
    /// It encodes more or fewer than 32 bytes.
    Length,
}

/// The name of the kind of secret that `text` is, or appears to be.
#[must_use]
pub fn name_of(text: &str) -> Option<&'static str> {
    let is_pem = || starts_with(text.as_bytes(), "-----BEGIN").then_some("a certificate or a private key in PEM");
    SecretKind::of(text).map(SecretKind::name).or_else(is_pem)
}

/// For messages: ` but an index key`, or nothing if `found` is unknown.
pub(crate) fn but(found: Option<&str>) -> String {
    found.map_or(String::new(), |found| format!(" but {found}"))
}

/// The text without the byte order mark and the white space that editors and shells add to a file.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim()
}

/// Whether `text` is a secret, also one with a typo or truncated. Checked for arguments and paths, which are visible to
/// other users and in messages.
#[must_use]
pub fn looks_like_secret(text: &[u8]) -> bool {
    SecretKind::ALL.iter().any(|kind| starts_with(text, kind.start()))
        && text.len() >= SHORTEST
        && text.iter().all(u8::is_ascii_alphanumeric)
}

/// Whether a component of the path is a secret, which messages about the path would show.
#[must_use]
pub fn is_in_path(path: &Path) -> bool {
    path.iter().any(|part| looks_like_secret(part.as_encoded_bytes()))
}

/// The text of a secret, in lower case.
#[must_use]
pub fn encode(kind: SecretKind, secret: &[u8; SECRET_LEN]) -> Zeroizing<String> {
    // Full capacity from the start: growth would leave a copy in memory.
    let mut text = Zeroizing::new(String::with_capacity(64));
    // Neither the prefix nor the length can be invalid: both are constants.
    if let Ok(hrp) = Hrp::parse(kind.hrp()) {
        let _ = bech32::encode_lower_to_fmt::<Bech32m, String>(&mut text, hrp, secret);
    }
    text
}

/// Decodes the secret in `text`, which must be trimmed, into `secret`.
///
/// # Errors
///
/// A wrong kind is reported before a wrong checksum.
pub fn decode(kind: SecretKind, text: &str, secret: &mut [u8; SECRET_LEN]) -> Result<(), InvalidText> {
    if text.split_once('1').is_some_and(|(hrp, _)| !hrp.eq_ignore_ascii_case(kind.hrp())) {
        return Err(InvalidText::Kind);
    }
    let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|error| match error {
        CheckedHrpstringError::Checksum(ChecksumError::InvalidResidue(_)) => InvalidText::Checksum,
        _ => InvalidText::Text,
    })?;
    // The prefix ends at the last `1`, and may contain others.
    if !parsed.hrp().as_str().eq_ignore_ascii_case(kind.hrp()) {
        return Err(InvalidText::Kind);
    }
    parsed.validate_segwit_padding().map_err(|_| InvalidText::Text)?;
    let bytes = parsed.byte_iter();
    if bytes.len() != SECRET_LEN {
        return Err(InvalidText::Length);
    }
    secret.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    Ok(())
}

fn starts_with(text: &[u8], start: &str) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_round_trips() {
        for kind in SecretKind::ALL {
            let text = encode(kind, &[7; SECRET_LEN]);
            assert_eq!((text.len(), SecretKind::of(&text), name_of(&text)), (62, Some(kind), Some(kind.name())));
            for other in SecretKind::ALL {
                let mut secret = [0; SECRET_LEN];
                let expected = if other == kind { Ok(()) } else { Err(InvalidText::Kind) };
                assert_eq!(decode(other, &text, &mut secret), expected);
                assert_eq!(secret == [7; SECRET_LEN], other == kind);
            }
        }
    }

    #[test]
    fn a_secret_is_recognised_by_its_form() {
        let text = encode(SecretKind::Token, &[7; SECRET_LEN]);
        for secret in [text.as_bytes(), text.to_uppercase().as_bytes(), &text.as_bytes()[..SHORTEST]] {
            assert!(looks_like_secret(secret));
        }
        for other in ["srt1short", &text.replace("srt", "srz"), &text.replace("srt1", "srt1/"), ""] {
            assert!(!looks_like_secret(other.as_bytes()), "{other}");
        }
    }
}
