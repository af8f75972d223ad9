//! Which kind of secret or certificate a file holds, so that one in another's place is noticed before it is used, sent or
//! printed.

use std::path::Path;

use bech32::Bech32m;
use bech32::primitives::decode::CheckedHrpstring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::token::{self, TokenHashes};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    RecordKey,
    IndexKey,
    Token,
    TokenHashes,
    PrivateKey,
    Certificates,
    RevocationLists,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::RecordKey,
        Self::IndexKey,
        Self::Token,
        Self::TokenHashes,
        Self::PrivateKey,
        Self::Certificates,
        Self::RevocationLists,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RecordKey => "a record key (srk1...)",
            Self::IndexKey => "an index key (srx1...)",
            Self::Token => "a token (srt1...)",
            Self::TokenHashes => "hashes and scopes of tokens",
            Self::PrivateKey => "a private key in PEM",
            Self::Certificates => "certificates in PEM",
            Self::RevocationLists => "certificate revocation lists in PEM",
        }
    }

    /// Whether the file's content is whole and of this kind.
    pub(crate) fn is_in(self, content: &[u8]) -> bool {
        let text = || str::from_utf8(content).unwrap_or_default();
        match self {
            Self::RecordKey => is_key_text(text(), "srk"),
            Self::IndexKey => is_key_text(text(), "srx"),
            Self::Token => is_key_text(text(), token::PREFIX),
            Self::TokenHashes => TokenHashes::parse(text()).is_ok_and(|hashes| !hashes.is_empty()),
            Self::PrivateKey => PrivateKeyDer::from_pem_slice(content).is_ok(),
            Self::Certificates => has_pem::<CertificateDer<'_>>(content),
            Self::RevocationLists => has_pem::<CertificateRevocationListDer<'_>>(content),
        }
    }

    /// The kind that the content is, or that one of its lines begins as.
    pub(crate) fn of(content: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(content).unwrap_or_default().lines();
        let secret = lines.find_map(|line| match trim(line).get(..4)?.to_ascii_lowercase().as_str() {
            "srk1" => Some(Self::RecordKey),
            "srx1" => Some(Self::IndexKey),
            "srt1" => Some(Self::Token),
            _ => None,
        });
        secret.or_else(|| Self::ALL.into_iter().find(|kind| kind.is_in(content)))
    }
}

fn has_pem<T: PemObject>(content: &[u8]) -> bool {
    let mut items = 0;
    T::pem_slice_iter(content).all(|item| {
        items += 1;
        item.is_ok()
    }) && items > 0
}

fn is_key_text(text: &str, prefix: &str) -> bool {
    let parsed = CheckedHrpstring::new::<Bech32m>(trim(text));
    parsed.is_ok_and(|parsed| parsed.hrp().as_str().eq_ignore_ascii_case(prefix) && parsed.byte_iter().len() == 32)
}

/// Without a byte order mark and surrounding white space.
fn trim(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// Whether a part of the path is a key or a token, which would be shown in messages about a file that is not there.
pub(crate) fn in_path(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.as_encoded_bytes();
        let prefix = part.get(..4).unwrap_or_default().to_ascii_lowercase();
        let is_secret = [b"srk1", b"srx1", b"srt1"].iter().any(|secret| prefix == *secret);
        is_secret && part.len() > 40 && part.iter().all(u8::is_ascii_alphanumeric)
    })
}
