//! The embedded storages keep every promise of the trait.

use std::path::Path;
use std::sync::Arc;

use strongroom::storage::{Durability, MemoryStorage, SqliteStorage, Storage};

mod memory {
    use super::*;

    fn open(_: &Path) -> Arc<dyn Storage> {
        Arc::new(MemoryStorage::new())
    }

    strongroom::storage_conformance!(open, volatile);
}

mod sqlite {
    use super::*;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open(folder.join("records.db"), Durability::Full).unwrap())
    }

    strongroom::storage_conformance!(open);
}

/// Counted operations do the same, and their limits and kind are those of the storage.
mod measured {
    use strongroom::storage::StorageMetrics;

    use super::*;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        let storage = Arc::new(SqliteStorage::open(folder.join("records.db"), Durability::Full).unwrap());
        let limits = storage.limits();
        let measured = StorageMetrics::default().measure(storage);
        assert_eq!((measured.limits(), measured.kind()), (limits, "sqlite"));
        measured
    }

    strongroom::storage_conformance!(open);
}

mod sqlite_relaxed {
    use super::*;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open(folder.join("records.db"), Durability::Relaxed).unwrap())
    }

    strongroom::storage_conformance!(open);
}

#[cfg(all(feature = "object-store", unix))]
mod object_store {
    use strongroom::storage::ObjectStorage;

    use super::*;
    use crate::support::object_store::ObjectServer;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        Arc::new(ObjectStorage::open(&ObjectServer::shared().url_for(folder)).unwrap())
    }

    strongroom::storage_conformance!(open);
}
