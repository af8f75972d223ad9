//! Connections to a database.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::Outcome;
use super::path::{failed, refuse_empty_beside_log};
use super::read_only::{Access, immutable_uri};
use super::{Durability, connection_settings};

/// Another connection to an open database, only for reading.
pub(super) fn open_reader(path: &Path, access: &Access, durability: Durability) -> Outcome<Connection> {
    let connection = connect(path, access)?;
    // Only the writer moves the log into the database. It closes after the readers.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    match access {
        Access::Write => connection_settings::apply(&connection, durability)?,
        Access::Read | Access::Immutable(_) => connection_settings::apply_to_read(&connection)?,
    }
    connection_settings::set(&connection, "query_only", 1)?;
    Ok(connection)
}

/// The system's refusal of access to the file. It is not opened, because to close it would release SQLite's locks.
#[cfg(unix)]
fn refusal(path: &Path, access: &Access) -> Option<std::io::Error> {
    use rustix::fs::Access as Permission;

    let needed = match access {
        Access::Write => Permission::READ_OK | Permission::WRITE_OK,
        Access::Read | Access::Immutable(_) => Permission::READ_OK,
    };
    rustix::fs::access(path, needed).err().map(std::io::Error::from)
}

#[cfg(not(unix))]
fn refusal(_path: &Path, _access: &Access) -> Option<std::io::Error> {
    None
}

pub(super) fn connect(path: &Path, access: &Access) -> Outcome<Connection> {
    refuse_empty_beside_log(path)?;
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
        // Only the code: the text would repeat the path. The system's error is clearer, if it is the same again.
        rusqlite::Error::SqliteFailure(code, _) => match refusal(path, access) {
            Some(refusal) => failed(path, refusal),
            None => failed(path, code),
        },
        error => failed(path, error),
    })?;
    connection_settings::protect(&mut connection)?;
    Ok(connection)
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::error::Fault;
    use super::super::tests::{locator, record, storage};
    use super::*;
    use crate::storage::{Error, PutMode, Storage};

    /// The path has no links when it is checked; this prevents one that appears afterwards.
    #[test]
    fn a_link_is_not_followed() {
        let (folder, storage) = storage();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(storage.path(), &link).unwrap();
        for access in [Access::Write, Access::Read] {
            connect(storage.path(), &access).unwrap();
            assert!(connect(&link, &access).is_err());
        }
    }

    /// A store is open, and another program cuts off its file.
    #[test]
    fn a_new_connection_keeps_the_log_of_an_emptied_file() {
        let (folder, storage) = storage();
        storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
        let log = folder.path().join("records.db-wal");
        let before = std::fs::read(&log).unwrap();
        for len in [0, 1] {
            std::fs::File::options().write(true).open(storage.path()).unwrap().set_len(len).unwrap();
            for access in [Access::Write, Access::Read] {
                let opened = open_reader(storage.path(), &access, Durability::Full);
                assert!(matches!(opened, Err(Fault(Error::InvalidArgument(_)))), "{opened:?}");
                assert_eq!(std::fs::read(&log).unwrap(), before);
            }
            // A caller of the open store has given no path.
            storage.database.readers.clear();
            let read = storage.get(&locator(1));
            assert!(matches!(read, Err(Error::Backend(_))), "{read:?}");
            assert_eq!(std::fs::read(&log).unwrap(), before);
        }
    }
}
