//! Copies between storages: what is copied, what is refused, and what a failure, damage or concurrent writers leave.

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

/// Damages a database while it is closed, and opens it again.
fn damage(folder: &Path, name: &str, storage: Shared, sql: &str, locator: &Locator) -> Shared {
    storage.close().unwrap();
    let connection = Connection::open(folder.join(name)).unwrap();
    assert_eq!(connection.execute(sql, [locator.as_bytes()]).unwrap(), 1, "{sql}");
    drop((connection, storage));
    database(folder, name)
}

#[test]
fn damaged_records_are_named_and_the_rest_is_copied() {
    let flip =
        "UPDATE record SET body = CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB) WHERE locator = ?1";
    let head =
        "UPDATE record SET head = CAST(substr(head, 1, 20) || x'00' || substr(head, 22) AS BLOB) WHERE locator = ?1";
    let short = "UPDATE record SET body = substr(body, 2) WHERE locator = ?1";
    let segment = "UPDATE segment SET data = zeroblob(length(data)) WHERE n = 2
        AND object = (SELECT object FROM record WHERE locator = ?1)";
    let missing = "DELETE FROM segment WHERE n = 2 AND object = (SELECT object FROM record WHERE locator = ?1)";
    let length = "UPDATE record SET len = len + 1 WHERE locator = ?1";
    let prefix = "UPDATE record SET prefix = prefix + 1 WHERE locator = ?1";
    let text = "UPDATE record SET head = x'00' WHERE locator = ?1";
    for (sql, len) in [
        (flip, 1000),
        (head, 1000),
        (short, 1000),
        (segment, 3_000_000),
        (missing, 3_000_000),
        (length, 1000),
        (prefix, 1000),
        (text, 1000),
        (length, 3_000_000),
    ] {
        for others in [3, 3000_u32] {
            let folder = tempfile::tempdir().unwrap();
            let from = database(folder.path(), "from.db");
            let source = open(&from);
            let items: Vec<_> = (0..others).map(|n| (n.to_le_bytes(), pattern(100))).collect();
            drop(source.store_many(&items).unwrap());
            let locator = locator_of(&from, || store(&source, "damaged", len));
            let (to, earlier) = (memory(), memory());
            assert_eq!(run(&from, &earlier, false).unwrap().records, u64::from(others) + 1);
            let all = contents(&earlier);

            let from = damage(folder.path(), "from.db", from, sql, &locator);
            for _ in 0..2 {
                let copied = run(&from, &to, true).unwrap();
                assert!(!copied.is_complete());
                let place = |locator: &Locator| locator.as_bytes()[..6].to_vec();
                let damaged: Vec<_> = copied.damaged.iter().map(place).collect();
                assert_eq!(damaged, [place(&locator)], "{sql}");
                assert_eq!(copied.records + copied.unchanged, u64::from(others), "{sql}");
                assert_eq!(to.info(&locator).unwrap(), None);
            }
            let expected: BTreeMap<_, _> =
                all.iter().filter(|(other, _)| **other != locator).map(|(l, r)| (*l, r.clone())).collect();
            assert!(contents(&to) == expected, "{sql}");
            // An earlier copy of it is kept, whatever the source lists, even by a mirror.
            let _ = run(&from, &earlier, true).unwrap();
            assert!(contents(&earlier) == all, "{sql}");
        }
    }
}

#[test]
fn records_beside_a_damaged_page_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("from.db");
    let (from, to) = (database(folder.path(), "from.db"), memory());
    let items: Vec<_> = (0..3000_u32).map(|n| (n.to_le_bytes(), pattern(500))).collect();
    drop(open(&from).store_many(&items).unwrap());
    let all = contents(&from);
    from.close().unwrap();
    drop(from);
    // A page from the middle of the table, with a few records.
    let mut bytes = fs::read(&path).unwrap();
    let page = bytes.len() / 8192 / 2 * 8192;
    bytes[page..page + 8192].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let from = database(folder.path(), "from.db");
    assert!(matches!(from.list(None, 3000), Err(StorageError::Corrupt)));
    let copied = run(&from, &to, true).unwrap();
    assert!(!copied.damaged.is_empty());
    let mut intact = all;
    intact.retain(|locator, _| matches!(from.get(locator), Ok(Some(_))));
    assert!((2900..3000).contains(&intact.len()), "{}", intact.len());
    let copied = contents(&to);
    let lost: Vec<_> = intact.keys().filter(|locator| !copied.contains_key(locator)).collect();
    assert!(copied == intact, "{lost:?}");
}

#[test]
fn damage_at_the_destination_is_not_that_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (memory(), database(folder.path(), "to.db"));
    let source = open(&from);
    let locator = locator_of(&from, || store(&source, "id", 1000));
    let _ = run(&from, &to, false).unwrap();
    let sql = "UPDATE record SET head = x'00' WHERE locator = ?1";
    let to = damage(folder.path(), "to.db", to, sql, &locator);
    let error = run(&from, &to, false).unwrap_err();
    assert!(error.full_message().contains("the destination is damaged"), "{error:?}");
}

/// A destination that acknowledges a record and returns another one.
#[test]
fn what_the_destination_returns_is_compared() {
    let from = memory();
    store(&open(&from), "id", 1000);
    for (lies, name) in [(false, "a success"), (true, "Storage")] {
        let inner = memory();
        let altered = Arc::clone(&inner);
        let was_put = AtomicBool::new(false);
        let to = hooked(&inner, move |method, bytes| {
            if method == "put" {
                was_put.store(true, Ordering::Relaxed);
            }
            if method == "get" && was_put.load(Ordering::Relaxed) && lies {
                let locator = Locator::from_bytes(bytes.try_into().unwrap());
                let mut record = altered.get(&locator)?.unwrap();
                record[500] ^= 1;
                altered.put(&locator, &record, PutMode::Overwrite)?;
            }
            Ok(())
        });
        let outcome = run(&from, &to, false);
        assert_eq!(outcome.map_or_else(|error| error.name(), |_| "a success"), name);
    }
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
fn records_that_change_during_the_copy_are_copied_whole() {
    for len in [1000, 2_000_000] {
        let from = memory();
        let source = Arc::new(open(&from));
        store(&source, "replaced", len);
        store(&source, "removed", len);
        let (changes, writer) = (AtomicBool::new(false), Arc::clone(&source));
        let changing = hooked(&from, move |method, _| {
            // Once, after the records were listed.
            if matches!(method, "get" | "read_at") && !changes.swap(true, Ordering::Relaxed) {
                let _ = writer.replace("replaced", &key(), pattern(len + 1)).unwrap();
                writer.erase("removed").unwrap();
            }
            Ok(())
        });
        let to = memory();
        let copied = run(&changing, &to, false).unwrap();
        assert!(copied.is_complete());
        let _ = run(&from, &to, true).unwrap();
        assert_equal(&from, &to);
    }
}

#[test]
fn changes_at_the_destination_are_not_overwritten_blindly() {
    let from = memory();
    let source = open(&from);
    let locator = locator_of(&from, || store(&source, "id", 1000));
    let (inner, puts) = (memory(), Arc::new(AtomicUsize::new(0)));
    let (other, count) = (Arc::clone(&inner), Arc::clone(&puts));
    let to = hooked(&inner, move |method, _| {
        if method == "put" {
            // Another program always writes first.
            let n = count.fetch_add(1, Ordering::Relaxed);
            let mut record = pattern(200);
            record[12..20].copy_from_slice(&n.to_le_bytes());
            other.put(&locator, &record, PutMode::Overwrite)?;
        }
        Ok(())
    });
    assert!(matches!(run(&from, &to, false), Err(Error::Conflict)));
    assert!(puts.load(Ordering::Relaxed) > 2);
    assert_eq!(run(&from, &inner, false).unwrap().records, 1, "without the other program, it ends");
    assert_equal(&from, &inner);
}

#[test]
fn an_interrupted_copy_is_resumed() {
    let from = memory();
    let source = open(&from);
    for n in 0..20_u32 {
        store(&source, n.to_le_bytes(), 100);
    }
    let inner = memory();
    // Each list waits, so that the copy cannot end before the interrupt.
    let to = hooked(&inner, |method, _| {
        if method == "list" {
            thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(())
    });
    let interrupted = interruptible(|| true, || run(&from, &to, false));
    assert!(matches!(interrupted, Err(Error::Busy)), "{interrupted:?}");
    let _ = run(&from, &inner, false).unwrap();
    assert_equal(&from, &inner);
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

#[test]
fn a_copy_beside_writers_ends_equal_once_they_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (database(folder.path(), "from.db"), database(folder.path(), "to.db"));
    let source = Arc::new(open(&from));
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..2_u32)
        .map(|writer| {
            let (source, stop, written) = (Arc::clone(&source), Arc::clone(&stop), Arc::clone(&written));
            thread::spawn(move || {
                let mut keys = BTreeMap::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                    let id = format!("{writer}-{}", n % 100);
                    let len = if n % 50 == 0 { 1_500_000 } else { 200 + n };
                    match keys.remove(&id) {
                        None => drop(keys.insert(id.clone(), source.store(&id, pattern(len)).unwrap())),
                        Some(key) if n % 7 == 0 => source.delete(&id, &key).unwrap(),
                        Some(key) => drop(keys.insert(id.clone(), source.replace(&id, &key, pattern(len)).unwrap())),
                    }
                }
            })
        })
        .collect();
    for round in 1..=10 {
        wait_for(|| (written.load(Ordering::Relaxed) > 20 * round).then_some(()));
        assert!(run(&from, &to, true).unwrap().is_complete());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join_within(DEADLINE);
    }
    let _ = run(&from, &to, true).unwrap();
    assert_equal(&from, &to);
}

/// Records appear and vanish at the destination while the source is compared with it.
#[test]
fn two_copies_at_once_end_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (database(folder.path(), "from.db"), database(folder.path(), "to.db"));
    let source = open(&from);
    let items: Vec<_> = (0..2000_u32).map(|n| (n.to_le_bytes(), pattern(300))).collect();
    drop(source.store_many(&items).unwrap());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| outcomes.lock().unwrap().push(run(&from, &to, true)));
        }
    });
    assert!(outcomes.into_inner().unwrap().into_iter().all(|outcome| outcome.unwrap().is_complete()));
    assert_equal(&from, &to);
}

/// Copies between paths. The first copy to a new one begins with the database's pages.
fn run_paths(from: &Path, to: &Path) -> Result<Copied, Error> {
    let [from, to] = [from, to].map(|path| Location::parse(path).unwrap());
    copy(&from, &to, CopyOptions::new(), &mut |_| ())
}

#[test]
fn the_first_copy_of_a_database_leaves_out_claims_damage_and_remains() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to, unfinished] = ["from.db", "to.db", "to.db.unfinished"].map(|name| folder.path().join(name));
    let from = database(folder.path(), "from.db");
    let source = open(&from);
    let items: Vec<_> = (0..500_u32).map(|n| (n.to_le_bytes(), pattern(300))).collect();
    drop(source.store_many(&items).unwrap());
    store(&source, "long", 3_000_000);
    let mut upload = Arc::clone(&from).upload(&Locator::from_bytes([9; 32]), PutMode::Create).unwrap();
    upload.write(&pattern(1_000_000)).unwrap();
    from.put(&claim(), &pattern(100), PutMode::Create).unwrap();
    // The rest of a killed copy.
    fs::write(&unfinished, "half").unwrap();
    fs::write(folder.path().join("to.db.unfinished-wal"), "half").unwrap();

    let copied = run_paths(&path, &to).unwrap();
    assert_eq!((copied.records, copied.unchanged, copied.is_complete()), (501, 0, true));
    assert_eq!(copied.bytes, source.stats().unwrap().bytes - 100);
    let mut expected = contents(&from);
    expected.remove(&claim());
    let copy = database(folder.path(), "to.db");
    assert!(contents(&copy) == expected);
    assert_eq!(copy.settings().unwrap(), from.settings().unwrap());
    copy.close().unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("unfinished")), "{names:?}");
    let segments = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM segment", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    upload.write(&pattern(1_000_000)).unwrap();
    drop(upload);
    assert_eq!(segments(&to), segments(&path), "without the upload");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&to).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let locator = locator_of(&from, || store(&source, "damaged", 1000));
    let sql = "UPDATE record SET body = zeroblob(length(body)) WHERE locator = ?1";
    let _from = damage(folder.path(), "from.db", from, sql, &locator);
    let other = folder.path().join("other.db");
    for expected in [(501, 0), (0, 501)] {
        let copied = run_paths(&path, &other).unwrap();
        assert_eq!((copied.records, copied.unchanged), expected);
        assert_eq!(copied.damaged, [locator]);
    }
    assert!(contents(&database(folder.path(), "other.db")) == expected);
}

#[test]
fn the_first_copy_of_a_database_with_a_damaged_page_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let store = Strongroom::open(&path).unwrap();
    let items: Vec<_> = (0..3000_u32).map(|n| (n.to_le_bytes(), pattern(500))).collect();
    drop(store.store_many(&items).unwrap());
    store.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let page = bytes.len() / 8192 / 2 * 8192;
    bytes[page..page + 8192].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let copied = run_paths(&path, &to).unwrap();
    assert!((2900..3000).contains(&copied.records) && !copied.is_complete(), "{copied:?}");
    assert_eq!(run_paths(&path, &to).unwrap().unchanged, copied.records);
}

#[test]
fn a_first_copy_can_be_interrupted_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let opened = Strongroom::open(&path).unwrap();
    store(&opened, "long", 40_000_000);
    // The first report is that of the first pages; the interrupt is noticed before the next ones.
    let [from, destination] = [&path, &to].map(|path| Location::parse(path).unwrap());
    let interrupted = interruptible(
        || true,
        || {
            copy(&from, &destination, CopyOptions::new(), &mut |_| {
                thread::sleep(std::time::Duration::from_millis(60));
            })
        },
    );
    assert!(matches!(interrupted, Err(Error::Busy)), "{interrupted:?}");
    assert!(!to.exists() && !folder.path().join("to.db.unfinished").exists());
    assert_eq!(run_paths(&path, &to).unwrap().records, 1);
}
