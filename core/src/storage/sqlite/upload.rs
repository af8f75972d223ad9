//! Uploads: records written piece by piece.
//!
//! Each segment is written in its own transaction, so that other writers wait for one segment at most, never for an
//! upload. The row in `pending` shows that the segments belong to no record yet; the last transaction removes it and
//! writes the record's row, which makes the whole record visible and durable.
//!
//! Garbage collection ([`super::garbage`]) removes the segments of a killed process. If it wrongly marks a running
//! upload as dead, the upload finds the mark at its next step, at the latest at its commit.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::SqliteStorage;
use super::connection_settings::Commit;
use super::damaged_row::DamagedRow;
use super::error::{Fault, Outcome};
use super::garbage::DEAD;
use super::rows::{self, SEGMENT_LEN};
use super::upload_lock;
use crate::storage::{Error, Head, Locator, PutMode, Upload};
use crate::util::interrupt::uninterrupted;
use crate::util::locked_file::LockedFile;

/// The number of staged segments after which one is durable, so that the log is checkpointed and does not grow.
const STAGED: i64 = 256;

/// How often an upload repeats the wait for other writers.
const RETRIES: usize = 5;

pub(super) struct SqliteUpload {
    storage: Arc<SqliteStorage>,
    locator: Locator,
    mode: PutMode,
    /// The record's beginning, at most a segment, for the record's own row.
    first: Vec<u8>,
    /// Bytes that do not fill a segment yet.
    buffer: Vec<u8>,
    object: i64,
    /// Held from the first segment on.
    lock: Option<LockedFile>,
    /// The number of written segments.
    segments: i64,
    len: u64,
    /// A damaged row that the record replaces.
    damaged: Option<DamagedRow>,
    done: bool,
}

impl SqliteUpload {
    pub(super) fn new(storage: Arc<SqliteStorage>, locator: Locator, mode: PutMode) -> Outcome<Self> {
        let (first, buffer) = (Vec::new(), Vec::new());
        let object = rows::new_object()?;
        let (lock, damaged) = (None, None);
        Ok(Self { storage, locator, mode, first, buffer, object, lock, segments: 0, len: 0, damaged, done: false })
    }

    /// A new record, whose commit removes a damaged row.
    pub(super) fn instead_of(storage: Arc<SqliteStorage>, locator: Locator, damaged: DamagedRow) -> Outcome<Self> {
        let mut upload = Self::new(storage, locator, PutMode::Create)?;
        upload.damaged = Some(damaged);
        Ok(upload)
    }

    fn flush(&mut self) -> Outcome<()> {
        if self.lock.is_none() {
            self.lock = Some(upload_lock::share(self.storage.path())?);
        }
        let (object, n, data) = (self.object, self.segments, &self.buffer);
        let commit = if (n + 1) % STAGED == 0 { Commit::Long } else { Commit::Staged };
        let outcome = patiently(|| {
            self.storage.database.write_with(commit, |connection| write_segment(connection, object, n, data))
        });
        outcome.map_err(|Fault(error)| match error {
            // Even if the segment was written, the record does not exist yet.
            Error::Indeterminate(source) => Error::Backend(source),
            known => known,
        })?;
        self.segments += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Removes the written segments as far as possible; a later sweep removes the rest. An interrupt does not end this:
    /// it may be the cause.
    fn abandon(&mut self) {
        if !self.done && self.segments > 0 {
            uninterrupted(|| self.storage.reclaim_after(Some(self.object)));
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
                    return Err(Error::Conflict.into()); // marked as dead
                }
            }
            if let Some(damaged) = &this.damaged {
                damaged.remove(connection)?;
            }
            rows::put_record(connection, &this.locator, this.mode, &this.first, object, this.len)
        };
        let garbage = patiently(|| this.storage.database.write_with(Commit::Long, work))?;
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

/// Repeats `write` after a timeout, because a failed upload is expensive.
fn patiently<T>(mut write: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    for _ in 0..RETRIES {
        match write() {
            Err(Fault(Error::Busy)) => {}
            outcome => return outcome,
        }
    }
    write()
}

/// Writes segment `n`, and the row in `pending`: the first segment creates it, the others need it to exist, not marked
/// as dead.
fn write_segment(connection: &Connection, object: i64, n: i64, data: &[u8]) -> Outcome<()> {
    let rows = if n == 0 {
        let sql = "INSERT INTO pending (object, touched) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((object, now()))?
    } else {
        let sql = "UPDATE pending SET touched = ?2 WHERE object = ?1 AND touched > ?3";
        connection.prepare_cached(sql)?.execute((object, now(), DEAD))?
    };
    if rows != 1 {
        return Err(Error::Conflict.into()); // marked as dead
    }
    rows::put_segment(connection, object, n, data)
}

/// Unix time in seconds, which shows people the age of an upload; never [`DEAD`].
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX).max(1)
}
