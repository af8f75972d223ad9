//! Records that arrive piece by piece.
//!
//! Each segment is written in a transaction of its own, so that other writers wait for a segment at most, never for an
//! upload. The row in `pending` says that they belong to no record yet; the last transaction removes it and writes the
//! record's row, which makes the whole record visible and durable at once.
//!
//! What a killed process leaves is swept. To tell it from an upload under way, each upload holds a lock on a file beside
//! the database, shared with the others; it ends with the process. And should the lock fail to tell: what is swept is
//! marked as dead first, and an upload finds the mark at its next step, at its commit at the latest.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::SqliteStorage;
use super::error::{Fault, Outcome};
use super::path::{cannot_make, with_suffix};
use super::rows::{self, SEGMENT_LEN};
use super::writer::Commit;
use crate::files::give_owner_of;
use crate::storage::{Error, Head, Locator, PutMode, Upload};

/// What stands for the time in the row of an object that is dead.
const DEAD: i64 = 0;

/// After so many staged segments one is durable, so that the log can be moved into the database and does not grow.
const STAGED: i64 = 256;

/// How many segments one transaction removes: other writers wait for no more.
const SEGMENTS_AT_ONCE: usize = 64;

/// How often an upload waits again for other writers.
const RETRIES: usize = 5;

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
    pub(super) fn new(storage: Arc<SqliteStorage>, locator: Locator, mode: PutMode) -> Outcome<Self> {
        let (first, buffer) = (Vec::new(), Vec::new());
        let object = rows::new_object()?;
        Ok(Self { storage, locator, mode, first, buffer, object, lock: None, segments: 0, len: 0, done: false })
    }

    fn flush(&mut self) -> Outcome<()> {
        if self.lock.is_none() {
            self.lock = Some(lock_shared(self.storage.path())?);
        }
        let (object, n, data) = (self.object, self.segments, &self.buffer);
        let commit = if (n + 1) % STAGED == 0 { Commit::Durable } else { Commit::Staged };
        let outcome =
            patiently(|| self.storage.write_with(commit, |connection| write_segment(connection, object, n, data)));
        outcome.map_err(|Fault(error)| match error {
            // Whatever became of the segment, the record is not there.
            Error::Indeterminate(source) => Error::Backend(source),
            known => known,
        })?;
        self.segments += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Removes what is written so far, as far as that can be done now; the rest is swept one day.
    fn abandon(&mut self) {
        if !self.done && self.segments > 0 {
            self.storage.reclaim_after(Some(self.object));
        }
        self.done = true;
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
                return Err(error.into());
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
        let work = |connection: &Connection| {
            if !this.buffer.is_empty() {
                write_segment(connection, this.object, this.segments, &this.buffer)?;
            }
            if object.is_some() {
                let sql = "DELETE FROM pending WHERE object = ?1 AND touched > ?2";
                if connection.execute(sql, (this.object, DEAD))? != 1 {
                    return Err(Error::Conflict.into()); // given up for dead
                }
            }
            rows::put_record(connection, &this.locator, this.mode, &this.first, object, this.len)
        };
        let garbage = patiently(|| this.storage.write(work))?;
        self.done = true;
        self.storage.reclaim_after(garbage);
        Ok(())
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

/// Waits again for other writers, when it has waited in vain: much is lost with an upload.
fn patiently<T>(mut write: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    for _ in 0..RETRIES {
        match write() {
            Err(Fault(Error::Busy)) => {}
            outcome => return outcome,
        }
    }
    write()
}

/// Writes segment `n`, and the row in `pending`: the first segment makes it, the others need it to be there and alive.
fn write_segment(connection: &Connection, object: i64, n: i64, data: &[u8]) -> Outcome<()> {
    let rows = if n == 0 {
        let sql = "INSERT INTO pending (object, touched) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((object, now()))?
    } else {
        let sql = "UPDATE pending SET touched = ?2 WHERE object = ?1 AND touched > ?3";
        connection.prepare_cached(sql)?.execute((object, now(), DEAD))?
    };
    if rows != 1 {
        return Err(Error::Conflict.into()); // given up for dead
    }
    rows::put_segment(connection, Some(object), n, data)
}

/// Removes some segments of an object, if it still belongs to no record. Returns whether that was all.
pub(super) fn remove_some(connection: &Connection, object: i64) -> Outcome<bool> {
    if connection.execute("UPDATE pending SET touched = ?2 WHERE object = ?1", (object, DEAD))? == 0 {
        return Ok(true); // it belongs to a record by now, or is gone
    }
    if rows::delete_segments(connection, object, SEGMENTS_AT_ONCE)? == SEGMENTS_AT_ONCE {
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
pub(super) fn dead(connection: &Connection) -> Outcome<Vec<i64>> {
    objects(connection, DEAD)
}

fn objects(connection: &Connection, newest: i64) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare("SELECT object FROM pending WHERE touched <= ?1")?;
    Ok(statement.query_map([newest], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// The file whose lock tells that somebody uploads: `<database>.uploads`, empty, with the database's owner and mode, for
/// all who may use the database.
pub(super) fn lock_file(database: &Path) -> Result<File, Error> {
    let path = with_suffix(database, ".uploads");
    let open = || {
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is no regular file: remove it"));
        }
        let file = match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => File::options().write(true).open(&path)?,
            made => {
                let file = made?;
                file.set_permissions(fs::metadata(database)?.permissions())?;
                file
            }
        };
        give_owner_of(database, &file)?;
        Ok(file)
    };
    open().map_err(|error| cannot_make(&path, error))
}

/// Says that somebody uploads. Waits for the first step of a sweep at most.
fn lock_shared(database: &Path) -> Result<File, Error> {
    let file = lock_file(database)?;
    loop {
        match file.lock_shared() {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal
            Err(error) => return Err(Error::Backend(error.into())),
        }
    }
}

/// Unix time in seconds, for people to see how old an upload is; never [`DEAD`].
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX).max(1)
}
