//! Garbage collection: segments that belong to no record, such as those of a killed upload.
//!
//! Such segments have a row in `pending`. They belong to running uploads, to uploads whose process was killed, or to
//! records that were replaced or removed. The lock that each upload holds ([`upload_lock`]) distinguishes the first
//! two. In case it fails, segments are marked as dead before they are removed, and an upload finds the mark at its next
//! step.

use std::fs::TryLockError;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;

use super::connection_settings::Commit;
use super::database::Database;
use super::error::Outcome;
use super::{SqliteStorage, upload_lock};
use crate::storage::Error;

/// The mark of a dead object, stored instead of the time when a segment was last added.
pub(super) const DEAD: i64 = 0;

/// The most segments that one transaction removes, 4 MiB, which bounds the wait of other writers.
const SEGMENTS_AT_ONCE: usize = 16;

/// An object whose segments no record needs any more: see [`SqliteStorage::reclaim_after`].
pub(super) type Garbage = Option<i64>;

impl SqliteStorage {
    /// Reclaims the garbage of a successful write: a little at once, more in the background. A failure of this is not a
    /// failure of the write.
    pub(super) fn reclaim_after(&self, garbage: Garbage) {
        if let Some(object) = garbage
            && let Ok(false) = self.database.reclaim_some(object)
        {
            self.reclaimer.request(&self.database);
        }
    }
}

impl Database {
    /// Removes some segments of an object that no record needs. Returns whether that was all.
    fn reclaim_some(&self, object: i64) -> Outcome<bool> {
        self.write_with(Commit::Step, |connection| remove_some(connection, object))
    }

    /// Removes the segments of an object that no record needs, a few at a time, until `is_ended`. The next sweep removes
    /// the rest.
    pub(super) fn reclaim(&self, object: i64, is_ended: impl Fn() -> bool) -> Outcome<()> {
        loop {
            let start = Instant::now();
            if self.reclaim_some(object)? || is_ended() {
                return Ok(());
            }
            // Other writers poll the lock, and need time to get it.
            thread::sleep(start.elapsed() / 2);
        }
    }

    /// Removes the segments of all objects that are marked as dead, until `is_ended`.
    pub(super) fn reclaim_dead(&self, is_ended: impl Fn() -> bool) -> Outcome<()> {
        for object in self.read(|connection| dead(connection))? {
            self.reclaim(object, &is_ended)?;
            if is_ended() {
                break;
            }
        }
        Ok(())
    }

    /// Removes the leftovers of dead uploads and of removed records, until `is_ended`. Returns whether nothing is left.
    pub(super) fn sweep(&self, is_ended: impl Fn() -> bool) -> Outcome<bool> {
        if self.read(|connection| pending(connection))?.is_empty() {
            return Ok(true);
        }
        // Each upload holds this lock shared. An exclusive lock proves that no upload is running, and prevents new ones
        // until all pending objects are marked as dead.
        let lock = upload_lock::open(&self.path)?;
        match lock.try_lock() {
            Ok(()) => self.write(mark_dead)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(Error::Backend(error.into()).into()),
        }
        drop(lock);
        self.reclaim_dead(is_ended)?;
        Ok(self.read(|connection| dead(connection))?.is_empty())
    }
}

/// Removes some segments of an object, if it still belongs to no record. Returns whether that was all.
pub(super) fn remove_some(connection: &Connection, object: i64) -> Outcome<bool> {
    if connection.execute("UPDATE pending SET touched = ?2 WHERE object = ?1", (object, DEAD))? == 0 {
        return Ok(true); // it belongs to a record by now, or was removed
    }
    if delete_segments(connection, object, SEGMENTS_AT_ONCE)? == SEGMENTS_AT_ONCE {
        return Ok(false);
    }
    connection.execute("DELETE FROM pending WHERE object = ?1", [object])?;
    Ok(true)
}

/// Records that the segments of a removed record must be reclaimed.
pub(super) fn add_dead(connection: &Connection, object: i64) -> Outcome<()> {
    connection.execute("INSERT INTO pending (object, touched) VALUES (?1, ?2)", (object, DEAD))?;
    Ok(())
}

/// Marks all objects that belong to no record as dead. No upload may be running.
pub(super) fn mark_dead(connection: &Connection) -> Outcome<()> {
    connection.execute("UPDATE pending SET touched = ?1", [DEAD])?;
    Ok(())
}

/// Objects that belong to no record.
pub(super) fn pending(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, i64::MAX)
}

/// Objects that are marked as dead.
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
