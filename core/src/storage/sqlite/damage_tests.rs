//! Tests of damaged rows and pages: each column of each table with values of every type and range, each bit of a row's
//! header, and damaged pages of tables and indexes at the same time.
//!
//! Each operation succeeds or reports damage, never a failure of the system. No repair loses a readable record.

use std::collections::BTreeSet;
use std::ops::Range;

use rusqlite::Connection;

use super::error::Outcome;
use super::rebuild::new_database;
use super::rows;
use super::tests::{locator, pages_of, record, storage};
use super::*;
use crate::storage::{Damage, DamageKind, LOCATOR_LEN};

const VALUES: [&str; 16] = [
    "NULL",
    "''",
    "'text'",
    "CAST(locator AS TEXT)",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "x''",
    "zeroblob(31)",
    "zeroblob(67)",
    "zeroblob(262400)",
    "zeroblob(1048577)",
    "zeroblob(3000000)",
];

const COLUMNS: [(&str, &str); 17] = [
    ("settings", "id"),
    ("settings", "document"),
    ("record", "id"),
    ("record", "prefix"),
    ("record", "len"),
    ("record", "expires_at"),
    ("record", "object"),
    ("record", "checksum"),
    ("record", "locator"),
    ("record", "head"),
    ("record", "body"),
    ("segment", "object"),
    ("segment", "n"),
    ("segment", "checksum"),
    ("segment", "data"),
    ("pending", "object"),
    ("pending", "touched"),
];

/// Columns whose damage is detected. Damage to the others can only make a record missing.
const SEEN: [(&str, &str); 9] = [
    ("settings", "document"),
    ("record", "expires_at"),
    ("record", "len"),
    ("record", "object"),
    ("record", "checksum"),
    ("record", "locator"),
    ("record", "head"),
    ("record", "body"),
    ("segment", "data"),
];

const SHORT: u8 = 1;
const LONG: u8 = 2;

fn sound(path: &Path) {
    let storage = Arc::new(SqliteStorage::open(path, Durability::Relaxed).unwrap());
    storage.swap_settings(None, b"settings").unwrap();
    storage.put(&locator(SHORT), &record(100), PutMode::Create).unwrap();
    storage.put(&locator(LONG), &record(600_000), PutMode::Create).unwrap();
    storage.database.write(|connection| garbage::add_dead(connection, 77)).unwrap();
    storage.close().unwrap();
}

/// Sets a column of one row, or of all, regardless of the table's types. `false` if nothing changes, or if SQLite
/// cannot store the value.
fn damage(path: &Path, table: &str, column: &str, value: &str, which: &str) -> bool {
    let value = if table == "record" { value.to_string() } else { value.replace("locator", "'text'") };
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let set_schema = |sql: &str| {
        connection
            .execute_batch(&format!("PRAGMA writable_schema = ON; {sql}; PRAGMA writable_schema = RESET"))
            .unwrap();
    };
    let lax = "UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '') WHERE type = 'table'";
    let schema: Vec<(String, Option<String>)> = {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema").unwrap();
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    set_schema(lax);
    let sql = format!("UPDATE OR IGNORE {table} SET {column} = {value} WHERE {which}");
    let changed = connection.execute(&sql, ()).is_ok_and(|rows| rows > 0);
    let restored: Vec<_> = schema
        .iter()
        .filter_map(|(name, sql)| sql.as_ref().map(|sql| (name, sql)))
        .map(|(name, sql)| format!("UPDATE sqlite_schema SET sql = '{sql}' WHERE name = '{name}'"))
        .collect();
    set_schema(&restored.join("; "));
    changed
}

type Operation = fn(&Arc<SqliteStorage>, &Locator) -> Result<(), Error>;

const OPERATIONS: [(&str, Operation); 20] = [
    ("get", |storage, locator| storage.get(locator).map(drop)),
    ("get_up_to", |storage, locator| storage.get_up_to(locator, 68).map(drop)),
    ("get_many", |storage, locator| storage.get_many(&[*locator], u64::MAX).map(drop)),
    ("info", |storage, locator| storage.info(locator).map(drop)),
    ("read_at", |storage, locator| {
        let Some(info) = storage.info(locator)? else { return Ok(()) };
        storage.read_at(locator, &info.head, 0, &mut [0; 68])
    }),
    ("read_at the end", |storage, locator| {
        let Some(info) = storage.info(locator)? else { return Ok(()) };
        storage.read_at(locator, &info.head, info.len.saturating_sub(10), &mut [0; 10])
    }),
    ("list", |storage, _| storage.list(None, 10).map(drop)),
    ("list after", |storage, locator| storage.list(Some(locator), 10).map(drop)),
    ("get_end", |storage, locator| storage.get_end(locator, 10).map(drop)),
    ("list_expired", |storage, _| storage.list_expired(u64::MAX, 10).map(drop)),
    ("settings", |storage, _| storage.settings().map(drop)),
    ("verify", |storage, _| match storage.verify(None, 10)? {
        verified if verified.damage.is_empty() => Ok(()),
        _ => Err(Error::Corrupt),
    }),
    ("verify the structure", |storage, _| match storage.verify(Some(&VerifyPosition::Structure), 10)? {
        verified if verified.damage.is_empty() => Ok(()),
        _ => Err(Error::Corrupt),
    }),
    ("stats", |storage, _| storage.stats(0).map(drop)),
    ("put", |storage, locator| storage.put(locator, &record(200), PutMode::Overwrite)),
    ("put a long one", |storage, locator| storage.put(locator, &record(600_000), PutMode::Overwrite)),
    ("upload", |storage, locator| {
        let mut upload = Arc::clone(storage).upload(locator, PutMode::Overwrite)?;
        upload.write(&record(600_000))?;
        upload.commit()
    }),
    ("delete", |storage, locator| storage.delete(locator, None).map(drop)),
    ("maintain", |storage, _| storage.maintain()),
    ("purge", |storage, _| storage.purge(u64::MAX, 10).map(drop)),
];

fn is_blameless(error: &Error) -> bool {
    matches!(error, Error::Corrupt | Error::Conflict | Error::AlreadyExists)
}

/// Runs each operation. Returns the number of failures.
fn use_it(path: &Path, what: &str) -> usize {
    let storage = match SqliteStorage::open(path, Durability::Relaxed) {
        Ok(storage) => Arc::new(storage),
        Err(error) => {
            assert!(is_blameless(&error), "{what}: open: {error:?}");
            return 1;
        }
    };
    let mut failures = 0;
    for (name, operation) in OPERATIONS {
        for number in [SHORT, LONG, 0] {
            if let Err(error) = operation(&storage, &locator(number)) {
                assert!(is_blameless(&error), "{what}: {name} of {number}: {error:?}");
                failures += 1;
            }
        }
    }
    failures
}

#[test]
fn a_row_with_any_value_is_whole_or_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    sound(&whole);
    // On threads, because most of the time the disk works.
    std::thread::scope(|scope| {
        for (table, column) in COLUMNS {
            let path = folder.path().join(format!("{table}.{column}.db"));
            let whole = &whole;
            scope.spawn(move || {
                let failures = failures_with_each_value(whole, &path, table, column);
                assert!(failures > 0 || !SEEN.contains(&(table, column)), "nothing is wrong with {table}.{column}");
            });
        }
    });
    assert_eq!(use_it(&whole, "nothing"), 0);
}

fn failures_with_each_value(whole: &Path, path: &Path, table: &str, column: &str) -> usize {
    let mut failures = 0;
    for value in VALUES {
        for which in ["1", "rowid = (SELECT max(rowid) FROM record)"] {
            let which = which.replace("record", table);
            std::fs::copy(whole, path).unwrap();
            if damage(path, table, column, value, &which) {
                failures += use_it(path, &format!("UPDATE {table} SET {column} = {value} WHERE {which}"));
            }
        }
    }
    failures
}

/// Another program drops the tables while the store is open.
#[test]
fn tables_that_vanish_are_corrupt() {
    for table in ["settings", "record", "segment", "pending"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        sound(&path);
        let storage = Arc::new(SqliteStorage::open(&path, Durability::Relaxed).unwrap());
        Connection::open(&path).unwrap().execute_batch(&format!("DROP TABLE {table}")).unwrap();
        let errors: Vec<_> =
            OPERATIONS.iter().filter_map(|(_, operation)| operation(&storage, &locator(LONG)).err()).collect();
        assert!(!errors.is_empty() && errors.iter().all(is_blameless), "{table}: {errors:?}");
    }
}

/// The bytes of a record in its row, and in each of its segments.
const PART: usize = 100;
/// The small pages, so that few records need many.
pub(super) const PAGE: usize = 512;
const RECORDS: u16 = 150;

/// The locators are in another order than the rows.
pub(super) fn locator_of(number: u16) -> Locator {
    let mut bytes = [7; LOCATOR_LEN];
    bytes[..2].copy_from_slice(&number.wrapping_mul(40503).to_be_bytes());
    Locator::from_bytes(bytes)
}

/// A record with two segments, each part with a unique end.
pub(super) fn parts_of(number: u16) -> [Vec<u8>; 3] {
    [0, 1, 2].map(|part| {
        let mut bytes = record(PART);
        bytes[PART - 20..].fill(0x80 | part);
        bytes[PART - 20..][..2].copy_from_slice(&number.to_be_bytes());
        bytes
    })
}

/// A closed database whose records have short rows and segments. The ids begin with 1.
pub(super) fn database_of_short_parts(path: &Path, records: u16) {
    let storage = new_database(path, i32::try_from(PAGE).unwrap()).unwrap();
    storage.swap_settings(None, b"settings").unwrap();
    let write = |connection: &Connection| -> Outcome<()> {
        for number in 0..records {
            let [first, rest @ ..] = parts_of(number);
            let object = 0x0123_4567_89ab_0000 + i64::from(number);
            (0..).zip(&rest).try_for_each(|(n, part)| rows::put_segment(connection, object, n, part))?;
            let len = 3 * PART as u64;
            rows::put_record(connection, &locator_of(number), PutMode::Create, &first, Some(object), len)?;
        }
        Ok(())
    };
    storage.database.write(write).unwrap();
    storage.close().unwrap();
}

/// The rows of these ids that are readable by themselves.
pub(super) fn readable_rows(path: &Path, table: &str, ids: Range<i64>) -> BTreeSet<i64> {
    let connection = Connection::open(path).unwrap();
    let mut find = connection.prepare(&format!("SELECT * FROM {table} NOT INDEXED WHERE id = ?1")).unwrap();
    ids.filter(|id| find.query_row([id], |row| row.get_ref(0).map(drop)).is_ok()).collect()
}

/// Pages of a tree to damage: one, those at its ends, of which one may be an inner page, some, the root.
pub(super) fn choices(path: &Path, name: &str) -> [Vec<usize>; 4] {
    let pages = pages_of(path, name);
    assert!(pages.len() > 5, "{name} has {} pages", pages.len());
    let (root, first, last) = (pages[0], pages[1], pages[pages.len() - 1]);
    let every_third = pages[2..].iter().copied().step_by(3).collect();
    [vec![pages[pages.len() / 2]], vec![first, last], every_third, vec![root]]
}

pub(super) fn damage_pages(path: &Path, whole: &[u8], pages: &[usize]) {
    let mut file = whole.to_vec();
    pages.iter().for_each(|page| file[*page..page + PAGE].fill(0xa5));
    std::fs::write(path, file).unwrap();
}

/// `None` if no record is readable.
fn repair(path: &Path, copy: &dyn Storage) -> Option<(Arc<SqliteStorage>, Repaired)> {
    let storage = Arc::new(SqliteStorage::open(path, Durability::Relaxed).unwrap());
    match Arc::clone(&storage).repair(copy) {
        Err(Error::Unsupported(_)) => None,
        repaired => Some((storage, repaired.unwrap())),
    }
}

fn is_intact(storage: &SqliteStorage, number: u16) -> bool {
    storage.get(&locator_of(number)).is_ok_and(|found| found == Some(parts_of(number).concat()))
}

#[test]
fn damaged_pages_of_tables_and_indexes_hide_no_readable_record() {
    let folder = tempfile::tempdir().unwrap();
    let [path, whole_path] = ["records.db", "whole.db"].map(|name| folder.path().join(name));
    database_of_short_parts(&whole_path, RECORDS);
    let whole = std::fs::read(&whole_path).unwrap();
    let copy = SqliteStorage::open_read_only(&whole_path).unwrap();
    let (_other, empty) = storage();
    let unknown = Damage::new(None, "table record", DamageKind::Missing);
    for (table, index) in [("record", "record_prefix"), ("segment", "sqlite_autoindex_segment_1")] {
        let mut of_indexes = vec![Vec::new()];
        of_indexes.extend(choices(&whole_path, index).into_iter().skip(if table == "record" { 0 } else { 3 }));
        let of_tables = choices(&whole_path, table);
        for (n, of_index) in of_indexes.iter().enumerate() {
            // A repair of all records takes long.
            for of_table in of_tables.iter().take(if n == 0 || n == 4 { 4 } else { 3 }) {
                let what = format!("{table}: {of_table:?}, {index}: {of_index:?}");
                damage_pages(&path, &whole, &[&of_table[..], of_index].concat());
                let readable_records = readable_rows(&path, "record", 1..i64::from(RECORDS) + 1);
                let readable_segments = readable_rows(&path, "segment", 1..2 * i64::from(RECORDS) + 1);
                let was_readable = |number: u16| {
                    let id = i64::from(number) + 1;
                    readable_records.contains(&id) && (2 * id - 1..=2 * id).all(|id| readable_segments.contains(&id))
                };

                let Some((storage, repaired)) = repair(&path, &copy) else {
                    assert!(readable_records.is_empty(), "{what}");
                    continue;
                };
                let gone = (0..RECORDS).filter(|number| !is_intact(&storage, *number)).collect::<Vec<_>>();
                assert!(gone.iter().all(|number| !was_readable(*number)), "{what}: {gone:?}");
                assert!(gone.is_empty() || repaired.lost == [unknown.clone()], "{what}: {:?}", repaired.lost);
                assert!(gone.is_empty() || (table == "record" && !of_index.is_empty()), "{what}");
                storage.close().unwrap();

                damage_pages(&path, &whole, &[&of_table[..], of_index].concat());
                let Some((storage, repaired)) = repair(&path, &empty) else {
                    assert!(readable_records.is_empty(), "{what}");
                    continue;
                };
                for number in 0..RECORDS {
                    assert!(!was_readable(number) || is_intact(&storage, number), "{what}: {number}");
                }
                let gone = usize::from(RECORDS) - readable_records.len();
                let names_all = repaired.lost.len() == gone || repaired.lost.contains(&unknown);
                assert!(names_all, "{what}: {gone} {:?}", repaired.lost);
                storage.close().unwrap();
            }
        }
    }
}

/// The header of a row, by the place of its last column: the types of so many integers, and of blobs with this length
/// in total before the last column.
pub(super) fn header_of(file: &[u8], last_column: usize, integers: usize, blobs_len: usize) -> Range<usize> {
    let len_of = |kind: u8| [0, 1, 2, 3, 4, 6, 8, 8, 0, 0].get(usize::from(kind)).copied();
    let is_header = |start: &usize| {
        let lens: Option<Vec<usize>> = file[start + 1..=start + integers].iter().map(|kind| len_of(*kind)).collect();
        let before = usize::from(file[*start]) + blobs_len;
        lens.is_some_and(|lens| start + before + lens.iter().sum::<usize>() == last_column)
    };
    let start = (last_column - 180..last_column).rev().find(is_header).unwrap();
    start..start + usize::from(file[start])
}

/// Repairs a database with damage of the second of three records, which must then be intact, or at least reported.
fn assert_repaired(path: &Path, copy: &dyn Storage, is_kept: bool, what: &str) {
    let storage = SqliteStorage::open(path, Durability::Relaxed).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let storage = Arc::new(storage);
    let repaired = Arc::clone(&storage).repair(copy).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(is_intact(&storage, 0) && is_intact(&storage, 2), "{what}");
    let is_reported = !repaired.lost.is_empty() || !storage.verify(None, 10).unwrap().damage.is_empty();
    assert!(is_intact(&storage, 1) || is_reported && !is_kept, "{what}: {repaired:?}");
    assert!(repaired.lost.is_empty() || !is_kept, "{what}: {repaired:?}");
    storage.close().unwrap();
}

#[test]
fn each_flipped_bit_of_a_header_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let whole_path = folder.path().join("whole.db");
    database_of_short_parts(&whole_path, 3);
    let whole = &std::fs::read(&whole_path).unwrap();
    let copy = &SqliteStorage::open_read_only(&whole_path).unwrap();
    let (_other, empty) = &storage();
    let [first, second, _] = parts_of(1);
    std::thread::scope(|scope| {
        for (table, last_column, integers, blobs_len) in
            [("record", &first[68..], 6, LOCATOR_LEN + 68), ("segment", &second[..], 4, 0)]
        {
            let path = folder.path().join(format!("{table}.db"));
            scope.spawn(move || {
                let at = whole.windows(last_column.len()).position(|window| window == last_column).unwrap();
                let header = header_of(whole, at, integers, blobs_len);
                for bit in header.flat_map(|byte| byte * 8..(byte + 1) * 8) {
                    let what = format!("{table}: {}.{}", bit / 8, bit % 8);
                    let mut file = whole.clone();
                    file[bit / 8] ^= 1 << (bit % 8);
                    std::fs::write(&path, &file).unwrap();
                    assert_repaired(&path, copy, true, &what);
                    // Another type of an integer of 8 bytes, or of a blob, with the same bytes.
                    let is_kept = [6, 0x4c, 0x14, 0x54].contains(&whole[bit / 8]) && bit % 8 == 0;
                    if is_kept || bit % 2 == 1 {
                        std::fs::write(&path, &file).unwrap();
                        assert_repaired(&path, empty, is_kept, &what);
                    }
                }
            });
        }
    });
}

#[test]
fn a_row_with_any_value_is_repaired() {
    const VALUES: [&str; 8] =
        ["NULL", "'text'", "CAST(x'ff' AS TEXT)", "1.5", "1", "-9223372036854775808", "x''", "zeroblob(31)"];
    let folder = tempfile::tempdir().unwrap();
    let whole_path = &folder.path().join("whole.db");
    database_of_short_parts(whole_path, 3);
    let copy = &SqliteStorage::open_read_only(whole_path).unwrap();
    let (_other, empty) = &storage();
    std::thread::scope(|scope| {
        for (table, column) in COLUMNS.into_iter().filter(|(table, _)| ["record", "segment"].contains(table)) {
            let path = folder.path().join(format!("{table}.{column}.db"));
            scope.spawn(move || {
                let which = if table == "record" { "id = 2" } else { "id = 4" };
                for value in VALUES {
                    for (from, is_kept) in [(copy, true), (empty, false)] {
                        std::fs::copy(whole_path, &path).unwrap();
                        if damage(&path, table, column, value, which) {
                            assert_repaired(&path, from, is_kept, &format!("{table}.{column} = {value}"));
                        }
                    }
                }
            });
        }
    });
}
