//! Databases of earlier versions can always be opened. The files in `golden/` are never changed; a new version adds its
//! own.
//!
//! `v1.db` and `v1-lifecycle.db` were written by version 0.1.0 (record format 1, schema 1).

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::{SIZES, pattern, record_key};
use strongroom::{Error, IndexKey, Stats, Strongroom, VerifyOptions, WriteOptions};

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

/// The Unix times at which `v1-lifecycle.db` was made and is read.
const MADE: u64 = 1_700_000_000;
const READ: u64 = 1_800_000_000;

/// `v1-lifecycle.db`, at a time, with the index key and the one before it.
fn open_lifecycle(path: &Path, time: u64, current: u8, previous: Option<u8>) -> Result<Strongroom, Error> {
    let key = |byte| IndexKey::from_bytes(&[byte; 32]).unwrap();
    let builder = Strongroom::builder().path(path).clock(move || UNIX_EPOCH + Duration::from_secs(time));
    let builder = builder.index_key(key(current));
    previous.into_iter().fold(builder, |builder, previous| builder.previous_index_key(key(previous))).open()
}

/// Records that expire, that are padded, in a namespace, of two generations, and one that a `take` has claimed.
#[test]
fn a_database_of_version_1_with_a_rotation_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1-lifecycle.db");
    fs::copy(golden("v1-lifecycle.db"), &path).unwrap();
    for (current, previous) in [(1, None), (2, None), (3, Some(2))] {
        assert!(open_lifecycle(&path, READ, current, previous).is_err());
    }
    let store = open_lifecycle(&path, READ, 2, Some(1)).unwrap();
    let tenant = store.namespace("tenant").unwrap();
    assert_eq!(store.stats().unwrap(), Stats::new(10, STORED, 2));
    assert_eq!(store.rotation(10).unwrap().unwrap().remaining.len(), 4);
    let report = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_clean() && report.records == 10);
    for (store, id, key, len) in [
        (&store, "old", 1, 300),
        (&tenant, "old", 2, 300),
        (&store, "new", 4, 300),
        (&tenant, "new", 5, 300),
        (&store, "padded", 6, 1000),
        (&store, "long", 7, 300_000),
        (&store, "lasting", 8, 300),
    ] {
        assert!(store.retrieve(id, &record_key(key)).unwrap() == pattern(len), "{id}, key {key}");
        assert!(matches!(store.store(id, "data"), Err(Error::AlreadyExists)));
    }
    assert!(matches!(store.retrieve("old", &record_key(2)), Err(Error::WrongKey)));
    for (id, key) in [("expired", 3), ("expired too", 9)] {
        assert!(matches!(store.retrieve(id, &record_key(key)), Err(Error::Expired)));
        assert!(!store.contains(id).unwrap());
    }
    let key = store.store("expired", pattern(100)).unwrap();
    assert_eq!(store.purge(10).unwrap(), 2, "an expired record, and the claim of a process that has ended");
    store.finish_rotation().unwrap();
    store.close().unwrap();
    let store = open_lifecycle(&path, READ, 2, None).unwrap();
    assert_eq!(store.retrieve("expired", &key).unwrap(), pattern(100));
    assert_eq!(store.take("padded", &record_key(6)).unwrap(), pattern(1000));
    assert_eq!(store.stats().unwrap().records, 7);
}

/// The bytes of all records of `v1-lifecycle.db`.
const STORED: u64 = 307_656;

/// The program that made `v1-lifecycle.db`. It does not overwrite the file.
#[test]
#[ignore = "made once, with UPDATE=golden"]
fn make_the_database_of_version_1_with_a_rotation() {
    assert_eq!(std::env::var("UPDATE").as_deref(), Ok("golden"));
    let path = golden("v1-lifecycle.db");
    assert!(!path.exists(), "a golden file is never made anew");
    let until = |time| UNIX_EPOCH + Duration::from_secs(time);
    let put = |store: &Strongroom, id: &str, key: u8, len: usize, options: WriteOptions<'_>| {
        store.store_with(id, pattern(len), options.key(&record_key(key))).unwrap();
    };
    let store = open_lifecycle(&path, MADE, 1, None).unwrap();
    put(&store, "old", 1, 300, WriteOptions::new());
    put(&store.namespace("tenant").unwrap(), "old", 2, 300, WriteOptions::new());
    put(&store, "expired", 3, 300, WriteOptions::new().expires_at(until(MADE + 1000)));
    put(&store, "long", 7, 300_000, WriteOptions::new().pad());
    store.close().unwrap();
    let store = open_lifecycle(&path, MADE, 2, Some(1)).unwrap();
    store.begin_rotation().unwrap();
    put(&store, "new", 4, 300, WriteOptions::new());
    put(&store.namespace("tenant").unwrap(), "new", 5, 300, WriteOptions::new());
    put(&store, "padded", 6, 1000, WriteOptions::new().pad());
    put(&store, "lasting", 8, 300, WriteOptions::new().expires_at(until(READ + 1000)));
    put(&store, "expired too", 9, 300, WriteOptions::new().expires_at(until(READ)));
    put(&store, "taken", 10, 300, WriteOptions::new());
    let _claimed = std::mem::ManuallyDrop::new(store.take_record("taken", &record_key(10)).unwrap());
    store.close().unwrap();
}
