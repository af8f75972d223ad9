//! The connection that writes, and what its commits wait for.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{Fault, Outcome};
use super::{Durability, profile};
use crate::storage::Error;

/// What a commit waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// What the storage was opened for.
    Durable,
    /// The same, for many records.
    Many,
    /// Nothing: a later durable commit, which writes the same log to the disk, makes this one durable with itself. The
    /// log is not moved into the database in between, where a failure to write it would go unnoticed.
    Staged,
}

pub(super) struct Writer {
    connection: Connection,
    durability: Durability,
    /// What the connection is set to; `None` where that is not known.
    commit: Option<Commit>,
}

impl Writer {
    pub(super) fn new(connection: Connection, durability: Durability) -> Self {
        Self { connection, durability, commit: Some(Commit::Durable) }
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it if it succeeds.
    pub(super) fn transact<T>(&mut self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.set_commit(commit)?;
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit().map_err(|error| match Fault::from(error) {
            Fault(Error::Backend(source)) => Error::Indeterminate(source).into(),
            known => known,
        })?;
        Ok(value)
    }

    /// Moves the log into the database, unless the handle is poisoned, and closes the connection.
    pub(super) fn close(self, poisoned: bool) -> Outcome<()> {
        let connection = self.connection;
        if poisoned {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        } else {
            // Best effort: with other users of the database still there, the log stays and nothing is lost.
            let _ = connection.busy_timeout(Duration::ZERO);
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        connection.close().map_err(|(_, error)| error.into())
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn set_commit(&mut self, commit: Commit) -> Outcome<()> {
        if self.commit != Some(commit) {
            self.commit = None;
            let connection = &self.connection;
            match commit {
                Commit::Durable => profile::set_durable(connection, self.durability)?,
                Commit::Many => profile::set_durable_many(connection, self.durability)?,
                Commit::Staged => profile::set_staged(connection)?,
            }
            self.commit = Some(commit);
        }
        Ok(())
    }
}
