//! Rebuilding a database whose pages are damaged, from its readable rows and the records of a copy.
//!
//! The new content is made in a temporary database beside the old one, and then replaces the old content in one
//! transaction. Nothing is written to the damaged pages before, except for their newer versions in the log of an
//! earlier process.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::storage::{self, Damage, DamageKind, Error, Locator, Repaired, Storage};
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
        if (!is_whole || !repaired.lost.is_empty()) && storage::is_empty(&*new)? {
            let text = "no record of the database can be read, so a repair would leave an empty store: put the backup \
                        in its place";
            return Err(Error::Unsupported(text.into()).into());
        }
        if !is_whole {
            repaired.lost.push(Damage::new(None, "table record", DamageKind::Missing));
        }
        let _leader = database.commit_queue.lead_alone().ok_or(Error::Busy)?;
        let is_done = new.database.snapshot(|new| {
            rows::begin_read(new)?; // the transaction begins, so that all steps copy the same state
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
    let names_all = copy_rows_of_index(old, new, &mut copied)?;
    for id in damaged {
        match prefix_in_row(old, id)? {
            Some(prefix) => drop(copied.lost.insert(prefix)),
            None => copied.is_whole = false,
        }
    }
    copied.is_whole |= names_all;
    Ok(copied)
}

/// Copies the records that the index has, and the scan of the table has passed over: a page in the place of another may
/// lead past them. `false` if the index may lack some.
fn copy_rows_of_index(old: &Connection, new: &SqliteStorage, copied: &mut CopiedRows) -> Outcome<bool> {
    let mut find_head = old.prepare("SELECT head FROM record NOT INDEXED WHERE id = ?1")?;
    let mut find = old.prepare(&format!("SELECT {} FROM record NOT INDEXED WHERE id = ?1", RECORDS.names))?;
    let mut batch = Batch::new(old, new, RECORDS);
    let sql = "SELECT count(*) FROM record";
    let records: i64 = new.database.read(|connection| Ok(connection.query_row(sql, (), |row| row.get(0))?))?;
    let (mut found, mut lost, mut unread) = (0, BTreeSet::new(), BTreeMap::new());
    let is_whole = each_row_of_index(old, |prefix, id| {
        let head = readable(find_head.query_row([id], |row| value(row, 0)).optional())?.flatten();
        let head = head.filter(|head| matches!(head, Value::Blob(_)));
        let is_there = match &head {
            Some(head) => has_version(new, prefix, head)?,
            None => has_prefix(new, prefix)?,
        };
        found += i64::from(is_there);
        if !is_there {
            match readable(find.query([id])?.next())?.flatten() {
                Some(row) => batch.push(row)?,
                None => drop(lost.insert(prefix)),
            }
        } else if head.is_none() {
            unread.insert(id, prefix); // the row that is there may be another one of the record
        }
        Ok(())
    })?;
    batch.finish(copied)?;
    remove_seen(old, &mut unread)?;
    lost.extend(unread.into_values());
    for prefix in &lost {
        remove_hidden_rows(old, new, *prefix, &mut copied.removed)?;
    }
    copied.lost.append(&mut lost);
    // An index that lacks rows which the scan has found may lack others.
    Ok(is_whole && found == records)
}

/// Removes the rows that a scan of the table shows.
fn remove_seen(old: &Connection, rows: &mut BTreeMap<i64, i64>) -> Outcome<()> {
    if !rows.is_empty() {
        let see = |row: &Row<'_>| {
            rows.remove(&row.get(0)?);
            Ok(())
        };
        each_readable_row(old, RECORDS, see, |_| {})?;
    }
    Ok(())
}

/// Removes the rows with this prefix that users of the old database do not see, because the index lacks them: they see
/// another version, which is lost.
fn remove_hidden_rows(
    old: &Connection,
    new: &SqliteStorage,
    prefix: i64,
    removed: &mut BTreeSet<Locator>,
) -> Outcome<()> {
    let sql = "SELECT id, locator, head FROM record WHERE prefix = ?1";
    let rows = new.database.read(|connection| {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, value(row, 1)?, value(row, 2)?)))?;
        Ok(rows.collect::<Result<Vec<(i64, Value, Value)>, _>>()?)
    })?;
    for (id, of_row, head) in rows {
        if !is_in_index(old, prefix, &head)? {
            new.database.write(|connection| Ok(connection.execute("DELETE FROM record WHERE id = ?1", [id])?))?;
            removed.extend(locator(&of_row));
        }
    }
    Ok(())
}

/// Whether the index shows a readable row of this version.
fn is_in_index(old: &Connection, prefix: i64, head: &Value) -> Outcome<bool> {
    let mut ids = old.prepare_cached("SELECT id FROM record INDEXED BY record_prefix WHERE prefix = ?1")?;
    let mut find_head = old.prepare_cached("SELECT head FROM record NOT INDEXED WHERE id = ?1")?;
    let mut rows = ids.query([prefix])?;
    while let Some(row) = readable(rows.next())?.flatten() {
        let found = readable(find_head.query_row([row.get::<_, i64>(0)?], |row| value(row, 0)).optional())?;
        if found.flatten().as_ref() == Some(head) {
            return Ok(true);
        }
    }
    Ok(false)
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
mod tests;
