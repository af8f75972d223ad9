//! The rotation of the index key.

use super::Strongroom;
use crate::error::Error;
use crate::storage::Locator;

/// The rotation of an index key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The locators of records that remain under the previous key.
    pub remaining: Vec<Locator>,
}

impl Strongroom {
    /// Begins the rotation of the index key, on a handle that was opened with
    /// [`Builder::previous_index_key`](crate::Builder::previous_index_key): the new key takes the place of the previous
    /// one. It takes a second. Without effect if the new key is the store's already.
    ///
    /// From then on, each operation on an id moves its record to the new key. Call [`contains`](Self::contains) for
    /// every known id of every namespace: it fails if the record cannot be moved, for example on a full disk. A read of
    /// data succeeds even then, and may leave the record under the previous key. A read-only handle, and a call with a
    /// wrong record key, moves nothing. When no records remain, [`finish_rotation`](Self::finish_rotation) ends the
    /// rotation. It may be interrupted at any time; other handles with both keys continue to work. A record that is
    /// being replaced in pieces while the rotation begins may fail with [`Error::Conflict`].
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use strongroom::storage::MemoryStorage;
    /// use strongroom::{IndexKey, Strongroom};
    ///
    /// let storage = Arc::new(MemoryStorage::new());
    /// let (stolen, new) = (IndexKey::generate()?, IndexKey::generate()?);
    /// # let bytes = *stolen.expose_bytes();
    /// # let copy = || IndexKey::from_bytes(&bytes);
    /// # let stolen = copy()?;
    /// let store = Strongroom::builder().storage(storage.clone()).index_key(stolen).open()?;
    /// let key = store.store("id", b"data")?;
    /// drop(store);
    ///
    /// # let stolen = copy()?;
    /// let store = Strongroom::builder().storage(storage).index_key(new).previous_index_key(stolen).open()?;
    /// store.begin_rotation()?;
    /// assert_eq!(store.rotation(1000)?.map(|rotation| rotation.remaining.len()), Some(1));
    /// store.contains("id")?;
    /// store.finish_rotation()?;
    /// assert_eq!(store.retrieve("id", &key)?, b"data");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if the settings are changed concurrently; [`Error::Unsupported`] on an encryption server, or
    /// read-only; those of the storage.
    pub fn begin_rotation(&self) -> Result<(), Error> {
        self.operations.begin_rotation()
    }

    /// The rotation of the index key, with at most `limit` of the records that remain under the previous key; `None` if
    /// it has not begun, or on a handle without the previous key. The time is proportional to the number of records
    /// returned.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an encryption server; [`Error::Corrupt`] if damage hides which records remain: repair
    /// the storage first; those of the storage.
    pub fn rotation(&self, limit: usize) -> Result<Option<Rotation>, Error> {
        Ok(self.operations.unrotated(limit)?.map(|remaining| Rotation { remaining }))
    }

    /// Removes a record that remains under the previous index key, because its id is unknown. Returns whether there was
    /// one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the locator is not one under the previous key, and those of the storage.
    pub fn erase_unrotated(&self, locator: &Locator) -> Result<bool, Error> {
        self.operations.erase_unrotated(locator)
    }

    /// Ends the rotation of the index key: from then on, the store is opened with the new key alone.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if records remain under the previous key, or there is no rotation on this handle;
    /// [`Error::Corrupt`] if damage hides whether records remain: repair the storage first; [`Error::Conflict`] if the
    /// settings are changed concurrently, and those of the storage.
    pub fn finish_rotation(&self) -> Result<(), Error> {
        self.operations.finish_rotation()
    }
}
