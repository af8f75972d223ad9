//! Conversion of SQLite's errors into the storage's.

use std::io;

use rusqlite::{ErrorCode, ffi};

use crate::storage::Error;
use crate::util::files::is_no_room;

/// An error inside this module, where `?` also converts SQLite's errors. (A conversion into [`Error`] itself would be
/// public, and would bind users to a version of rusqlite.)
#[derive(Debug)]
pub(super) struct Fault(pub(super) Error);

pub(super) type Outcome<T> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Fault> for Error {
    fn from(Fault(error): Fault) -> Self {
        error
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match lack_of_room(&error) {
            Some(Lack::Write) => return Self(Error::Full),
            Some(Lack::Sync) => return Self(Error::Backend(NoRoom { error, is_durable: false }.into())),
            None => {}
        }
        if is_damage(&error) {
            return Self(Error::Corrupt);
        }
        Self(match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OperationInterrupted,
            ) => Error::Busy,
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt,
            _ => Error::Backend(error.into()),
        })
    }
}

impl Fault {
    /// The fault of a failed commit, whose outcome may be unknown.
    pub(super) fn of_commit(error: rusqlite::Error) -> Self {
        // The log is complete before its index is written, so recovery of the log may restore such a commit.
        let index = [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_IOERR_SHMOPEN];
        if error.sqlite_error().is_some_and(|error| index.contains(&error.extended_code)) {
            return Self(Error::Indeterminate(match lack_of_room(&error) {
                Some(_) => NoRoom { error, is_durable: true }.into(),
                None => error.into(),
            }));
        }
        match Self::from(error) {
            Self(Error::Backend(source)) => Self(Error::Indeterminate(source)),
            known => known,
        }
    }
}

/// A lack of space that was noticed only after pages had been written to the log, where a recovery would find them.
#[derive(Debug, thiserror::Error)]
#[error("no space is left: {error}")]
pub(super) struct NoRoom {
    error: rusqlite::Error,
    /// Whether the pages had been synced, too.
    pub(super) is_durable: bool,
}

pub(super) fn late_lack_of_room(error: &Error) -> Option<&NoRoom> {
    match error {
        Error::Backend(source) | Error::Indeterminate(source) => source.downcast_ref(),
        _ => None,
    }
}

enum Lack {
    Write,
    Sync,
}

/// Whether a write failed for lack of space under another code than `SQLITE_FULL`. SQLite uses that code only for
/// ENOSPC in a plain write, not for a quota, a limit on the size of files, the log's index, or a file system that
/// allocates space only at a sync. This reads the cause from the same place as SQLite.
fn lack_of_room(error: &rusqlite::Error) -> Option<Lack> {
    let lack = match error.sqlite_error()?.extended_code {
        ffi::SQLITE_IOERR_WRITE
        | ffi::SQLITE_IOERR_TRUNCATE
        | ffi::SQLITE_IOERR_SHMOPEN
        | ffi::SQLITE_IOERR_SHMSIZE
        | ffi::SQLITE_IOERR_SHMMAP
        | ffi::SQLITE_CANTOPEN => Lack::Write,
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => Lack::Sync,
        _ => return None,
    };
    is_no_room(&io::Error::last_os_error()).then_some(lack)
}

/// Whether the rows, the tables themselves, or the file are damaged. The statements are constant and the values fit the
/// tables, so nothing else causes these errors.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        rusqlite::Error::SqliteFailure(error, _) => {
            let damage = [ffi::SQLITE_ERROR, ffi::SQLITE_TOOBIG, ffi::SQLITE_CONSTRAINT, ffi::SQLITE_MISMATCH];
            // A short read: the file was cut off.
            damage.contains(&(error.extended_code & 0xff)) || error.extended_code == ffi::SQLITE_IOERR_SHORT_READ
        }
        _ => false,
    }
}

/// Whether a write failed below SQLite, so that the system's view of the file is not reliable. Failed reads do not
/// count.
pub(super) fn is_write_error(error: &Error) -> bool {
    let Error::Backend(source) = error else { return false };
    let error = source.downcast_ref().or(source.downcast_ref::<NoRoom>().map(|no_room| &no_room.error));
    error.and_then(rusqlite::Error::sqlite_error).is_some_and(|error| {
        error.code == ErrorCode::SystemIoFailure
            && ![ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ].contains(&error.extended_code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_the_system_in_writes_are_write_errors() {
        let error = |code| Error::Backend(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into());
        for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE] {
            assert!(is_write_error(&error(code)), "{code}");
        }
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_CANTOPEN, ffi::SQLITE_NOMEM] {
            assert!(!is_write_error(&error(code)), "{code}");
        }
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_WRITE), None);
        assert!(is_write_error(&Error::Backend(NoRoom { error, is_durable: false }.into())));
        assert!(!is_write_error(&Error::Busy));
    }
}
