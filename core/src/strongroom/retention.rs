//! Removing the records that no known id names.

use std::collections::HashSet;
use std::fmt;

use super::Strongroom;
use crate::error::{Error, long_namespace};
use crate::record::{is_id, is_namespace};
use crate::storage::{self, Head, Locator, check_lists, next_page};
use crate::util::interrupt;

/// Records of a page of the list.
const PAGE: usize = 1000;

/// The records of a store, told apart by a list of known ids. `Debug` shows only numbers.
#[derive(Clone)]
#[non_exhaustive]
pub struct Retention {
    /// The number of records with a known id.
    pub kept: u64,
    /// The number of known ids without a record.
    pub missing: u64,
    /// The number of all other records.
    pub others: u64,
    /// The bytes of the ciphertexts of all other records.
    pub other_bytes: u64,
    list: Vec<(Locator, Head)>,
    allows_all: bool,
}

impl Retention {
    /// Allows [`Strongroom::erase_others`] to remove all records of the store.
    #[must_use]
    pub fn allow_all(self) -> Self {
        Self { allows_all: true, ..self }
    }
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Retention");
        shown.field("kept", &self.kept).field("missing", &self.missing).field("others", &self.others);
        shown.field("other_bytes", &self.other_bytes).finish_non_exhaustive()
    }
}

impl Strongroom {
    /// Finds the records of the whole store whose ids are not in `known`, pairs of a namespace (`""` is the default
    /// one) and an id: for example, records whose keys were lost. It changes nothing. It needs 32 bytes of memory for
    /// each known id, and 100 for each other record.
    ///
    /// A record that was stored after `known` was listed is one of the others. So let nobody store between the list and
    /// this call; what is stored later is safe.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
    /// let key = store.store("known", b"data")?;
    /// store.store("orphan", b"its key is lost")?;
    /// let retention = store.retention([("", "known"), ("tenant 1", "removed earlier")])?;
    /// assert_eq!((retention.kept, retention.missing, retention.others), (1, 1, 1));
    /// assert_eq!(store.erase_others(&retention)?, 1);
    /// assert_eq!(store.retrieve("known", &key)?, b"data");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] and [`Error::InvalidArgument`] if an id or a namespace is invalid;
    /// [`Error::IndexKeyMismatch`] if a record belongs to an index key that this handle does not have, during a
    /// rotation; [`Error::Corrupt`] if damage hides records; [`Error::Unsupported`] on an encryption server, and those
    /// of the storage.
    pub fn retention<N: AsRef<[u8]>, I: AsRef<[u8]>>(
        &self,
        known: impl IntoIterator<Item = (N, I)>,
    ) -> Result<Retention, Error> {
        let storage = self.operations.storage()?;
        let generations = self.operations.generations()?;
        let (mut locators, mut ids) = (HashSet::new(), 0_u64);
        for (namespace, id) in known {
            let (namespace, id) = (namespace.as_ref(), id.as_ref());
            if !is_namespace(namespace) {
                return Err(long_namespace());
            }
            if !is_id(id) {
                return Err(Error::InvalidId);
            }
            // During a rotation, the record may be under either key.
            let (current, previous) = self.operations.locators(Some(namespace), id)?;
            ids += u64::from(locators.insert(current));
            locators.extend(previous);
        }
        let mut found =
            Retention { kept: 0, missing: 0, others: 0, other_bytes: 0, list: Vec::new(), allows_all: false };
        let mut after = None;
        loop {
            if interrupt::is_interrupted() {
                return Err(Error::Busy);
            }
            let page = next_page(&**storage, after.as_ref(), PAGE)?;
            for entry in &page {
                match entry.locator.as_bytes().first() {
                    Some(0) => continue, // claimed by `take`, and removed by `purge` if that was interrupted
                    Some(generation) if generations.contains(generation) => {}
                    _ => return Err(Error::IndexKeyMismatch),
                }
                if locators.contains(&entry.locator) {
                    found.kept += 1;
                } else {
                    found.others += 1;
                    found.other_bytes = found.other_bytes.saturating_add(entry.info.len);
                    found.list.push((entry.locator, entry.info.head));
                }
            }
            match page.last() {
                Some(last) => after = Some(last.locator),
                None => break,
            }
        }
        check_lists(&**storage)?; // the others that damage hides would stay
        found.missing = ids.saturating_sub(found.kept);
        Ok(found)
    }

    /// Removes the other records of `retention`, of all namespaces, and returns their number. A record that was
    /// replaced since stays. If this is interrupted, the records that were removed stay removed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if no record would remain, because none of the known ids has one: the list may be
    /// wrong. [`Retention::allow_all`] allows it. [`Error::Unsupported`] on an encryption server, and those of the
    /// storage.
    pub fn erase_others(&self, retention: &Retention) -> Result<u64, Error> {
        let records = self.operations.storage()?;
        if retention.kept == 0 && retention.others > 0 && !retention.allows_all {
            let text = "none of the known ids has a record, so all records of the store would be removed";
            return Err(Error::InvalidArgument(text.into()));
        }
        records.list(None, 0)?; // fails if the store is closed
        let mut erased = 0;
        for (locator, head) in &retention.list {
            if interrupt::is_interrupted() {
                return Err(Error::Busy);
            }
            match records.delete(locator, Some(head)) {
                Ok(is_erased) => erased += u64::from(is_erased),
                Err(storage::Error::Conflict) => {} // it was replaced
                Err(error) => return Err(error.into()),
            }
        }
        Ok(erased)
    }
}
