//! The connection for writing, and its commits.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Durability;
use super::connection_settings::{self, Commit, CommitSettings};
use super::error::{Fault, Outcome};
use super::file_identity_guard::FileIdentityGuard;
use crate::storage::Error;

pub(super) struct Writer {
    connection: Connection,
    durability: Durability,
    file_identity: Arc<FileIdentityGuard>,
    /// The current settings of the connection; `None` if unknown.
    settings: Option<CommitSettings>,
}

impl Writer {
    pub(super) fn new(connection: Connection, durability: Durability, file_identity: Arc<FileIdentityGuard>) -> Self {
        let settings = CommitSettings::new(Commit::Durable, durability);
        Self { connection, durability, file_identity, settings: Some(settings) }
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it if it succeeds.
    pub(super) fn transact<T>(&mut self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.set_commit(commit)?;
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        if commit != Commit::Staged {
            self.file_identity.check_at_commit()?;
        }
        transaction.commit().map_err(Fault::of_commit)?;
        Ok(value)
    }

    /// Checkpoints the log and empties it, so that no file contains deleted data.
    pub(super) fn empty_log(&mut self) -> Outcome<()> {
        self.file_identity.check()?;
        self.set_commit(Commit::Durable)?;
        let mut statement = self.connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
        // SQLite waits for readers, but not for another checkpoint, such as that of the thread with the read lock.
        connection_settings::wait_while_busy(|| match statement.query_row((), |row| row.get::<_, i64>(0))? {
            0 => Ok(()),
            _ => Err(Error::Busy.into()),
        })
    }

    /// Replaces the whole content of the database by that of `new`, in one transaction, if `is_unchanged` returns `true`
    /// once no other connection can write.
    pub(super) fn replace_content(
        &mut self,
        new: &Connection,
        is_unchanged: impl FnOnce() -> Outcome<bool>,
    ) -> Outcome<bool> {
        self.set_commit(Commit::Durable)?;
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
        match step(-1)? {
            StepResult::Done => Ok(true),
            _ => Err(Error::Busy.into()),
        }
    }

    /// Checkpoints the log, unless the handle is poisoned, and closes the connection.
    pub(super) fn close(self, poisoned: bool) -> Outcome<()> {
        let connection = self.connection;
        // SQLite removes the log by its name, which may now be that of another database's log.
        let file_identity = self.file_identity.check();
        if poisoned || file_identity.is_err() {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        } else {
            // Best effort: if other processes use the database, the log stays, and nothing is lost.
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

    fn set_commit(&mut self, commit: Commit) -> Outcome<()> {
        let settings = CommitSettings::new(commit, self.durability);
        if self.settings != Some(settings) {
            let before = self.settings.take();
            settings.apply(&self.connection, before)?;
            self.settings = Some(settings);
        }
        Ok(())
    }
}
