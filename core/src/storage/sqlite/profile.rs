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

/// Pages in the write-ahead log from which on it is moved into the database, 16 MiB: a log that is used again and again
/// costs less than one that grows, and no commit pays for a long move.
const CHECKPOINT_PAGES: i32 = 2048;
/// The same for commits of many records, 256 MiB: few and long moves write each page of the index less often.
const CHECKPOINT_PAGES_MANY: i32 = 32_768;
/// Pages to which the log is cut when it has been moved, 64 MiB; among commits of many records it stays as it is, since
/// growing again costs more.
const LOG_PAGES: i32 = 8192;

/// KiB of pages that a connection keeps, as SQLite has it, and one that commits many records: their places in the index
/// are all over it, and each commit reads it again as far as it is not in memory.
const CACHE_KIB: i32 = 2000;
const CACHE_KIB_MANY: i32 = 32_000;

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of one row, so that a value from a hostile file cannot exhaust memory.
const MAX_ROW_LEN: i32 = 1 << 20;

/// What protects from a hostile file, before the first look into it.
pub(super) fn protect(connection: &mut Connection) -> Outcome<()> {
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_LEN)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Other tools' tables change nothing here, whatever refers to what.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Waits before the next try for another's lock, as SQLite's own handler does, which cannot be interrupted. Says whether
/// to try again.
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

/// What every connection needs, once the database is known to be ours.
pub(super) fn apply(connection: &Connection, durability: Durability) -> Outcome<()> {
    if use_write_ahead_log(connection)? != "wal" {
        let text = "the file system cannot hold a write-ahead log; put the store on a local disk";
        return Err(Error::Unsupported(Cow::Borrowed(text)).into());
    }
    set(connection, "secure_delete", 1)?;
    apply_to_read(connection)?;
    // What makes a sync reach the disk on macOS; without effect elsewhere.
    set(connection, "fullfsync", 1)?;
    set(connection, "checkpoint_fullfsync", 1)?;
    set_durable(connection, durability)
}

/// The same, where nothing can be written.
pub(super) fn apply_to_read(connection: &Connection) -> Outcome<()> {
    set(connection, "temp_store", 2)?; // memory: no copy of a row reaches a temporary file
    set(connection, "cell_size_check", 1)
}

/// For commits that are as durable as `durability` says.
pub(super) fn set_durable(connection: &Connection, durability: Durability) -> Outcome<()> {
    set_commits(connection, durability, CHECKPOINT_PAGES, LOG_PAGES, CACHE_KIB)
}

/// The same, for commits of many records.
pub(super) fn set_durable_many(connection: &Connection, durability: Durability) -> Outcome<()> {
    set_commits(connection, durability, CHECKPOINT_PAGES_MANY, CHECKPOINT_PAGES_MANY, CACHE_KIB_MANY)
}

fn set_commits(
    connection: &Connection,
    durability: Durability,
    checkpoint_pages: i32,
    log_pages: i32,
    cache_kib: i32,
) -> Outcome<()> {
    let synchronous = match durability {
        Durability::Full => 2,
        Durability::Relaxed => 1,
    };
    set(connection, "synchronous", synchronous)?;
    set(connection, "wal_autocheckpoint", checkpoint_pages)?;
    set(connection, "journal_size_limit", log_pages * PAGE_SIZE)?;
    set(connection, "cache_size", -cache_kib)
}

/// For commits that a later durable one makes durable.
pub(super) fn set_staged(connection: &Connection) -> Outcome<()> {
    set(connection, "synchronous", 1)?;
    set(connection, "wal_autocheckpoint", 0)
}

/// Changes the journal's mode, once in a database's life, and returns what it is. SQLite does not wait for the lock of
/// this one change, so this does.
fn use_write_ahead_log(connection: &Connection) -> Outcome<String> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode.map_err(Fault::from) {
            Err(Fault(Error::Busy)) if Instant::now() < deadline && !interrupt::was_interrupted() => {
                interrupt::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn set(connection: &Connection, pragma: &str, value: i32) -> Outcome<()> {
    // Some of these answer with a row, some do not.
    connection.pragma(None, pragma, value, |_| Ok(()))?;
    if get::<i32>(connection, pragma)? == value {
        Ok(())
    } else {
        Err(Error::Backend(format!("SQLite did not take {pragma} = {value}").into()).into())
    }
}

pub(super) fn get<T: FromSql>(connection: &Connection, pragma: &str) -> Outcome<T> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}
