//! The keys of a cluster: their text and their files, and the keys of sessions that are derived from them.

use std::fmt;
use std::path::PathBuf;

use blake3::Hasher;
use strongroom::protocol::secret_text::{self, SECRET_LEN, SecretKind};
use zeroize::{Zeroize, Zeroizing};

use crate::random::random;
use crate::start_error::StartError;

/// Bytes of the tag that tells under which key a datagram is sealed.
pub(super) const TAG_LEN: usize = 4;
/// Bytes of a session's random number.
pub(super) const SESSION_LEN: usize = 16;

const TAG_LABEL: &str = "strongroom 2026-11-26 v1 cluster key tag";
const SESSION_LABEL: &str = "strongroom 2026-11-26 v1 cluster session key";
/// The key of services that have none: only those of one machine reach each other with it.
const NO_KEY: &str = "strongroom 2026-11-26 v1 cluster without a key";

/// A new key of a cluster.
#[derive(Debug)]
pub struct NewClusterKey(Zeroizing<String>);

impl NewClusterKey {
    /// A key of 32 random bytes.
    ///
    /// # Errors
    ///
    /// If the operating system provides no random bytes.
    pub fn generate() -> Result<Self, strongroom::RandomError> {
        let bytes = Zeroizing::new(random()?);
        Ok(Self(secret_text::encode(SecretKind::ClusterKey, &bytes)))
    }

    /// The key: `src1...`, for the file of each service.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A key of the cluster with this name.
#[derive(Clone)]
pub(super) struct ClusterKey {
    secret: Zeroizing<[u8; SECRET_LEN]>,
    /// The cluster's name.
    name: String,
    pub(super) tag: [u8; TAG_LEN],
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

impl ClusterKey {
    pub(super) fn new(secret: Zeroizing<[u8; SECRET_LEN]>, name: &str) -> Self {
        let [a, b, c, d, ..] = *derive(&secret, TAG_LABEL, name, &[]);
        Self { secret, name: name.to_owned(), tag: [a, b, c, d] }
    }

    /// The key that everybody knows.
    pub(super) fn public(name: &str) -> Self {
        Self::new(Zeroizing::new(blake3::derive_key(NO_KEY, &[])), name)
    }

    /// The key that seals the datagrams of a session.
    pub(super) fn of_session(&self, session: &[u8; SESSION_LEN]) -> Zeroizing<[u8; SECRET_LEN]> {
        derive(&self.secret, SESSION_LABEL, &self.name, session)
    }
}

/// Keyed BLAKE3 of the fields, each behind its length.
fn derive(secret: &[u8; SECRET_LEN], label: &str, name: &str, session: &[u8]) -> Zeroizing<[u8; SECRET_LEN]> {
    let mut hasher = Hasher::new_keyed(secret);
    for field in [label.as_bytes(), name.as_bytes(), session] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let derived = Zeroizing::new(*hasher.finalize().as_bytes());
    hasher.zeroize(); // it holds the key
    derived
}

/// The keys in the files. The first one seals, and all of them open.
pub(super) fn read(files: &[PathBuf], name: &str) -> Result<Vec<ClusterKey>, StartError> {
    const FIELD: &str = "cluster.key_files";
    let read = |path: &PathBuf| {
        let text = strongroom::read_secret("the cluster key's file", path).map_err(StartError::file(FIELD, path))?;
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret_text::decode(SecretKind::ClusterKey, secret_text::trim(&text), &mut secret).map_err(|_| {
            let found = secret_text::name_of(secret_text::trim(&text)).unwrap_or("other or incomplete content");
            StartError::WrongFile { name: FIELD, found, expected: "a cluster key (src1...)" }
        })?;
        Ok(ClusterKey::new(secret, name))
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_sessions_have_keys_of_their_own() {
        let key = |byte, name| ClusterKey::new(Zeroizing::new([byte; SECRET_LEN]), name);
        let keys = [key(1, "a"), key(2, "a"), key(1, "b"), key(1, ""), ClusterKey::public("a")];
        let mut seen = std::collections::BTreeSet::new();
        for key in &keys {
            assert!(seen.insert(key.tag.to_vec()));
            for session in [[1; SESSION_LEN], [2; SESSION_LEN]] {
                assert!(seen.insert(key.of_session(&session).to_vec()));
            }
        }
        assert_eq!(format!("{:?}", keys[0]), "ClusterKey(..)");
    }
}
