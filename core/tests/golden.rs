//! Databases of earlier versions can always be opened. The files in `golden/` are never changed; a new version adds its
//! own.
//!
//! `v1.db` was written by version 0.1.0 (record format 1, schema 1).

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{SIZES, pattern, record_key};
use strongroom::{Error, Stats, Strongroom, WriteOptions};

/// The records of version 1: key byte, id, length of the data.
fn records() -> Vec<(u8, Vec<u8>, usize)> {
    let sizes = (1..).zip(SIZES).map(|(key, size)| (key, format!("{size} bytes").into_bytes(), size));
    // One with segments, one whose id is not UTF-8, and one with the longest id.
    let others = [(101, b"segments".to_vec(), 1_100_000), (102, b"\xff\0\x80".to_vec(), 5), (103, vec![b'i'; 4096], 5)];
    sizes.chain(others).collect()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn a_database_of_version_1_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1.db");
    for name in ["v1.db", "v1.db.index-key"] {
        fs::copy(golden(name), folder.path().join(name)).unwrap();
    }
    let store = Strongroom::open(&path).unwrap();
    for (key, id, size) in records() {
        assert!(store.retrieve(&id, &record_key(key)).unwrap() == pattern(size), "the record of {size} bytes");
        assert!(matches!(store.store(&id, "data"), Err(Error::AlreadyExists)));
    }
    let records = records().len() as u64;
    assert_eq!(store.stats().unwrap(), Stats::new(records, 1_224_239, 0));
    // It can also be written like a new database.
    let key = store.replace("segments", &record_key(101), "smaller").unwrap();
    let new = store.store("new", pattern(2_500_000)).unwrap();
    store.close().unwrap();
    let store = Strongroom::open(&path).unwrap();
    assert_eq!(store.retrieve("segments", &key).unwrap(), b"smaller");
    assert!(store.retrieve("new", &new).unwrap() == pattern(2_500_000));
    assert_eq!(store.stats().unwrap().records, records + 1);
}

/// The program that made `v1.db`. It does not overwrite the file.
#[test]
#[ignore = "made once, with UPDATE=golden"]
fn make_the_database_of_version_1() {
    assert_eq!(std::env::var("UPDATE").as_deref(), Ok("golden"));
    assert!(!golden("v1.db").exists(), "a golden file is never made anew");
    let store = Strongroom::open(golden("v1.db")).unwrap();
    for (key, id, size) in records() {
        store.store_with(id, pattern(size), WriteOptions::new().key(&record_key(key))).unwrap();
    }
}
