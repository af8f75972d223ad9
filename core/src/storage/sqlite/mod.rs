//! The embedded storage: one SQLite database in WAL mode, shared by threads and processes.

mod backup;
mod compact;
mod connection;
mod connection_settings;
#[cfg(test)]
mod damage_tests;
mod damaged_row;
mod database;
mod error;
mod file_identity_guard;
mod fork_guard;
mod garbage;
mod group_commit;
mod handle_state;
mod open;
mod path;
mod read_lock;
mod read_only;
mod readable_rows;
mod readers;
mod rebuild;
mod reclaimer;
mod repair;
mod room;
mod rows;
mod scan;
mod schema;
mod second_copy;
#[cfg(test)]
mod space_tests;
#[cfg(test)]
mod tests;
mod upload;
mod upload_lock;
mod verify;
mod writer;

use std::borrow::Cow;
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::again;
use super::operation::Operation;
use super::types::check_settings;
use super::{
    Durability, Entry, Error, Fetched, Head, Info, Locator, PutMode, Repaired, Stats, Storage, Upload, Verified,
    VerifyPosition, checksum, get_each,
};
use crate::util::interrupt::is_interrupted;
use connection_settings::Commit;
use database::Database;
use error::Fault;
use reclaimer::Reclaimer;
use upload::SqliteUpload;
use writer::Writer;

/// Records in an SQLite database.
///
/// Several threads and processes may use one database at once. It must lie on a local disk: a write-ahead log does not
/// work over network file systems. A handle does not survive a fork: the child gets [`Error::Forked`]. If a handle was
/// open at the fork, the child cannot open another, because SQLite treats the parent's locks as the child's.
pub struct SqliteStorage {
    database: Arc<Database>,
    reclaimer: Reclaimer,
}

impl SqliteStorage {
    /// The database's path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.database.path
    }
}

/// No code panics between two steps that belong together, and SQLite rolls back uncommitted changes, so the connection
/// behind a poisoned lock is valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage for SqliteStorage {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        let garbage =
            self.database.apply(&Operation::Put { locator: *locator, record: Cow::Borrowed(record), mode })?;
        self.reclaim_after(garbage.flatten());
        Ok(())
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        for (_, record) in records {
            Head::require(record)?;
        }
        // In the order of the index: neighbours share its pages, and the file does not reveal the order of the records.
        let mut records = records.to_vec();
        records.sort_unstable_by_key(|(locator, _)| *locator);
        Ok(self.database.write_with(Commit::Many, |connection| {
            records
                .iter()
                .try_for_each(|(locator, record)| rows::put(connection, locator, record, PutMode::Create).map(drop))
        })?)
    }

    /// All in one transaction.
    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        match self.database.put_together(records) {
            Ok(outcomes) => {
                let mut reclaim = |garbage| self.reclaim_after(garbage);
                outcomes.into_iter().map(|outcome| outcome.map(&mut reclaim)).collect()
            }
            Err(Fault(error)) => records.iter().map(|_| Err(again(&error))).collect(),
        }
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        Ok(self.database.read(|connection| rows::get_up_to(connection, locator, max_len))?)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(self.database.snapshot(|connection| {
            get_each(locators, max_len, |locator, max_len| rows::get_up_to(connection, locator, max_len))
        })?)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        Ok(self.database.read(|connection| Ok(rows::find(connection, locator)?.map(|row| row.info)))?)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        Ok(self.database.snapshot(|connection| rows::read_at(connection, locator, head, offset, buffer))?)
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        Ok(self.database.snapshot(|connection| rows::get_end(connection, locator, len))?)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.database.check_writable()?;
        self.database.read(|connection| rows::check(connection, locator, mode).map(drop))?;
        Ok(Box::new(SqliteUpload::new(self, *locator, mode)?))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let deleted = self.database.apply(&Operation::Delete { locator: *locator, expected: expected.copied() })?;
        self.reclaim_after(deleted.flatten());
        Ok(deleted.is_some())
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        Ok(self.database.write(|connection| rows::rename(connection, from, head, to))?)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        if after == Some(&Locator::LAST) && limit > 0 {
            self.database.interruptible_snapshot(scan::check_index)?;
        }
        Ok(self.database.read(|connection| scan::list(connection, after, limit))?)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        Ok(self.database.read(|connection| scan::list_expired(connection, now, limit))?)
    }

    /// Each step is one transaction.
    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        if self.list_expired(now, 1)?.is_empty() {
            return Ok(0); // nobody waits for a transaction that changes nothing
        }
        let purged = self.database.write_with(Commit::Step, |connection| scan::purge(connection, now, limit))?;
        let count = purged.len();
        purged.into_iter().for_each(|garbage| self.reclaim_after(garbage));
        Ok(count)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.database.read(|connection| rows::settings(connection))?)
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        Ok(self.database.write(|connection| rows::swap_settings(connection, expected, new))?)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        Ok(self.database.interruptible_snapshot(|connection| verify::verify(connection, position, limit))?)
    }

    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        Ok(self.repair_from(copy)?)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        Ok(self.database.interruptible_snapshot(|connection| scan::stats(connection, now))?)
    }

    /// Removes the leftovers of dead uploads, and empties the write-ahead log into the database: both keep deleted data
    /// until then.
    /// [`Error::Busy`] if other users never stop reading.
    fn maintain(&self) -> Result<(), Error> {
        self.database.check_writable()?;
        self.database.sweep(is_interrupted)?;
        rows::check_interrupt()?;
        let _leader = self.database.commit_queue.lead_alone().ok_or(Error::Busy)?;
        Ok(self.database.with_writer(Writer::empty_log)?)
    }

    /// Each step is one transaction.
    fn compact(&self, limit: u64) -> Result<u64, Error> {
        Ok(self.database.compact(limit)?)
    }

    fn health(&self) -> Result<(), Error> {
        self.database.check_owner()?;
        self.database.state.check_writable()?; // also succeeds if the store is read-only
        let outcome = self.database.file_identity.check().map_err(Error::from);
        outcome.inspect_err(|error| self.database.state.note_read(error))
    }

    /// Waits for a running write, and at most 5 seconds for running reads, checkpoints the log, and closes all
    /// connections. If a read goes on for longer, the checkpoint follows at its end: do not copy or move the database
    /// before.
    fn close(&self) -> Result<(), Error> {
        self.database.check_owner()?;
        self.reclaimer.end();
        self.database.close()
    }
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        if self.database.owner.is_current() {
            let _ = self.close();
        } else {
            // The connections belong to the parent: closing them here would drop its locks and could damage the
            // database. And a thread of the parent may have held any lock at the fork.
            let _ = ManuallyDrop::new(Arc::clone(&self.database));
            self.reclaimer.forget();
        }
    }
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage")
            .field("path", &self.database.path)
            .field("durability", &self.database.durability)
            .finish_non_exhaustive()
    }
}
