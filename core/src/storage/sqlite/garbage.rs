//! Garbage collection: segments that belong to no record, such as those of a killed upload.
//!
//! Such segments have a row in `pending`. They belong to running uploads, to uploads whose process was killed, or to
//! records that were replaced or removed. The lock that each upload holds ([`upload_lock`]) distinguishes the first
//! two. In case it fails, segments are marked as dead before they are removed, and an upload finds the mark at its next
//! step.

use rusqlite::Connection;

use super::error::Outcome;
use crate::storage::Error;

/// The mark of a dead object, stored instead of the time when a segment was last added.
pub(super) const DEAD: i64 = 0;
/// No segment is added later: a row with a later time is that of another table, whose page is in the place of this one.
const LATEST: i64 = 1 << 40;

/// The most segments that one transaction removes, 4 MiB, which bounds the wait of other writers.
pub(super) const SEGMENTS_AT_ONCE: usize = 16;

/// An object whose segments no record needs any more; [`reclaimer`](super::reclaimer) removes them.
pub(super) type Garbage = Option<i64>;

/// Removes some segments of an object, if it still belongs to no record. Returns whether that was all.
pub(super) fn remove_some(connection: &Connection, object: i64) -> Outcome<bool> {
    if connection.execute("UPDATE pending SET touched = ?2 WHERE object = ?1", (object, DEAD))? == 0 {
        return Ok(true); // it belongs to a record by now, or was removed
    }
    if !has_record(connection, object)? && delete_segments(connection, object, SEGMENTS_AT_ONCE)? == SEGMENTS_AT_ONCE {
        return Ok(false);
    }
    connection.execute("DELETE FROM pending WHERE object = ?1", [object])?;
    Ok(true)
}

/// Records that the segments of a removed record must be reclaimed.
pub(super) fn add_dead(connection: &Connection, object: i64) -> Outcome<()> {
    connection.execute("INSERT OR REPLACE INTO pending (object, touched) VALUES (?1, ?2)", (object, DEAD))?;
    Ok(())
}

/// Marks all objects that belong to no record as dead. No upload may be running.
pub(super) fn mark_dead(connection: &Connection) -> Outcome<()> {
    connection.execute("UPDATE pending SET touched = ?1", [DEAD])?;
    Ok(())
}

/// Whether an object belongs to a record although it is pending: after a lost write of the disk, a page of `pending` can
/// be older than the rest of the file.
fn has_record(connection: &Connection, object: i64) -> Outcome<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM record WHERE object = ?1")?.exists([object])?)
}

/// Objects that belong to no record.
pub(super) fn pending(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, i64::MAX)
}

/// Objects that are marked as dead.
pub(super) fn dead(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, DEAD)
}

fn objects(connection: &Connection, newest: i64) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare("SELECT object, touched FROM pending")?;
    let mut rows = statement.query(())?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let touched: i64 = row.get(1)?;
        if !(DEAD..=LATEST).contains(&touched) {
            return Err(Error::Corrupt.into());
        }
        if touched <= newest {
            objects.push(row.get(0)?);
        }
    }
    Ok(objects)
}

/// Removes at most `limit` segments, and returns how many there were.
fn delete_segments(connection: &Connection, object: i64, limit: usize) -> Outcome<usize> {
    let sql = "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE object = ?1 LIMIT ?2)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(sql)?.execute((object, limit))?)
}
