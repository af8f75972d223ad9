//! Opening a database: what is accepted, how a new one is made, and the profile of every connection.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::FromSql;
use rusqlite::{Connection, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};

use super::Durability;
use crate::storage::Error;

/// "SROM": marks the file as ours.
const APPLICATION_ID: i32 = 0x5352_4f4d;
/// The schema's version, SQLite's `user_version`.
const SCHEMA_VERSION: i32 = 1;

/// Bytes of a page, chosen when a database is made. Larger ones cost small writes, smaller ones cost large values.
const PAGE_SIZE: i32 = 8192;

/// Pages in the write-ahead log from which on it is moved into the database: 64 MiB. Few and long moves make large
/// writes faster; the commit that pays for one takes some 0.1 s.
const CHECKPOINT_PAGES: i32 = 8192;
/// Bytes to which the log is cut when it has been moved.
const LOG_SIZE_LIMIT: i32 = CHECKPOINT_PAGES * PAGE_SIZE;

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of one row, so that a value from a hostile file cannot exhaust memory.
const MAX_ROW_LEN: i32 = 1 << 20;

/// - `record`: a row for each record. `prefix` is the locator's first 8 bytes as an integer of the same order. `data` is
///   the record, or its beginning where `object` names the segments that continue it.
/// - `segment`: what follows, in order of `n` from 0. All but the last are as long as the record's `data`.
/// - `pending`: objects that belong to no record yet, and when (Unix seconds) something was last added.
/// - `meta`: the check value of the index key.
const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE record (
        id INTEGER PRIMARY KEY,
        prefix INTEGER NOT NULL,
        len INTEGER NOT NULL,
        object INTEGER,
        locator BLOB NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE INDEX record_prefix ON record (prefix);
    CREATE TABLE segment (
        id INTEGER PRIMARY KEY,
        object INTEGER NOT NULL,
        n INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (object, n)
    ) STRICT;
    CREATE TABLE pending (object INTEGER PRIMARY KEY, touched INTEGER NOT NULL) STRICT;
";

/// The path of the database, fit for SQLite: absolute, so that no name means something else to it (`:memory:`, `file:`),
/// and with its folder resolved, so that only the file itself may not be a link.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let argument = |what: &str| Error::InvalidArgument(format!("{what}: {}", path.display()).into());
    let name = path.file_name().ok_or_else(|| argument("the store's path names no file"))?;
    let absolute = std::path::absolute(path).map_err(|error| failed(path, error))?;
    if absolute.is_dir() {
        return Err(argument("the store's path is a folder; name a file in it"));
    }
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let folder = folder.canonicalize().map_err(|error| failed(folder, error))?;
    Ok(folder.join(name))
}

/// Opens the database at a resolved path; where there is none, makes it if it may. The first connection is the writer's.
pub(super) fn open_database(path: &Path, durability: Durability, may_create: bool) -> Result<Connection, Error> {
    let missing = || Error::InvalidArgument(format!("there is no store at {}", path.display()).into());
    if !may_create && !path.try_exists().map_err(|error| failed(path, error))? {
        return Err(missing());
    }
    let wal_existed = with_suffix(path, "-wal").exists();
    let flag = if may_create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let mut connection = connect(path, flag)?;
    // Should the file be another program's, its write-ahead log is left to that program.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wal_existed)?;
    let identity = identify(&connection.unchecked_transaction()?, path)?;
    match identity {
        Identity::Ours => {}
        Identity::Empty if !may_create => return Err(missing()),
        Identity::Empty => {
            refuse_read_only(&connection, path)?;
            create(&mut connection, path)?;
        }
    }
    refuse_read_only(&connection, path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    apply_profile(&connection, durability)?;
    Ok(connection)
}

/// Another connection to a database that is open, for reading only.
pub(super) fn open_reader(path: &Path, durability: Durability) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::empty())?;
    apply_profile(&connection, durability)?;
    set(&connection, "query_only", 1, 1)?;
    Ok(connection)
}

fn connect(path: &Path, create: OpenFlags) -> Result<Connection, Error> {
    // No SQLITE_OPEN_URI: a path is a path.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | create;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, error))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_LEN)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

enum Identity {
    Ours,
    /// A file without a table: new.
    Empty,
}

/// Whose database this is, by reading alone. The transaction makes it one look: another process may be making it.
fn identify(transaction: &Transaction<'_>, path: &Path) -> Result<Identity, Error> {
    let not_ours = || {
        let text =
            format!("{} is not a Strongroom database; it was left as it is. Choose another path", path.display());
        Error::InvalidArgument(text.into())
    };
    let read = |pragma| {
        get::<i32>(transaction, pragma).map_err(|error| match error {
            Error::Corrupt => not_ours(),
            Error::Backend(source) => failed(path, source),
            other => other,
        })
    };
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Identity::Ours),
        (APPLICATION_ID, version) => {
            let text = format!(
                "{} has schema version {version}, and this program knows {SCHEMA_VERSION}: use a newer Strongroom",
                path.display()
            );
            Err(Error::Unsupported(text.into()))
        }
        (0, 0) if read("schema_version")? == 0 => Ok(Identity::Empty),
        _ => Err(not_ours()),
    }
}

/// Makes the tables in one transaction, so that a crash leaves an empty file or a whole database. Of two processes at
/// once, one does it.
fn create(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    if let Identity::Empty = identify(&transaction, path)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Sets what every connection needs, and reads it back.
fn apply_profile(connection: &Connection, durability: Durability) -> Result<(), Error> {
    let mode = use_write_ahead_log(connection)?;
    if mode != "wal" {
        return Err(Error::Unsupported(Cow::Borrowed(
            "the file system cannot hold a write-ahead log; put the store on a local disk",
        )));
    }
    set_durability(connection, durability)?;
    set(connection, "secure_delete", 1, 1)?;
    set(connection, "temp_store", 2, 2)?; // memory: no copy of a row reaches a temporary file
    set(connection, "cell_size_check", 1, 1)?;
    set(connection, "wal_autocheckpoint", CHECKPOINT_PAGES, CHECKPOINT_PAGES)?;
    set(connection, "journal_size_limit", LOG_SIZE_LIMIT, LOG_SIZE_LIMIT)
}

pub(super) fn set_durability(connection: &Connection, durability: Durability) -> Result<(), Error> {
    let synchronous = match durability {
        Durability::Full => 2,
        Durability::Relaxed => 1,
    };
    set(connection, "synchronous", synchronous, synchronous)
}

/// Changes the journal's mode, once in a database's life, and returns what it is. SQLite does not wait for the lock of
/// this one change, so this does.
fn use_write_ahead_log(connection: &Connection) -> Result<String, Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode.map_err(Error::from) {
            Err(Error::Busy) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}

fn set(connection: &Connection, pragma: &str, value: i32, expected: i32) -> Result<(), Error> {
    // Some of these answer with a row, some do not.
    connection.pragma(None, pragma, value, |_| Ok(()))?;
    if get::<i32>(connection, pragma)? == expected {
        Ok(())
    } else {
        Err(Error::Backend(format!("SQLite did not take {pragma} = {value}").into()))
    }
}

fn get<T: FromSql>(connection: &Connection, pragma: &str) -> Result<T, Error> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}

fn refuse_read_only(connection: &Connection, path: &Path) -> Result<(), Error> {
    if connection.is_readonly(MAIN_DB)? {
        return Err(failed(path, "the file cannot be written; check its permissions and those of its folder"));
    }
    Ok(())
}

fn failed(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {}", path.display())]
    struct CannotOpen {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    }
    Error::Backend(Box::new(CannotOpen { path: path.to_path_buf(), source: source.into() }))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}
