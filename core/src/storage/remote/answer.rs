//! The answers of a storage service: their headers and documents, and the storage's errors of those that are failures.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderMap};
use serde_json::Value;

use crate::http::{ApiResponse, Failure, TooLate};
use crate::protocol::{ErrorCode, base64url, documents};
use crate::storage::{Damage, DamageKind, Entry, Error, HEAD_LEN, Head, Info, Verified};

/// The head in an `ETag`.
pub(super) fn head_in(headers: &HeaderMap) -> Option<Head> {
    Head::of(&base64url::decode_etag::<HEAD_LEN>(headers.get(ETAG)?.to_str().ok()?)?)
}

/// The entries of a page.
pub(super) fn entries(page: &Value) -> Option<Vec<Entry>> {
    let page = documents::read_page::<HEAD_LEN>(page)?;
    let page = page.into_iter();
    page.map(|(locator, head, len)| Some(Entry { locator, info: Info { head: Head::of(&head)?, len } })).collect()
}

/// The result of a step of a verification.
pub(super) fn verified(step: documents::Verification) -> Option<Verified> {
    let damage = |(locator, place, kind): (_, String, String)| {
        let kind = DamageKind::from_name(&kind)?;
        Some(Damage::new(locator, place, kind))
    };
    Some(Verified {
        records: step.records,
        bytes: step.bytes,
        damage: step.damage.into_iter().map(damage).collect::<Option<_>>()?,
        next: step.next.map(|text| text.parse()).transpose().ok()?,
    })
}

/// `None` if the service answers `NotFound`.
pub(super) fn found(
    outcome: Result<ApiResponse, Failure>,
    error: fn(Failure) -> Error,
) -> Result<Option<ApiResponse>, Error> {
    match outcome {
        Err(Failure::Problem(problem)) if problem.code() == Some(ErrorCode::NotFound) => Ok(None),
        outcome => outcome.map(Some).map_err(error),
    }
}

/// Whether the error of one write shows that others fail, too.
pub(super) fn is_general(error: &Error) -> bool {
    use Error::{AlreadyExists, Conflict, InvalidArgument, TooLarge, Unsupported};
    !matches!(error, AlreadyExists | Conflict | InvalidArgument(_) | TooLarge | Unsupported(_))
}

/// The error of an answer that violates the protocol.
pub(super) fn protocol_violation() -> Error {
    Error::Backend("the answer is not that of a storage service".into())
}

/// The error of a request that changes nothing, and so never has an unknown outcome.
pub(super) fn of_read(failure: Failure) -> Error {
    match failure {
        Failure::Lost(source) if source.is::<TooLate>() => Error::Busy,
        Failure::Lost(source) => Error::Backend(source),
        Failure::Problem(problem) if problem.code() == Some(ErrorCode::Internal) => Error::Backend(problem.into()),
        Failure::TooLarge => Error::TooLarge,
        Failure::TooLong | Failure::ProtocolViolation => protocol_violation(),
        other => of_write(other),
    }
}

pub(super) fn of_write(failure: Failure) -> Error {
    match failure {
        Failure::Problem(problem) if problem.is_denial() => Error::AccessDenied(problem.into()),
        Failure::Problem(problem) if !problem.is_ours() => protocol_violation(),
        Failure::Problem(problem) => match problem.code() {
            Some(ErrorCode::AlreadyExists) => Error::AlreadyExists,
            Some(ErrorCode::Corrupt) => Error::Corrupt,
            Some(ErrorCode::Unsupported) => Error::Unsupported(problem.detail.into()),
            Some(ErrorCode::TooLarge) => Error::TooLarge,
            Some(ErrorCode::Conflict) => Error::Conflict,
            Some(ErrorCode::Busy) => Error::Busy,
            Some(ErrorCode::StorageFull) => Error::Full,
            Some(ErrorCode::Internal) => Error::Indeterminate(problem.into()),
            Some(ErrorCode::InvalidArgument) if problem.status == StatusCode::BAD_REQUEST => {
                Error::InvalidArgument(problem.detail.into())
            }
            _ => Error::Backend(problem.into()),
        },
        Failure::NotSent(source) | Failure::Untrusted(source) | Failure::OtherStore(source) => Error::Backend(source),
        Failure::Denied(source) => Error::AccessDenied(source),
        Failure::Lost(source) => Error::Indeterminate(source),
        // The service succeeded, or a proxy says so.
        Failure::TooLarge | Failure::TooLong | Failure::ProtocolViolation => {
            Error::Indeterminate(protocol_violation().into())
        }
        Failure::Interrupted => Error::Busy,
        Failure::Forked => Error::Forked,
        Failure::Closed => Error::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Problem;
    use crate::protocol::problem;

    #[test]
    fn an_answer_is_the_same_error_for_reads_and_writes_unless_the_outcome_is_unknown() {
        use ErrorCode::{
            AlreadyExists, Busy, Conflict, Corrupt, Internal, InvalidArgument, NotFound, StorageFull, TooLarge,
            Unsupported,
        };
        for (status, code, expected) in [
            (401, None, "AccessDenied"),
            (403, None, "AccessDenied"),
            (409, Some(AlreadyExists), "AlreadyExists"),
            (409, Some(Conflict), "Conflict"),
            (500, Some(Corrupt), "Corrupt"),
            (422, Some(Unsupported), "Unsupported"),
            (413, Some(TooLarge), "TooLarge"),
            (413, None, "Backend(\"the answer is not"),
            (503, Some(Busy), "Busy"),
            (507, Some(StorageFull), "Full"),
            (400, Some(InvalidArgument), "InvalidArgument"),
            (405, Some(InvalidArgument), "Backend(Problem"),
            (404, Some(NotFound), "Backend(Problem"),
            (500, Some(Internal), "Backend(Problem"),
            (200, None, "Backend(\"the answer is not"),
        ] {
            let failure = || {
                let number = code.map(|code| problem::code_header(code.number()));
                let status = StatusCode::from_u16(status).unwrap();
                Failure::Problem(Problem::read(status, &HeaderMap::from_iter(number), b""))
            };
            let is_unknown = status == 500 && code == Some(Internal);
            let expected_write = if is_unknown { "Indeterminate" } else { expected };
            for (error, expected) in [(of_read(failure()), expected), (of_write(failure()), expected_write)] {
                assert!(format!("{error:?}").starts_with(expected), "{status} {code:?}: {error:?}");
            }
        }
    }

    #[test]
    fn an_error_of_one_record_is_not_general() {
        let of_one = [Error::AlreadyExists, Error::Conflict, Error::TooLarge, Error::InvalidArgument("".into())];
        assert!(!of_one.iter().any(is_general));
        assert!([Error::Busy, Error::Full, Error::Closed, protocol_violation()].iter().all(is_general));
    }
}
