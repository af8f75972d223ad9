//! PostgreSQL's errors as storage errors, and what they say about the outcome of a statement.

use std::io::ErrorKind;

use tokio_postgres::error::SqlState;

use crate::storage::Error;
use crate::util::runtime::Unfinished;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A code that the client's list lacks.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// The reason why a statement has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was done; a retry may help. The error is that of the last attempt.
    NotDone(Error),
    /// Nothing was done: the server has no place for another connection, or works for too many that have ended.
    Crowded(Error),
    /// Nothing was done; a retry does not help.
    Refused(Error),
    /// The connection was lost after the statement was sent: its outcome is unknown.
    Lost(Source),
}

/// Inside [`Failure::Lost`].
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL did not answer in time")]
pub(super) struct TooLate;

/// Inside [`Failure::NotDone`].
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL is read-only: use the primary server, or name all servers in the URL (host1,host2)")]
struct ReadOnly;

impl From<Unfinished> for Failure {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Forked => Self::Refused(Error::Forked),
            Unfinished::NotBegun => Self::Refused(Error::Busy),
            Unfinished::Interrupted => Self::Lost(TooLate.into()),
            Unfinished::Ended => Self::Lost("the thread for PostgreSQL has ended".into()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// The error of a call that changes nothing.
    pub(super) fn of_read(self) -> Error {
        match self {
            Self::NotDone(error) | Self::Crowded(error) | Self::Refused(error) => error,
            Self::Lost(source) if source.is::<TooLate>() => Error::Busy,
            Self::Lost(source) => Error::Backend(source),
        }
    }

    /// The error of a write. `lost`: the outcome of an earlier attempt is unknown.
    pub(super) fn of_write(self, lost: bool) -> Error {
        match self {
            Self::NotDone(error) | Self::Crowded(error) | Self::Refused(error) if lost => {
                Error::Indeterminate(error.into())
            }
            Self::NotDone(error) | Self::Crowded(error) | Self::Refused(error) => error,
            Self::Lost(source) => Error::Indeterminate(source),
        }
    }

    /// The failure of a statement on an open connection.
    pub(super) fn of_statement(error: &tokio_postgres::Error) -> Self {
        let Some(code) = error.code().cloned() else { return Self::Lost(text(error).into()) };
        let refused = |text: &str| Self::Refused(Error::InvalidArgument(text.to_owned().into()));
        match code {
            SqlState::UNIQUE_VIOLATION => Self::Refused(Error::AlreadyExists),
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Self::NotDone(Error::Busy),
            SqlState::LOCK_NOT_AVAILABLE => Self::Refused(Error::Busy),
            SqlState::QUERY_CANCELED => Self::out_of_time(error),
            SqlState::DISK_FULL | SqlState::INSUFFICIENT_RESOURCES => Self::Refused(Error::Full),
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Self::Refused(Error::Corrupt),
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::NotDone(Error::Backend(ReadOnly.into())),
            SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => refused(NOT_MIGRATED),
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Refused(Error::AccessDenied(text(error).into())),
            // A server that stops, or a connection that a proxy ends: the statement may have been committed.
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
                Self::Lost(text(error).into())
            }
            // The server ends an idle session only after its last answer, so it has not begun this statement.
            SqlState::IDLE_SESSION_TIMEOUT | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
                Self::NotDone(Error::Backend(text(error).into()))
            }
            // It may have committed the statement just before.
            code if code.code() == TRANSACTION_TIMEOUT => Self::Lost(text(error).into()),
            // Connection exceptions, and errors of the server itself.
            code if ["08", "40", "58", "XX"].iter().any(|class| code.code().starts_with(class)) => {
                Self::Lost(text(error).into())
            }
            _ => Self::Refused(Error::Backend(text(error).into())),
        }
    }

    /// The failure of a long statement, which may be repeated, but whose repetition would take as long.
    pub(super) fn of_long_statement(error: &tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if code.code() == TRANSACTION_TIMEOUT => Self::out_of_time(error),
            _ => Self::of_statement(error),
        }
    }

    /// This library cancels no statement: a setting of the server has done so, or an administrator.
    fn out_of_time(error: &tokio_postgres::Error) -> Self {
        let advice = "statement_timeout and transaction_timeout of this role should be 0";
        Self::Refused(Error::Backend(format!("{}: {advice}", text(error)).into()))
    }

    /// The failure of a new connection.
    pub(super) fn of_connect(error: &tokio_postgres::Error) -> Self {
        let message = text(error);
        if let Some(code) = error.code() {
            return match code.code() {
                code if code.starts_with("28") => Self::Refused(Error::AccessDenied(message.into())),
                "42501" => Self::Refused(Error::AccessDenied(message.into())),
                "3D000" => Self::Refused(Error::InvalidArgument(
                    format!("{message}: create the database, or name another one in the URL").into(),
                )),
                "53300" => Self::Crowded(Error::Backend(
                    format!(
                        "{message}: raise max_connections or the CONNECTION LIMIT of the role or database, or put a \
                         connection pooler such as PgBouncer before the server"
                    )
                    .into(),
                )),
                // PgBouncer has one code for most of its errors.
                "08P01" if message.contains("no more connections allowed") => Self::Crowded(Error::Backend(
                    format!("{message}: raise the limits of the connection pooler, such as max_client_conn").into(),
                )),
                "57P03" | "57P01" | "57P02" | "57P05" => Self::NotDone(Error::Backend(message.into())),
                _ => Self::Refused(Error::Backend(message.into())),
            };
        }
        if message.contains("password missing") {
            let advice = "PostgreSQL asks for a password: give it in ~/.pgpass, in the file of the URL's option \
                          passfile, or in the variable PGPASSWORD";
            return Self::Refused(Error::AccessDenied(advice.into()));
        }
        if message.starts_with("authentication error") {
            return Self::Refused(Error::AccessDenied(message.into()));
        }
        if message.contains("database does not allow writes") {
            return Self::NotDone(Error::Backend(ReadOnly.into()));
        }
        if message.starts_with("error performing TLS handshake") && !is_connection_lost(error) {
            return Self::Refused(Error::Backend(message.into()));
        }
        Self::unreachable(&message)
    }

    pub(super) fn unreachable(cause: &str) -> Self {
        Self::NotDone(Error::Backend(format!("PostgreSQL cannot be reached: {cause}").into()))
    }

    pub(super) fn no_answer() -> Self {
        Self::NotDone(Error::Backend("PostgreSQL does not answer".into()))
    }

    /// The failure to report, of those of several hosts: the first of those whose remedy is the clearest. A host that
    /// refuses ends no attempts if another one may accept later.
    pub(super) fn of_hosts(failures: Vec<Self>) -> Self {
        let may_accept = failures.iter().any(|failure| matches!(failure, Self::NotDone(_)));
        let rank = |failure: &Self| match failure {
            Self::Refused(Error::AccessDenied(_)) => 0,
            Self::Crowded(_) => 1,
            Self::Refused(_) => 2,
            Self::NotDone(Error::Backend(source)) if source.is::<ReadOnly>() => 3,
            _ => 4,
        };
        match failures.into_iter().min_by_key(rank) {
            None => Self::unreachable("the host has no address"),
            Some(Self::Refused(error)) if may_accept => Self::NotDone(error),
            Some(failure) => failure,
        }
    }
}

pub(super) const NOT_MIGRATED: &str = "the tables of Strongroom are missing: run `strongroom migrate` as the owner of \
                                       the database";

/// Whether the network ended the connection.
fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    const LOST: [ErrorKind; 4] =
        [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
    let error: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| error.downcast_ref::<std::io::Error>().is_some_and(|error| LOST.contains(&error.kind())))
}

/// The messages of an error and its causes. Details are left out, because they can contain values of columns.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_with_the_clearest_remedy_is_reported() {
        let ranked: [fn() -> Failure; 5] = [
            || Failure::Refused(Error::AccessDenied("wrong password".into())),
            || Failure::Crowded(Error::Backend("too many connections".into())),
            || Failure::Refused(Error::InvalidArgument("no such database".into())),
            || Failure::NotDone(Error::Backend(ReadOnly.into())),
            || Failure::unreachable("connection refused"),
        ];
        let text = |failure: Failure| failure.of_read().to_string();
        for (n, best) in ranked.iter().enumerate() {
            for other in &ranked[n..] {
                assert_eq!(text(Failure::of_hosts(vec![best(), other()])), text(best()));
                assert_eq!(text(Failure::of_hosts(vec![other(), best()])), text(best()));
            }
        }
        let equal = vec![Failure::no_answer(), Failure::unreachable("connection refused")];
        assert_eq!(text(Failure::of_hosts(equal)), text(Failure::no_answer())); // the first one's
        let refused = || Failure::Refused(Error::AccessDenied("wrong password".into()));
        assert!(matches!(Failure::of_hosts(vec![refused()]), Failure::Refused(_)));
        for other in &ranked[3..] {
            let failure = Failure::of_hosts(vec![refused(), other()]);
            assert!(matches!(failure, Failure::NotDone(Error::AccessDenied(_))), "the other one may accept later");
        }
    }
}
