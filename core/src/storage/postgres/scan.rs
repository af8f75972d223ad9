//! Statements on many records or on the whole store: lists, counts, expired records, leftovers; renames and settings.

use std::time::Instant;

use super::statement::{column, head, locator, unsigned};
use super::{Locator, PostgresStorage};
use crate::storage::{Entry, Error, Head, Info, Stats};
use crate::util::interrupt::is_interrupted;

/// The most records and bytes of one step of a purge.
const PURGE_STEP: i64 = 1000;
/// The most segments of one step of a sweep.
const SWEEP_STEP: i64 = 256;
/// How often a rename meets a record that another writer moves at the same moment, before it is given up.
const MAX_ROUNDS: usize = 100;

const LIST: &str = "SELECT locator, head, len FROM @.records WHERE locator > $1 ORDER BY locator LIMIT $2";

const LIST_ALL: &str = "SELECT locator, head, len FROM @.records ORDER BY locator LIMIT $1";

const LIST_EXPIRED: &str = "
    SELECT locator, head, len FROM @.records WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";

/// Locks the rows first; one that was replaced meanwhile is kept. A step ends at 64 MiB. Rows are found by their
/// locators (`= ANY`, and a condition that no index on `expires_at` helps): with statistics from before the first
/// record expired, the planner would look at all expired rows for each one.
const PURGE: &str = "
    WITH due AS (
        SELECT locator, sum(len) OVER (ORDER BY expires_at, locator) - len AS before FROM (
            SELECT locator, len, expires_at FROM @.records WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
        ) d
    ), locked AS (
        SELECT locator FROM @.records WHERE locator = ANY (ARRAY(SELECT locator FROM due WHERE before < 67108864))
            AND coalesce(expires_at <= $1, false)
        ORDER BY locator FOR UPDATE
    ), gone AS (
        DELETE FROM @.records WHERE locator = ANY (ARRAY(SELECT locator FROM locked)) AND coalesce(expires_at <= $1, false)
        RETURNING upload
    ), freed AS (
        DELETE FROM @.segments WHERE upload = ANY (ARRAY(SELECT upload FROM gone))
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM due)";

const RENAME: &str = "
    WITH place AS (
        SELECT locator, head FROM @.records WHERE locator IN ($1, $3)
    ), moved AS (
        UPDATE @.records SET locator = $3, checksum = checksum # $4
        WHERE locator = $1 AND head = $2 AND NOT EXISTS (SELECT FROM place WHERE locator = $3)
        RETURNING locator
    )
    SELECT EXISTS (SELECT FROM moved), (SELECT head = $2 FROM place WHERE locator = $1),
        (SELECT head = $2 FROM place WHERE locator = $3)";

const STATS: &str = "
    SELECT count(*), coalesce(sum(len), 0)::int8, count(*) FILTER (WHERE expires_at <= $1) FROM @.records";

/// A lease of an hour, by the server's clock.
const END_DEAD_UPLOADS: &str = "
    DELETE FROM @.uploads WHERE touched < now() - interval '1 hour'";

/// One snapshot: an upload is in `uploads` until the commit that adds it to `records`.
const REMOVE_LEFTOVERS: &str = "
    WITH dead AS (
        SELECT s.upload, s.n FROM @.segments s
        WHERE NOT EXISTS (SELECT FROM @.records r WHERE r.upload = s.upload)
            AND NOT EXISTS (SELECT FROM @.uploads u WHERE u.upload = s.upload)
        LIMIT $1
    ), gone AS (
        DELETE FROM @.segments s USING dead d WHERE s.upload = d.upload AND s.n = d.n RETURNING s.n
    )
    SELECT count(*) FROM gone";

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The largest time stands for records that never expire in practice.
fn as_time(now: u64) -> i64 {
    i64::try_from(now).unwrap_or(i64::MAX).min(i64::MAX - 1)
}

/// The error of a write; `lost` if an earlier attempt may have succeeded.
fn after(lost: bool, error: Error) -> Error {
    if lost && !matches!(error, Error::Indeterminate(_)) { Error::Indeterminate(error.into()) } else { error }
}

impl PostgresStorage {
    pub(super) fn list_after(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.entries(&match after {
            Some(after) => self.statement(LIST).bytes(after.as_bytes()).int(as_limit(limit)),
            None => self.statement(LIST_ALL).int(as_limit(limit)),
        })
    }

    pub(super) fn list_due(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.entries(&self.statement(LIST_EXPIRED).int(as_time(now)).int(as_limit(limit)))
    }

    fn entries(&self, statement: &super::Statement) -> Result<Vec<Entry>, Error> {
        let rows = self.read(statement)?;
        let entry = |row| Ok(Entry::new(locator(row, 0)?, Info::new(head(row, 1)?, unsigned(row, 2)?)));
        rows.iter().map(entry).collect()
    }

    pub(super) fn purge_due(&self, now: u64, limit: usize) -> Result<usize, Error> {
        let statement = self.statement(PURGE).int(as_time(now)).int(as_limit(limit).min(PURGE_STEP));
        loop {
            let rows = self.write(&statement, self.end()).0?;
            let row = rows.first().ok_or(Error::Corrupt)?;
            let (purged, due) = (unsigned(row, 0)?, unsigned(row, 1)?);
            // All of those that were due were replaced meanwhile, or removed by another purge.
            if purged > 0 || due == 0 {
                return usize::try_from(purged).map_err(|_| Error::Corrupt);
            }
            if is_interrupted() {
                return Err(Error::Busy);
            }
        }
    }

    pub(super) fn move_record(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        if from == to {
            let there = self.find_info(from)?;
            return if there.is_some_and(|info| info.head == *head) { Ok(()) } else { Err(Error::Conflict) };
        }
        let change = crate::storage::checksum::renamed(0, from, to);
        let statement = self.statement(RENAME).bytes(from.as_bytes()).bytes(head.as_bytes()).bytes(to.as_bytes());
        let statement = statement.int(change.into());
        let (end, mut lost) = (self.end(), false);
        for _ in 0..MAX_ROUNDS {
            if Instant::now() >= end {
                break;
            }
            let (outcome, is_lost) = self.write(&statement, end);
            lost |= is_lost;
            let rows = match outcome {
                Err(Error::AlreadyExists) => continue, // it was created at this moment
                outcome => outcome.map_err(|error| after(lost, error))?,
            };
            let row = rows.first().ok_or(Error::Corrupt)?;
            let (at_from, at_to): (Option<bool>, Option<bool>) = (column(row, 1)?, column(row, 2)?);
            match (column(row, 0)?, at_from, at_to) {
                (true, ..) | (false, None, Some(true)) => return Ok(()),
                // The lost attempt has moved it, and `from` has a new record since.
                (false, _, Some(true)) if lost => return Ok(()),
                (false, Some(true), Some(_)) => return Err(after(lost, Error::AlreadyExists)),
                (false, Some(true), None) => {} // it was changed at this moment
                (false, ..) => return Err(after(lost, Error::Conflict)),
            }
        }
        Err(after(lost, Error::Busy))
    }

    pub(super) fn swap_document(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        let statement = match expected {
            None => {
                self.statement("INSERT INTO @.settings (document) VALUES ($1) ON CONFLICT DO NOTHING RETURNING one")
            }
            Some(_) => self.statement("UPDATE @.settings SET document = $1 WHERE document = $2 RETURNING one"),
        };
        let statement = statement.bytes(new);
        let statement = if let Some(expected) = expected { statement.bytes(expected) } else { statement };
        let (outcome, lost) = self.write(&statement, self.end());
        if !outcome?.is_empty() {
            return Ok(());
        }
        if !lost {
            return Err(Error::Conflict);
        }
        let rows = self.read(&self.statement("SELECT document FROM @.settings"))?;
        match rows.first().map(|row| column::<&[u8]>(row, 0)).transpose()? {
            Some(there) if there == new => Ok(()),
            _ => Err(Error::Indeterminate("the answer was lost, and the settings are other ones now".into())),
        }
    }

    pub(super) fn count(&self, now: u64) -> Result<Stats, Error> {
        let rows = self.read_long(&self.statement(STATS).int(as_time(now)))?;
        let row = rows.first().ok_or(Error::Corrupt)?;
        Ok(Stats::new(unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?))
    }

    pub(super) fn sweep(&self) -> Result<(), Error> {
        self.read(&self.statement(END_DEAD_UPLOADS))?;
        let statement = self.statement(REMOVE_LEFTOVERS).int(SWEEP_STEP);
        loop {
            let rows = self.read_long(&statement)?;
            if rows.first().map_or(Ok(0), |row| unsigned(row, 0))? == 0 {
                return Ok(());
            }
            if is_interrupted() {
                return Err(Error::Busy);
            }
        }
    }
}
