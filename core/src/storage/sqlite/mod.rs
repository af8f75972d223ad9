//! The embedded storage: one SQLite database in WAL mode, shared by threads and processes.

mod error;
mod open;
mod rows;
mod upload;

use std::fmt;
use std::mem::{ManuallyDrop, take};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Entry, Error, Head, Info, Locator, PutMode, Stats, Storage, Upload};
use error::is_io_error;
use upload::SqliteUpload;

/// How much of the machine may fail without losing a write that has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A write survives a power cut (SQLite's `synchronous=FULL`).
    #[default]
    Full,
    /// A write survives the end of the process; a power cut may undo the last ones, none by half
    /// (`synchronous=NORMAL`).
    Relaxed,
}

/// Connections for reading that are kept when nobody reads.
const IDLE_READERS: usize = 8;

const OPEN: u8 = 0;
const POISONED: u8 = 1;
const CLOSED: u8 = 2;

/// Records in an SQLite database.
///
/// Several threads and processes may use one database at once. It lies on a local disk: a write-ahead log does not work
/// over network file systems. A handle does not survive a fork: the child gets [`Error::Forked`].
pub struct SqliteStorage {
    path: PathBuf,
    durability: Durability,
    /// One writer at a time, as SQLite has it; `None` once closed.
    writer: Mutex<Option<Writer>>,
    /// Connections that no reader uses at the moment.
    readers: Mutex<Vec<Connection>>,
    state: AtomicU8,
    process: u32,
}

impl SqliteStorage {
    /// Opens the database at `path`, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where the path is a folder, or the file not a Strongroom database;
    /// [`Error::Unsupported`] for one of a newer version; [`Error::Backend`] where it cannot be read and written. The
    /// file is as it was then.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        Self::open_with(path.as_ref(), durability, true)
    }

    /// Opens the database at `path`, which must be there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::InvalidArgument`] where there is none.
    pub fn open_existing(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        Self::open_with(path.as_ref(), durability, false)
    }

    fn open_with(path: &Path, durability: Durability, may_create: bool) -> Result<Self, Error> {
        let path = open::resolve(path)?;
        let connection = open::open_database(&path, durability, may_create)?;
        let storage = Self {
            path,
            durability,
            writer: Mutex::new(Some(Writer { connection, durability })),
            readers: Mutex::default(),
            state: AtomicU8::new(OPEN),
            process: std::process::id(),
        };
        storage.sweep()?;
        Ok(storage)
    }

    /// The database's path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_usable(&self) -> Result<(), Error> {
        if std::process::id() != self.process {
            return Err(Error::Forked);
        }
        match self.state.load(Ordering::Acquire) {
            OPEN => Ok(()),
            POISONED => Err(Error::Poisoned),
            _ => Err(Error::Closed),
        }
    }

    /// Runs `work` on a connection for reading. A statement sees one moment of the database; what needs several uses
    /// [`snapshot`](Self::snapshot).
    fn read<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.check_usable()?;
        let idle = lock(&self.readers).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open::open_reader(&self.path, self.durability)?,
        };
        let outcome = work(&mut connection);
        let mut readers = lock(&self.readers);
        if readers.len() < IDLE_READERS && self.check_usable().is_ok() {
            readers.push(connection);
        }
        outcome
    }

    /// Runs `work` in a transaction that sees one moment of the database.
    fn snapshot<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.read(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
            work(&transaction)
        })
    }

    /// Runs `work` in a transaction that excludes other writers, and commits it durably if it succeeds.
    fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.write_with(self.durability, work)
    }

    fn write_with<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_usable()?;
        let mut writer = lock(&self.writer);
        self.check_usable()?; // the wait may have been long
        let writer = writer.as_mut().ok_or(Error::Closed)?;
        writer.set_durability(durability)?;
        let outcome = writer.transact(work);
        if let Err(error) = &outcome
            && (matches!(error, Error::Indeterminate(_)) || is_io_error(error))
        {
            // A failed fsync must not be tried again: the system may have dropped what it could not write.
            self.state.store(POISONED, Ordering::Release);
        }
        outcome
    }
}

/// The connection that writes, and how durable its commits are at the moment.
struct Writer {
    connection: Connection,
    durability: Durability,
}

impl Writer {
    fn set_durability(&mut self, durability: Durability) -> Result<(), Error> {
        if self.durability != durability {
            open::set_durability(&self.connection, durability)?;
            self.durability = durability;
        }
        Ok(())
    }

    fn transact<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit().map_err(|error| match Error::from(error) {
            Error::Backend(source) => Error::Indeterminate(source),
            known => known,
        })?;
        Ok(value)
    }
}

impl SqliteStorage {
    /// A write whose durability is not waited for: a later one that is waited for makes it durable with itself.
    fn write_relaxed<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.write_with(Durability::Relaxed, work)
    }

    /// Removes segments that no record needs, a few at a time, so that other writers come in between. What fails here
    /// is left to the next sweep.
    fn reclaim(&self, garbage: rows::Garbage) {
        let Some(object) = garbage else { return };
        while let Ok(false) = self.write_relaxed(|connection| upload::remove(connection, object)) {}
    }

    /// Removes what dead uploads left.
    fn sweep(&self) -> Result<(), Error> {
        if self.read(|connection| upload::dead(connection, true))?.is_empty() {
            return Ok(());
        }
        // Whoever uploads holds this lock with others. Had alone, it says that nobody does.
        let lock = upload::lock_file(&self.path)?;
        let nobody_uploads = lock.try_lock().is_ok();
        for object in self.read(|connection| upload::dead(connection, nobody_uploads))? {
            self.reclaim(Some(object));
        }
        Ok(())
    }
}

/// Nothing panics between two steps that belong together, and SQLite rolls back what is not committed: a poisoned lock
/// guards a good connection.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage for SqliteStorage {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        let garbage = self.write(|connection| rows::put(connection, locator, record, mode))?;
        self.reclaim(garbage);
        Ok(())
    }

    fn create_many(&self, records: &[(Locator, Vec<u8>)]) -> Result<(), Error> {
        for (_, record) in records {
            Head::require(record)?;
        }
        self.write(|connection| {
            records
                .iter()
                .try_for_each(|(locator, record)| rows::put(connection, locator, record, PutMode::Create).map(drop))
        })
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        self.read(|connection| rows::get(connection, locator))
    }

    fn get_many(&self, locators: &[Locator]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.snapshot(|connection| locators.iter().map(|locator| rows::get(connection, locator)).collect())
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.read(|connection| Ok(rows::find(connection, locator)?.map(|row| row.info)))
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.snapshot(|connection| rows::read_at(connection, locator, head, offset, buffer))
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.read(|connection| rows::check(connection, locator, mode).map(drop))?;
        Ok(Box::new(SqliteUpload::new(self, *locator, mode)?))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let deleted = self.write(|connection| rows::delete(connection, locator, expected))?;
        self.reclaim(deleted.flatten());
        Ok(deleted.is_some())
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.read(|connection| rows::list(connection, after, limit))
    }

    fn check_value(&self) -> Result<Option<[u8; 16]>, Error> {
        self.read(|connection| rows::check_value(connection))
    }

    fn init_check_value(&self, value: &[u8; 16]) -> Result<[u8; 16], Error> {
        self.write(|connection| rows::init_check_value(connection, value))
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.read(|connection| rows::stats(connection))
    }

    fn maintain(&self) -> Result<(), Error> {
        self.sweep()
    }

    /// Waits for the write under way, moves the log into the database file, and closes all connections but those of
    /// reads under way, which close when they are done.
    fn close(&self) -> Result<(), Error> {
        match self.check_usable() {
            Err(Error::Forked) => return Err(Error::Forked),
            Err(Error::Closed) => return Ok(()),
            _ => {}
        }
        let writer = lock(&self.writer).take();
        let before = self.state.swap(CLOSED, Ordering::AcqRel);
        lock(&self.readers).clear();
        let Some(Writer { connection: writer, .. }) = writer else { return Ok(()) };
        if before == POISONED {
            writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        } else {
            // Best effort: with other users of the database still there, the log stays and nothing is lost.
            let _ = writer.busy_timeout(Duration::ZERO);
            let _ = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        writer.close().map_err(|(_, error)| error.into())
    }
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            let _ = self.close();
        } else {
            // The connections are the parent's: closing them here would drop its locks and could damage the database.
            let _ = ManuallyDrop::new(lock(&self.writer).take());
            let _ = ManuallyDrop::new(take(&mut *lock(&self.readers)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LOCATOR_LEN;

    fn storage() -> (tempfile::TempDir, SqliteStorage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
        (folder, storage)
    }

    fn locator(number: u8) -> Locator {
        Locator::from_bytes([number; LOCATOR_LEN])
    }

    /// SQLite's own limit stands in for a full disk: both are `SQLITE_FULL`.
    #[test]
    fn a_full_storage_keeps_what_it_has_and_goes_on_when_there_is_room() {
        let (_folder, storage) = storage();
        storage.put(&locator(1), &[7; 100_000], PutMode::Create).unwrap();
        let limit = |pages: i32| {
            let writer = lock(&storage.writer);
            let set = |row: &rusqlite::Row<'_>| row.get::<_, i32>(0);
            writer.as_ref().unwrap().connection.pragma_update_and_check(None, "max_page_count", pages, set).unwrap();
        };
        limit(100);
        for len in [1_000_000, 5_000_000] {
            let outcome = storage.put(&locator(2), &vec![7; len], PutMode::Create);
            assert!(matches!(outcome.unwrap_err(), Error::Full));
            let many = [(locator(3), vec![7; 100]), (locator(2), vec![7; len])];
            assert!(matches!(storage.create_many(&many).unwrap_err(), Error::Full));
            let mode = PutMode::ReplaceIf(Head::of(&[7; 68]).unwrap());
            assert!(matches!(storage.put(&locator(1), &vec![7; len], mode).unwrap_err(), Error::Full));
        }
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(vec![7; 100_000]));
        assert_eq!(storage.stats().unwrap().records, 1);
        limit(i32::MAX);
        storage.put(&locator(2), &vec![7; 5_000_000], PutMode::Create).unwrap();
    }

    #[test]
    fn an_upload_that_finds_no_room_leaves_nothing() {
        let (_folder, storage) = storage();
        let storage = Arc::new(storage);
        let mut upload = Arc::clone(&storage).upload(&locator(1), PutMode::Create).unwrap();
        upload.write(&vec![7; 3_000_000]).unwrap();
        assert_eq!(count(&storage, "segment"), 1);
        {
            let writer = lock(&storage.writer);
            writer.as_ref().unwrap().connection.execute_batch("PRAGMA max_page_count = 250").unwrap();
        }
        assert!(matches!(upload.write(&vec![7; 3_000_000]).unwrap_err(), Error::Full));
        assert!(matches!(upload.write(&[7]).unwrap_err(), Error::Conflict), "it has failed for good");
        assert!(matches!(upload.commit().unwrap_err(), Error::Conflict));
        assert_eq!(count(&storage, "segment"), 0);
        assert_eq!(count(&storage, "pending"), 0);
    }

    fn count(storage: &SqliteStorage, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        storage.read(|connection| Ok(connection.query_row(&sql, (), |row| row.get(0))?)).unwrap()
    }

    /// What a killed process left is swept when its time is over, and not before: it may belong to a living one.
    #[test]
    fn dead_uploads_are_swept_at_opening() {
        let (folder, storage) = storage();
        let storage = Arc::new(storage);
        let mut upload = Arc::clone(&storage).upload(&locator(1), PutMode::Create).unwrap();
        upload.write(&vec![7; 3_000_000]).unwrap();
        let reopen = || SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
        assert_eq!(count(&reopen(), "segment"), 1);
        let age =
            |connection: &Connection| Ok(connection.execute("UPDATE pending SET touched = touched - 100000", ())?);
        storage.write(age).unwrap();
        assert_eq!(count(&reopen(), "segment"), 0);
        // The upload was alive after all: it learns that it was given up.
        assert!(matches!(upload.commit().unwrap_err(), Error::Conflict));
        assert_eq!(storage.get(&locator(1)).unwrap(), None);
    }

    /// To the handle a forked child is a process with another number.
    #[test]
    fn a_forked_child_is_refused_and_closes_nothing() {
        let (folder, mut storage) = storage();
        storage.put(&locator(1), &[7; 100], PutMode::Create).unwrap();
        storage.get(&locator(1)).unwrap();
        storage.process = storage.process.wrapping_add(1);
        assert!(matches!(storage.get(&locator(1)).unwrap_err(), Error::Forked));
        assert!(matches!(storage.put(&locator(2), &[7; 100], PutMode::Create).unwrap_err(), Error::Forked));
        assert!(matches!(storage.close().unwrap_err(), Error::Forked));
        drop(storage);
        // Closing the last connection would have removed the log.
        assert!(folder.path().join("records.db-wal").exists());
    }

    /// Lengths and heads in a file are claims.
    #[test]
    fn rows_that_contradict_each_other_are_corrupt() {
        for damage in [
            "UPDATE record SET len = len + 1",
            "UPDATE record SET len = -1",
            "UPDATE record SET len = 9223372036854775807",
            "UPDATE record SET object = NULL",
            "UPDATE record SET data = zeroblob(10)",
            "DELETE FROM segment WHERE n = 1",
            "UPDATE segment SET data = zeroblob(length(data) - 1) WHERE n = 0",
        ] {
            let (_folder, storage) = storage();
            let record = vec![7; 4_000_000];
            storage.put(&locator(1), &record, PutMode::Create).unwrap();
            storage.write(|connection| Ok(connection.execute(damage, ())?)).unwrap();
            assert!(matches!(storage.get(&locator(1)).unwrap_err(), Error::Corrupt), "{damage}");
        }
    }

    #[test]
    fn every_connection_has_the_profile() {
        let (_folder, storage) = storage();
        let check = |connection: &Connection| {
            for (pragma, expected) in
                [("synchronous", 2), ("secure_delete", 1), ("temp_store", 2), ("trusted_schema", 0)]
            {
                let value: i32 = connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
                assert_eq!(value, expected, "{pragma}");
            }
            Ok(())
        };
        storage.read(|connection| check(connection)).unwrap();
        storage.write(check).unwrap();
        let write = |connection: &mut Connection| Ok(connection.execute("DELETE FROM record", ()).is_err());
        assert!(storage.read(write).unwrap(), "a reader's connection writes");
    }
}
