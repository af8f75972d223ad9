//! Copies between storages: what is copied, what is refused, and what a failure, damage or concurrent writers leave.

mod changes;
mod damage;
mod first_copy;
mod rotation;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rusqlite::Connection;
use strongroom::interrupt::interruptible;
use strongroom::storage::{Durability, Error as StorageError, Locator, MemoryStorage, PutMode, SqliteStorage, Storage};
use strongroom::transfer::{Copied, CopyOptions, copy, copy_storage};
use strongroom::{Error, Location, RecordKey, Strongroom, WriteOptions};

use crate::support::hooked::{Shared, hooked};
use crate::support::intercept::Intercepted;
use crate::support::wait::{DEADLINE, Join, wait_for};
use crate::support::{SIZES, index_key, pattern, record_key};

fn memory() -> Shared {
    Arc::new(MemoryStorage::new())
}

fn database(folder: &Path, name: &str) -> Shared {
    Arc::new(SqliteStorage::open(folder.join(name), Durability::Full).unwrap())
}

fn open(storage: &Shared) -> Strongroom {
    Strongroom::builder().storage(Arc::clone(storage)).index_key(index_key()).open().unwrap()
}

/// Copies with as many workers as a test should have.
fn run(from: &Shared, to: &Shared, mirror: bool) -> Result<Copied, Error> {
    copy_storage(from, to, CopyOptions::new().mirror(mirror).workers(3), &mut |_| ())
}

/// All records of a storage.
fn contents(storage: &Shared) -> BTreeMap<Locator, Vec<u8>> {
    let listed = storage.list(None, 100_000).unwrap();
    listed.into_iter().map(|entry| (entry.locator, storage.get(&entry.locator).unwrap().unwrap())).collect()
}

#[track_caller]
fn assert_equal(one: &Shared, other: &Shared) {
    assert!(contents(one) == contents(other));
    assert_eq!(one.settings().unwrap(), other.settings().unwrap());
}

#[track_caller]
fn assert_refused<T>(outcome: Result<T, Error>, text: &str) {
    match outcome {
        Err(Error::InvalidArgument(found)) => assert!(found.contains(text), "{found}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was accepted: {text}"),
    }
}

fn key() -> RecordKey {
    record_key(7)
}

fn store(store: &Strongroom, id: impl AsRef<[u8]>, len: usize) {
    drop(store.store_with(id, pattern(len), WriteOptions::new().key(&key())).unwrap());
}

/// The locator of the only record that differs between before and after `work`.
fn locator_of(storage: &Shared, work: impl FnOnce()) -> Locator {
    let before = contents(storage);
    work();
    let mut after = contents(storage);
    after.retain(|locator, _| !before.contains_key(locator));
    *after.keys().next().unwrap()
}

fn claim() -> Locator {
    Locator::from_bytes([0; 32])
}

#[test]
fn all_lengths_are_copied_between_all_storages() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = || SIZES.into_iter().chain([262_000, 262_400, 1 << 20, (1 << 20) + 1, 3_000_000]);
    for (place, from) in [memory(), database(folder.path(), "from.db")].into_iter().enumerate() {
        let source = open(&from);
        for len in lengths() {
            store(&source, len.to_string(), len);
        }
        for to in [memory(), database(folder.path(), &format!("to-{place}.db"))] {
            let copied = run(&from, &to, false).unwrap();
            assert_eq!((copied.records, copied.unchanged), (lengths().count() as u64, 0));
            assert_eq!(copied.bytes, source.stats().unwrap().bytes);
            assert_equal(&from, &to);
            let copy = open(&to);
            for len in lengths() {
                assert!(copy.retrieve(len.to_string(), &key()).unwrap() == pattern(len));
            }
            let again = run(&from, &to, false).unwrap();
            assert_eq!((again.records, again.bytes, again.unchanged), (0, 0, lengths().count() as u64));
        }
    }
}

#[test]
fn a_repeated_copy_transfers_changes() {
    let folder = tempfile::tempdir().unwrap();
    for to in [memory(), database(folder.path(), "to.db")] {
        let from = memory();
        let source = open(&from);
        for n in 0..2000_u32 {
            store(&source, n.to_le_bytes(), 100);
        }
        store(&source, "long", 3_000_000);
        assert_eq!(run(&from, &to, true).unwrap().records, 2001);
        for n in 0..50_u32 {
            let _ = source.replace(n.to_le_bytes(), &key(), pattern(200)).unwrap();
            source.erase((n + 100).to_le_bytes()).unwrap();
            store(&source, (n + 5000).to_le_bytes(), 300);
        }
        let _ = source.replace("long", &key(), pattern(2_000_000)).unwrap();
        let copied = run(&from, &to, false).unwrap();
        assert_eq!((copied.records, copied.unchanged, copied.deleted), (101, 1900, 0));
        assert_eq!(to.stats(0).unwrap().records, 2051, "without a mirror, nothing is deleted");
        let copied = run(&from, &to, true).unwrap();
        assert_eq!((copied.records, copied.unchanged, copied.deleted), (0, 2001, 50));
        assert_equal(&from, &to);
    }
}

#[test]
fn expired_records_are_copied() {
    let (from, to) = (memory(), memory());
    let past = std::time::SystemTime::now() + std::time::Duration::from_millis(1);
    let options = WriteOptions::new().expires_at(past);
    // At the earliest in the next second of a storage's clock: the copy has none, so that this does not matter.
    let _ = open(&from).store_with("id", b"data", options.expires_in(std::time::Duration::from_secs(1)));
    let records = from.stats(0).unwrap().records;
    assert_eq!(run(&from, &to, false).unwrap().records, records);
    assert_equal(&from, &to);
}

#[test]
fn claims_are_left_alone() {
    let (from, to) = (memory(), memory());
    store(&open(&from), "id", 100);
    let (here, there) = (pattern(100), pattern(200));
    from.put(&claim(), &here, PutMode::Create).unwrap();
    assert_eq!(run(&from, &to, true).unwrap().records, 1);
    assert_eq!(to.info(&claim()).unwrap(), None);
    to.put(&claim(), &there, PutMode::Create).unwrap();
    let copied = run(&from, &to, true).unwrap();
    assert_eq!((copied.records, copied.unchanged, copied.deleted), (0, 1, 0));
    assert_eq!(to.get(&claim()).unwrap(), Some(there));
}

#[test]
fn another_store_is_refused_and_unchanged() {
    let (from, to) = (memory(), memory());
    store(&open(&from), "id", 100);
    store(&open(&to), "id", 200);
    let before = contents(&to);
    assert_refused(run(&from, &to, true), "another store");
    assert!(contents(&to) == before);

    // Records without settings belong to no store.
    let to = memory();
    to.put(&Locator::from_bytes([1; 32]), &pattern(100), PutMode::Create).unwrap();
    assert_refused(run(&from, &to, true), "no settings");
}

#[test]
fn a_source_without_a_store_is_refused() {
    let to = memory();
    store(&open(&to), "id", 100);
    assert_refused(run(&memory(), &to, true), "no store");
    assert_eq!(to.stats(0).unwrap().records, 1);
}

#[test]
fn an_empty_store_is_a_store() {
    let (from, to) = (memory(), memory());
    drop(open(&from));
    assert_eq!(run(&from, &to, true).unwrap(), Copied::default());
    assert_equal(&from, &to);
}

#[test]
fn the_number_of_workers_is_limited() {
    let (from, to) = (memory(), memory());
    store(&open(&from), "id", 100);
    for workers in [0, 65, usize::MAX] {
        let outcome = copy_storage(&from, &to, CopyOptions::new().workers(workers), &mut |_| ());
        assert_refused(outcome, "workers");
    }
    assert_eq!(to.settings().unwrap(), None);
    for workers in [1, 64] {
        let copied = copy_storage(&from, &to, CopyOptions::new().workers(workers), &mut |_| ()).unwrap();
        assert_eq!(copied.records + copied.unchanged, 1);
    }
}

#[test]
fn a_store_is_not_copied_onto_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let opened = Strongroom::open(&path).unwrap();
    store(&opened, "id", 100);
    opened.close().unwrap();
    let copy_to = |to: &Path| {
        let [from, to] = [&path, to].map(|path| Location::parse(path).unwrap());
        copy(&from, &to, CopyOptions::new().mirror(true), &mut |_| ())
    };
    assert_refused(copy_to(&path), "the same store");
    let folder_link = folder.path().join("folder");
    std::os::unix::fs::symlink(folder.path(), &folder_link).unwrap();
    assert_refused(copy_to(&folder_link.join("records.db")), "the same store");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_refused(copy_to(&link), "the same store");
    fs::remove_file(&link).unwrap();
    fs::hard_link(&path, &link).unwrap();
    assert_refused(copy_to(&link), "hard links");

    let storage = memory();
    drop(open(&storage));
    assert_refused(run(&storage, &storage, true), "the same store");
}

#[test]
fn another_handle_of_the_same_store_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| database(folder.path(), "records.db"));
    store(&open(&one), "id", 100);
    let before = contents(&one);
    assert_eq!(run(&one, &other, true).unwrap().unchanged, 1);
    assert!(contents(&one) == before);
}

#[test]
fn a_copy_needs_a_source_before_it_makes_a_destination() {
    let folder = tempfile::tempdir().unwrap();
    let [missing, empty, to] = ["missing.db", "empty.db", "to.db"].map(|name| folder.path().join(name));
    SqliteStorage::open(&empty, Durability::Full).unwrap().close().unwrap();
    let location = |path: &Path| Location::parse(path).unwrap();
    let run = |from: &Location, to: &Location| copy(from, to, CopyOptions::new(), &mut |_| ());
    assert_refused(run(&location(&missing), &location(&to)), "there is no store at");
    assert_refused(run(&location(&empty), &location(&to)), "no store");
    let store = Strongroom::open(folder.path().join("from.db")).unwrap();
    store.close().unwrap();
    assert_refused(run(&location(Path::new(":memory:")), &location(&to)), "in memory");
    assert_refused(run(&location(&folder.path().join("from.db")), &location(Path::new(":memory:"))), "in memory");
    assert!(!to.exists() && !missing.exists());
}

#[test]
fn a_backup_opens_with_the_index_key_of_the_source_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [path, backup, restored] = ["records.db", "backup.db", "restored.db"].map(|name| folder.path().join(name));
    let source = Strongroom::open(&path).unwrap();
    store(&source, "id", 5000);
    let run = |from: &Path, to: &Path| {
        let [from, to] = [from, to].map(|path| Location::parse(path).unwrap());
        copy(&from, &to, CopyOptions::new(), &mut |_| ()).unwrap()
    };
    assert_eq!(run(&path, &backup).records, 1);
    let missing = Strongroom::open(&backup).unwrap_err();
    assert_eq!(missing.name(), "IndexKeyMissing", "its file is not copied");
    let other = Strongroom::builder().path(&backup).index_key(index_key()).open().unwrap_err();
    assert_eq!(other.name(), "IndexKeyMismatch");
    assert!(!folder.path().join("backup.db-wal").exists(), "the backup is one file");

    // Read-only, as from a read-only medium, and back.
    let mut permissions = fs::metadata(&backup).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&backup, permissions).unwrap();
    assert_eq!(run(&backup, &restored).records, 1);
    fs::copy(folder.path().join("records.db.index-key"), folder.path().join("restored.db.index-key")).unwrap();
    let store = Strongroom::open(&restored).unwrap();
    assert!(store.retrieve("id", &key()).unwrap() == pattern(5000));
}

#[test]
fn a_full_destination_is_resumed() {
    let from = memory();
    let source = open(&from);
    for n in 0..300_u32 {
        store(&source, n.to_le_bytes(), 100);
    }
    store(&source, "long", 2_000_000);
    let (inner, limit) = (memory(), Arc::new(AtomicUsize::new(50)));
    let (left, stored) = (Arc::clone(&limit), Arc::clone(&inner));
    let to = hooked(&inner, move |method, _| {
        let is_full = matches!(method, "put" | "upload")
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if is_full { Err(StorageError::Full) } else { Ok(()) }
    });
    let mut before = 0;
    for _ in 0..6 {
        assert!(matches!(run(&from, &to, false), Err(Error::StorageFull)));
        let now = stored.stats(0).unwrap().records;
        assert!((before + 1..=before + 50).contains(&now), "{before} {now}");
        before = now;
        limit.store(50, Ordering::Relaxed);
    }
    limit.store(usize::MAX, Ordering::Relaxed);
    let copied = run(&from, &to, false).unwrap();
    assert_eq!((copied.records, copied.unchanged), (301 - before, before));
    assert_equal(&from, &stored);
}

#[test]
fn records_that_are_too_large_are_named() {
    let from = memory();
    let source = open(&from);
    for n in 0..50_u32 {
        store(&source, n.to_le_bytes(), 100);
    }
    let mut large = Vec::new();
    for len in [600_000, 2_000_000] {
        large.push(locator_of(&from, || store(&source, len.to_string(), len)));
    }
    let inner = memory();
    let to = hooked(&inner, |method, record| match method {
        "put" if record.len() > 500_000 => Err(StorageError::TooLarge),
        "upload" => Err(StorageError::TooLarge),
        _ => Ok(()),
    });
    let copied = run(&from, &to, true).unwrap();
    large.sort();
    let mut named = copied.too_large.clone();
    named.sort();
    assert_eq!((copied.records, named, copied.is_complete()), (50, large, false));
}

#[test]
fn progress_is_reported_and_ends_with_the_result() {
    let (from, to) = (memory(), memory());
    let source = open(&from);
    for n in 0..100_u32 {
        store(&source, n.to_le_bytes(), 100);
    }
    let mut last = Copied::default();
    let copied = copy_storage(&from, &to, CopyOptions::new(), &mut |progress| {
        assert!(progress.records >= last.records);
        last = progress.clone();
    });
    assert_eq!(copied.unwrap(), last);
    assert_eq!(last.records, 100);
}
