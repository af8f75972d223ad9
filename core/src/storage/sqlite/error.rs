//! From SQLite's errors to the storage's.

use rusqlite::ErrorCode;

use crate::storage::Error;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Busy
            }
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            Some(ErrorCode::TooBig) => Self::TooLarge,
            _ => Self::Backend(error.into()),
        }
    }
}

/// Whether input or output failed below SQLite, so that what it holds of the file is not to be trusted.
pub(super) fn is_io_error(error: &Error) -> bool {
    let Error::Backend(source) = error else { return false };
    let code = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    code == Some(ErrorCode::SystemIoFailure)
}
