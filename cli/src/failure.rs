//! The program's errors: each has one message and one exit status. No message quotes an argument that may be a key, an
//! id or data by mistake: messages name the paths of outputs, of several files and of a damaged keyring, but not that of
//! the data or a key.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use strongroom::{InvalidKey, RandomError};

use crate::reply::json_line;
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
    Io { what: Cow<'static, str>, source: io::Error },
    /// A service does not start.
    #[cfg(feature = "server")]
    #[error(transparent)]
    Start(#[from] strongroom_server::StartError),
    /// The record was not replaced or encrypted again, after its new key was printed.
    #[error("the record was not changed: the new key that was printed opens nothing")]
    NotReplaced { source: strongroom::Error },
    /// Those before it were stored.
    #[error("{path} was not stored, nor the files after it")]
    File { path: String, source: Box<Self> },
    /// A step failed after the record was removed or replaced.
    #[error("{what}")]
    AfterChange { what: Cow<'static, str>, source: Box<Self> },
    /// A storage service denies access to the service that starts.
    #[cfg(feature = "server")]
    #[error("the storage service {url} refuses this service: check remote.token_file or remote.client_certificate")]
    RefusedByStorage { url: String, source: strongroom::Error },
    /// Some files of a tree; each of them was named on stderr.
    #[error("files that were not {what}: {count}; all others were")]
    Files { what: &'static str, count: usize, first: Box<Self> },
    /// The keyring is damaged, not the store.
    #[error("the keyring {path} was altered or damaged: restore it from its backup")]
    DamagedKeyring { path: String },
    /// The result of `verify`, which has printed the damage.
    #[error("the store is damaged")]
    Damaged { hint: Option<&'static str> },
    /// The rest of the store was copied, but for records above the limit of the destination.
    #[error("{}", damaged_source(*records, *is_exact, *too_large))]
    DamagedSource {
        records: usize,
        /// Whether each of them is known.
        is_exact: bool,
        too_large: usize,
    },
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
        move |source| Self::Io { what: what.into(), source }
    }

    /// As [`io`](Self::io), for a file whose path helps: that of an output, never one that may be data or a key.
    pub(crate) fn io_at(what: impl fmt::Display, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} ({})", printable(path)).into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on the library's streams, which wrap the library's errors in an `io::Error`.
    pub(crate) fn stream(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.downcast() {
            Ok(error) => Self::Strongroom(error),
            Err(source) => Self::Io { what: what.into(), source },
        }
    }

    pub(crate) fn stdout(source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Io { what: "cannot write to stdout".into(), source },
        }
    }

    /// For `map_err` on a step after the record was removed or replaced, such as that of its key in the keyring.
    pub(crate) fn after_change<E: Into<Self>>(what: impl Into<Cow<'static, str>>) -> impl FnOnce(E) -> Self {
        move |source| Self::AfterChange { what: what.into(), source: Box::new(source.into()) }
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
            Self::File { source, .. } | Self::AfterChange { source, .. } => source.code_and_name(),
            #[cfg(feature = "server")]
            Self::RefusedByStorage { source, .. } => (source.code(), source.name()),
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
            Self::Damaged { .. } | Self::DamagedKeyring { .. } | Self::DamagedSource { .. } => {
                as_in_library(strongroom::Error::Corrupt)
            }
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
        escape_controls(&message)
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
            Self::Strongroom(error) if error.is_refusal_of_service() => Some(
                "pass a token with the scope for this command as --token-file, or a certificate as --client-certificate",
            ),
            Self::Strongroom(Error::InvalidArgument(text)) if text.ends_with(BOTH_INDEX_KEYS) => {
                Some("pass the new index key as --index-key-file, and the previous one as --previous-index-key-file")
            }
            Self::Strongroom(Error::Busy) => Some(
                "a service has 30 seconds, or --timeout; `strongroom health URL` tells whether it reaches its storage",
            ),
            Self::Strongroom(Error::Storage(source)) => of_connection(&source.to_string()),
            Self::Damaged { hint } => *hint,
            Self::DamagedSource { is_exact: false, .. } => {
                Some("repair the store: strongroom verify --repair-from BACKUP; until then, --mirror deletes nothing")
            }
            Self::Usage(_) => Some("see `strongroom --help` and `strongroom COMMAND --help`"),
            _ => None,
        }
    }

    /// Prints the message to stderr, and returns the exit status.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let message = self.message();
        let text = match self.hint() {
            _ if json => format!("{}\n", json_line(&serde_json::json!({"error": self.to_json()}))),
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

fn damaged_source(records: usize, is_exact: bool, too_large: usize) -> String {
    let at_least = if is_exact { "" } else { "at least " };
    let mut text = format!("damaged records of the store were not copied: {at_least}{records}");
    if too_large > 0 {
        text.push_str(&format!(", nor those above the limit of the destination: {too_large}"));
    }
    if is_exact {
        text.push_str("; all others were");
    }
    text
}

/// The end of the library's message for an open store with one of two index keys.
const BOTH_INDEX_KEYS: &str = "give the new index key and the previous one";

/// The hint for a connection that failed for this reason.
fn of_connection(reason: &str) -> Option<&'static str> {
    // A signature is bad if another authority has the same name.
    let is_untrusted = reason.contains("UnknownIssuer") || reason.contains("BadSignature");
    is_untrusted.then_some("pass the certificate of the service's private authority as --authorities")
}

/// A path as text, with escapes for control characters.
pub(crate) fn printable(path: &Path) -> String {
    path.to_string_lossy().escape_debug().collect()
}

/// A text with escapes for control characters: a service, a file's name or an id must not control the terminal.
pub(crate) fn escape_controls(text: &str) -> String {
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    text.chars().map(escape).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_claims_no_more_than_is_known() {
        let message = |is_exact, too_large| Failure::DamagedSource { records: 2, is_exact, too_large }.to_string();
        let text = "damaged records of the store were not copied: ";
        assert_eq!(message(true, 0), format!("{text}2; all others were"));
        assert_eq!(message(false, 0), format!("{text}at least 2"));
        let too_large = "nor those above the limit of the destination: 3";
        assert_eq!(message(true, 3), format!("{text}2, {too_large}; all others were"));
        assert_eq!(message(false, 3), format!("{text}at least 2, {too_large}"));
    }
}
