//! Tests of faults, hostile files and races that the tests of the trait do not cover.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::Outcome;
use super::space_tests::wait_for_reclamation;
use super::*;
use crate::storage::{Damage, DamageKind, LOCATOR_LEN, check_lists};
use crate::util::files::{database_files, with_suffix};
use crate::util::interrupt::{self, interruptible};

pub(super) fn storage() -> (tempfile::TempDir, SqliteStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
    (folder, storage)
}

pub(super) fn locator(number: u8) -> Locator {
    Locator::from_bytes([number; LOCATOR_LEN])
}

/// A record of this length with a header of the format.
pub(super) fn record(len: usize) -> Vec<u8> {
    [&[1, 1, 0, 0], &*vec![7; len - 4]].concat()
}

/// A record of this length with this time of expiry.
fn expiring(time: u64, len: usize) -> Vec<u8> {
    let mut record = vec![7; len];
    record[4..12].copy_from_slice(&time.to_le_bytes());
    record
}

/// Damages the page that contains these bytes, so that SQLite cannot read it.
pub(super) fn damage_page_with(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::read(path).unwrap();
    let place = file.windows(bytes.len()).position(|window| window == bytes).unwrap();
    file[place / 8192 * 8192] = 0;
    std::fs::write(path, file).unwrap();
}

/// The first bytes of the pages of the tree of a table or an index, the root first.
pub(super) fn pages_of(path: &Path, name: &str) -> Vec<usize> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = connection.query_row(sql, [name], |row| row.get(0)).unwrap();
    let page_size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
    let file = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let (mut pages, mut left) = (Vec::new(), vec![root]);
    while let Some(page) = left.pop() {
        let at = ((page - 1) * page_size) as usize;
        pages.push(at);
        if matches!(file[at], 2 | 5) {
            let short = |at: usize| usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
            left.push(number(at + 8));
            left.extend((0..short(at + 3)).rev().map(|n| number(at + short(at + 12 + 2 * n))));
        }
    }
    pages
}

/// Adds another row, with this id, of the record in row `of`: another version with a wrong checksum.
pub(super) fn add_row(path: &Path, of: i64, id: i64) {
    add_row_with(path, of, id, "zeroblob(68), body");
}

/// The same, with this head and body.
pub(super) fn add_row_with(path: &Path, of: i64, id: i64, record: &str) {
    let sql = format!(
        "INSERT INTO record SELECT ?2, prefix, len, expires_at, object, checksum, locator, {record}
        FROM record WHERE id = ?1"
    );
    assert_eq!(Connection::open(path).unwrap().execute(&sql, [of, id]).unwrap(), 1);
}

#[test]
fn a_record_with_two_rows_hides_one_from_lists() {
    let (_folder, storage) = storage();
    for last in 0..3 {
        let mut same_prefix = [1; LOCATOR_LEN];
        same_prefix[LOCATOR_LEN - 1] = last;
        storage.put(&Locator::from_bytes(same_prefix), &record(100), PutMode::Create).unwrap();
        storage.put(&locator(2 + last), &record(100), PutMode::Create).unwrap();
    }
    check_lists(&storage).unwrap();
    for of in 1..=6 {
        add_row(storage.path(), of, -5);
        let outcome = check_lists(&storage);
        assert!(matches!(outcome, Err(Error::Corrupt)), "{outcome:?}");
        Connection::open(storage.path()).unwrap().execute("DELETE FROM record WHERE id < 0", ()).unwrap();
    }
    check_lists(&storage).unwrap();
}

/// The second call does not return before the log is moved into the database.
#[test]
fn each_close_waits_until_the_database_is_closed() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &record(1000), PutMode::Create).unwrap();
    let (end_read, read_ends) = mpsc::channel::<()>();
    let (read_began, read_begins) = mpsc::channel();
    thread::scope(|scope| {
        let storage = &storage;
        scope.spawn(move || {
            storage.database.read(|connection| {
                let mut statement = connection.prepare("SELECT id FROM record")?;
                let mut rows = statement.query(())?;
                let _row = rows.next()?;
                read_began.send(()).unwrap();
                let _ = read_ends.recv_timeout(Duration::from_secs(60));
                Ok(())
            })
        });
        read_begins.recv_timeout(Duration::from_secs(60)).unwrap();
        scope.spawn(|| storage.close().unwrap());
        let start = Instant::now();
        while !matches!(storage.get(&locator(1)), Err(Error::Closed)) {
            assert!(start.elapsed() < Duration::from_secs(60), "it is not closed");
            thread::yield_now();
        }
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(end_read);
        });
        storage.close().unwrap();
        assert!(!with_suffix(storage.path(), "-wal").exists());
    });
}

/// A setting of the writer's connection.
pub(super) fn writer_setting(storage: &SqliteStorage, pragma: &str) -> i32 {
    storage.database.with_writer(|writer| connection_settings::get(writer.connection(), pragma)).unwrap()
}

/// SQLite's own limit of the database's size replaces a full disk: both are `SQLITE_FULL`.
fn limit_pages(storage: &SqliteStorage, pages: i32) {
    let sql = format!("PRAGMA max_page_count = {pages}");
    storage.database.with_writer(|writer| Ok(writer.connection().execute_batch(&sql)?)).unwrap();
}

#[test]
fn a_full_storage_keeps_its_records_and_recovers() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &[7; 100_000], PutMode::Create).unwrap();
    limit_pages(&storage, 100);
    for len in [1_000_000, 5_000_000] {
        let outcome = storage.put(&locator(2), &vec![7; len], PutMode::Create);
        assert!(matches!(outcome.unwrap_err(), Error::Full));
        let (short, long) = (vec![7; 100], vec![7; len]);
        assert!(matches!(storage.create_many(&[(locator(3), &short), (locator(2), &long)]).unwrap_err(), Error::Full));
        let mode = PutMode::ReplaceIf(Head::of(&[7; 68]).unwrap());
        assert!(matches!(storage.put(&locator(1), &vec![7; len], mode).unwrap_err(), Error::Full));
    }
    assert_eq!(storage.get(&locator(1)).unwrap(), Some(vec![7; 100_000]));
    assert_eq!(storage.stats(0).unwrap().records, 1);
    let taken = storage.put(&locator(1), &vec![7; 5_000_000], PutMode::Create);
    assert!(matches!(taken.unwrap_err(), Error::AlreadyExists), "that needs no room");
    limit_pages(&storage, i32::MAX);
    storage.put(&locator(2), &vec![7; 5_000_000], PutMode::Create).unwrap();
}

#[test]
fn an_upload_on_a_full_disk_leaves_nothing() {
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let mut upload = Arc::clone(&storage).upload(&locator(1), PutMode::Create).unwrap();
    upload.write(&vec![7; 3_000_000]).unwrap();
    assert_eq!(count(&storage, "segment"), segments(3_000_000));
    limit_pages(&storage, 250);
    assert!(matches!(upload.write(&vec![7; 3_000_000]).unwrap_err(), Error::Full));
    assert!(matches!(upload.write(&[7]).unwrap_err(), Error::Conflict), "it has failed for good");
    assert!(matches!(upload.commit().unwrap_err(), Error::Conflict));
    assert_eq!(count(&storage, "segment"), 0);
    assert_eq!(count(&storage, "pending"), 0);
}

#[test]
fn an_upload_that_an_interrupt_ends_leaves_nothing() {
    let (folder, storage) = storage();
    let storage = Arc::new(storage);
    let ends: [fn(Box<dyn Upload>); 3] = [
        drop,
        |upload| drop(upload.commit().unwrap_err()),
        |mut upload| drop(upload.write(&vec![7; 1_000_000]).and_then(|()| upload.commit()).unwrap_err()),
    ];
    for (number, end) in (1..).zip(ends) {
        let mut upload = Arc::clone(&storage).upload(&locator(number), PutMode::Create).unwrap();
        upload.write(&record(3_000_000)).unwrap();
        storage.put(&locator(number), &record(100), PutMode::Create).unwrap(); // it also fails without the lock
        let other = Connection::open(folder.path().join("records.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(300));
                other.execute_batch("ROLLBACK").unwrap();
            });
            let interrupted = || {
                interrupt::sleep(Duration::from_secs(3600));
                end(upload);
            };
            interruptible(|| true, interrupted);
        });
        assert_eq!((count(&storage, "segment"), count(&storage, "pending")), (0, 0));
    }
}

/// The number of segments that an upload has written after `len` bytes: its beginning belongs to the record's own row,
/// and a segment is written only when it is full.
fn segments(len: usize) -> i64 {
    i64::try_from(len / rows::SEGMENT_LEN - 1).unwrap()
}

pub(super) fn count(storage: &SqliteStorage, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    storage.database.read(|connection| Ok(connection.query_row(&sql, (), |row| row.get(0))?)).unwrap()
}

/// A running upload of more segments than one step of a sweep removes.
fn long_upload(storage: &Arc<SqliteStorage>) -> (Box<dyn Upload>, i64) {
    let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
    upload.write(&vec![7; 40 << 20]).unwrap();
    let objects = storage.database.read(|connection| garbage::pending(connection)).unwrap();
    (upload, objects[0])
}

#[test]
fn an_active_upload_is_not_swept() {
    let (folder, storage) = storage();
    let storage = Arc::new(storage);
    let (upload, _) = long_upload(&storage);
    let other = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
    other.maintain().unwrap();
    assert_eq!(count(&other, "segment"), segments(40 << 20));
    upload.commit().unwrap();
    assert!(storage.get(&locator(1)).unwrap() == Some(vec![7; 40 << 20]));
}

/// A page of `pending` that a disk did not write names an object that a record has got since.
#[test]
fn the_segments_of_a_record_are_never_swept() {
    let (_folder, storage) = storage();
    let path = storage.path().to_owned();
    storage.put(&locator(1), &record(600_000), PutMode::Create).unwrap();
    let make_pending = |storage: &SqliteStorage, touched: i64| {
        let sql = "INSERT INTO pending SELECT object, ?1 FROM record";
        storage.database.write(|connection| Ok(connection.execute(sql, [touched])?)).unwrap();
    };
    for touched in [garbage::DEAD, 1_700_000_000] {
        make_pending(&storage, touched);
        let other = SqliteStorage::open(&path, Durability::Full).unwrap();
        assert_eq!((count(&other, "pending"), count(&other, "segment")), (0, 2));
        assert!(other.get(&locator(1)).unwrap() == Some(record(600_000)));
        make_pending(&storage, touched);
        storage.maintain().unwrap();
        assert!(storage.get(&locator(1)).unwrap() == Some(record(600_000)));
    }
    make_pending(&storage, 1_700_000_000);
    assert!(storage.delete(&locator(1), None).unwrap());
    wait_for_reclamation(&storage);
}

/// The lock fails to show a running upload: the sweep begins, then the upload commits.
#[test]
fn an_abandoned_upload_does_not_commit() {
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let (upload, object) = long_upload(&storage);
    storage.database.write(garbage::mark_dead).unwrap();
    assert!(matches!(upload.commit().unwrap_err(), Error::Conflict));
    assert_eq!(storage.get(&locator(1)).unwrap(), None);
    wait_for_reclamation(&storage);

    let (mut upload, half_swept) = long_upload(&storage);
    assert!(!storage.database.write(|connection| garbage::remove_some(connection, half_swept)).unwrap());
    assert!(matches!(upload.write(&vec![7; 2 << 20]).unwrap_err(), Error::Conflict));
    assert!(matches!(upload.commit().unwrap_err(), Error::Conflict));
    wait_for_reclamation(&storage);
    assert_ne!(object, half_swept);
}

/// The other order: the sweep has found the object, the upload commits, the sweep continues.
#[test]
fn committed_segments_are_not_swept() {
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let (upload, object) = long_upload(&storage);
    upload.commit().unwrap();
    storage.database.reclaim(object, || false).unwrap();
    assert!(storage.get(&locator(1)).unwrap() == Some(vec![7; 40 << 20]));
}

/// The handle recognises a forked child by its process id.
#[test]
fn a_forked_child_is_refused_and_closes_nothing() {
    let (folder, mut storage) = storage();
    storage.put(&locator(1), &[7; 100], PutMode::Create).unwrap();
    storage.get(&locator(1)).unwrap();
    let database = Arc::get_mut(&mut storage.database).unwrap();
    database.owner = database.owner.forked();
    assert!(matches!(storage.get(&locator(1)).unwrap_err(), Error::Forked));
    assert!(matches!(storage.put(&locator(2), &[7; 100], PutMode::Create).unwrap_err(), Error::Forked));
    assert!(matches!(storage.close().unwrap_err(), Error::Forked));
    drop(storage);
    // Closing the last connection would have removed the log.
    assert!(folder.path().join("records.db-wal").exists());
}

/// Lengths and heads in a file are not trusted.
#[test]
fn rows_that_contradict_each_other_are_corrupt() {
    for damage in [
        "UPDATE record SET len = len + 1",
        "UPDATE record SET len = -1",
        "UPDATE record SET len = 9223372036854775807",
        "UPDATE record SET object = NULL",
        "UPDATE record SET head = zeroblob(67)",
        "UPDATE record SET body = zeroblob(10)",
        "DELETE FROM segment WHERE n = 1",
        "UPDATE segment SET data = zeroblob(length(data) - 1) WHERE n = 0",
    ] {
        let (_folder, storage) = storage();
        let record = vec![7; 4_000_000];
        storage.put(&locator(1), &record, PutMode::Create).unwrap();
        storage.database.write(|connection| Ok(connection.execute(damage, ())?)).unwrap();
        assert!(matches!(storage.get(&locator(1)).unwrap_err(), Error::Corrupt), "{damage}");
    }
}

/// A row with another row's prefix has the wrong position in every list.
#[test]
fn a_row_at_a_wrong_place_is_reported_and_hides_no_other() {
    for wrong in ["-9223372036854775808", "9223372036854775807"] {
        for limit in [1, 2, 3] {
            let (_folder, storage) = storage();
            for number in 1..=6 {
                storage.put(&locator(number), &[&[1, 1, 0, 0], &[number; 96][..]].concat(), PutMode::Create).unwrap();
            }
            let sql = format!("UPDATE record SET prefix = {wrong} WHERE id IN (3, 4)");
            storage.database.write(|connection| Ok(connection.execute(&sql, ())?)).unwrap();
            assert!(matches!(storage.list(None, 10).unwrap_err(), Error::Corrupt));
            let (mut records, mut damage, mut position) = (0, Vec::new(), None);
            for _ in 0..10 {
                let step = storage.verify(position.as_ref(), limit).unwrap();
                records += step.records;
                damage.extend(step.damage);
                position = step.next;
                if position.is_none() {
                    break;
                }
            }
            let expected = [3, 4].map(|n| Damage::new(Some(locator(n)), "row", DamageKind::Mismatch));
            assert_eq!((records, &*damage, position), (6, &expected[..], None), "{wrong} by {limit}");
        }
    }
}

#[test]
fn every_connection_has_the_profile() {
    let (_folder, storage) = storage();
    let check = |connection: &Connection| {
        let expected =
            [("synchronous", 2), ("secure_delete", 1), ("temp_store", 2), ("trusted_schema", 0), ("foreign_keys", 0)];
        for (pragma, expected) in expected {
            let value: i32 = connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        Ok(())
    };
    storage.database.read(|connection| check(connection)).unwrap();
    storage.database.write(check).unwrap();
    storage
        .database
        .write_with(Commit::Staged, |connection| Ok(connection.execute("DELETE FROM record", ())?))
        .unwrap();
    storage.database.write(check).unwrap();
    let write = |connection: &mut Connection| Ok(connection.execute("DELETE FROM record", ()).is_err());
    assert!(storage.database.read(write).unwrap(), "a reader's connection writes");
}

/// Each durable write syncs again after a staged one, so that it is durable when it returns.
#[test]
fn every_write_is_durable_when_it_returns() {
    type Write = fn(&Arc<SqliteStorage>);
    let upload: Write = |storage| {
        let mut upload = Arc::clone(storage).upload(&locator(3), PutMode::Create).unwrap();
        upload.write(&vec![7; 2 << 20]).unwrap();
        upload.commit().unwrap();
    };
    let writes: [(&str, Write); 6] = [
        ("a short record", |storage| storage.put(&locator(1), &[7; 100], PutMode::Create).unwrap()),
        ("a long record", |storage| storage.put(&locator(2), &vec![7; 1 << 20], PutMode::Create).unwrap()),
        ("an upload", upload),
        ("together", |storage| assert!(together(storage, &[create(4, 100), create(5, 100)]).iter().all(Result::is_ok))),
        ("many", |storage| storage.create_many(&[(locator(6), &[7; 100])]).unwrap()),
        ("a removal", |storage| assert!(storage.delete(&locator(2), None).unwrap())),
    ];
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    for (what, write) in writes {
        storage.database.write_with(Commit::Staged, garbage::mark_dead).unwrap();
        assert_eq!(writer_setting(&storage, "synchronous"), 1);
        write(&storage);
        assert_eq!(writer_setting(&storage, "synchronous"), 2, "{what}");
    }
}

fn changed(change: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, storage) = storage();
    let path = folder.path().join("records.db");
    storage.close().unwrap();
    Connection::open(&path).unwrap().execute_batch(change).unwrap();
    (folder, path)
}

/// Other tables in a file with our application id could change the effect of each statement.
#[test]
fn foreign_tables_are_refused_by_name() {
    let endless = "CREATE VIEW pending AS
        WITH RECURSIVE n (object) AS (SELECT 1 UNION ALL SELECT object FROM n) SELECT object, 1 AS touched FROM n";
    let virtual_table = "PRAGMA writable_schema = ON;
        INSERT INTO sqlite_schema VALUES ('table', 'd', 'd', 0, 'CREATE VIRTUAL TABLE d USING fts5 (x)')";
    for (change, named) in [
        ("CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM settings; END", "the trigger \"t\" is not a part"),
        ("CREATE TABLE x (y); CREATE TRIGGER u AFTER INSERT ON x BEGIN DELETE FROM record; END", "the trigger \"u\""),
        ("CREATE VIEW v AS SELECT * FROM record", "the view \"v\""),
        (virtual_table, "the table \"d\""),
        ("CREATE INDEX mine ON record (len)", "the index \"mine\""),
        ("CREATE UNIQUE INDEX other ON Segment (n)", "the index \"other\""),
        ("DROP INDEX record_prefix", "the index \"record_prefix\" is missing or was altered"),
        ("DROP TABLE settings", "\"settings\" is missing"),
        ("ALTER TABLE record ADD COLUMN x ANY", "the table \"record\" is missing or was altered"),
        (&format!("DROP TABLE pending; {endless}"), "the table \"pending\" is missing"),
    ] {
        let (_folder, path) = changed(change);
        for outcome in [SqliteStorage::open(&path, Durability::Full), SqliteStorage::open_read_only(&path)] {
            let Err(Error::InvalidArgument(text)) = outcome else { panic!("{change}: {outcome:?}") };
            assert!(text.contains(named), "{change}: {text}");
        }
    }
}

#[test]
fn a_database_from_before_the_first_release_is_refused_by_name() {
    let (_folder, path) = changed("ALTER TABLE settings RENAME TO meta");
    for outcome in [SqliteStorage::open(&path, Durability::Full), SqliteStorage::open_read_only(&path)] {
        let Err(Error::Unsupported(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains("development version"), "{text}");
    }
}

/// Tables of Litestream, of SQLite's own tools, and of users who keep other data beside the records.
#[test]
fn tables_of_other_tools_are_allowed() {
    let referring = "CREATE TABLE note (record REFERENCES record (id) ON DELETE RESTRICT, text UNIQUE);
        INSERT INTO record VALUES (1, -9223372036854775808, 100, NULL, NULL, 0, zeroblob(32), zeroblob(68), zeroblob(32));
        INSERT INTO note VALUES (1, 'important')";
    for change in [
        "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER); CREATE TABLE _litestream_lock (id INTEGER)",
        "CREATE TABLE t (x INTEGER PRIMARY KEY AUTOINCREMENT, y); CREATE UNIQUE INDEX i ON t (lower(y)) WHERE y > 0",
        "CREATE TABLE w (x PRIMARY KEY) WITHOUT ROWID",
        "ANALYZE",
        referring,
    ] {
        let (_folder, path) = changed(change);
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        storage.put(&locator(1), &[7; 100], PutMode::Create).unwrap();
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(vec![7; 100]), "{change}");
        assert!(storage.delete(&locator(1), None).unwrap());
        assert_eq!(storage.delete(&locator(0), None).unwrap(), change == referring);
    }
}

#[test]
fn debug_shows_path_and_durability() {
    let (folder, storage) = storage();
    let path = folder.path().join("records.db");
    assert_eq!(format!("{storage:?}"), format!("SqliteStorage {{ path: {path:?}, durability: Full, .. }}"));
}

/// The log of an upload is checkpointed now and then.
#[test]
fn an_upload_of_any_length_has_a_short_log() {
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let mut upload = Arc::clone(&storage).upload(&locator(1), PutMode::Create).unwrap();
    for _ in 0..100 {
        upload.write(&vec![7; 1 << 20]).unwrap();
    }
    let log = std::fs::metadata(with_suffix(storage.path(), "-wal")).unwrap().len();
    assert!(log < 80 << 20, "{log}");
    let sql = "SELECT unixepoch() - touched FROM pending";
    let age: i64 = storage.database.read(|connection| Ok(connection.query_row(sql, (), |row| row.get(0))?)).unwrap();
    assert!((0..600).contains(&age), "{age}");
    assert_eq!(format!("{upload:?}"), "SqliteUpload { bytes: 104857600, .. }");
}

/// An empty text instead of bytes, which only a damaged file has.
#[test]
fn a_row_without_a_length_is_corrupt() {
    let connection = Connection::open_in_memory().unwrap();
    let sql = "CREATE TABLE record (id INTEGER PRIMARY KEY, prefix, len, object, locator, head, body);
        INSERT INTO record VALUES (1, -9223372036854775808, 200, NULL, zeroblob(32), CAST('' AS TEXT), x'')";
    connection.execute_batch(sql).unwrap();
    let zeros = Locator::from_bytes([0; LOCATOR_LEN]);
    let Err(Fault(error)) = rows::find(&connection, &zeros) else { panic!("it was found") };
    assert!(matches!(error, Error::Corrupt));
    let verified = verify::verify(&connection, Some(&VerifyPosition::Record(zeros)), 10).unwrap();
    assert_eq!(verified.damage, [Damage::new(Some(zeros), "row", DamageKind::Malformed)]);
    assert_eq!((verified.records, verified.next), (1, None));
}

#[cfg(unix)]
#[test]
fn a_new_database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, storage) = storage();
    let storage = Arc::new(storage);
    let (_upload, _) = long_upload(&storage);
    for name in ["records.db", "records.db-wal", "records.db-shm", "records.db.uploads"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Queues all `operations`, so that one leader commits them together, and returns their outcomes.
fn together(storage: &SqliteStorage, operations: &[Operation<'_>]) -> Vec<Outcome<database::Applied>> {
    thread::scope(|scope| {
        let leader = storage.database.commit_queue.lead_alone();
        let threads: Vec<_> = (1..)
            .zip(operations)
            .map(|(waiting, operation)| {
                let thread = scope.spawn(|| storage.database.apply(operation));
                while storage.database.commit_queue.waiting() < waiting {
                    thread::yield_now();
                }
                thread
            })
            .collect();
        drop(leader);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn create(number: u8, len: usize) -> Operation<'static> {
    Operation::Put { locator: locator(number), record: vec![number; len].into(), mode: PutMode::Create }
}

#[test]
fn waiting_writers_share_a_commit_and_each_has_its_own_outcome() {
    let (_folder, storage) = storage();
    let log = || std::fs::metadata(with_suffix(storage.path(), "-wal")).unwrap().len();
    storage.put(&locator(100), &[100; 100], PutMode::Create).unwrap();
    let one_commit = log();
    let mut operations: Vec<_> = (0..30).map(|number| create(number, 100)).collect();
    operations[7] = create(6, 200);
    operations[8] = Operation::Delete { locator: locator(100), expected: Head::of(&[99; 100]) };
    operations[9] = Operation::Delete { locator: locator(99), expected: None };
    operations[29] = Operation::Delete { locator: locator(100), expected: Head::of(&[100; 100]) };
    for (number, outcome) in together(&storage, &operations).into_iter().enumerate() {
        match (number, outcome) {
            (7, Err(Fault(Error::AlreadyExists))) | (8, Err(Fault(Error::Conflict))) => {}
            (9, Ok(None)) | (_, Ok(Some(None))) => {}
            (number, outcome) => panic!("{number}: {outcome:?}"),
        }
    }
    assert!(log() < one_commit * 3, "30 operations took more than one commit");
    assert_eq!(storage.get(&locator(6)).unwrap(), Some(vec![6; 100]));
    assert_eq!(storage.stats(0).unwrap().records, 26);
    assert_eq!(storage.get(&locator(100)).unwrap(), None);
}

/// The segments of many long records could be gigabytes, so they are removed in other transactions.
#[test]
fn removals_that_share_a_commit_leave_the_segments_for_later() {
    let (_folder, storage) = storage();
    let numbers = 1..=4;
    for number in numbers.clone() {
        storage.put(&locator(number), &vec![7; 2_000_000], PutMode::Create).unwrap();
    }
    let before = count(&storage, "segment");
    let mut operations: Vec<_> =
        numbers.map(|number| Operation::Delete { locator: locator(number), expected: None }).collect();
    operations[3] = Operation::Put { locator: locator(4), record: vec![8; 100].into(), mode: PutMode::Overwrite };
    for outcome in together(&storage, &operations) {
        assert!(matches!(outcome, Ok(Some(Some(_)))), "{outcome:?}");
    }
    assert_eq!((count(&storage, "segment"), count(&storage, "pending")), (before, 4));
    storage.maintain().unwrap();
    assert_eq!((count(&storage, "segment"), count(&storage, "pending")), (0, 0));
    assert_eq!(storage.stats(0).unwrap().records, 1);
}

/// The thread with the read lock checkpoints, too, and so do other processes.
#[test]
fn maintain_waits_for_other_checkpoints() {
    let (_folder, storage) = storage();
    let path = storage.path().to_path_buf();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let connection = Connection::open(path).unwrap();
            while !is_done.load(Ordering::Relaxed) {
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
            }
        });
        let outcomes: Vec<_> = (0..50)
            .map(|_| {
                storage.put(&locator(1), &vec![7; 200_000], PutMode::Overwrite)?;
                storage.maintain()
            })
            .collect();
        is_done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    });
}

#[test]
fn an_operation_that_fails_fails_alone() {
    let (_folder, storage) = storage();
    storage.put(&locator(100), &[7; 100], PutMode::Create).unwrap();
    limit_pages(&storage, writer_setting(&storage, "page_count") + 2);
    let operations = [create(1, 100), create(2, 60_000), create(3, 100), create(4, 60_000), create(5, 100)];
    for (number, outcome) in (1..).zip(together(&storage, &operations)) {
        let full = matches!(outcome, Err(Fault(Error::Full)));
        assert_eq!(full, number % 2 == 0, "{number}: {outcome:?}");
        assert_eq!(storage.get(&locator(number)).unwrap().is_some(), !full, "{number}");
    }
}

/// Unlike a refusal, a lack of space may come after some of a record's segments.
#[test]
fn records_in_one_transaction_that_do_not_fit_leave_nothing() {
    let (_folder, storage) = storage();
    limit_pages(&storage, writer_setting(&storage, "page_count") + 60);
    let long = vec![7; 1_000_000];
    let records = [(locator(1), &[7; 100][..], PutMode::Create), (locator(2), &long, PutMode::Create)];
    let outcome = storage.database.put_together(&records);
    assert!(matches!(outcome, Err(Fault(Error::Full))), "{outcome:?}");
    assert_eq!((count(&storage, "record"), count(&storage, "segment")), (0, 0));
}

#[test]
fn a_failed_transaction_fails_for_all_who_share_it() {
    let (_folder, storage) = storage();
    storage.close().unwrap();
    let closed = storage.database.apply(&create(1, 100));
    assert!(matches!(closed, Err(Fault(Error::Closed))));

    let (_folder, storage) = self::storage();
    let operations = [create(1, 100), create(2, 100), create(3, 100)];
    let other = Connection::open(storage.path()).unwrap();
    {
        let writer = lock(&storage.database.writer);
        writer.as_ref().unwrap().connection().busy_timeout(Duration::from_millis(50)).unwrap();
    }
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for outcome in together(&storage, &operations) {
        assert!(matches!(outcome, Err(Fault(Error::Busy))), "{outcome:?}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert!(together(&storage, &operations).iter().all(Result::is_ok));
}

/// The column of the index decides nothing: a damaged one removes no record.
#[test]
fn a_purge_heeds_the_time_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
    for (number, time) in [(1, 0), (2, 500), (3, u64::MAX), (4, 20)] {
        storage.put(&locator(number), &expiring(time, 100), PutMode::Create).unwrap();
    }
    storage.database.write(|connection| Ok(connection.execute("UPDATE record SET expires_at = 5", ())?)).unwrap();
    assert_eq!((storage.list_expired(100, 10).unwrap().len(), storage.list_expired(100, 0).unwrap().len()), (1, 0));
    assert_eq!(storage.purge(100, 0).unwrap(), 0);
    assert_eq!((storage.purge(100, 10).unwrap(), storage.purge(100, 10).unwrap()), (1, 0));
    assert_eq!(storage.list(None, 10).unwrap().len(), 3);
    assert_eq!(storage.purge(u64::MAX - 1, 10).unwrap(), 1, "the third expires later");
}

/// Other writers wait for a step, and for the checkpoint after it.
#[test]
fn a_step_of_a_purge_is_short() {
    let (_folder, storage) = storage();
    for number in 0..20 {
        storage.put(&locator(number), &expiring(2, 5000), PutMode::Create).unwrap();
    }
    for number in 20..22 {
        storage.put(&locator(number), &expiring(1, 1 << 20), PutMode::Create).unwrap();
    }
    assert_eq!([1, 1, 1].map(|now| storage.purge(now, 20).unwrap()), [1, 1, 0], "a mebibyte");
    assert_eq!(storage.purge(2, 20).unwrap(), 8);
    assert_eq!(storage.stats(2).unwrap().expired, 12);
    assert_eq!(writer_setting(&storage, "wal_autocheckpoint"), 1, "the pages that a step leaves to a checkpoint");
}

/// If a sync of the log failed before the crash, only the memory of the system may have its pages.
#[test]
fn the_first_write_after_a_crash_empties_the_log() {
    let (folder, storage) = storage();
    let unique = [0x5a; 200];
    storage.put(&locator(1), &[&record(100)[..], &unique].concat(), PutMode::Create).unwrap();
    storage.put(&locator(3), &record(100_000), PutMode::Create).unwrap();
    for is_shared in [false, true] {
        let crashed = tempfile::tempdir().unwrap();
        let [path, log] = ["records.db", "records.db-wal"].map(|name| {
            std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
            crashed.path().join(name)
        });
        let is_in_database = || std::fs::read(&path).unwrap().windows(unique.len()).any(|part| part == unique);
        let len = std::fs::metadata(&log).unwrap().len();
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        assert!(storage.get(&locator(1)).unwrap().is_some() && !is_in_database(), "a read leaves the log");
        // Another program that reads keeps the log, and the write does not fail.
        let other = Connection::open(&path).unwrap();
        if is_shared {
            other.execute_batch("BEGIN; SELECT * FROM record").unwrap();
        }
        storage.put(&locator(2), &record(100), PutMode::Create).unwrap();
        let is_new = std::fs::metadata(&log).unwrap().len() < len;
        assert_eq!((is_in_database(), is_new), (true, !is_shared));
        assert_eq!(storage.stats(0).unwrap().records, 3);
    }
}

/// The first of two writers waits for the lock of another program, also for the second one.
#[test]
fn an_interrupt_of_a_writer_fails_no_other_write() {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let wait_for_waiting = |count| {
        while storage.database.commit_queue.waiting() != count {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let other = Connection::open(storage.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let leader = storage.database.commit_queue.lead_alone().unwrap();
    let mut writers = Vec::new();
    for number in [1, 2] {
        let storage = Arc::clone(&storage);
        let put = move || storage.put(&locator(number), &record(100), PutMode::Create);
        writers.push(thread::spawn(move || match number {
            1 => interruptible(|| INTERRUPTED.load(Ordering::Relaxed), put),
            _ => put(),
        }));
        wait_for_waiting(usize::from(number));
    }
    drop(leader);
    wait_for_waiting(0); // the first has taken over the write of the second
    INTERRUPTED.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(300)); // some polls
    other.execute_batch("ROLLBACK").unwrap();
    for writer in writers {
        writer.join().unwrap().unwrap();
    }
}

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// The files beside the database.
fn companions(path: &Path) -> Vec<PathBuf> {
    database_files(path)[1..].iter().filter(|file| file.exists()).cloned().collect()
}

/// A read that does not end before `release`, which has begun when this returns.
fn held_read(storage: &Arc<SqliteStorage>, release: impl FnOnce(&SqliteStorage) + Send + 'static) -> JoinHandle<()> {
    let (storage, (begun, has_begun)) = (Arc::clone(storage), mpsc::channel());
    let read = thread::spawn(move || {
        let held = storage.database.snapshot(|connection| {
            rows::settings(connection)?;
            begun.send(()).unwrap();
            release(&storage);
            Ok(())
        });
        held.unwrap();
    });
    has_begun.recv_timeout(DEADLINE).unwrap();
    read
}

/// A copy of the file without its log would lack the records.
#[test]
fn the_last_read_of_a_closed_storage_empties_the_log() {
    for count in [1, 2, 3] {
        let (folder, storage) = storage();
        let storage = Arc::new(storage);
        let held = || {
            let (release, released) = mpsc::channel::<()>();
            (release, held_read(&storage, move |_| _ = released.recv_timeout(DEADLINE)))
        };
        let reads: Vec<_> = (0..count).map(|_| held()).collect();
        storage.put(&locator(1), &record(100_000), PutMode::Create).unwrap();
        // The interrupt ends the wait for the reads.
        interruptible(|| true, || storage.close()).unwrap();
        storage.close().unwrap();
        let path = folder.path().join("records.db");
        for (release, read) in reads {
            assert!(companions(&path).contains(&with_suffix(&path, "-wal")), "the reads are no test");
            drop(release);
            read.join().unwrap();
        }
        assert_eq!(companions(&path), Vec::<PathBuf>::new(), "after {count} reads");
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let copy = SqliteStorage::open_existing(copy, Durability::Full).unwrap();
        assert_eq!(copy.get(&locator(1)).unwrap(), Some(record(100_000)));
    }
}

#[test]
fn closing_waits_for_reads_that_end_soon() {
    let (_folder, storage) = storage();
    let storage = Arc::new(storage);
    let read = held_read(&storage, |storage| {
        let deadline = Instant::now() + DEADLINE;
        while storage.health().is_ok() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
    });
    storage.put(&locator(1), &record(100_000), PutMode::Create).unwrap();
    let start = Instant::now();
    storage.close().unwrap();
    let left = companions(storage.path());
    assert!(left.is_empty() || start.elapsed() >= Duration::from_secs(5), "{left:?}");
    read.join().unwrap();
}
