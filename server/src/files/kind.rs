//! The kind of secret or certificate in a file. A wrong file is rejected before it is used, sent or printed.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use strongroom::Readers;
use strongroom::protocol::secret_text::{self, SECRET_LEN, SecretKind};
use zeroize::Zeroizing;

use crate::tokens::hashes::TokenHashes;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileKind {
    Secret(SecretKind),
    TokenHashes,
    PrivateKey,
    Certificates,
    RevocationLists,
}

impl FileKind {
    const ALL: [Self; 8] = [
        Self::Secret(SecretKind::RecordKey),
        Self::Secret(SecretKind::IndexKey),
        Self::Secret(SecretKind::Token),
        Self::Secret(SecretKind::ClusterKey),
        Self::TokenHashes,
        Self::PrivateKey,
        Self::Certificates,
        Self::RevocationLists,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Secret(SecretKind::RecordKey) => "a record key (srk1...)",
            Self::Secret(SecretKind::IndexKey) => "an index key (srx1...)",
            Self::Secret(SecretKind::Token) => "a token (srt1...)",
            Self::Secret(SecretKind::ClusterKey) => "a cluster key (src1...)",
            Self::TokenHashes => "hashes and scopes of tokens",
            Self::PrivateKey => "a private key in PEM",
            Self::Certificates => "certificates in PEM",
            Self::RevocationLists => "certificate revocation lists in PEM",
        }
    }

    /// The users who may read the file; `None` if the store checks that when it is opened.
    pub(crate) fn readers(self) -> Option<Readers> {
        match self {
            Self::Secret(SecretKind::IndexKey) => None,
            Self::Secret(_) | Self::PrivateKey => Some(Readers::Owner),
            Self::TokenHashes | Self::Certificates | Self::RevocationLists => Some(Readers::All),
        }
    }

    /// Whether the file's content is complete and of this kind.
    pub(crate) fn is_in(self, content: &[u8]) -> bool {
        let text = || str::from_utf8(content).unwrap_or_default();
        match self {
            Self::Secret(kind) => {
                let mut secret = Zeroizing::new([0; SECRET_LEN]);
                secret_text::decode(kind, secret_text::trim(text()), &mut secret).is_ok()
            }
            Self::TokenHashes => TokenHashes::parse(text()).is_ok_and(|hashes| !hashes.is_empty()),
            Self::PrivateKey => PrivateKeyDer::from_pem_slice(content).is_ok(),
            Self::Certificates => has_pem::<CertificateDer<'_>>(content),
            Self::RevocationLists => has_pem::<CertificateRevocationListDer<'_>>(content),
        }
    }

    /// The kind of the content. A line that starts like a secret takes precedence.
    pub(crate) fn of(content: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(content).unwrap_or_default().lines();
        let secret = lines.find_map(|line| SecretKind::of(secret_text::trim(line)));
        secret.map(Self::Secret).or_else(|| Self::ALL.into_iter().find(|kind| kind.is_in(content)))
    }
}

fn has_pem<T: PemObject>(content: &[u8]) -> bool {
    let mut items = 0;
    T::pem_slice_iter(content).all(|item| {
        items += 1;
        item.is_ok()
    }) && items > 0
}
