//! Conversion of failures of calls into errors.

use hyper::StatusCode;

use crate::error::Error;
use crate::http::{Failure, TooLate};
use crate::protocol::ErrorCode;

/// The error of an answer that violates the protocol.
pub(super) fn protocol_violation() -> Error {
    Error::Storage("the answer is not that of an encryption server".into())
}

/// The error of a request that changes nothing, and so never has an unknown outcome.
pub(super) fn of_read(failure: Failure) -> Error {
    match failure {
        Failure::Lost(source) if source.is::<TooLate>() => Error::Busy,
        Failure::Lost(source) => Error::Storage(source),
        Failure::Problem(problem) if problem.code() == Some(ErrorCode::Internal) => Error::Internal(problem.into()),
        Failure::TooLarge => Error::TooLarge,
        Failure::TooLong | Failure::ProtocolViolation => protocol_violation(),
        other => of_write(other),
    }
}

/// The same error, for a later read of an answer that has failed.
pub(super) fn again(error: &Error) -> Error {
    match error {
        Error::TooLarge => Error::TooLarge,
        Error::Busy => Error::Busy,
        Error::Forked => Error::Forked,
        Error::Closed => Error::Closed,
        Error::Storage(source) => Error::Storage(source.to_string().into()),
        other => Error::Storage(other.to_string().into()),
    }
}

/// The outcome of a write that may have been repeated; `lost` tells whether the answer to an attempt was lost. If the
/// service refuses a repetition, the lost attempt may have succeeded nevertheless: the record may have been changed,
/// removed or expired meanwhile.
pub(super) fn of_repeated_write<T>((outcome, lost): (Result<T, Failure>, bool)) -> Result<T, Error> {
    outcome.map_err(|failure| match of_write(failure) {
        refusal @ (Error::NotFound
        | Error::AlreadyExists
        | Error::Conflict
        | Error::Expired
        | Error::InvalidArgument(_))
            if lost =>
        {
            Error::Indeterminate(refusal.into())
        }
        error => error,
    })
}

pub(super) fn of_write(failure: Failure) -> Error {
    match failure {
        Failure::Problem(problem) if problem.is_denial() => Error::AccessDenied(problem.into()),
        Failure::Problem(problem) if !problem.is_ours() => protocol_violation(),
        Failure::Problem(problem) => match problem.code() {
            Some(ErrorCode::NotFound) => Error::NotFound,
            Some(ErrorCode::AlreadyExists) => Error::AlreadyExists,
            Some(ErrorCode::Corrupt) => Error::Corrupt,
            Some(ErrorCode::InvalidId) => Error::InvalidId,
            Some(ErrorCode::Unsupported) => Error::Unsupported(problem.detail.into()),
            Some(ErrorCode::TooLarge) => Error::TooLarge,
            Some(ErrorCode::IndexKeyMismatch) => Error::IndexKeyMismatch,
            Some(ErrorCode::Conflict) => Error::Conflict,
            Some(ErrorCode::Busy) => Error::Busy,
            Some(ErrorCode::StorageFull) => Error::StorageFull,
            Some(ErrorCode::InvalidArgument) if problem.status == StatusCode::BAD_REQUEST => {
                Error::InvalidArgument(problem.detail.into())
            }
            Some(ErrorCode::Expired) => Error::Expired,
            // The error may have come after the commit.
            Some(ErrorCode::Internal) => Error::Indeterminate(problem.into()),
            _ => Error::Storage(problem.into()),
        },
        Failure::NotSent(source) | Failure::Untrusted(source) | Failure::OtherStore(source) => Error::Storage(source),
        Failure::Denied(source) => Error::AccessDenied(source),
        Failure::Lost(source) => Error::Indeterminate(source),
        // The server succeeded, or a proxy says so.
        Failure::TooLarge | Failure::TooLong | Failure::ProtocolViolation => {
            Error::Indeterminate(protocol_violation().into())
        }
        Failure::Interrupted => Error::Busy,
        Failure::Forked => Error::Forked,
        Failure::Closed => Error::Closed,
    }
}
