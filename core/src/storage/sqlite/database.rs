//! The database of a storage: its connections, and the transactions on them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::connection;
use super::connection_settings::{Commit, set_interruptible};
use super::error::{Fault, Outcome};
use super::file_identity_guard::FileIdentityGuard;
use super::garbage::Garbage;
use super::handle_state::HandleState;
use super::lock;
use super::read_lock::ReadLock;
use super::read_only::{Access, ReadOnly};
use super::readers::Readers;
use super::writer::Writer;
use crate::storage::commit_queue::CommitQueue;
use crate::storage::operation::Operation;
use crate::storage::{Durability, Error};
use crate::util::fork_check::OwnerProcess;

/// The garbage of an operation; `None` if there was no record to delete.
pub(super) type Applied = Option<Garbage>;

/// As [`Outcome`], for another thread.
pub(super) type OperationOutcome = Result<Applied, Error>;

/// A database with its connections.
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    /// Admits one writer at a time, as SQLite does, in order of arrival.
    pub(super) commit_queue: CommitQueue<Operation<'static>, OperationOutcome>,
    /// The leader's connection; `None` once closed.
    pub(super) writer: Mutex<Option<Writer>>,
    pub(super) readers: Readers,
    pub(super) read_lock: ReadLock,
    pub(super) access: Access,
    /// The reason why the store is read-only, if it is.
    pub(super) read_only: Option<ReadOnly>,
    pub(super) file_identity: Arc<FileIdentityGuard>,
    pub(super) state: Arc<HandleState>,
    pub(super) owner: OwnerProcess,
    /// Locked while the database is being closed.
    pub(super) closing: Mutex<()>,
}

impl Database {
    pub(super) fn check_owner(&self) -> Result<(), Error> {
        if self.owner.is_current() { Ok(()) } else { Err(Error::Forked) }
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        self.check_owner()?;
        self.state.check_writable()?;
        self.read_only.as_ref().map_or(Ok(()), |why| Err(why.refusal()))
    }

    /// Runs `work` on a connection for reading. Each statement sees one state of the database; for several statements,
    /// use [`snapshot`](Self::snapshot).
    pub(super) fn read<T>(&self, work: impl FnOnce(&mut Connection) -> Outcome<T>) -> Outcome<T> {
        self.check_owner()?;
        self.state.check_readable()?;
        let mut reader = self.readers.take(|| {
            let connection = self.open_reader()?;
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

    /// Another connection for reading. The path was valid when the store was opened, so it is no invalid argument of
    /// the caller of a later operation.
    pub(super) fn open_reader(&self) -> Outcome<Connection> {
        connection::open_reader(&self.path, &self.access, self.durability).map_err(|Fault(error)| match error {
            Error::InvalidArgument(reason) => Error::Backend(reason.into()).into(),
            error => error.into(),
        })
    }

    pub(super) fn request_read_lock(&self) {
        let (path, durability, state) = (self.path.clone(), self.durability, Arc::clone(&self.state));
        let open = move || connection::open_reader(&path, &Access::Write, durability);
        self.read_lock.request(open, state);
    }

    /// Runs `work` in a transaction that sees one state of the database.
    pub(super) fn snapshot<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.read(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
            work(&transaction)
        })
    }

    /// The same, for `work` with long statements.
    pub(super) fn interruptible_snapshot<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.read(|connection| {
            set_interruptible(connection, true)?;
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
            let outcome = work(&transaction);
            drop(transaction);
            set_interruptible(connection, false)?;
            outcome
        })
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it durably if it succeeds.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.write_with(Commit::Durable, work)
    }

    pub(super) fn write_with<T>(&self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.check_writable()?;
        let _leader = self.commit_queue.lead_alone().ok_or(Error::Busy)?;
        self.transact(commit, work)
    }

    /// As [`write`](Self::write), for the leader.
    pub(super) fn transact<T>(&self, commit: Commit, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.with_writer(|writer| writer.transact(commit, work))
    }

    pub(super) fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> Outcome<T>) -> Outcome<T> {
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

    /// Moves the commits of an earlier process from the log into the database, as before the first write.
    pub(super) fn empty_old_log(&self) -> Outcome<()> {
        let _leader = self.commit_queue.lead_alone().ok_or(Error::Busy)?;
        self.with_writer(Writer::empty_old_log)
    }

    /// Waits for a running write, and a little for running reads, checkpoints the log, and closes all connections. If a
    /// read goes on for longer, the checkpoint follows at its end. A second call waits for the first.
    pub(super) fn close(&self) -> Result<(), Error> {
        let _closing = lock(&self.closing);
        if let Err(Error::Closed) = self.state.check_readable() {
            return Ok(());
        }
        self.read_lock.end();
        let writer = {
            let mut writer = lock(&self.writer);
            let is_intact = self.state.close();
            writer.take().map(|writer| (writer, is_intact))
        };
        Ok(self.readers.close(writer)?)
    }
}
