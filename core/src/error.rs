//! The errors of all operations.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::iter::successors;
use std::path::PathBuf;

use crate::error_code::ErrorCode;
#[cfg(feature = "remote")]
use crate::http::InvalidEndpoint;
use crate::key::InvalidKey;
#[cfg(feature = "sqlite")]
use crate::key::file::KeyFileError;
use crate::record::UnsupportedHeader;
use crate::settings::Unreadable;
use crate::util::random::RandomError;
use crate::{cobblestone, storage};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The cause of a failed operation. No variant shows an id, a key or data.
///
/// Every interface uses the number of [`code`](Self::code) and the name of [`name`](Self::name).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No record has this id: it was never stored, or it was removed.
    #[error("there is no record under this id")]
    NotFound,
    /// A record has this id.
    #[error("there is a record under this id already: replace it, or choose another id")]
    AlreadyExists,
    /// The record was sealed with another key, or its first 68 bytes were altered: without the key, the two cannot be
    /// distinguished.
    #[error("the key does not open this record")]
    WrongKey,
    /// The record, or the database that holds it, was altered or damaged.
    #[error("the stored data was altered or damaged: restore it from a backup")]
    Corrupt,
    /// The bytes or the text are not a valid key.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// An id has 1 to 4,096 bytes.
    #[error("an id must have 1 to 4096 bytes")]
    InvalidId,
    /// A newer version is required, or the storage does not support the operation.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// The data exceeds the limit of a record, of this storage, or of the given buffer, or does not fit in memory. (A
    /// lack of memory for anything else aborts the process, as usual in Rust.)
    #[error("the data is too large for a record, for this storage, or for the given buffer")]
    TooLarge,
    /// The store has another index key: it was made with another one, or its index key was rotated while the store was
    /// open.
    #[error("the store has another index key: give its own, or both keys while it is being rotated")]
    IndexKeyMismatch,
    /// The file with the store's index key is missing.
    #[error(
        "the index key is missing: there is no file {}. Without it, no record of this store can be found: restore \
         the file, or pass the index key itself",
        path.display()
    )]
    IndexKeyMissing {
        /// The path of the missing file.
        path: PathBuf,
    },
    /// The record was replaced or removed concurrently.
    #[error("the record was changed concurrently: retrieve it and try again")]
    Conflict,
    /// A lock was not released in time, or a service did not answer in time: try again. Nothing was changed, unless the
    /// operation says otherwise.
    #[error("the storage is busy, or the service did not answer in time: try again")]
    Busy,
    /// No space is left. Everything stored before is unchanged.
    #[error("the storage is full: make room and try again")]
    StorageFull,
    /// Input or output failed; the source has the cause. Nothing was changed. After a failed write, the handle may be
    /// [`Poisoned`](Self::Poisoned).
    #[error("input or output failed")]
    Storage(#[source] BoxError),
    /// The outcome of the write is unknown: a commit failed, or an answer was lost. Check the record, or repeat the
    /// write under the same key.
    #[error("the outcome of the write is unknown: check the record, or repeat the write under the same key")]
    Indeterminate(#[source] BoxError),
    /// An earlier write or commit failed halfway, so this handle refuses all writes. It still reads, unless the
    /// database's files were moved.
    #[error("an earlier write failed half way: open the store again")]
    Poisoned,
    /// The parent of this process opened the handle; or a handle was open at the fork, so that this process cannot open
    /// another. A function that a call of the library runs, such as `progress`, must not return in a forked child,
    /// where the call would wait forever for a thread of the parent.
    #[error("a store was open when this process was forked: fork before opening it, or start a new program")]
    Forked,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// An argument, or a combination of arguments, is invalid.
    #[error("{0}")]
    InvalidArgument(Cow<'static, str>),
    /// The record is past its expiry.
    #[error("the record has expired")]
    Expired,
    /// A service or a storage denies access: a token, a client certificate, a password or a permission is missing or
    /// wrong. Nothing was changed.
    #[error("access is denied: use valid credentials with the right to do this")]
    AccessDenied(#[source] BoxError),
    /// An internal error, not caused by the caller.
    #[error("internal error: please report it")]
    Internal(#[source] BoxError),
}

impl Error {
    /// The error's number: an exit status, a C status, a field on the wire. 0 is success and never an error.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.error_code().number()
    }

    /// The error's name, such as `NotFound`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.error_code().name()
    }

    /// Whether a service answered [`AccessDenied`](Self::AccessDenied), or refused the client's certificate: a token or
    /// another certificate may help. It is for the program, and changes without notice.
    #[cfg(feature = "remote")]
    #[doc(hidden)]
    #[must_use]
    pub fn is_refusal_of_service(&self) -> bool {
        matches!(self, Self::AccessDenied(source) if crate::http::is_refusal(&**source))
    }

    /// The error's message and those of all its causes, to show to people: `input or output failed: disk I/O error`.
    /// (`Display` shows only the error's own message.) Control characters, such as those in a path, are escaped.
    #[must_use]
    pub fn full_message(&self) -> String {
        full_message(self)
    }

    pub(crate) const fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::AlreadyExists => ErrorCode::AlreadyExists,
            Self::WrongKey => ErrorCode::WrongKey,
            Self::Corrupt => ErrorCode::Corrupt,
            Self::InvalidKey(_) => ErrorCode::InvalidKey,
            Self::InvalidId => ErrorCode::InvalidId,
            Self::Unsupported(_) => ErrorCode::Unsupported,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::IndexKeyMismatch => ErrorCode::IndexKeyMismatch,
            Self::IndexKeyMissing { .. } => ErrorCode::IndexKeyMissing,
            Self::Conflict => ErrorCode::Conflict,
            Self::Busy => ErrorCode::Busy,
            Self::StorageFull => ErrorCode::StorageFull,
            Self::Storage(_) => ErrorCode::Storage,
            Self::Indeterminate(_) => ErrorCode::Indeterminate,
            Self::Poisoned => ErrorCode::Poisoned,
            Self::Forked => ErrorCode::Forked,
            Self::Closed => ErrorCode::Closed,
            Self::InvalidArgument(_) => ErrorCode::InvalidArgument,
            Self::Expired => ErrorCode::Expired,
            Self::AccessDenied(_) => ErrorCode::AccessDenied,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }
}

fn full_message(error: &dyn std::error::Error) -> String {
    let causes = successors(Some(error), |error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    shown
}

/// The error of a namespace that is too long.
pub(crate) fn long_namespace() -> Error {
    Error::InvalidArgument("a namespace has at most 255 bytes".into())
}

/// The error of a replacement under the old key.
pub(crate) fn same_key() -> Error {
    Error::InvalidArgument("a new version needs a new key".into())
}

/// The error of a failed data source, which is not a failure of the storage.
pub(crate) fn source_failed(source: io::Error) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("the data to store could not be read")]
    struct SourceFailed(#[source] io::Error);
    Error::Storage(Box::new(SourceFailed(source)))
}

/// For readers and writers: the error is inside, and [`io::Error::downcast`] returns it.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotFound | Error::IndexKeyMissing { .. } => ErrorKind::NotFound,
            Error::AlreadyExists => ErrorKind::AlreadyExists,
            Error::Corrupt | Error::WrongKey => ErrorKind::InvalidData,
            Error::InvalidKey(_) | Error::InvalidId | Error::InvalidArgument(_) => ErrorKind::InvalidInput,
            Error::Unsupported(_) => ErrorKind::Unsupported,
            Error::TooLarge => ErrorKind::FileTooLarge,
            Error::Busy => ErrorKind::ResourceBusy,
            Error::StorageFull => ErrorKind::StorageFull,
            Error::AccessDenied(_) => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::AlreadyExists => Self::AlreadyExists,
            storage::Error::Conflict => Self::Conflict,
            storage::Error::Corrupt => Self::Corrupt,
            storage::Error::Busy => Self::Busy,
            storage::Error::Full => Self::StorageFull,
            storage::Error::TooLarge => Self::TooLarge,
            storage::Error::Unsupported(what) => Self::Unsupported(what),
            storage::Error::InvalidArgument(what) => Self::InvalidArgument(what),
            storage::Error::Backend(source) => Self::Storage(source),
            storage::Error::Indeterminate(source) => Self::Indeterminate(source),
            storage::Error::Poisoned => Self::Poisoned,
            storage::Error::Forked => Self::Forked,
            storage::Error::Closed => Self::Closed,
            storage::Error::AccessDenied(source) => Self::AccessDenied(source),
        }
    }
}

impl From<cobblestone::Error> for Error {
    fn from(error: cobblestone::Error) -> Self {
        match error {
            cobblestone::Error::WrongKey => Self::WrongKey,
            cobblestone::Error::Corrupt => Self::Corrupt,
            cobblestone::Error::TooLarge => Self::TooLarge,
            cobblestone::Error::Forked => Self::Forked,
            cobblestone::Error::Random(source) => source.into(),
            other @ cobblestone::Error::BufferSize => Self::Internal(other.into()),
        }
    }
}

#[cfg(feature = "sqlite")]
impl From<KeyFileError> for Error {
    fn from(error: KeyFileError) -> Self {
        match error {
            KeyFileError::Missing(path) => Self::IndexKeyMissing { path },
            KeyFileError::Refused(message) => Self::InvalidArgument(message.into()),
            KeyFileError::InvalidKey(error) => error.into(),
            KeyFileError::Random(error) => error.into(),
            KeyFileError::NoRoom => Self::StorageFull,
            error @ KeyFileError::Io { .. } => Self::Storage(error.into()),
        }
    }
}

impl From<RandomError> for Error {
    fn from(error: RandomError) -> Self {
        Self::Internal(error.into())
    }
}

#[cfg(feature = "remote")]
impl From<InvalidEndpoint> for Error {
    fn from(error: InvalidEndpoint) -> Self {
        match error {
            InvalidEndpoint::File { .. } | InvalidEndpoint::Thread(_) => Self::Storage(error.into()),
            error => Self::InvalidArgument(full_message(&error).into()),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Damaged => Self::Corrupt,
            Unreadable::NewerVersion => {
                Self::Unsupported("the store has settings of a newer version: use a newer Strongroom".into())
            }
        }
    }
}

impl From<UnsupportedHeader> for Error {
    fn from(error: UnsupportedHeader) -> Self {
        Self::Unsupported(error.to_string().into())
    }
}
