//! The storage service as a storage: it keeps every promise of the trait, over the network.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom::Endpoint;
use strongroom::storage::{Durability, MemoryStorage, RemoteStorage, SqliteStorage, Storage};

use support::Running;

/// Services that run until the tests end: a storage that is opened has nobody else to keep its service.
static SERVICES: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn served(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    let service = support::storage(storage);
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    SERVICES.lock().unwrap().push(service);
    Arc::new(RemoteStorage::open(&endpoint).unwrap())
}

mod over_sqlite {
    use super::*;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        served(Arc::new(SqliteStorage::open(folder.join("records.db"), Durability::Full).unwrap()))
    }

    strongroom::storage_conformance!(open);
}

mod over_memory {
    use super::*;

    fn open(_: &Path) -> Arc<dyn Storage> {
        served(Arc::new(MemoryStorage::new()))
    }

    strongroom::storage_conformance!(open, volatile);
}
