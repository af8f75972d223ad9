//! The work of operators: expiry, damage, leftovers, counts, the rotation of the index key.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Strongroom;
use crate::error::Error;
use crate::storage::{Locator, Repaired, Stats};
use crate::strongroom::{Retention, Rotation};
use crate::verify::{VerifyOptions, VerifyReport, VerifyStep};

impl Strongroom {
    /// Removes at most `limit` expired records, and returns their number. If the future is dropped, some records may
    /// have been removed.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::purge`](crate::Strongroom::purge).
    pub fn purge(&self, limit: usize) -> impl Future<Output = Result<usize, Error>> + Send + 'static {
        self.on_pool(move |store| store.purge(limit))
    }

    /// Searches the store for damage. A thread of the store's calls `progress` after each step.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::verify`](crate::Strongroom::verify).
    pub fn verify<P: FnMut(VerifyStep<'_>) -> ControlFlow<()> + Send + 'static>(
        &self,
        options: &VerifyOptions,
        progress: P,
    ) -> impl Future<Output = Result<VerifyReport, Error>> + Send + 'static {
        let options = options.clone();
        self.on_pool(move |store| store.verify(&options, progress))
    }

    /// Replaces each damaged record by the one in `copy`. If the future is dropped, some records may have been
    /// replaced.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::repair_from`](crate::Strongroom::repair_from).
    pub fn repair_from(&self, copy: &Self) -> impl Future<Output = Result<Repaired, Error>> + Send + 'static {
        let copy = Arc::clone(&copy.store);
        self.on_pool(move |store| store.repair_from(copy.get()?))
    }

    /// Removes the leftovers of interrupted writes.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::maintain`](crate::Strongroom::maintain).
    pub fn maintain(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.on_pool(crate::Strongroom::maintain)
    }

    /// Returns at most `limit` bytes of free space to the operating system, and the number of these bytes. If the
    /// future is dropped, some space may have been returned.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::compact`](crate::Strongroom::compact).
    pub fn compact(&self, limit: u64) -> impl Future<Output = Result<u64, Error>> + Send + 'static {
        self.on_pool(move |store| store.compact(limit))
    }

    /// The number of records, the bytes of their ciphertexts, how many of them have expired, and the free space.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::stats`](crate::Strongroom::stats).
    pub fn stats(&self) -> impl Future<Output = Result<Stats, Error>> + Send + 'static {
        self.call(|store| store.operations().stats())
    }

    /// Begins the rotation of the index key. If the future is dropped, it may have begun.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::begin_rotation`](crate::Strongroom::begin_rotation).
    pub fn begin_rotation(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.on_pool(crate::Strongroom::begin_rotation)
    }

    /// The rotation of the index key, with at most `limit` of the records that remain under the previous key.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::rotation`](crate::Strongroom::rotation).
    pub fn rotation(&self, limit: usize) -> impl Future<Output = Result<Option<Rotation>, Error>> + Send + 'static {
        self.on_pool(move |store| store.rotation(limit))
    }

    /// Removes a record that remains under the previous index key. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::erase_unrotated`](crate::Strongroom::erase_unrotated).
    pub fn erase_unrotated(&self, locator: &Locator) -> impl Future<Output = Result<bool, Error>> + Send + 'static {
        let locator = *locator;
        self.on_pool(move |store| store.erase_unrotated(&locator))
    }

    /// Finds the records of the whole store whose ids are not in `known`, pairs of a namespace and an id.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::retention`](crate::Strongroom::retention).
    pub fn retention<N: AsRef<[u8]> + Send + 'static, I: AsRef<[u8]> + Send + 'static>(
        &self,
        known: Vec<(N, I)>,
    ) -> impl Future<Output = Result<Retention, Error>> + Send + 'static {
        self.on_pool(move |store| store.retention(known))
    }

    /// Removes the other records of `retention`, and returns their number. If the future is dropped, some records may
    /// have been removed.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::erase_others`](crate::Strongroom::erase_others).
    pub fn erase_others(&self, retention: Retention) -> impl Future<Output = Result<u64, Error>> + Send + 'static {
        self.on_pool(move |store| store.erase_others(&retention))
    }

    /// Ends the rotation of the index key.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::finish_rotation`](crate::Strongroom::finish_rotation).
    pub fn finish_rotation(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.on_pool(crate::Strongroom::finish_rotation)
    }
}
