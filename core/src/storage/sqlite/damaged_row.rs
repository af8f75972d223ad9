//! Replacing a damaged row by the record of a copy.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Outcome;
use super::garbage;
use super::verify::row::{self, Segments};
use crate::storage::{Error, LOCATOR_LEN, Locator};

/// A damaged row, as it was found.
pub(super) struct DamagedRow {
    id: i64,
    columns: Vec<Value>,
    /// Whether only its segments are damaged.
    row_is_intact: bool,
}

impl DamagedRow {
    /// The row, in the transaction that found the damage: later, it may be that of an intact version.
    pub(super) fn read(connection: &Connection, id: i64, row_is_intact: bool) -> Outcome<Option<Self>> {
        let columns = read_columns(connection, id)?;
        Ok(columns.map(|columns| Self { id, columns, row_is_intact }))
    }

    pub(super) fn prefix(&self) -> Option<i64> {
        match self.columns.first() {
            Some(Value::Integer(prefix)) => Some(*prefix),
            _ => None,
        }
    }

    pub(super) fn locator(&self) -> Option<Locator> {
        self.columns.get(1).and_then(locator)
    }

    /// Removes the row, if it is still the same. Its segments become garbage if the row identifies them reliably.
    pub(super) fn remove(&self, connection: &Connection) -> Outcome<()> {
        let is_same = read_columns(connection, self.id)?.as_ref() == Some(&self.columns);
        // Another repair restores a damaged body under the same columns.
        if !is_same || !self.row_is_intact && is_intact(connection, self.id)? {
            return Err(Error::Conflict.into());
        }
        connection.execute("DELETE FROM record WHERE id = ?1", [self.id])?;
        match self.columns.get(2) {
            Some(Value::Integer(object)) if self.row_is_intact => garbage::add_dead(connection, *object),
            _ => Ok(()),
        }
    }
}

/// A column of a row. A text is damage, whose bytes need not be UTF-8: one flipped bit makes bytes a text.
pub(super) fn value(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) => Ok(Value::Blob(bytes.to_vec())),
        _ => row.get(column),
    }
}

/// The locator in a column.
pub(super) fn locator(value: &Value) -> Option<Locator> {
    match value {
        Value::Blob(bytes) => <[u8; LOCATOR_LEN]>::try_from(&**bytes).ok().map(Locator::from_bytes),
        _ => None,
    }
}

/// Whether the row itself is intact.
fn is_intact(connection: &Connection, id: i64) -> Outcome<bool> {
    let sql = format!("SELECT {} FROM record NOT INDEXED WHERE id = ?1", row::COLUMNS);
    let check = |row: &Row<'_>| Ok(row::check(row).is_ok_and(|record| Segments::of(&record).is_ok()));
    Ok(connection.prepare_cached(&sql)?.query_row([id], check)?)
}

/// The columns that identify a version of a row, damaged or not.
fn read_columns(connection: &Connection, id: i64) -> Outcome<Option<Vec<Value>>> {
    let sql = "SELECT prefix, locator, object, checksum, len, expires_at, head FROM record NOT INDEXED WHERE id = ?1";
    let read = |row: &Row<'_>| (0..7).map(|column| value(row, column)).collect();
    Ok(connection.prepare_cached(sql)?.query_row([id], read).optional()?)
}
