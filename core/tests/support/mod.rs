//! Helpers of several tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[cfg(feature = "object-store")]
pub(crate) mod fake_s3;
pub(crate) mod hooked;
pub(crate) mod intercept;
#[cfg(any(feature = "object-store", feature = "postgres"))]
pub(crate) mod killed_writers;
#[cfg(feature = "sqlite")]
pub(crate) mod leftovers;
pub(crate) mod model;
#[cfg(unix)]
pub(crate) mod mounts;
#[cfg(all(feature = "object-store", unix))]
pub(crate) mod object_store;
pub(crate) mod pattern;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod postgres;
pub(crate) mod rounds;
pub(crate) mod scanner;
#[cfg(all(any(feature = "object-store", feature = "postgres"), unix))]
pub(crate) mod shared_server;
pub(crate) mod wait;

use std::sync::Arc;

pub(crate) use pattern::pattern;
use strongroom::storage::{MemoryStorage, Storage};
use strongroom::{IndexKey, RecordKey, Strongroom};

/// Sets the number of entries in the only page of the index by which a database lists its `records` records to `left`:
/// SQLite reads it without an error, and passes the others over.
#[cfg(feature = "sqlite")]
pub(crate) fn hide_records(path: &std::path::Path, records: u8, left: u8) {
    let page = root_of_index(path);
    let mut file = std::fs::read(path).unwrap();
    assert_eq!(file[page + 3..page + 5], [0, records]);
    file[page + 4] = left;
    std::fs::write(path, file).unwrap();
}

/// Lets that index of a closed database lack exactly the rows with this condition.
#[cfg(feature = "sqlite")]
pub(crate) fn hide_rows(path: &std::path::Path, condition: &str) {
    let of_index = "FROM sqlite_schema WHERE name = 'record_prefix'";
    let sql = format!(
        "CREATE TEMP TABLE hidden AS SELECT * FROM record NOT INDEXED WHERE {condition};
        DELETE FROM record WHERE id IN (SELECT id FROM hidden);
        PRAGMA writable_schema = ON;
        CREATE TEMP TABLE entry AS SELECT * {of_index};
        DELETE {of_index};
        PRAGMA writable_schema = RESET;
        INSERT INTO record SELECT * FROM hidden;
        PRAGMA writable_schema = ON;
        INSERT INTO sqlite_schema SELECT * FROM entry;
        PRAGMA writable_schema = RESET;
        PRAGMA wal_checkpoint(TRUNCATE)"
    );
    rusqlite::Connection::open(path).unwrap().execute_batch(&sql).unwrap();
}

/// The position of the root page of that index.
#[cfg(feature = "sqlite")]
pub(crate) fn root_of_index(path: &std::path::Path) -> usize {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'record_prefix'";
    let root: u32 = rusqlite::Connection::open(path).unwrap().query_row(sql, (), |row| row.get(0)).unwrap();
    (root as usize - 1) * 8192
}

/// Lengths of data around every limit of the format.
pub(crate) const SIZES: [usize; 10] = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000];

/// A store in memory, and the storage below it.
pub(crate) fn memory_store() -> (Strongroom, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::new());
    (open_over(Arc::clone(&storage)), storage)
}

/// A store on `storage`, always with the same index key.
pub(crate) fn open_over(storage: Arc<impl Storage>) -> Strongroom {
    Strongroom::builder().storage(storage).index_key(index_key()).open().unwrap()
}

pub(crate) fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[0x11; 32]).unwrap()
}

pub(crate) fn record_key(byte: u8) -> RecordKey {
    RecordKey::from_bytes(&[byte; 32]).unwrap()
}

/// A store in an object store in this process.
#[cfg(feature = "object-store")]
pub(crate) fn object_store() -> Strongroom {
    let url = fake_s3::url(fake_s3::start(fake_s3::Server::Correct), "store");
    Strongroom::builder().bucket(url).index_key(index_key()).open().unwrap()
}

/// Runs `test` on each storage.
#[cfg(feature = "sqlite")]
pub(crate) fn each_store(test: impl Fn(&Strongroom)) {
    each_store_with_transactions(&test);
    #[cfg(feature = "object-store")]
    test(&object_store());
}

/// Runs `test` on each storage that writes many records in one transaction.
#[cfg(feature = "sqlite")]
pub(crate) fn each_store_with_transactions(test: impl Fn(&Strongroom)) {
    test(&memory_store().0);
    let folder = tempfile::tempdir().unwrap();
    test(&Strongroom::open(folder.path().join("records.db")).unwrap());
}
