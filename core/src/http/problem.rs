//! Error answers of services: the error's number, and what it says about the outcome.

use hyper::{HeaderMap, StatusCode};

use crate::protocol::{ErrorCode, problem};

/// An error answer.
#[derive(Debug, thiserror::Error)]
#[error("the service answered: {detail}")]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// The error's number; `None` if the answer is not from one of our services.
    number: Option<u8>,
    /// The service's description of the error.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let detail = problem::detail(body).unwrap_or_else(|| "the service refused the request".to_owned());
        Self { status, number: problem::code_in(headers), detail }
    }

    /// Whether the answer is from one of our services, not from a proxy.
    pub(crate) fn is_ours(&self) -> bool {
        self.number.is_some()
    }

    /// The error, if this version knows its number.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        self.number.and_then(ErrorCode::from_number)
    }

    /// Whether one of our services has found the record, and the requested range begins after its end.
    pub(crate) fn is_no_such_range(&self) -> bool {
        self.is_ours() && self.status == StatusCode::RANGE_NOT_SATISFIABLE
    }

    /// Whether the service did nothing, and a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether a proxy did not reach the service, or the service does not reach its storage.
    pub(super) fn is_unreachable(&self) -> bool {
        self.status == StatusCode::BAD_GATEWAY && !self.is_ours()
            || self.status == StatusCode::SERVICE_UNAVAILABLE && self.code() != Some(ErrorCode::Busy)
    }

    /// Whether the service rejects the client, whatever it asks: the service does not know the token (429 after many
    /// such requests), or the host that the request names. Another service may accept them.
    pub(super) fn is_rejection(&self) -> bool {
        const REJECTIONS: [StatusCode; 3] =
            [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS, StatusCode::MISDIRECTED_REQUEST];
        self.is_ours() && REJECTIONS.contains(&self.status)
    }

    /// Whether the service, or a proxy before it, denies access: the token is missing or wrong, or lacks the
    /// permission. A service answers 429 only to requests without a valid token, a proxy perhaps to others.
    pub(crate) fn is_denial(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&self.status)
            || self.status == StatusCode::TOO_MANY_REQUESTS && self.is_ours()
    }

    /// Whether the outcome is unknown: the service reports this, or a proxy has lost its answer.
    pub(super) fn is_indeterminate(&self) -> bool {
        self.code() == Some(ErrorCode::Indeterminate) || !self.is_ours() && self.status.is_server_error()
    }

    /// Whether the answer depends on the request or the record, not on the service's state at the time: an earlier
    /// attempt at the same service got the same answer, or caused it.
    pub(super) fn is_deterministic(&self) -> bool {
        let is_client_error = self.is_ours() && self.status.is_client_error();
        is_client_error && !self.is_denial() && !self.is_rejection() && self.status != StatusCode::REQUEST_TIMEOUT
    }

    /// Whether the answer depends on the record, as all services see it.
    pub(super) fn is_of_record(&self) -> bool {
        use ErrorCode::{AlreadyExists, Conflict, Expired, NotFound};
        self.code().is_some_and(|code| [AlreadyExists, Conflict, Expired, NotFound].contains(&code))
    }
}
