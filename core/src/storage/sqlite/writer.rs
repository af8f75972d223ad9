//! The connection for writing, and its commits.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, MAIN_DB, Transaction, TransactionBehavior};

use super::connection_settings::{self, Commit, CommitSettings};
use super::error::{Fault, NoRoom, Outcome, late_lack_of_room};
use super::file_identity_guard::FileIdentityGuard;
use super::rows::SEGMENT_LEN;
use super::{Durability, garbage, room, rows};
use crate::storage::Error;
use crate::util::interrupt::Cancellation;

/// The pages of a step of a replacement, after which an interrupt is heeded.
const PAGES: i32 = 1024;

pub(super) struct Writer {
    connection: Connection,
    log: PathBuf,
    durability: Durability,
    file_identity: Arc<FileIdentityGuard>,
    /// The current settings of the connection; `None` if unknown.
    settings: Option<CommitSettings>,
    /// Whether the log may have commits that no sync has made durable.
    has_unsynced: bool,
    /// SQLite's number of the database's state after the last commit of this connection.
    version: u32,
    /// Whether such commits were in the log when a sync failed.
    has_lost_data: bool,
    /// The number of staged segments in the log since the last checkpoint.
    staged: u64,
    /// Whether the log is that of an earlier process, and has not been emptied before the first write.
    has_old_log: bool,
}

impl Writer {
    /// `has_old_log`: whether the log has commits of an earlier process, which perhaps no sync has made durable.
    pub(super) fn new(
        connection: Connection,
        log: PathBuf,
        durability: Durability,
        file_identity: Arc<FileIdentityGuard>,
        has_old_log: bool,
    ) -> Outcome<Self> {
        let settings = Some(CommitSettings::new(Commit::Durable, durability));
        let version = version(&connection)?;
        Ok(Self {
            connection,
            log,
            durability,
            file_identity,
            settings,
            has_unsynced: has_old_log,
            version,
            has_lost_data: false,
            staged: 0,
            has_old_log,
        })
    }

    /// Whether a failed sync may have dropped commits of the past. Then later ones would not survive a power cut,
    /// because the log ends before them.
    pub(super) fn has_lost_data(&self) -> bool {
        self.has_lost_data
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it if it succeeds.
    pub(super) fn transact<T>(&mut self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.try_transact(commit, work).map_err(|Fault(error)| match late_lack_of_room(&error) {
            Some(NoRoom { is_durable, .. }) if self.take_back(*is_durable).is_ok() => Error::Full.into(),
            _ => error.into(),
        })
    }

    fn try_transact<T>(&mut self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.empty_old_log()?;
        if commit == Commit::Staged && !room::has_room_for_segment(&self.log, self.staged) {
            return Err(Error::Full.into());
        }
        let settings = self.set_commit(room::commit_with_room(&self.log, commit))?;
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        self.has_unsynced |= version(&transaction)? != self.version;
        let value = work(&transaction)?;
        if commit != Commit::Staged {
            self.file_identity.check_at_commit()?;
        }
        transaction.commit().map_err(Fault::of_commit)?;
        self.has_unsynced = commit == Commit::Staged || self.durability != Durability::Full;
        if commit == Commit::Staged {
            self.staged += 1;
        } else if settings.checkpoints(self.staged * SEGMENT_LEN as u64) {
            self.staged = 0;
        }
        self.version = version(&self.connection)?;
        Ok(value)
    }

    /// As [`transact`](Self::transact), for `work` with long statements.
    pub(super) fn interruptible_transact<T>(
        &mut self,
        commit: Commit,
        work: impl FnOnce(&Connection) -> Outcome<T>,
    ) -> Outcome<T> {
        connection_settings::set_interruptible(&mut self.connection, true)?;
        let outcome = self.transact(commit, work);
        connection_settings::set_interruptible(&mut self.connection, false)?;
        outcome
    }

    /// Undoes a commit that failed for lack of room after its pages had been written to the log, where a recovery would
    /// find them complete: overwrites the first of them with a page of a transaction that never ends.
    ///
    /// If all earlier commits are durable, nothing else in the log depends on the failed sync: the next commit writes
    /// its pages to the same place, and syncs them.
    fn take_back(&mut self, is_durable: bool) -> Outcome<()> {
        self.has_lost_data |= self.has_unsynced && !is_durable;
        self.settings = None;
        connection_settings::set(&self.connection, "synchronous", 0)?; // a sync would fail again
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        garbage::add_dead(&transaction, rows::new_object()?)?;
        transaction.cache_flush()?;
        transaction.rollback()?;
        self.version = version(&self.connection)?;
        if is_durable {
            File::open(&self.log).and_then(|log| log.sync_data()).map_err(|error| Error::Backend(error.into()))?;
        }
        Ok(())
    }

    /// Whether this handle has changed a row.
    pub(super) fn has_changed_rows(&self) -> bool {
        self.connection.total_changes() > 0
    }

    fn has_unsynced_commits(&self) -> Outcome<bool> {
        rows::begin_read(&self.connection)?; // sees the commits of others
        Ok(self.has_unsynced || version(&self.connection)? != self.version)
    }

    /// Checkpoints the log and empties it, so that no file contains deleted data.
    pub(super) fn empty_log(&mut self) -> Outcome<()> {
        self.try_to_empty_log().map_err(|Fault(error)| match late_lack_of_room(&error) {
            Some(_) => {
                // The next checkpoint writes the unsynced pages again.
                self.has_lost_data |= self.has_unsynced_commits().unwrap_or(true);
                Error::Full.into()
            }
            None => error.into(),
        })
    }

    /// Before the first write: moves the commits of an earlier process from the log into the database. If a sync of the
    /// log failed there, the system may have them in memory only, and would never write them to the log; after a power
    /// cut, the log would end before every commit behind them.
    ///
    /// It waits for nobody: if other processes use the database, the disk is full, or the database's file was cut off,
    /// the log goes on.
    pub(super) fn empty_old_log(&mut self) -> Outcome<()> {
        if !std::mem::take(&mut self.has_old_log) {
            return Ok(());
        }
        let no_wait = Cancellation::default();
        no_wait.cancel();
        match no_wait.run(|| self.empty_log()) {
            Ok(()) => {
                self.has_unsynced = false;
                Ok(())
            }
            Err(Fault(Error::Busy | Error::Corrupt)) => Ok(()),
            Err(Fault(Error::Full)) if !self.has_lost_data => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn try_to_empty_log(&mut self) -> Outcome<()> {
        self.file_identity.check()?;
        let _ = self.set_commit(Commit::Durable)?;
        let mut statement = self.connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
        // SQLite waits for readers, but not for another checkpoint, such as that of the thread with the read lock.
        connection_settings::wait_while_busy(|| match statement.query_row((), |row| row.get::<_, i64>(0))? {
            0 => Ok(()),
            _ => Err(Error::Busy.into()),
        })
    }

    /// Replaces the whole content of the database by that of `new`, in one transaction, if `is_unchanged` returns
    /// `true` once no other connection can write.
    pub(super) fn replace_content(
        &mut self,
        new: &Connection,
        is_unchanged: impl FnOnce() -> Outcome<bool>,
    ) -> Outcome<bool> {
        self.empty_old_log()?;
        let _ = self.set_commit(Commit::Durable)?;
        self.file_identity.check_at_commit()?;
        let backup = Backup::new(new, &mut self.connection)?;
        let step = |pages| match backup.step(pages) {
            Ok(StepResult::Busy | StepResult::Locked) => Err(Fault(Error::Busy)),
            outcome => outcome.map_err(Fault::of_commit),
        };
        step(0)?; // takes the lock
        if !is_unchanged()? {
            return Ok(false);
        }
        loop {
            rows::check_interrupt()?; // the transaction is rolled back
            match step(PAGES)? {
                StepResult::Done => return Ok(true),
                StepResult::More => {}
                _ => return Err(Error::Busy.into()),
            }
        }
    }

    /// Checkpoints the log if no write has failed, and closes the connection.
    pub(super) fn close(self, is_intact: bool) -> Outcome<()> {
        let connection = self.connection;
        // SQLite removes the log by its name, which may now be that of another database's log.
        let file_identity = self.file_identity.check();
        if !is_intact || file_identity.is_err() {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        } else {
            // Best effort: if others use the database, the last of their writers empties the log.
            let _ = connection.busy_timeout(Duration::ZERO);
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        connection.close().map_err(|(_, error)| Fault::from(error))?;
        file_identity
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn set_commit(&mut self, commit: Commit) -> Outcome<CommitSettings> {
        let settings = CommitSettings::new(commit, self.durability);
        if self.settings != Some(settings) {
            let before = self.settings.take();
            settings.apply(&self.connection, before)?;
            self.settings = Some(settings);
        }
        Ok(settings)
    }
}

/// SQLite's number of the state of the database that the connection has seen last.
fn version(connection: &Connection) -> Outcome<u32> {
    let mut version = 0;
    connection.file_control(Some(MAIN_DB), FileControl::DataVersion(&mut version))?;
    Ok(version)
}
