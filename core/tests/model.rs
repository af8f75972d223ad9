//! Random operations in a store and in a plain map, in memory and in SQLite.

use std::path::Path;
use std::sync::Arc;

use strongroom::Strongroom;
use strongroom::storage::MemoryStorage;

use crate::support::model::{Place, check_model, check_model_of_threads};
use crate::support::rounds::rounds;

fn in_memory() -> Place {
    let storage = Arc::new(MemoryStorage::new());
    Place::new(move || Strongroom::builder().storage(storage.clone()))
}

fn in_database(folder: &Path) -> Place {
    let path = folder.join("records.db");
    Place::new(move || Strongroom::builder().path(&path))
}

#[test]
fn random_operations_are_those_of_a_map() {
    check_model(&in_memory(), rounds(1000, 10_000));
    let folder = tempfile::tempdir().unwrap();
    check_model(&in_database(folder.path()), rounds(50, 300));
}

#[test]
fn random_operations_of_threads_are_those_of_maps() {
    check_model_of_threads(&in_memory(), rounds(300, 3000));
    let folder = tempfile::tempdir().unwrap();
    check_model_of_threads(&in_database(folder.path()), rounds(20, 100));
}
