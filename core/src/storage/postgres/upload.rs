//! Long records that arrive in pieces. Their segments are written before the record's row, under a lease that each of
//! them renews; the statement that writes the row ends the lease.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::change::{Change, NewRow, new_upload};
use super::statement::column;
use super::{PostgresStorage, SEGMENT_LEN};
use crate::storage::{Error, Head, Locator, PutMode, Storage, Upload, checksum};

/// The rounds in which an upload meets another writer's new record, before it is given up.
const MAX_ROUNDS: usize = 100;

const FIRST_SEGMENT: &str = "
    WITH lease AS (
        INSERT INTO @.uploads (upload, touched) VALUES ($1, now())
        ON CONFLICT (upload) DO UPDATE SET touched = now() RETURNING upload
    ), segment AS (
        INSERT INTO @.segments (upload, n, checksum, bytes) SELECT upload, $2, $3, $4 FROM lease
        ON CONFLICT (upload, n) DO NOTHING
    )
    SELECT EXISTS (SELECT FROM lease)";

const NEXT_SEGMENT: &str = "
    WITH lease AS (
        UPDATE @.uploads SET touched = now() WHERE upload = $1 RETURNING upload
    ), segment AS (
        INSERT INTO @.segments (upload, n, checksum, bytes) SELECT upload, $2, $3, $4 FROM lease
        ON CONFLICT (upload, n) DO NOTHING
    )
    SELECT EXISTS (SELECT FROM lease)";

const ABANDON: &str = "
    WITH lease AS (DELETE FROM @.uploads WHERE upload = $1) DELETE FROM @.segments WHERE upload = $1";

/// The segments of a record without a row.
struct Segments {
    locator: Locator,
    mode: PutMode,
    upload: i64,
    head: Option<Head>,
    len: u64,
    count: i64,
}

impl Segments {
    fn new(locator: Locator, mode: PutMode) -> Result<Self, Error> {
        Ok(Self { locator, mode, upload: new_upload()?, head: None, len: 0, count: 0 })
    }

    /// Adds a segment. A repetition after a lost reply finds it there.
    fn add(&mut self, storage: &PostgresStorage, bytes: &[u8]) -> Result<(), Error> {
        if self.head.is_none() {
            self.head = Some(Head::require(bytes)?);
        }
        let n = self.count;
        let statement = storage.statement(if n == 0 { FIRST_SEGMENT } else { NEXT_SEGMENT });
        let checksum = checksum::of_segment(self.upload, n, bytes);
        let statement = statement.int(self.upload).int(n).int(checksum.into()).bytes(bytes);
        let rows = storage.write(&statement, storage.end()).0.map_err(|error| match error {
            Error::Indeterminate(source) => Error::Backend(source), // the record does not exist yet
            other => other,
        })?;
        if !rows.first().map_or(Ok(false), |row| column(row, 0))? {
            return Err(Error::Conflict);
        }
        self.count += 1;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes the record's row.
    fn commit(&self, storage: &PostgresStorage) -> Result<(), Error> {
        let head = self.head.ok_or(Error::Corrupt)?;
        let len = i64::try_from(self.len).map_err(|_| Error::TooLarge)?;
        let row = NewRow { head, len, upload: Some(self.upload), body: None };
        let change = [Change::put(self.locator, self.mode, row)];
        let end = storage.end();
        for _ in 0..MAX_ROUNDS {
            if let Some(Some(outcome)) = storage.change(&change, end).pop() {
                return outcome.map(drop);
            }
            if Instant::now() >= end {
                break;
            }
        }
        Err(Error::Busy)
    }
}

impl PostgresStorage {
    /// Fails if `mode` does not allow a write, before segments are written. A damaged record may be overwritten.
    pub(super) fn check_mode(&self, locator: &Locator, mode: PutMode) -> Result<(), Error> {
        self.check_usable()?;
        let there = if mode == PutMode::Overwrite { None } else { self.find_info(locator)?.map(|info| info.head) };
        mode.check(there)
    }

    pub(super) fn put_long(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        self.check_mode(locator, mode)?;
        let mut segments = Segments::new(*locator, mode)?;
        let outcome = record.chunks(SEGMENT_LEN).try_for_each(|bytes| segments.add(self, bytes));
        let outcome = outcome.and_then(|()| segments.commit(self));
        if outcome.is_err() {
            self.abandon(&segments, &outcome);
        }
        outcome
    }

    /// Removes the segments in the background, unless a record may have them. [`sweep`](Self::sweep) finds what
    /// remains.
    fn abandon(&self, segments: &Segments, outcome: &Result<(), Error>) {
        if segments.count == 0 || matches!(outcome, Err(Error::Indeterminate(_))) || self.check_usable().is_err() {
            return;
        }
        if let Some(pool) = self.pool.clone() {
            let (statement, end) = (self.statement(ABANDON).int(segments.upload), self.end());
            self.runtime.spawn(async move { drop(pool.run(&statement, end.into()).await) });
        }
    }
}

pub(super) struct PostgresUpload {
    storage: Arc<PostgresStorage>,
    segments: Segments,
    gathered: Vec<u8>,
    outcome: Option<Result<(), Error>>,
}

impl PostgresUpload {
    pub(super) fn new(storage: Arc<PostgresStorage>, locator: Locator, mode: PutMode) -> Result<Self, Error> {
        Ok(Self { storage, segments: Segments::new(locator, mode)?, gathered: Vec::new(), outcome: None })
    }

    fn check(&self) -> Result<(), Error> {
        self.storage.check_usable()?;
        if self.outcome.is_some() {
            return Err(Error::InvalidArgument("an earlier write of this record failed: start it again".into()));
        }
        Ok(())
    }

    /// Sends all but the last gathered bytes, so that a short record stays in memory.
    fn send_full_segments(&mut self) -> Result<(), Error> {
        let mut gathered = mem::take(&mut self.gathered);
        let mut sent = 0;
        while gathered.len() - sent > SEGMENT_LEN {
            let end = sent + SEGMENT_LEN;
            self.segments.add(&self.storage, gathered.get(sent..end).unwrap_or_default())?;
            sent = end;
        }
        gathered.drain(..sent);
        self.gathered = gathered;
        Ok(())
    }
}

impl Upload for PostgresUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() > SEGMENT_LEN {
            self.outcome = Some(Err(Error::Conflict)); // until this succeeds
            self.send_full_segments()?;
            self.outcome = None;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), Error> {
        self.check()?;
        let rest = mem::take(&mut self.gathered);
        if self.segments.count == 0 {
            return self.storage.put(&self.segments.locator, &rest, self.segments.mode);
        }
        let outcome = self.segments.add(&self.storage, &rest).and_then(|()| self.segments.commit(&self.storage));
        let failed = outcome.as_ref().err().map(crate::storage::error::again);
        self.outcome = Some(failed.map_or(Ok(()), Err));
        outcome
    }
}

impl Drop for PostgresUpload {
    fn drop(&mut self) {
        match &self.outcome {
            Some(Ok(())) => {}
            Some(outcome) => self.storage.abandon(&self.segments, outcome),
            None => self.storage.abandon(&self.segments, &Err(Error::Conflict)),
        }
    }
}

impl fmt::Debug for PostgresUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUpload").field("bytes", &self.segments.len).finish_non_exhaustive()
    }
}
