//! Interruption of calls that wait for a lock.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::io::Write;
use std::time::SystemTime;

use rusqlite::Connection;
use strongroom::interrupt::{interruptible, is_interrupted};
use strongroom::{Error, IndexKey, RecordKey, Strongroom, WriteOptions};

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

fn yes() -> bool {
    ASKED.set(ASKED.get() + 1);
    true
}

/// Runs `call`, interrupts it, and returns the number of polls.
fn asked(call: impl FnOnce() -> Result<(), Error>) -> u32 {
    ASKED.set(0);
    let outcome = interruptible(yes, call);
    assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
    ASKED.get()
}

#[test]
fn an_interrupt_ends_waits_for_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let key = store.store("id", "data").unwrap();
    let new_key = RecordKey::generate().unwrap();
    let long = vec![7; 3_000_000];
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    assert_eq!(asked(|| store.store("new", "data").map(drop)), 1);
    assert_eq!(asked(|| store.store("new", &long).map(drop)), 1);
    assert_eq!(asked(|| store.replace_with("id", &key, "new", WriteOptions::new().key(&new_key)).map(drop)), 1);
    assert_eq!(asked(|| store.delete("id", &key)), 1);
    assert_eq!(asked(|| store.erase("id").map(drop)), 1);
    assert_eq!(asked(|| store.store_many(&[("new", "data")]).map(drop)), 1);
    assert_eq!(
        asked(|| {
            let mut writer = store.create_record("new")?;
            for _ in 0..10 {
                writer.write_all(&long).map_err(|error| error.downcast::<Error>().unwrap())?; // by a waiting thread
            }
            writer.finish().map(drop)
        }),
        1
    );
    // A call that does not wait is not interrupted.
    assert_eq!(interruptible(yes, || store.retrieve("id", &key)).unwrap(), b"data");
    assert!(!is_interrupted());

    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.stats().unwrap().records, 1);
    assert_eq!(
        interruptible(yes, || store.store("new", "data").and_then(|key| store.retrieve("new", &key))).unwrap(),
        b"data"
    );
}

/// During a rotation, a read first moves the record. An interrupt of that ends the call.
#[test]
fn an_interrupt_ends_a_read_that_waits_for_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let builder = || Strongroom::builder().path(&path).clock(SystemTime::now);
    let index_key = |byte| IndexKey::from_bytes(&[byte; 32]).unwrap();
    let key = builder().index_key(index_key(1)).open().unwrap().store("id", "data").unwrap();
    let store = builder().index_key(index_key(2)).previous_index_key(index_key(1)).open().unwrap();
    store.begin_rotation().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(asked(|| store.retrieve("id", &key).map(drop)), 1);
    assert_eq!(asked(|| store.contains("id").map(drop)), 1);
}
