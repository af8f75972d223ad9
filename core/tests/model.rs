//! Random operations in a store and in a plain map, in memory and in SQLite.

use std::sync::Arc;

use strongroom::Strongroom;
use strongroom::storage::MemoryStorage;

use crate::support::index_key;
use crate::support::model::{Timed, check_model, check_model_of_threads};
use crate::support::rounds::rounds;

fn in_memory() -> Timed {
    Timed::open(Strongroom::builder().storage(Arc::new(MemoryStorage::new())).index_key(index_key()))
}

#[test]
fn random_operations_are_those_of_a_map() {
    check_model(&in_memory(), rounds(1000, 10_000));
    let folder = tempfile::tempdir().unwrap();
    check_model(&Timed::open(Strongroom::builder().path(folder.path().join("records.db"))), rounds(50, 300));
}

#[test]
fn random_operations_of_threads_are_those_of_maps() {
    check_model_of_threads(&in_memory(), rounds(300, 3000));
    let folder = tempfile::tempdir().unwrap();
    check_model_of_threads(&Timed::open(Strongroom::builder().path(folder.path().join("records.db"))), rounds(20, 100));
}
