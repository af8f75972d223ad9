//! Options of a write.

use crate::error::Error;
use crate::key::RecordKey;

/// Options of a write; by default, the store makes a new key.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
/// use strongroom::{RecordKey, WriteOptions};
///
/// let key = RecordKey::generate()?;
/// // ... write the key down, then:
/// store.store_with("id", b"data", WriteOptions::new().key(&key))?;
/// assert_eq!(store.retrieve("id", &key)?, b"data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct WriteOptions<'k> {
    key: Option<&'k RecordKey>,
}

impl<'k> WriteOptions<'k> {
    /// No options: the store makes a new key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seals under a key that the caller made with [`RecordKey::generate`] and saved, so that a crash cannot lose the
    /// key of a stored record.
    ///
    /// The write may be repeated after a lost reply: it succeeds if the stored record opens under this key to the same
    /// bytes. If two such writes run concurrently, one may get [`Error::Busy`]; repeating it once more shows whether
    /// the records are the same.
    ///
    /// Make a new key for each version of a record. If two versions of one record are sealed under the same key, an
    /// attacker with write access to the storage can restore the older one, and it opens under that key. The store
    /// cannot detect this, because it keeps no key.
    pub fn key(self, key: &'k RecordKey) -> Self {
        Self { key: Some(key) }
    }

    /// The caller's key, if there is one.
    pub(crate) fn caller_key(&self) -> Option<&'k RecordKey> {
        self.key
    }

    /// The key to seal under: a copy of the caller's, or a new one.
    pub(crate) fn sealing_key(&self) -> Result<RecordKey, Error> {
        Ok(match self.key {
            Some(key) => key.duplicate(),
            None => RecordKey::generate()?,
        })
    }
}
