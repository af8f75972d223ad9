//! Tests of the space of removed records: its reclamation in the background, and compaction.

use std::time::Duration;
use std::{fs, thread};

use super::tests::{count, locator, storage};
use super::*;
use crate::util::interrupt::Cancellation;

const LONG: usize = 40 << 20;

/// Waits until the segments of removed records are gone.
pub(super) fn wait_for_reclamation(storage: &SqliteStorage) {
    for _ in 0..6000 {
        if (count(storage, "segment"), count(storage, "pending")) == (0, 0) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the segments are still there");
}

#[test]
fn the_segments_of_a_long_record_are_removed_in_the_background() {
    let (folder, storage) = storage();
    storage.put(&locator(1), &vec![7; LONG], PutMode::Create).unwrap();
    storage.put(&locator(1), &vec![8; LONG], PutMode::Overwrite).unwrap();
    storage.delete(&locator(1), None).unwrap();
    wait_for_reclamation(&storage);
    let free = storage.stats(0).unwrap().free;
    assert!(free > LONG as u64, "{free}");

    // Closing ends the removal; a later handle continues.
    storage.put(&locator(1), &vec![7; LONG], PutMode::Create).unwrap();
    storage.delete(&locator(1), None).unwrap();
    storage.close().unwrap();
    drop(storage);
    let storage = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
    wait_for_reclamation(&storage);
    assert!(storage.stats(0).unwrap().free >= free);
}

#[test]
fn a_short_removal_is_complete_when_it_returns() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &vec![7; 4 << 20], PutMode::Create).unwrap();
    storage.delete(&locator(1), None).unwrap();
    assert_eq!((count(&storage, "segment"), count(&storage, "pending")), (0, 0));
}

#[test]
fn an_interrupt_ends_a_removal_after_its_step() {
    type Removal = fn(&SqliteStorage, i64) -> Result<(), Error>;
    let removals: [(&str, Removal); 2] = [
        ("INSERT INTO pending SELECT DISTINCT object, 0 FROM segment", |storage, _| storage.maintain()),
        ("", |storage, object| Ok(storage.remove_orphan(object)?)),
    ];
    for (sql, remove) in removals {
        let (_folder, storage) = storage();
        storage.put(&locator(1), &vec![7; LONG], PutMode::Create).unwrap();
        let object = storage.database.write(|connection| {
            connection.execute_batch(&format!("DELETE FROM record; {sql}"))?;
            Ok(connection.query_row("SELECT object FROM segment", (), |row| row.get(0))?)
        });
        let (object, before) = (object.unwrap(), count(&storage, "segment"));
        let interrupted = Cancellation::default();
        interrupted.cancel();
        assert!(matches!(interrupted.run(|| remove(&storage, object)), Err(Error::Busy)));
        let step = i64::try_from(garbage::SEGMENTS_AT_ONCE).unwrap();
        assert_eq!(count(&storage, "segment"), before - step);
        storage.maintain().unwrap();
        assert_eq!((count(&storage, "segment"), count(&storage, "pending")), (0, 0));
    }
}

#[test]
fn compaction_shortens_the_file_and_keeps_the_records() {
    let (folder, storage) = storage();
    let path = folder.path().join("records.db");
    let record = |number: u8| vec![number; usize::from(number) * 10_000 + 100];
    for number in 0..100 {
        storage.put(&locator(number), &record(number), PutMode::Create).unwrap();
    }
    for number in (0..100).filter(|number| number % 10 != 9) {
        storage.delete(&locator(number), None).unwrap();
    }
    storage.maintain().unwrap();
    let free = storage.stats(0).unwrap().free;
    let len = || fs::metadata(&path).unwrap().len();
    let before = len();
    assert!(free > before / 2, "{free} of {before}");

    assert_eq!(storage.compact(1000).unwrap(), 0, "less than a page");
    assert_eq!(storage.compact(20_000).unwrap(), 16_384);
    let mut returned = 16_384;
    loop {
        let step = storage.compact(u64::MAX).unwrap();
        assert!(step <= 1 << 20, "other writers wait for {step} bytes");
        if step == 0 {
            break;
        }
        returned += step;
    }
    assert_eq!(storage.stats(0).unwrap().free, 0);
    assert_eq!((returned, len()), (before - len(), before - returned));
    assert!(returned >= free);
    storage.maintain().unwrap();
    drop(storage);

    let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
    assert_eq!(storage.verify(Some(&VerifyPosition::Structure), 1).unwrap().damage, []);
    for number in 0..100 {
        let expected = (number % 10 == 9).then(|| record(number));
        assert_eq!(storage.get(&locator(number)).unwrap(), expected);
    }
}

/// A reader of an old state keeps it, and the file is shortened later.
#[test]
fn compaction_goes_on_beside_a_reader() {
    let (folder, storage) = storage();
    let path = folder.path().join("records.db");
    storage.put(&locator(1), &vec![7; 4 << 20], PutMode::Create).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    let sum = || reader.query_row("SELECT sum(length(data)) FROM segment", (), |row| row.get::<_, Option<i64>>(0));
    reader.execute_batch("BEGIN").unwrap();
    let expected = sum().unwrap();
    storage.delete(&locator(1), None).unwrap();
    while storage.compact(u64::MAX).unwrap() > 0 {}
    assert_eq!(sum().unwrap(), expected);
    assert!(fs::metadata(&path).unwrap().len() > 3 << 20, "the reader needs the pages");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(sum().unwrap(), None);
    storage.maintain().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
}

#[test]
fn a_file_whose_pages_cannot_be_moved_is_refused() {
    let (folder, storage) = storage();
    let path = folder.path().join("records.db");
    drop(storage);
    let batch = "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM";
    rusqlite::Connection::open(&path).unwrap().execute_batch(batch).unwrap();
    let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
    assert_eq!(storage.compact(u64::MAX).unwrap(), 0, "no page is free");
    storage.put(&locator(1), &vec![7; 4 << 20], PutMode::Create).unwrap();
    storage.delete(&locator(1), None).unwrap();
    assert!(matches!(storage.compact(u64::MAX), Err(Error::Unsupported(_))));
}
