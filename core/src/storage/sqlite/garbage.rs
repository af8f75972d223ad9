//! Garbage collection: segments that belong to no record.
//!
//! Such segments have a row in `pending`: those of uploads under way, of uploads whose process was killed, and of records
//! that were replaced or removed. The lock that each upload holds ([`upload_lock`]) tells the first two apart. Should it
//! fail to: segments are marked as dead before they are removed, and an upload finds the mark at its next step.

use std::fs::TryLockError;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;

use super::error::Outcome;
use super::{SqliteStorage, upload_lock};
use crate::storage::Error;

/// The mark of a dead object, in the place of the time when it was last added to.
pub(super) const DEAD: i64 = 0;

/// How many segments one transaction removes: other writers wait for no more.
const SEGMENTS_AT_ONCE: usize = 64;

/// An object whose segments no record needs any more: see [`SqliteStorage::reclaim`].
pub(super) type Garbage = Option<i64>;

impl SqliteStorage {
    /// Removes the segments of an object that no record needs, a few at a time, until `deadline`. What is left then is
    /// left to the next sweep.
    pub(super) fn reclaim(&self, object: i64, deadline: Option<Instant>) -> Outcome<()> {
        loop {
            let start = Instant::now();
            if self.write(|connection| remove_some(connection, object))?
                || deadline.is_some_and(|deadline| Instant::now() > deadline)
            {
                return Ok(());
            }
            // Other writers wait by trying again and again: they must find a gap.
            thread::sleep(start.elapsed() / 2);
        }
    }

    /// Reclaims what a write that has succeeded left. That this fails is no fault of the write's.
    pub(super) fn reclaim_after(&self, garbage: Garbage) {
        if let Some(object) = garbage {
            let _ = self.reclaim(object, None);
        }
    }

    /// Removes what dead uploads left, and what is left of records removed, until `deadline`.
    pub(super) fn sweep(&self, deadline: Option<Instant>) -> Outcome<()> {
        if self.read(|connection| pending(connection))?.is_empty() {
            return Ok(());
        }
        // Whoever uploads holds this lock with others. Holding it alone proves that nobody does, and keeps it so until
        // all that is there is marked as dead.
        let lock = upload_lock::open(&self.path)?;
        match lock.try_lock() {
            Ok(()) => self.write(mark_dead)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(Error::Backend(error.into()).into()),
        }
        drop(lock);
        for object in self.read(|connection| dead(connection))? {
            self.reclaim(object, deadline)?;
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
        }
        Ok(())
    }
}

/// Removes some segments of an object, if it still belongs to no record. Returns whether that was all.
pub(super) fn remove_some(connection: &Connection, object: i64) -> Outcome<bool> {
    if connection.execute("UPDATE pending SET touched = ?2 WHERE object = ?1", (object, DEAD))? == 0 {
        return Ok(true); // it belongs to a record by now, or is gone
    }
    if delete_segments(connection, object, SEGMENTS_AT_ONCE)? == SEGMENTS_AT_ONCE {
        return Ok(false);
    }
    connection.execute("DELETE FROM pending WHERE object = ?1", [object])?;
    Ok(true)
}

/// Leaves segments of a record that is gone to be removed later.
pub(super) fn add_dead(connection: &Connection, object: i64) -> Outcome<()> {
    connection.execute("INSERT INTO pending (object, touched) VALUES (?1, ?2)", (object, DEAD))?;
    Ok(())
}

/// Marks all objects that belong to no record: nobody uploads.
pub(super) fn mark_dead(connection: &Connection) -> Outcome<()> {
    connection.execute("UPDATE pending SET touched = ?1", [DEAD])?;
    Ok(())
}

/// Objects that belong to no record.
pub(super) fn pending(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, i64::MAX)
}

/// Objects that belong to no record and will belong to none.
fn dead(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, DEAD)
}

fn objects(connection: &Connection, newest: i64) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare("SELECT object FROM pending WHERE touched <= ?1")?;
    Ok(statement.query_map([newest], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Removes at most `limit` segments, and returns how many there were.
fn delete_segments(connection: &Connection, object: i64, limit: usize) -> Outcome<usize> {
    let sql = "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE object = ?1 LIMIT ?2)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(sql)?.execute((object, limit))?)
}
