//! The embedded storage: one SQLite database in WAL mode, shared by threads and processes.

mod backup;
mod connection_settings;
#[cfg(test)]
mod damage_tests;
mod damaged_row;
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
mod readers;
mod rebuild;
mod repair;
mod rows;
mod scan;
mod schema;
mod second_copy;
#[cfg(test)]
mod tests;
mod upload;
mod upload_lock;
mod verify;
mod writer;

use std::borrow::Cow;
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::commit_queue::CommitQueue;
use super::error::again;
use super::operation::Operation;
use super::types::check_settings;
use super::{
    Durability, Entry, Error, Fetched, Head, Info, Locator, PutMode, Repaired, Stats, Storage, Upload, Verified,
    VerifyPosition, checksum, get_each,
};
use crate::util::fork_check::OwnerProcess;
use crate::util::interrupt::is_interrupted;
use connection_settings::Commit;
use error::{Fault, Outcome};
use file_identity_guard::FileIdentityGuard;
use group_commit::OperationOutcome;
use handle_state::HandleState;
use read_lock::ReadLock;
use read_only::{Access, ReadOnly};
use readers::Readers;
use upload::SqliteUpload;
use writer::Writer;

/// Records in an SQLite database.
///
/// Several threads and processes may use one database at once. It must lie on a local disk: a write-ahead log does not
/// work over network file systems. A handle does not survive a fork: the child gets [`Error::Forked`]. If a handle was
/// open at the fork, the child cannot open another, because SQLite treats the parent's locks as the child's.
pub struct SqliteStorage {
    path: PathBuf,
    durability: Durability,
    /// Admits one writer at a time, as SQLite does, in order of arrival.
    commit_queue: CommitQueue<Operation<'static>, OperationOutcome>,
    /// The leader's connection; `None` once closed.
    writer: Mutex<Option<Writer>>,
    readers: Readers,
    read_lock: ReadLock,
    access: Access,
    /// The reason why the store is read-only, if it is.
    read_only: Option<ReadOnly>,
    file_identity: Arc<FileIdentityGuard>,
    state: Arc<HandleState>,
    owner: OwnerProcess,
}

impl SqliteStorage {
    /// The database's path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_owner(&self) -> Result<(), Error> {
        if self.owner.is_current() { Ok(()) } else { Err(Error::Forked) }
    }

    fn check_writable(&self) -> Result<(), Error> {
        self.check_owner()?;
        self.state.check_writable()?;
        self.read_only.as_ref().map_or(Ok(()), |why| Err(why.refusal()))
    }

    /// Runs `work` on a connection for reading. Each statement sees one state of the database; for several statements,
    /// use [`snapshot`](Self::snapshot).
    fn read<T>(&self, work: impl FnOnce(&mut Connection) -> Outcome<T>) -> Outcome<T> {
        self.check_owner()?;
        self.state.check_readable()?;
        let mut reader = self.readers.take(|| {
            let connection = open::open_reader(&self.path, &self.access, self.durability)?;
            self.file_identity.check()?;
            Ok(connection)
        })?;
        if reader.is_frequent() && self.check_writable().is_ok() {
            self.request_read_lock();
        }
        let outcome = self.file_identity.check_at_interval();
        let outcome = outcome.and_then(|()| work(&mut reader.connection));
        self.readers.give_back(reader, || self.state.check_readable().is_ok());
        if let Err(Fault(error)) = &outcome {
            self.state.note_read(error);
        }
        self.access.check_unchanged().and(outcome)
    }

    fn request_read_lock(&self) {
        let (path, durability, state) = (self.path.clone(), self.durability, Arc::clone(&self.state));
        let open = move || open::open_reader(&path, &Access::Write, durability);
        self.read_lock.request(open, state);
    }

    /// Runs `work` in a transaction that sees one state of the database.
    fn snapshot<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.read(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
            work(&transaction)
        })
    }

    /// The same, for `work` with long statements.
    fn interruptible_snapshot<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        /// SQLite's steps between two checks.
        const STEPS: i32 = 10_000;

        self.read(|connection| {
            connection.progress_handler(STEPS, Some(is_interrupted))?;
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
            let outcome = work(&transaction);
            drop(transaction);
            connection.progress_handler(0, None::<fn() -> bool>)?;
            outcome
        })
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it durably if it succeeds.
    fn write<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.write_with(Commit::Durable, work)
    }

    fn write_with<T>(&self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.check_writable()?;
        let _leader = self.commit_queue.lead_alone().ok_or(Error::Busy)?;
        self.transact(commit, work)
    }

    /// As [`write`](Self::write), for the leader.
    fn transact<T>(&self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.with_writer(|writer| writer.transact(commit, work))
    }

    fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> Outcome<T>) -> Outcome<T> {
        let mut writer = lock(&self.writer);
        self.check_writable()?; // the wait may have been long
        let writer = writer.as_mut().ok_or(Error::Closed)?;
        let outcome = work(writer);
        if let Err(Fault(error)) = &outcome {
            self.state.note_write(error);
        }
        if writer.has_lost_data() {
            self.state.refuse_writes();
        }
        outcome
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
        let garbage = self.apply(&Operation::Put { locator: *locator, record: Cow::Borrowed(record), mode })?;
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
        Ok(self.write_with(Commit::Many, |connection| {
            records
                .iter()
                .try_for_each(|(locator, record)| rows::put(connection, locator, record, PutMode::Create).map(drop))
        })?)
    }

    /// All in one transaction.
    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        match self.put_together(records) {
            Ok(outcomes) => {
                let mut reclaim = |garbage| self.reclaim_after(garbage);
                outcomes.into_iter().map(|outcome| outcome.map(&mut reclaim)).collect()
            }
            Err(Fault(error)) => records.iter().map(|_| Err(again(&error))).collect(),
        }
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        Ok(self.read(|connection| rows::get_up_to(connection, locator, max_len))?)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(self.snapshot(|connection| {
            get_each(locators, max_len, |locator, max_len| rows::get_up_to(connection, locator, max_len))
        })?)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        Ok(self.read(|connection| Ok(rows::find(connection, locator)?.map(|row| row.info)))?)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        Ok(self.snapshot(|connection| rows::read_at(connection, locator, head, offset, buffer))?)
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        Ok(self.snapshot(|connection| rows::get_end(connection, locator, len))?)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.check_writable()?;
        self.read(|connection| rows::check(connection, locator, mode).map(drop))?;
        Ok(Box::new(SqliteUpload::new(self, *locator, mode)?))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let deleted = self.apply(&Operation::Delete { locator: *locator, expected: expected.copied() })?;
        self.reclaim_after(deleted.flatten());
        Ok(deleted.is_some())
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        Ok(self.write(|connection| rows::rename(connection, from, head, to))?)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        Ok(self.read(|connection| scan::list(connection, after, limit))?)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        Ok(self.read(|connection| scan::list_expired(connection, now, limit))?)
    }

    /// Each step is one transaction.
    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        if self.list_expired(now, 1)?.is_empty() {
            return Ok(0); // nobody waits for a transaction that changes nothing
        }
        let purged = self.write_with(Commit::Purge, |connection| scan::purge(connection, now, limit))?;
        let count = purged.len();
        purged.into_iter().for_each(|garbage| self.reclaim_after(garbage));
        Ok(count)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read(|connection| rows::settings(connection))?)
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        Ok(self.write(|connection| rows::swap_settings(connection, expected, new))?)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        Ok(self.interruptible_snapshot(|connection| verify::verify(connection, position, limit))?)
    }

    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        Ok(self.repair_from(copy)?)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        Ok(self.read(|connection| scan::stats(connection, now))?)
    }

    /// Removes the leftovers of dead uploads, and empties the write-ahead log, which keeps deleted data until then.
    /// [`Error::Busy`] if other users never stop reading.
    fn maintain(&self) -> Result<(), Error> {
        self.check_writable()?;
        self.sweep(None)?;
        let _leader = self.commit_queue.lead_alone().ok_or(Error::Busy)?;
        Ok(self.with_writer(Writer::empty_log)?)
    }

    fn health(&self) -> Result<(), Error> {
        self.check_owner()?;
        self.state.check_writable()?; // also succeeds if the store is read-only
        let outcome = self.file_identity.check().map_err(Error::from);
        outcome.inspect_err(|error| self.state.note_read(error))
    }

    /// Waits for a running write, checkpoints the log, and closes all connections. The connections of running reads
    /// close when the reads end.
    fn close(&self) -> Result<(), Error> {
        self.check_owner()?;
        if let Err(Error::Closed) = self.state.check_readable() {
            return Ok(());
        }
        self.read_lock.end();
        let (writer, is_intact) = {
            let mut writer = lock(&self.writer);
            (writer.take(), self.state.close())
        };
        self.readers.clear();
        let outcome = writer.map_or(Ok(()), |writer| writer.close(is_intact));
        self.readers.give_up();
        Ok(outcome?)
    }
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        if self.owner.is_current() {
            let _ = self.close();
        } else {
            // The connections belong to the parent: closing them here would drop its locks and could damage the
            // database. No lock is taken, because a thread of the parent may have held it at the fork.
            let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = ManuallyDrop::new(writer.take());
            self.readers.forget();
            self.read_lock.forget();
        }
    }
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
