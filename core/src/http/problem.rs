//! Error answers (RFC 9457), as `docs/HTTP.md` has them.

use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::Value;

use super::Answer;

/// What a service says that went wrong.
#[derive(Debug, thiserror::Error)]
#[error("the service: {detail}")]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// The error's number; 0 where the answer is not one of our services'.
    pub(crate) code: u8,
    /// The service's words.
    pub(crate) detail: String,
}

impl Problem {
    /// The numbers of errors that mean more than that this is the error.
    pub(crate) const NOT_FOUND: u8 = 1;
    pub(crate) const CONFLICT: u8 = 11;
    pub(crate) const INDETERMINATE: u8 = 15;
    pub(crate) const INTERNAL: u8 = 99;

    /// The most bytes of one.
    pub(crate) const MOST_BYTES: usize = 64 << 10;

    /// The most characters of the words that are shown.
    const SHOWN: usize = 300;

    pub(super) fn of(answer: &Answer) -> Self {
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let detail = body.as_ref().and_then(|body| body.get("detail")?.as_str());
        let detail = detail.unwrap_or("the service refused the request");
        let detail = detail.chars().filter(|character| !character.is_control()).take(Self::SHOWN).collect();
        Self { status: answer.status, code: code(&answer.headers).unwrap_or(0), detail }
    }

    /// The service says that it did nothing, and might do it a little later.
    pub(super) fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The token is missing or wrong, or lacks the right: the service says so, or a proxy before it.
    pub(crate) fn is_denial(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&self.status)
    }

    /// What was done is not known: the service says so, or what stands between has lost its answer.
    pub(super) fn is_of_lost(&self) -> bool {
        self.code == Self::INDETERMINATE || self.code == 0 && self.status.is_server_error()
    }

    /// It is about the request or the record there, and not about the service's state at the time: an earlier attempt
    /// would have been told the same, or has made it so.
    pub(super) fn is_verdict(&self) -> bool {
        const PASSING: [StatusCode; 2] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        self.code != 0 && self.status.is_client_error() && !self.is_denial() && !PASSING.contains(&self.status)
    }
}

fn code(headers: &HeaderMap) -> Option<u8> {
    headers.get("strongroom-code")?.to_str().ok()?.parse().ok()
}
