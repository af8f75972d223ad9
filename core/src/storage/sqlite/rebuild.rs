//! Rebuilding a database whose pages are damaged, from its readable rows and the records of a copy.
//!
//! The new content is made in a temporary database beside the old one, and then replaces the old content in one
//! transaction. Nothing is written to the damaged pages before, except for their newer versions in the log of an
//! earlier process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::connection_settings::{self, Commit};
use super::damaged_row::{locator, value};
use super::error::Outcome;
use super::path;
use super::readable_rows::{RECORDS, SEGMENTS, Table, each_readable_row, each_row_of_index, readable};
use super::rows::{self, check_interrupt, prefix};
use super::verify::row::{self, place_of_lost};
use super::writer::Writer;
use super::{Durability, SqliteStorage, schema};
use crate::storage::{Damage, DamageKind, Error, Locator, Repaired, Storage};
use crate::util::files::folder_of;

/// How often a rebuild starts again because another process has written.
const ATTEMPTS: usize = 3;
/// How many rows are copied in one transaction.
const ROWS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

impl SqliteStorage {
    pub(super) fn rebuild(&self, copy: &dyn Storage) -> Outcome<Repaired> {
        for _ in 0..ATTEMPTS {
            if let Some(repaired) = self.try_rebuild(copy)? {
                return Ok(repaired);
            }
        }
        Err(Error::Busy.into())
    }

    /// `None` if the database was changed in the meantime.
    fn try_rebuild(&self, copy: &dyn Storage) -> Outcome<Option<Repaired>> {
        let database = &*self.database;
        let mut reader = database.readers.take(|| database.open_reader())?;
        let old = &mut reader.connection;
        if let Some(table) = schema::foreign_table(old)? {
            let table: String = table.chars().take(100).collect();
            let text = format!("the table {table:?} of another program would be lost: drop it, and repair again");
            return Err(Error::Unsupported(text.into()).into());
        }
        // Its checkpoint counts as a change, so it comes first.
        database.empty_old_log()?;
        let version = |old: &Connection| connection_settings::get::<i64>(old, "data_version");
        let before = version(old)?;
        let folder = temporary_folder(&database.path)?;
        let new = new_database(&folder.path().join("records.db"), connection_settings::get(old, "page_size")?)?;
        let transaction = old.transaction()?;
        let CopiedRows { lost, removed, is_whole } = copy_rows(&transaction, &new, copy)?;
        let mut repaired = new.repair_rows(copy)?;
        drop(transaction);
        let removed = removed.into_iter();
        repaired.lost.extend(removed.map(|locator| Damage::new(Some(locator), "table record", DamageKind::Mismatch)));
        restore_lost_rows(&new, copy, lost, &mut repaired)?;
        if !is_whole {
            repaired.lost.push(Damage::new(None, "table record", DamageKind::Missing));
        }
        let _leader = database.commit_queue.lead_alone().ok_or(Error::Busy)?;
        let is_done = new.database.snapshot(|new| {
            rows::settings(new)?; // the transaction begins, so that all steps copy the same state
            database.with_writer(|writer| writer.replace_content(new, || Ok(version(old)? == before)))
        })?;
        if is_done {
            let _ = database.with_writer(Writer::empty_log); // best effort: the content is durable
        }
        Ok(is_done.then_some(repaired))
    }
}

/// A temporary folder beside the database, which only its owner can enter.
fn temporary_folder(database: &Path) -> Outcome<tempfile::TempDir> {
    let mut folder = tempfile::Builder::new();
    #[cfg(unix)]
    folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let folder = folder.prefix(".strongroom-repair-").tempdir_in(folder_of(database));
    Ok(folder.map_err(|error| path::cannot_make(database, error))?)
}

/// An empty temporary store with pages of this size.
pub(super) fn new_database(path: &Path, page_size: i32) -> Outcome<Arc<SqliteStorage>> {
    path::find_or_create(path)?;
    schema::create(&mut Connection::open(path)?, path, page_size)?;
    Ok(Arc::new(SqliteStorage::open_existing(path, Durability::Relaxed)?))
}

/// The rows that a copy of all rows has left out.
#[derive(Default)]
struct CopiedRows {
    /// The prefixes of unreadable records.
    lost: BTreeSet<i64>,
    /// The records of which one of two rows was removed.
    removed: BTreeSet<Locator>,
    /// Whether no other records can be lost.
    is_whole: bool,
}

/// Copies everything that is readable, damaged or not. Uploads that are running end with [`Error::Conflict`].
fn copy_rows(old: &Connection, new: &SqliteStorage, copy: &dyn Storage) -> Outcome<CopiedRows> {
    let settings = match rows::settings(old) {
        Ok(Some(settings)) => Some(settings),
        _ => copy.settings()?,
    };
    if let Some(settings) = settings {
        new.swap_settings(None, &settings)?;
    }
    let mut copied = CopiedRows::default();
    let (mut batch, mut damaged) = (Batch::new(old, new, RECORDS), Vec::new());
    copied.is_whole = each_readable_row(old, RECORDS, |row| batch.push(row), |id| damaged.push(id))?;
    batch.finish(&mut copied)?;
    // The records of missing segments are found to be damaged.
    let mut batch = Batch::new(old, new, SEGMENTS);
    each_readable_row(old, SEGMENTS, |row| batch.push(row), |_| {})?;
    batch.finish(&mut copied)?;
    if copy_rows_of_index(old, new, &mut copied)? {
        copied.is_whole = true; // it names all
    } else {
        for id in damaged {
            match prefix_in_row(old, id)? {
                Some(prefix) => drop(copied.lost.insert(prefix)),
                None => copied.is_whole = false,
            }
        }
    }
    Ok(copied)
}

/// Copies the records that the index has, and the scan of the table has passed over: a page in the place of another may
/// lead past them. `false` if the index may have others.
fn copy_rows_of_index(old: &Connection, new: &SqliteStorage, copied: &mut CopiedRows) -> Outcome<bool> {
    let mut find_head = old.prepare("SELECT head FROM record NOT INDEXED WHERE id = ?1")?;
    let mut find = old.prepare(&format!("SELECT {} FROM record NOT INDEXED WHERE id = ?1", RECORDS.names))?;
    let mut batch = Batch::new(old, new, RECORDS);
    let mut lost = BTreeSet::new();
    let is_whole = each_row_of_index(old, |prefix, id| {
        let head = readable(find_head.query_row([id], |row| value(row, 0)).optional())?.flatten();
        // The row there may be another one of the record.
        let is_there = match head {
            Some(head @ Value::Blob(_)) => has_version(new, prefix, &head)?,
            _ => has_prefix(new, prefix)?,
        };
        if is_there {
            return Ok(());
        }
        match readable(find.query([id])?.next())? {
            Some(Some(row)) => batch.push(row),
            _ => {
                lost.insert(prefix);
                Ok(())
            }
        }
    })?;
    batch.finish(copied)?;
    copied.lost.append(&mut lost);
    Ok(is_whole)
}

/// The columns of a row but for its id.
fn values(old: &Connection, table: Table, row: &Row<'_>) -> Outcome<Vec<Value>> {
    let columns = 1..=table.integers + table.blobs;
    let values = columns.map(|column| Ok(of_type(value(row, column)?, column <= table.integers)));
    let mut values = values.collect::<Outcome<Vec<_>>>()?;
    if table.name == RECORDS.name {
        let of_locator = values.get(5).and_then(locator).map(|locator| Value::Integer(prefix(&locator)));
        if let Some(stored) = values.first_mut().filter(|stored| Some(&**stored) != of_locator.as_ref()) {
            // The index may have the only intact part of the locator.
            match (prefix_in_index(old, row.get(0)?)?, of_locator) {
                (Some(prefix), _) => *stored = Value::Integer(prefix),
                (None, Some(prefix)) if *stored == Value::Null => *stored = prefix,
                _ => {}
            }
        }
    }
    Ok(values)
}

/// A value of the column's type; NULL if there is none. One flipped bit can make an integer a float of the same bytes.
fn of_type(value: Value, is_integer: bool) -> Value {
    match (value, is_integer) {
        (Value::Real(number), true) => Value::Integer(number.to_bits().cast_signed()),
        (value @ Value::Integer(_), true) | (value @ Value::Blob(_), false) => value,
        _ => Value::Null,
    }
}

/// The prefix of a record, of which only the beginning is readable.
fn prefix_in_row(old: &Connection, id: i64) -> Outcome<Option<i64>> {
    let mut statement = old.prepare_cached("SELECT locator, prefix FROM record NOT INDEXED WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok((locator(&value(row, 0)?), value(row, 1)?));
    let Some(Some((Some(locator), stored))) = readable(statement.query_row([id], read).optional())? else {
        return Ok(None);
    };
    let prefix = prefix(&locator);
    Ok((stored == Value::Integer(prefix)).then_some(prefix))
}

/// The prefix that the index has for a row.
fn prefix_in_index(old: &Connection, id: i64) -> Outcome<Option<i64>> {
    let sql = "SELECT prefix FROM record INDEXED BY record_prefix WHERE id = ?1";
    let mut statement = old.prepare_cached(sql)?;
    Ok(readable(statement.query_row([id], |row| row.get(0)).optional())?.flatten())
}

/// The head of the version that users of the old database see, of this prefix and locator.
fn visible_head(old: &Connection, key: [Option<&Value>; 2]) -> Outcome<Option<Value>> {
    let sql = "SELECT head FROM record INDEXED BY record_prefix WHERE prefix = ?1 AND locator = ?2";
    let mut statement = old.prepare_cached(sql)?;
    Ok(readable(statement.query_row(key, |row| value(row, 0)).optional())?.flatten())
}

/// Rows that one transaction inserts.
struct Batch<'n> {
    old: &'n Connection,
    new: &'n SqliteStorage,
    table: Table,
    rows: Vec<Vec<Value>>,
    bytes: usize,
    /// The records of which one of two rows was removed.
    removed: BTreeSet<Locator>,
    /// The prefixes of records whose rows do not fit into the table, if known.
    misfits: BTreeSet<Option<i64>>,
}

impl<'n> Batch<'n> {
    fn new(old: &'n Connection, new: &'n SqliteStorage, table: Table) -> Self {
        Self { old, new, table, rows: Vec::new(), bytes: 0, removed: BTreeSet::new(), misfits: BTreeSet::new() }
    }

    fn push(&mut self, row: &Row<'_>) -> Outcome<()> {
        let row = values(self.old, self.table, row)?;
        let len = |value: &Value| if let Value::Blob(bytes) = value { bytes.len() } else { 8 };
        self.bytes += row.iter().map(len).sum::<usize>();
        self.rows.push(row);
        if self.rows.len() >= ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Inserts the last rows.
    fn finish(mut self, copied: &mut CopiedRows) -> Outcome<()> {
        self.flush()?;
        copied.removed.append(&mut self.removed);
        copied.is_whole &= !self.misfits.remove(&None);
        copied.lost.extend(self.misfits.into_iter().flatten());
        Ok(())
    }

    /// Inserts the rows. A record without a checksum or a body stays, as a damaged one; other rows that do not fit into
    /// the table are damaged beyond use. If a record has two rows, the one that users see stays, and an intact one if
    /// both have the same version: a page in the place of another shows earlier rows again. Two versions of a record
    /// have different heads.
    fn flush(&mut self) -> Outcome<()> {
        let Table { name, names, integers, blobs, .. } = self.table;
        let names = names.trim_start_matches("id, ");
        let places = match name == RECORDS.name {
            true => "?, ?, ?, ?, ifnull(?, 0), ?, ?, ifnull(?, x'')",
            false => &vec!["?"; integers + blobs].join(", "),
        };
        let sql = format!("INSERT OR IGNORE INTO {name} ({names}) VALUES ({places})");
        self.new.database.write_with(Commit::Many, |connection| {
            let mut insert = connection.prepare_cached(&sql)?;
            let sql = format!("SELECT {} FROM record WHERE prefix = ?1 AND locator = ?2", RECORDS.names);
            let mut find = connection.prepare_cached(&sql)?;
            let mut remove = connection.prepare_cached("DELETE FROM record WHERE id = ?1")?;
            for row in &self.rows {
                let (key, head) = ([row.first(), row.get(5)], row.get(6));
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(7)?, row::check(row).is_ok()));
                let other: Option<(i64, Value, bool)> = match name == RECORDS.name {
                    true => find.query_row(key, read).optional()?,
                    false => None,
                };
                let stays = match &other {
                    None => false,
                    Some((_, other_head, is_intact)) if Some(other_head) == head => *is_intact,
                    Some(_) => {
                        self.removed.extend(row.get(5).and_then(locator));
                        visible_head(self.old, key)?.as_ref() != head
                    }
                };
                if stays {
                    continue;
                }
                match (insert.execute(params_from_iter(row))?, other) {
                    (0, _) if name == RECORDS.name => {
                        self.misfits.insert(match row.first() {
                            Some(Value::Integer(prefix)) => Some(*prefix),
                            _ => None,
                        });
                    }
                    (1, Some((id, ..))) => drop(remove.execute([id])?),
                    _ => {}
                }
            }
            Ok(())
        })?;
        (self.rows, self.bytes) = (Vec::new(), 0);
        Ok(())
    }
}

/// Takes the records that the index has, and the table lacks, from the copy.
fn restore_lost_rows(
    new: &Arc<SqliteStorage>,
    copy: &dyn Storage,
    lost: BTreeSet<i64>,
    repaired: &mut Repaired,
) -> Outcome<()> {
    for prefix in lost {
        check_interrupt()?;
        if has_prefix(new, prefix)? {
            continue;
        }
        match new.restore_lost(copy, prefix)? {
            Some(locator) => repaired.restored.push(locator),
            None => repaired.lost.push(Damage::new(None, place_of_lost(prefix), DamageKind::Missing)),
        }
    }
    Ok(())
}

fn has_version(new: &SqliteStorage, prefix: i64, head: &Value) -> Outcome<bool> {
    let sql = "SELECT 1 FROM record WHERE prefix = ?1 AND head = ?2";
    new.database.read(|connection| Ok(connection.prepare_cached(sql)?.exists((prefix, head))?))
}

fn has_prefix(new: &SqliteStorage, prefix: i64) -> Outcome<bool> {
    let sql = "SELECT 1 FROM record WHERE prefix = ?1";
    new.database.read(|connection| Ok(connection.prepare_cached(sql)?.exists([prefix])?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::error::Fault;
    use super::super::rows::SEGMENT_LEN;
    use super::super::tests::{add_row, add_row_with, damage_page_with, locator, record, storage};
    use super::*;
    use crate::storage::{LOCATOR_LEN, PutMode};
    use crate::util::files::with_suffix;
    use crate::util::interrupt::Cancellation;

    const RECORDS: u8 = 60;

    /// A record with one segment, whose beginning is unique.
    fn marked(number: u8) -> Vec<u8> {
        let mut record = record(SEGMENT_LEN + 30_000);
        record[SEGMENT_LEN..SEGMENT_LEN + 32].fill(0x80 | number);
        record
    }

    /// A closed store of some records.
    fn closed_store() -> (tempfile::TempDir, std::path::PathBuf) {
        let (folder, storage) = storage();
        storage.swap_settings(None, b"ours").unwrap();
        let records: Vec<_> = (0..RECORDS).map(|number| (locator(number), marked(number))).collect();
        let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, &**record)).collect();
        storage.create_many(&records).unwrap();
        storage.close().unwrap();
        let path = folder.path().join("records.db");
        (folder, path)
    }

    /// The copy has none of the records, so that only rows of the damaged database can be kept.
    #[test]
    fn rows_behind_a_damaged_page_are_kept() {
        let (_folder, path) = closed_store();
        let (_other, copy) = storage();
        copy.swap_settings(None, b"theirs").unwrap();
        let whole = fs::read(&path).unwrap();
        let number = RECORDS / 2;
        for (unique, of_record) in [([number; LOCATOR_LEN], true), ([0x80 | number; 32], false)] {
            fs::write(&path, &whole).unwrap();
            damage_page_with(&path, &unique);
            let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
            let repaired = storage.rebuild(&copy).unwrap();
            assert_eq!(storage.settings().unwrap().as_deref(), Some(&b"ours"[..]));
            let is_kept = |number| storage.get(&locator(number)).is_ok_and(|found| found == Some(marked(number)));
            let (kept, gone): (Vec<u8>, Vec<u8>) = (0..RECORDS).partition(|number| is_kept(*number));
            assert!(gone.contains(&number) && kept.len() > usize::from(RECORDS) - 10, "{gone:?}");
            assert_eq!(repaired.lost.len(), if of_record { gone.len() } else { 0 });
            storage.close().unwrap();
        }
    }

    /// The checkpoint of the old log does not look like a change by others. If the file was cut off, SQLite refuses it.
    #[test]
    fn the_first_attempt_after_a_crash_succeeds() {
        let (_folder, storage) = storage();
        storage.put(&locator(1), &record(1_000_000), PutMode::Create).unwrap();
        storage.maintain().unwrap();
        storage.put(&locator(2), &record(1000), PutMode::Create).unwrap();
        for is_cut_off in [false, true] {
            let (other, copy) = self::storage();
            let crashed = other.path().join("crashed.db");
            for suffix in ["", "-wal"] {
                let name = |path: &Path| with_suffix(path, suffix);
                fs::copy(name(storage.path()), name(&crashed)).unwrap();
            }
            if is_cut_off {
                fs::File::options().write(true).open(&crashed).unwrap().set_len(500_000).unwrap();
            }
            let crashed = SqliteStorage::open(&crashed, Durability::Full).unwrap();
            let repaired = crashed.try_rebuild(&copy).unwrap().unwrap();
            assert_eq!(crashed.get(&locator(2)).unwrap(), Some(record(1000)));
            match crashed.get(&locator(1)) {
                Ok(found) if is_cut_off => assert_eq!((found, repaired.lost.len()), (None, 1)),
                Ok(found) => assert_eq!(found, Some(record(1_000_000))),
                Err(error) => assert!(is_cut_off && matches!(error, Error::Corrupt), "{error:?}"),
            }
            assert!(crashed.try_rebuild(&copy).unwrap().is_some());
        }
    }

    #[test]
    fn an_interrupted_replacement_changes_nothing() {
        let (_folder, storage) = storage();
        storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
        let (_other, new) = self::storage();
        let replace = || {
            new.database.snapshot(|new| storage.database.with_writer(|writer| writer.replace_content(new, || Ok(true))))
        };
        let interrupted = Cancellation::default();
        interrupted.cancel();
        assert!(matches!(interrupted.run(replace), Err(Fault(Error::Busy))));
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(100)));
        storage.put(&locator(2), &record(100), PutMode::Create).unwrap();
        assert!(replace().unwrap());
        assert_eq!(storage.get(&locator(1)).unwrap(), None);
    }

    /// A page in the place of another can hide the visible row from the scan of the table, which shows an earlier one.
    #[test]
    fn the_visible_row_comes_from_the_index_if_the_scan_passes_over_it() {
        let [(_folder, old), (_other, new)] = [storage(), storage()];
        for number in 1..=2 {
            old.put(&locator(number), &record(100), PutMode::Create).unwrap();
            new.put(&locator(number), &record(100), PutMode::Create).unwrap();
        }
        add_row(old.path(), 1, -5);
        let visible = old.info(&locator(1)).unwrap().unwrap();
        let connection = Connection::open(old.path()).unwrap();
        for _ in 0..2 {
            let mut copied = CopiedRows::default();
            copy_rows_of_index(&connection, &new, &mut copied).unwrap();
            assert_eq!((copied.removed, copied.lost), (BTreeSet::from([locator(1)]), BTreeSet::new()));
            let list = new.list(None, 10).unwrap();
            assert_eq!((list.len(), list[0].info), (2, visible));
        }
    }

    #[test]
    fn the_intact_one_of_two_rows_of_a_version_stays() {
        for id in [-5, 5] {
            let [(_folder, storage), (_other, copy)] = [storage(), storage()];
            storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
            add_row_with(storage.path(), 1, id, "head, zeroblob(length(body))");
            let repaired = storage.rebuild(&copy).unwrap();
            assert_eq!(repaired.lost, []);
            assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(100)));
            assert_eq!(storage.stats(0).unwrap().records, 1);
        }
    }

    #[test]
    fn a_database_with_tables_of_others_is_not_built_again() {
        let (_folder, path) = closed_store();
        let (_other, copy) = storage();
        let rebuild = |sql: &str| {
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
            storage.rebuild(&copy).map(|repaired| repaired.lost.len())
        };
        assert_eq!(rebuild("ANALYZE").unwrap(), 0);
        let Err(Fault(Error::Unsupported(text))) = rebuild("CREATE TABLE note (text)") else { panic!("it was lost") };
        assert!(text.contains("\"note\""), "{text}");
    }
}
