//! The program's errors: each has one message and one exit status. No message quotes the command line, because an
//! argument may be a key, an id or data by mistake.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use strongroom::{InvalidKey, RandomError};

use crate::streams::stderr;

/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;
/// The status of a program that wrote to a closed pipe, as a shell reports it (128 + SIGPIPE).
const BROKEN_PIPE: u8 = 141;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Strongroom(#[from] strongroom::Error),
    /// The command line is invalid.
    #[error("{0}")]
    Usage(Cow<'static, str>),
    /// A file or a stream of the user failed.
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    /// A service does not start.
    #[cfg(feature = "server")]
    #[error(transparent)]
    Start(#[from] strongroom_server::StartError),
    /// The record was not replaced or encrypted again, after its new key was printed.
    #[error("the record was not changed: the new key that was printed opens nothing")]
    NotReplaced { source: strongroom::Error },
    /// Those before it were stored.
    #[error("file {number} was not stored, nor those after it")]
    File { number: usize, source: Box<Self> },
    /// Some files of a tree; each of them was named on stderr.
    #[error("files that were not {what}: {count}; all others were")]
    Files { what: &'static str, count: usize, first: Box<Self> },
    /// The result of `verify`, which has printed the damage.
    #[error("the store is damaged")]
    Damaged,
    /// The rest of the store was copied.
    #[error("damaged records of the store were not copied: {records}; all others were")]
    DamagedSource { records: usize },
    #[error("records above the limit of the destination were not copied: {records}; all others were")]
    TooLargeToCopy { records: usize },
    /// The answer of `contains`, which it has printed itself.
    #[error("there is no record")]
    NoRecord,
    /// The reader of stdout has closed it.
    #[error("stdout was closed")]
    BrokenPipe,
}

impl Failure {
    /// For `map_err`.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on the library's streams, which wrap the library's errors in an `io::Error`.
    pub(crate) fn stream(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.downcast() {
            Ok(error) => Self::Strongroom(error),
            Err(source) => Self::Io { what, source },
        }
    }

    pub(crate) fn stdout(source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Io { what: "cannot write to stdout", source },
        }
    }

    pub(crate) fn argument(what: &'static str) -> Self {
        strongroom::Error::InvalidArgument(what.into()).into()
    }

    fn code(&self) -> u8 {
        self.code_and_name().0
    }

    fn code_and_name(&self) -> (u8, &'static str) {
        let as_in_library = |error: strongroom::Error| (error.code(), error.name());
        match self {
            Self::Strongroom(error) | Self::NotReplaced { source: error } => (error.code(), error.name()),
            Self::File { source, .. } => source.code_and_name(),
            Self::Files { first, .. } => first.code_and_name(),
            Self::Usage(_) => (USAGE, "Usage"),
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound
                | ErrorKind::AlreadyExists
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidFilename
                | ErrorKind::InvalidInput => as_in_library(strongroom::Error::InvalidArgument("".into())),
                _ => as_in_library(strongroom::Error::Storage("".into())),
            },
            #[cfg(feature = "server")]
            Self::Start(strongroom_server::StartError::Store(error)) => (error.code(), error.name()),
            #[cfg(feature = "server")]
            Self::Start(_) => as_in_library(strongroom::Error::InvalidArgument("".into())),
            Self::Damaged => as_in_library(strongroom::Error::Corrupt),
            Self::DamagedSource { .. } => as_in_library(strongroom::Error::Corrupt),
            Self::TooLargeToCopy { .. } => as_in_library(strongroom::Error::TooLarge),
            Self::NoRecord => as_in_library(strongroom::Error::NotFound),
            Self::BrokenPipe => (BROKEN_PIPE, "BrokenPipe"),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (code, name) = self.code_and_name();
        serde_json::json!({"code": code, "name": name, "message": self.message()})
    }

    /// The message and those of its causes.
    pub(crate) fn message(&self) -> String {
        let mut message = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            message.push_str(&format!(": {error}"));
            source = error.source();
        }
        message
    }

    fn hint(&self) -> Option<&'static str> {
        use strongroom::Error;
        match self {
            Self::Strongroom(Error::NotFound) => {
                Some("ids are compared byte by byte; check the store (a server gives the same answer for a wrong key)")
            }
            Self::Strongroom(Error::WrongKey) => Some("a replaced record opens only under its new key"),
            Self::Strongroom(Error::IndexKeyMismatch) => {
                Some("pass the file with the store's own index key as --index-key-file")
            }
            Self::Strongroom(Error::AccessDenied(_)) => Some(
                "pass a token with the scope for this command as --token-file, or a certificate as --client-certificate",
            ),
            Self::Damaged => Some("restore the damaged records: strongroom verify --repair-from BACKUP"),
            Self::Usage(_) => Some("see `strongroom --help` and `strongroom COMMAND --help`"),
            _ => None,
        }
    }

    /// Prints the message to stderr, and returns the exit status.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let message = self.message();
        let text = match self.hint() {
            _ if json => format!("{}\n", serde_json::json!({"error": self.to_json()})),
            Some(hint) => format!("error: {message}\nhint: {hint}\n"),
            None => format!("error: {message}\n"),
        };
        if !matches!(self, Self::NoRecord | Self::BrokenPipe) {
            // If stderr fails, too, only the exit status remains.
            let _ = stderr().and_then(|mut stderr| stderr.write_all(text.as_bytes()));
        }
        ExitCode::from(self.code())
    }
}

impl From<InvalidKey> for Failure {
    fn from(error: InvalidKey) -> Self {
        Self::Strongroom(error.into())
    }
}

impl From<RandomError> for Failure {
    fn from(error: RandomError) -> Self {
        Self::Strongroom(error.into())
    }
}
