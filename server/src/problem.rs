//! Error answers: the status of each error.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, HeaderName, HeaderValue};
use strongroom::protocol::range::unsatisfied_range;
use strongroom::{Error, InvalidKey, RandomError, storage};

/// An error answer (RFC 9457).
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: u8,
    pub(crate) title: &'static str,
    pub(crate) detail: Cow<'static, str>,
    /// A header that names an acceptable value.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
    /// Only for the log.
    pub(crate) cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, error: &Error) -> Self {
        Self {
            status,
            code: error.code(),
            title: error.name(),
            detail: error.to_string().into(),
            header: None,
            cause: status.is_server_error().then(|| error.full_message()),
        }
    }

    fn argument(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, &Error::InvalidArgument(detail.into()))
    }

    fn busy(status: StatusCode, detail: &'static str) -> Self {
        Self { detail: detail.into(), ..Self::new(status, &Error::Busy) }
    }

    fn denied(status: StatusCode, detail: &'static str) -> Self {
        Self { detail: detail.into(), ..Self::new(status, &Error::AccessDenied("".into())) }
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::argument(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::denied(StatusCode::UNAUTHORIZED, "a valid token is required: Authorization: Bearer srt1...")
    }

    pub(crate) fn expired_token() -> Self {
        Self::denied(StatusCode::UNAUTHORIZED, "the token has expired")
    }

    pub(crate) fn forbidden() -> Self {
        Self::denied(StatusCode::FORBIDDEN, "the token lacks the required scope")
    }

    pub(crate) fn other_namespace() -> Self {
        let detail = "the token or certificate is bound to a namespace, and reaches no other and not the whole store";
        Self::denied(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn too_many_wrong_tokens() -> Self {
        Self::busy(StatusCode::TOO_MANY_REQUESTS, "too many requests with invalid tokens")
    }

    pub(crate) fn misdirected() -> Self {
        Self::argument(
            StatusCode::MISDIRECTED_REQUEST,
            "the request names another host: use a loopback name, or add the host to the configuration (names)",
        )
    }

    /// `service` names the one that answers.
    pub(crate) fn no_such_path(service: &'static str) -> Self {
        Self::argument(StatusCode::NOT_FOUND, format!("there is no such path: this is {service}"))
    }

    pub(crate) fn no_such_method() -> Self {
        Self::argument(StatusCode::METHOD_NOT_ALLOWED, "the path does not support this method")
    }

    pub(crate) fn media_type(expected: &'static str) -> Self {
        let problem =
            Self::argument(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the Content-Type must be {expected}"));
        Self { header: Some((ACCEPT, HeaderValue::from_static(expected)).into()), ..problem }
    }

    pub(crate) fn no_such_range(len: u64) -> Self {
        let problem = Self::argument(StatusCode::RANGE_NOT_SATISFIABLE, "the range begins after the end");
        let range = HeaderValue::from_str(&unsatisfied_range(len));
        Self { header: range.ok().map(|range| (CONTENT_RANGE, range).into()), ..problem }
    }

    pub(crate) fn too_slow() -> Self {
        Self::busy(StatusCode::REQUEST_TIMEOUT, "the request came too slowly")
    }

    pub(crate) fn overloaded() -> Self {
        Self::busy(StatusCode::SERVICE_UNAVAILABLE, "too many active requests: try again")
    }

    pub(crate) fn unreachable(cause: String) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, &Error::Storage(cause.into()));
        Self { detail: "the storage cannot be reached: try again once it runs".into(), ..problem }
    }

    /// The service is about to stop.
    pub(crate) fn draining() -> Self {
        Self::busy(StatusCode::SERVICE_UNAVAILABLE, "the service is about to stop: use another one")
    }

    /// The service has stopped before the end of the answer.
    pub(crate) fn stopped() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, &Error::Closed)
    }

    /// Too many concurrent requests without a valid token on an HTTP/2 connection.
    pub(crate) fn refused() -> Self {
        Self::busy(StatusCode::TOO_MANY_REQUESTS, "too many requests without a valid token at once")
    }

    /// The connection was accepted under certificates, or revocations, that a reload has replaced.
    pub(crate) fn reloaded() -> Self {
        Self::busy(StatusCode::SERVICE_UNAVAILABLE, "the service has new certificates: connect again")
    }

    /// A condition that is not met (RFC 9110 section 13).
    pub(crate) fn condition(detail: &'static str) -> Self {
        Self::argument(StatusCode::PRECONDITION_FAILED, detail)
    }

    pub(crate) fn content_coding() -> Self {
        let detail = "content codings are not supported: send the body without Content-Encoding";
        let problem = Self::argument(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
        Self { header: Some((ACCEPT_ENCODING, HeaderValue::from_static("identity")).into()), ..problem }
    }

    pub(crate) fn expectation() -> Self {
        Self::argument(StatusCode::EXPECTATION_FAILED, "the only supported expectation is 100-continue")
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, &Error::TooLarge)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, &Error::NotFound)
    }

    /// The record is not the one in the request's condition.
    pub(crate) fn precondition(error: storage::Error) -> Self {
        Self { status: StatusCode::PRECONDITION_FAILED, ..Self::new(StatusCode::CONFLICT, &error.into()) }
    }

    pub(crate) fn internal(cause: &str) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, &Error::Internal(cause.into()));
        problem.cause = Some(cause.to_owned());
        problem
    }
}

/// The encryption server's errors. Without the right key, they do not reveal whether a record exists.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotFound | Error::WrongKey => return Self::not_found(),
            // The storage denies access to this service, not to the client.
            Error::AccessDenied(_) => return Error::Storage(error.into()).into(),
            Error::InvalidKey(_) | Error::InvalidId | Error::InvalidArgument(_) => StatusCode::BAD_REQUEST,
            Error::AlreadyExists | Error::Conflict | Error::IndexKeyMismatch => StatusCode::CONFLICT,
            Error::Expired => StatusCode::GONE,
            Error::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Corrupt | Error::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Storage(_) | Error::Indeterminate(_) => StatusCode::BAD_GATEWAY,
            Error::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Error::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &error)
    }
}

/// The storage service's errors: an existing record, or a different one, is a failed precondition.
impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::AlreadyExists | storage::Error::Conflict => Self::precondition(error),
            error => Error::from(error).into(),
        }
    }
}

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Self {
        Error::from(error).into()
    }
}

impl From<RandomError> for Problem {
    fn from(error: RandomError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_status_of_the_protocol() {
        let argument = || Error::InvalidArgument("x".into());
        let errors: [(u16, Error); 22] = [
            (404, Error::NotFound),
            (409, Error::AlreadyExists),
            (404, Error::WrongKey),
            (422, Error::Corrupt),
            (400, InvalidKey::Checksum.into()),
            (400, Error::InvalidId),
            (422, Error::Unsupported("x".into())),
            (413, Error::TooLarge),
            (409, Error::IndexKeyMismatch),
            (500, Error::IndexKeyMissing { path: "secret".into() }),
            (409, Error::Conflict),
            (503, Error::Busy),
            (507, Error::StorageFull),
            (502, Error::Storage("secret".into())),
            (502, Error::Indeterminate("secret".into())),
            (500, Error::Poisoned),
            (500, Error::Forked),
            (500, Error::Closed),
            (400, argument()),
            (410, Error::Expired),
            (502, Error::AccessDenied("secret".into())),
            (500, Error::Internal("secret".into())),
        ];
        for (status, error) in errors {
            let code = match error {
                Error::WrongKey => 1,
                Error::AccessDenied(_) => 14, // the service's own permission, not the client's
                _ => error.code(),
            };
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.code), (status, code));
        }
        assert_eq!(Problem::from(storage::Error::AlreadyExists).status, 412);
        assert_eq!(Problem::from(storage::Error::Conflict).status, 412);
        assert_eq!(Problem::from(storage::Error::Full).status, 507);
    }

    #[test]
    fn causes_appear_only_in_the_log() {
        for error in [Error::Storage("secret".into()), Error::Internal("secret".into())] {
            let problem = Problem::from(error);
            assert!(problem.cause.as_deref().unwrap().contains("secret"));
            assert!(!problem.detail.contains("secret"));
        }
    }
}
