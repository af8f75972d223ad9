//! Records that arrive piece by piece.
//!
//! Each segment is written in a transaction of its own, so that other writers wait for a segment at most, never for an
//! upload. The row in `pending` says that they belong to no record yet; the last transaction removes it and writes the
//! record's row, which makes the whole record visible and durable at once.
//!
//! What a killed process leaves is swept. To tell it from an upload under way, each upload holds a lock on a file beside
//! the database, shared with the others; it ends with the process.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::SqliteStorage;
use super::open::with_suffix;
use super::rows::{self, SEGMENT_LEN, SEGMENTS_AT_ONCE};
use crate::storage::{Error, Head, Locator, PutMode, Upload};

/// After this long without a new segment an upload counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct SqliteUpload {
    storage: Arc<SqliteStorage>,
    locator: Locator,
    mode: PutMode,
    /// The record's beginning, at most a segment, which will lie in the record's own row.
    first: Vec<u8>,
    /// What does not fill a segment yet.
    buffer: Vec<u8>,
    object: i64,
    /// Held from the first segment on.
    lock: Option<File>,
    /// Segments that are written.
    segments: i64,
    len: u64,
    done: bool,
}

impl SqliteUpload {
    pub(super) fn new(storage: Arc<SqliteStorage>, locator: Locator, mode: PutMode) -> Result<Self, Error> {
        let (first, buffer) = (Vec::new(), Vec::new());
        let object = rows::new_object()?;
        Ok(Self { storage, locator, mode, first, buffer, object, lock: None, segments: 0, len: 0, done: false })
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.lock.is_none() {
            let lock = lock_file(self.storage.path())?;
            lock.lock_shared().map_err(|error| Error::Backend(error.into()))?; // waits for a sweep at most
            self.lock = Some(lock);
        }
        let (object, n, data) = (self.object, self.segments, &self.buffer);
        self.storage.write_relaxed(|connection| write_segment(connection, object, n, data))?;
        self.segments += 1;
        self.buffer.clear();
        Ok(())
    }
}

impl Upload for SqliteUpload {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if self.done {
            return Err(Error::Conflict);
        }
        self.len = self.len.checked_add(bytes.len() as u64).ok_or(Error::TooLarge)?;
        while !bytes.is_empty() {
            let target = if self.first.len() < SEGMENT_LEN { &mut self.first } else { &mut self.buffer };
            let room = SEGMENT_LEN - target.len();
            let (piece, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            target.extend_from_slice(piece);
            bytes = rest;
            if self.buffer.len() == SEGMENT_LEN
                && let Err(error) = self.flush()
            {
                self.abandon();
                return Err(error);
            }
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), Error> {
        Head::require(&self.first)?;
        if self.done {
            return Err(Error::Conflict);
        }
        let this = &*self;
        let object = (this.len > this.first.len() as u64).then_some(this.object);
        let garbage = this.storage.write(|connection| {
            if !this.buffer.is_empty() {
                write_segment(connection, this.object, this.segments, &this.buffer)?;
            }
            if object.is_some() {
                let sql = "DELETE FROM pending WHERE object = ?1";
                if connection.execute(sql, [this.object])? != 1 {
                    return Err(Error::Conflict); // given up for dead, and swept
                }
            }
            rows::put_record(connection, &this.locator, this.mode, &this.first, object, this.len)
        })?;
        self.done = true;
        self.storage.reclaim(garbage);
        Ok(())
    }
}

impl SqliteUpload {
    /// Removes what is written so far, as far as that can be done now; the rest is swept one day.
    fn abandon(&mut self) {
        if !self.done && self.segments > 0 {
            self.storage.reclaim(Some(self.object));
        }
        self.done = true;
    }
}

impl Drop for SqliteUpload {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl fmt::Debug for SqliteUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteUpload").field("bytes", &self.len).finish_non_exhaustive()
    }
}

/// Writes segment `n`, and the row in `pending`: the first segment makes it, the others need it to be there still.
fn write_segment(connection: &Connection, object: i64, n: i64, data: &[u8]) -> Result<(), Error> {
    let sql = if n == 0 {
        "INSERT INTO pending (object, touched) VALUES (?1, ?2)"
    } else {
        "UPDATE pending SET touched = ?2 WHERE object = ?1"
    };
    if connection.prepare_cached(sql)?.execute((object, now()))? != 1 {
        return Err(Error::Conflict); // given up for dead, and swept
    }
    rows::put_segment(connection, Some(object), n, data)
}

/// Removes some segments of an object that belongs to no record. Returns whether that was all.
pub(super) fn remove(connection: &Connection, object: i64) -> Result<bool, Error> {
    if rows::delete_segments(connection, object, SEGMENTS_AT_ONCE)? == SEGMENTS_AT_ONCE {
        return Ok(false);
    }
    connection.execute("DELETE FROM pending WHERE object = ?1", [object])?;
    Ok(true)
}

/// Objects that belong to no record and are dead: all where nobody uploads, else those of records removed, and those
/// that have not grown for long.
pub(super) fn dead(connection: &Connection, nobody_uploads: bool) -> Result<Vec<i64>, Error> {
    let oldest = if nobody_uploads { i64::MAX } else { now().saturating_sub_unsigned(DEAD_AFTER.as_secs()) };
    let mut statement = connection.prepare("SELECT object FROM pending WHERE touched <= ?1")?;
    Ok(statement.query_map([oldest], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The file whose lock tells that somebody uploads: `<database>.uploads`, empty.
pub(super) fn lock_file(database: &Path) -> Result<File, Error> {
    let path = with_suffix(database, ".uploads");
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(|error| Error::Backend(error.into()))
}

/// Unix time in seconds. A wrong clock removes leftovers early or late, and does no other harm.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
