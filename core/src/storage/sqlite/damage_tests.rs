//! Tests of damaged rows: each column of each table with values of every type and range.
//!
//! Each operation succeeds or reports damage, never a failure of the system.

use rusqlite::Connection;

use super::tests::{locator, record};
use super::*;

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
