//! Connections to a database.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::Outcome;
use super::path::failed;
use super::read_only::{Access, immutable_uri};
use super::{Durability, connection_settings};

/// Another connection to an open database, only for reading.
pub(super) fn open_reader(path: &Path, access: &Access, durability: Durability) -> Outcome<Connection> {
    let connection = connect(path, access)?;
    // Only the writer moves the log into the database, even if a reader is the last to close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    match access {
        Access::Write => connection_settings::apply(&connection, durability)?,
        Access::Read | Access::Immutable(_) => connection_settings::apply_to_read(&connection)?,
    }
    connection_settings::set(&connection, "query_only", 1)?;
    Ok(connection)
}

pub(super) fn connect(path: &Path, access: &Access) -> Outcome<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    flags |= match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read | Access::Immutable(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = match access {
        // Without SQLITE_OPEN_URI: the path is never a URI.
        Access::Write | Access::Read => Connection::open_with_flags(path, flags),
        Access::Immutable(_) => Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI),
    };
    let mut connection = connection.map_err(|error| match error {
        // Only the code: the text would repeat the path.
        rusqlite::Error::SqliteFailure(code, _) => failed(path, code),
        error => failed(path, error),
    })?;
    connection_settings::protect(&mut connection)?;
    Ok(connection)
}
