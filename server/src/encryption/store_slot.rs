//! A store that may be missing at the start, with the reason for it: each request looks here for it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use strongroom::{Error, Strongroom};

/// A store, or the reason why there is none yet.
#[derive(Debug)]
pub(crate) struct StoreSlot {
    store: OnceLock<Arc<Strongroom>>,
    cause: Mutex<String>,
}

impl StoreSlot {
    pub(crate) fn new(store: Arc<Strongroom>) -> Self {
        Self { store: OnceLock::from(store), cause: Mutex::default() }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn empty() -> Self {
        let cause = "no storage service of the cluster has been found yet";
        Self { store: OnceLock::new(), cause: Mutex::new(cause.to_owned()) }
    }

    /// # Errors
    ///
    /// [`Error::Storage`] with the cause while there is no store.
    pub(crate) fn get(&self) -> Result<&Strongroom, Error> {
        let cause = || self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.store.get().map(|store| &**store).ok_or_else(|| Error::Storage(cause().into()))
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn set(&self, store: Strongroom) {
        let _ = self.store.set(Arc::new(store)); // only one task sets it
    }

    /// Notes why the store cannot be opened. Returns whether this is a new cause.
    #[cfg(feature = "cluster")]
    pub(crate) fn set_cause(&self, cause: String) -> bool {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != cause;
        *known = cause;
        is_new
    }
}
