//! The settings of every connection, set and read back.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::FromSql;

use super::Durability;
use super::error::{Fault, Outcome};
use super::schema::PAGE_SIZE;
use crate::storage::Error;
use crate::util::interrupt;

/// The number of pages in the write-ahead log that triggers a checkpoint, 2 MiB. Reusing a log costs less than growing
/// it, which happens until the first checkpoint.
const CHECKPOINT_PAGES: i32 = 256;
/// The same for commits of long records, 16 MiB: each would fill a shorter log, and wait for its own checkpoint.
const CHECKPOINT_PAGES_LONG: i32 = 2048;
/// The same for commits of many records, 256 MiB: fewer checkpoints write each page of the index less often.
const CHECKPOINT_PAGES_MANY: i32 = 32_768;
/// The same for a step of long work, such as a purge, which changes many pages: a small checkpoint after each step
/// delays other writers less than a large one after many.
const CHECKPOINT_PAGES_STEP: i32 = 1;
/// The number of pages to which the log is truncated after a checkpoint, 64 MiB. Between commits of many records it
/// keeps its length, because growing it again costs more.
const LOG_PAGES: i32 = 8192;

/// The size of a connection's page cache in KiB: SQLite's default, and the size for commits of many records. Their
/// entries in the index are scattered, and each commit reads the pages that are not cached.
const CACHE_KIB: i32 = 2000;
const CACHE_KIB_MANY: i32 = 32_000;

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of a row, so that a value from a hostile file cannot exhaust memory.
const MAX_ROW_LEN: i32 = 1 << 20;

/// Sets the protections against a hostile file. Must be called before the first read.
pub(super) fn protect(connection: &mut Connection) -> Outcome<()> {
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_LEN)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Foreign keys of other tools' tables must have no effect here.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Waits before the next attempt to take a lock. Unlike SQLite's own handler, it can be interrupted. Returns whether to
/// try again.
fn wait_for_lock(tries: i32) -> bool {
    const PAUSES: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
    let pause = |n: i32| {
        let index = usize::try_from(n).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
        Duration::from_millis(PAUSES.get(index).copied().unwrap_or_default())
    };
    let waited: Duration = (0..tries).map(pause).sum();
    interrupt::sleep(pause(tries).min(BUSY_TIMEOUT.saturating_sub(waited)));
    waited < BUSY_TIMEOUT && !interrupt::was_interrupted()
}

/// Whether an interrupt ends long statements.
pub(super) fn set_interruptible(connection: &mut Connection, is_interruptible: bool) -> Outcome<()> {
    /// SQLite's steps between two checks.
    const STEPS: i32 = 10_000;
    Ok(connection.progress_handler(STEPS, is_interruptible.then_some(interrupt::is_interrupted))?)
}

/// Applies the settings of every connection, after the database is known to be a Strongroom database.
pub(super) fn apply(connection: &Connection, durability: Durability) -> Outcome<()> {
    if use_write_ahead_log(connection)? != "wal" {
        let text = "the file system does not support a write-ahead log: put the store on a local disk";
        return Err(Error::Unsupported(Cow::Borrowed(text)).into());
    }
    set(connection, "secure_delete", 1)?;
    apply_to_read(connection)?;
    // Makes a sync reach the disk on macOS; no effect on other systems.
    set(connection, "fullfsync", 1)?;
    set(connection, "checkpoint_fullfsync", 1)?;
    CommitSettings::new(Commit::Durable, durability).apply(connection, None)
}

/// The same, for a connection that cannot write.
pub(super) fn apply_to_read(connection: &Connection) -> Outcome<()> {
    set(connection, "temp_store", 2)?; // in memory, so that no copy of a row reaches a temporary file
    set(connection, "cell_size_check", 1)
}

/// The kind of a commit: its durability, and the checkpoint after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// With the durability of the storage, for short records.
    Durable,
    /// The same, for a long record.
    Long,
    /// The same, for many records.
    Many,
    /// The same, for a step of long work.
    Step,
    /// Not synced: a later durable commit, which syncs the same log, makes this one durable, too. No checkpoint runs in
    /// between, because it would not report a failure to write the log.
    Staged,
}

/// The settings of a connection that differ between kinds of commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitSettings {
    synchronous: i32,
    checkpoint_pages: i32,
    log_pages: i32,
    cache_kib: i32,
}

impl CommitSettings {
    pub(super) fn new(commit: Commit, durability: Durability) -> Self {
        let synchronous = match (commit, durability) {
            (Commit::Staged, _) | (_, Durability::Relaxed) => 1,
            (_, Durability::Full) => 2,
        };
        let (checkpoint_pages, log_pages, cache_kib) = match commit {
            Commit::Durable => (CHECKPOINT_PAGES, LOG_PAGES, CACHE_KIB),
            Commit::Long => (CHECKPOINT_PAGES_LONG, LOG_PAGES, CACHE_KIB),
            Commit::Many => (CHECKPOINT_PAGES_MANY, CHECKPOINT_PAGES_MANY, CACHE_KIB_MANY),
            Commit::Step => (CHECKPOINT_PAGES_STEP, LOG_PAGES, CACHE_KIB),
            Commit::Staged => (0, LOG_PAGES, CACHE_KIB),
        };
        Self { synchronous, checkpoint_pages, log_pages, cache_kib }
    }

    /// Whether a commit after which the log has so many bytes checkpoints it.
    pub(super) fn checkpoints(self, log_len: u64) -> bool {
        let pages = u64::from(self.checkpoint_pages.unsigned_abs());
        pages > 0 && log_len >= pages * u64::from(PAGE_SIZE.unsigned_abs())
    }

    /// Applies the settings that differ from `before`; all of them if `before` is not known.
    pub(super) fn apply(self, connection: &Connection, before: Option<Self>) -> Outcome<()> {
        let values = |settings: Self| {
            [
                ("synchronous", settings.synchronous),
                ("wal_autocheckpoint", settings.checkpoint_pages),
                ("journal_size_limit", settings.log_pages * PAGE_SIZE),
                ("cache_size", -settings.cache_kib),
            ]
        };
        let before = before.map(values);
        for (n, (pragma, value)) in values(self).into_iter().enumerate() {
            if before.as_ref().and_then(|before| before.get(n)) != Some(&(pragma, value)) {
                set(connection, pragma, value)?;
            }
        }
        Ok(())
    }
}

/// Sets the journal mode, which is stored in the database, and returns it. SQLite does not wait for the lock of this
/// change.
fn use_write_ahead_log(connection: &Connection) -> Outcome<String> {
    wait_while_busy(|| Ok(connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?))
}

/// Attempts what needs a lock for which SQLite does not wait.
pub(super) fn wait_while_busy<T>(mut attempt: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match attempt() {
            Err(Fault(Error::Busy)) if Instant::now() < deadline && !interrupt::was_interrupted() => {
                interrupt::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn set(connection: &Connection, pragma: &str, value: i32) -> Outcome<()> {
    // Some pragmas return a row, others do not.
    connection.pragma(None, pragma, value, |_| Ok(()))?;
    if get::<i32>(connection, pragma)? == value {
        Ok(())
    } else {
        Err(Error::Backend(format!("SQLite did not accept {pragma} = {value}").into()).into())
    }
}

pub(super) fn get<T: FromSql>(connection: &Connection, pragma: &str) -> Outcome<T> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::SqliteStorage;
    use super::super::tests::{locator, storage, writer_setting};
    use super::*;
    use crate::storage::{PutMode, Storage};

    /// Each kind of commit, and the pages of the log at which it checkpoints.
    const KINDS: [(Commit, i32); 5] =
        [(Commit::Durable, 256), (Commit::Many, 32_768), (Commit::Staged, 0), (Commit::Long, 2048), (Commit::Step, 1)];

    #[test]
    fn each_kind_of_commit_checkpoints_at_its_length() {
        for (commit, pages) in KINDS {
            let settings = CommitSettings::new(commit, Durability::Full);
            let len = u64::from(pages.unsigned_abs()) * 8192;
            assert_eq!(settings.checkpoints(len), commit != Commit::Staged, "{pages}");
            assert!(!settings.checkpoints(len.saturating_sub(1)), "{pages}");
        }
        assert!(!CommitSettings::new(Commit::Staged, Durability::Full).checkpoints(u64::MAX));
    }

    #[test]
    fn the_writer_has_the_settings_of_its_last_commit() {
        let (_folder, storage) = storage();
        for (commit, checkpoint) in KINDS {
            storage.database.write_with(commit, |_| Ok(())).unwrap();
            let is_many = commit == Commit::Many;
            let expected = [
                ("synchronous", if commit == Commit::Staged { 1 } else { 2 }),
                ("wal_autocheckpoint", checkpoint),
                ("journal_size_limit", if is_many { 256 << 20 } else { 64 << 20 }),
                ("cache_size", if is_many { -32_000 } else { -2000 }),
            ];
            let found = expected.map(|(pragma, _)| (pragma, writer_setting(&storage, pragma)));
            assert_eq!(found, expected, "{checkpoint}");
        }
    }

    /// Other programs keep their locks: one prevents a write, one a change of the journal mode.
    #[test]
    fn a_wait_for_a_lock_ends() {
        let (_folder, storage) = storage();
        let writer = Connection::open(storage.path()).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();

        let (folder, other) = self::storage();
        other.close().unwrap();
        let path = folder.path().join("records.db");
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("PRAGMA journal_mode = DELETE; BEGIN; SELECT * FROM settings").unwrap();

        let start = Instant::now();
        let write = thread::spawn(move || storage.put(&locator(1), &[7; 100], PutMode::Create));
        let open = thread::spawn(move || SqliteStorage::open(path, Durability::Full).map(drop));
        for call in [write, open] {
            while !call.is_finished() {
                assert!(start.elapsed() < BUSY_TIMEOUT * 20, "it does not end");
                thread::sleep(Duration::from_millis(5));
            }
            let outcome = call.join().unwrap();
            assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
            assert!(start.elapsed() >= BUSY_TIMEOUT, "it ends early");
        }
    }
}
