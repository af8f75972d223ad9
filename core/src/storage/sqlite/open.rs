//! Opening a database: what is accepted, and how a new one is made.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};

use super::error::{Fault, Outcome};
use super::{Durability, profile};
use crate::storage::Error;

/// "SROM": marks the file as ours.
const APPLICATION_ID: i32 = 0x5352_4f4d;
/// The schema's version, SQLite's `user_version`.
const SCHEMA_VERSION: i32 = 1;

/// The bytes of the smallest database that is not empty.
const SMALLEST: u64 = 512;

/// Bytes of a page, chosen when a database is made. Larger ones cost small writes, smaller ones cost large values.
pub(super) const PAGE_SIZE: i32 = 8192;

/// - `record`: a row for each record. `prefix` is the locator's first 8 bytes as an integer of the same order. `data` is
///   the record, or its beginning where `object` names the segments that continue it.
/// - `segment`: what follows, in order of `n` from 0. All but the last are as long as the record's `data`.
/// - `pending`: objects that belong to no record: of uploads under way, and when (Unix seconds) something was last added;
///   of what is dead and to be removed, 0.
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
pub(super) fn resolve(path: &Path) -> Outcome<PathBuf> {
    let argument = |what: &str| Error::InvalidArgument(format!("{what}: {}", path.display()).into());
    let name = path.file_name().ok_or_else(|| argument("the store's path names no file"))?;
    let absolute = std::path::absolute(path).map_err(|error| failed(path, error))?;
    if absolute.is_dir() {
        return Err(argument("the store's path is a folder; name a file in it").into());
    }
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let folder = folder.canonicalize().map_err(|error| failed(folder, error))?;
    Ok(folder.join(name))
}

/// Opens the database at a resolved path; where there is none, makes it if it may. The first connection is the writer's.
pub(super) fn open_database(path: &Path, durability: Durability, may_create: bool) -> Outcome<Connection> {
    let missing = || Error::InvalidArgument(format!("there is no store at {}", path.display()).into());
    let existed = path.try_exists().map_err(|error| failed(path, error))?;
    if !existed && !may_create {
        return Err(missing().into());
    }
    // SQLite takes some of these for new ones. It has never made one: its smallest page is larger.
    if path.metadata().is_ok_and(|file| (1..SMALLEST).contains(&file.len())) {
        return Err(not_ours(path));
    }
    let wal_existed = with_suffix(path, "-wal").exists();
    let flag = if may_create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let mut connection = connect(path, flag)?;
    // Should the file be another program's, its write-ahead log is left to that program.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wal_existed)?;
    let identity = identify(&connection.unchecked_transaction()?, path)?;
    if let Identity::Empty = identity {
        if !may_create {
            return Err(missing().into());
        }
        refuse_read_only(&connection, path)?;
        if !existed {
            make_private(path)?;
        }
        create(&mut connection, path)?;
    }
    refuse_read_only(&connection, path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    profile::apply(&connection, durability)?;
    Ok(connection)
}

/// Another connection to a database that is open, for reading only.
pub(super) fn open_reader(path: &Path, durability: Durability) -> Outcome<Connection> {
    let connection = connect(path, OpenFlags::empty())?;
    // Moving the log into the database is the writer's business, also when a reader is the last to close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    profile::apply(&connection, durability)?;
    profile::set(&connection, "query_only", 1)?;
    Ok(connection)
}

fn connect(path: &Path, create: OpenFlags) -> Outcome<Connection> {
    // No SQLITE_OPEN_URI: a path is a path.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | create;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| match error {
        // The text beside the code has the path once more.
        rusqlite::Error::SqliteFailure(code, _) => failed(path, code),
        error => failed(path, error),
    })?;
    profile::protect(&mut connection)?;
    Ok(connection)
}

enum Identity {
    Ours,
    /// A file without a table: new.
    Empty,
}

/// Whose database this is, by reading alone. The transaction makes it one look: another process may be making it.
fn identify(transaction: &Transaction<'_>, path: &Path) -> Outcome<Identity> {
    let read = |pragma| {
        let value = transaction.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        value.map_err(|error| match (error.sqlite_error_code(), Fault::from(error)) {
            (Some(ErrorCode::NotADatabase), _) => not_ours(path),
            (_, Fault(Error::Backend(source))) => failed(path, source).into(),
            // A database's pages are not all there, say: damage, whoever's it is.
            (_, other) => other,
        })
    };
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, SCHEMA_VERSION) if schema(transaction)? == our_schema()? => Ok(Identity::Ours),
        (APPLICATION_ID, SCHEMA_VERSION) => Err(Error::Corrupt.into()),
        (APPLICATION_ID, version) => {
            let text = format!(
                "{} has schema version {version}, and this program knows {SCHEMA_VERSION}: use a newer Strongroom",
                path.display()
            );
            Err(Error::Unsupported(text.into()).into())
        }
        (0, 0) if read("schema_version")? == 0 => Ok(Identity::Empty),
        _ => Err(not_ours(path)),
    }
}

/// What is damaged in its very first bytes cannot be told from what was never a store.
fn not_ours(path: &Path) -> Fault {
    let text = format!(
        "{} is not a Strongroom database, or is damaged from its first bytes on; it was left as it is. Choose another \
         path, or restore it from a backup",
        path.display()
    );
    Error::InvalidArgument(text.into()).into()
}

/// All tables, indexes, views and triggers, but for what SQLite's `ANALYZE` makes: a view or a trigger in the place of a
/// table would let a hostile file do what it likes.
fn schema(connection: &Connection) -> Outcome<Vec<[Option<String>; 4]>> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema
        WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]') ORDER BY type, name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map((), |row| {
        // As typed, but for white space.
        let sql: Option<String> = row.get(3)?;
        let sql = sql.map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, sql])
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What [`SCHEMA`] makes.
fn our_schema() -> Outcome<Vec<[Option<String>; 4]>> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    schema(&connection)
}

/// Makes the tables in one transaction, so that a crash leaves an empty file or a whole database. Of two processes at
/// once, one does it.
fn create(connection: &mut Connection, path: &Path) -> Outcome<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    if let Identity::Empty = identify(&transaction, path)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// A new database is its owner's alone; SQLite gives the log the same mode. Who wants another makes an empty file first.
fn make_private(path: &Path) -> Outcome<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(|error| failed(path, error))?;
    }
    let _ = path;
    Ok(())
}

fn refuse_read_only(connection: &Connection, path: &Path) -> Outcome<()> {
    if connection.is_readonly(MAIN_DB)? {
        let source = "the file cannot be written; check its permissions and those of its folder";
        return Err(failed(path, source).into());
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
