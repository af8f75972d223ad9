//! The errors of a storage.

use std::borrow::Cow;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The cause of a storage's failure. Users of [`Strongroom`](crate::Strongroom) get [`crate::Error`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record exists already.
    #[error("there is a record under this locator already")]
    AlreadyExists,
    /// The record is not the expected version, or was removed.
    #[error("the record was changed or removed concurrently")]
    Conflict,
    /// The storage has detected damage in its data.
    #[error("the stored data is damaged")]
    Corrupt,
    /// A lock was not available in time, or a deadline passed. Nothing was changed.
    #[error("the storage is busy")]
    Busy,
    /// No space is left. Nothing was changed.
    #[error("the storage is full")]
    Full,
    /// The record is larger than the storage allows.
    #[error("the record is too large")]
    TooLarge,
    /// The storage does not support this, or contains data of a newer version.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// An invalid argument, such as a path that is a folder.
    #[error("{0}")]
    InvalidArgument(Cow<'static, str>),
    /// Input, output or the backend itself failed. Nothing was changed.
    #[error("the storage's backend failed")]
    Backend(#[source] Source),
    /// A commit failed, and its outcome is unknown.
    #[error("the outcome of a commit is unknown")]
    Indeterminate(#[source] Source),
    /// An earlier commit failed, so this handle refuses all writes. It may still read.
    #[error("an earlier commit failed")]
    Poisoned,
    /// A handle was open when this process was forked: the child can use neither it nor a new one.
    #[error("a handle was open at the fork")]
    Forked,
    /// The storage is closed.
    #[error("the storage is closed")]
    Closed,
    /// The backend denies access: a token, a client certificate, a password or a permission is missing or wrong.
    /// Nothing was changed.
    #[error("the storage's backend denies access")]
    AccessDenied(#[source] Source),
}

impl Error {
    /// Whether an operation fails because of one record: it is damaged, or of a newer version.
    pub(crate) fn is_of_record(&self) -> bool {
        matches!(self, Self::Corrupt | Self::Unsupported(_))
    }
}

/// The same error, for another caller.
#[cfg_attr(
    not(any(feature = "postgres", feature = "remote", feature = "sqlite")),
    expect(dead_code, reason = "these storages share errors")
)]
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
