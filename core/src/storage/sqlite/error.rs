//! From SQLite's errors to the storage's.

use rusqlite::{ErrorCode, ffi};

use crate::storage::Error;

/// An error inside this module, where `?` takes SQLite's as well. (A conversion into [`Error`] itself would be public,
/// and would bind users to a version of rusqlite.)
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
        Self(match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Error::Busy
            }
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt,
            Some(ErrorCode::TooBig) => Error::TooLarge,
            _ => Error::Backend(error.into()),
        })
    }
}

/// The same error, for another caller.
pub(super) fn again(error: &Error) -> Error {
    let text = |source: &(dyn std::error::Error + 'static)| {
        let sources = std::iter::successors(Some(source), |error| error.source());
        sources.map(ToString::to_string).collect::<Vec<_>>().join(": ").into()
    };
    match error {
        Error::AlreadyExists => Error::AlreadyExists,
        Error::Conflict => Error::Conflict,
        Error::Corrupt => Error::Corrupt,
        Error::Busy => Error::Busy,
        Error::Full => Error::Full,
        Error::TooLarge => Error::TooLarge,
        Error::Unsupported(what) => Error::Unsupported(what.clone()),
        Error::InvalidArgument(what) => Error::InvalidArgument(what.clone()),
        Error::Backend(source) => Error::Backend(text(source.as_ref())),
        Error::Indeterminate(source) => Error::Indeterminate(text(source.as_ref())),
        Error::Poisoned => Error::Poisoned,
        Error::Forked => Error::Forked,
        Error::Closed => Error::Closed,
        Error::AccessDenied(source) => Error::AccessDenied(text(source.as_ref())),
    }
}

/// Whether output failed below SQLite, so that what the system holds of the file is not to be trusted. A read that fails
/// says nothing about writes.
pub(super) fn is_write_error(error: &Error) -> bool {
    let Error::Backend(source) = error else { return false };
    let error = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
    error.is_some_and(|error| {
        error.code == ErrorCode::SystemIoFailure
            && ![ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ].contains(&error.extended_code)
    })
}
