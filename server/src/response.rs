//! Constructors of answers: JSON, errors, and their headers.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use strongroom::Wiped;
use strongroom::protocol::names::{JSON, PROBLEM_JSON};
use strongroom::protocol::problem::{code_header, document};
use strongroom::protocol::token::SCHEME;

use crate::body::unsent_answer::{Content, Response};
use crate::problem::Problem;

/// How long a client should wait before it retries.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = text(JSON, value.to_string());
    *response.status_mut() = status;
    response
}

pub(crate) fn text(media_type: &'static str, body: impl Into<Content>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer in JSON that contains a secret. It is wiped once the connection has taken it.
pub(crate) fn secret(status: StatusCode, name: &'static str, value: &[u8]) -> Response {
    // Full capacity from the start: growth would leave a copy in memory. No value here needs an escape.
    let mut body = Wiped::with_capacity(value.len() + 32);
    let parts = [b"{\"", name.as_bytes(), b"\":\"", value, b"\"}"];
    parts.into_iter().for_each(|part| body.extend_from_slice(part));
    let mut response = text(JSON, Bytes::from_owner(body));
    *response.status_mut() = status;
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Content::default());
    *response.status_mut() = status;
    response
}

/// The answer for a problem (RFC 9457).
pub(crate) fn problem(problem: Problem) -> Response {
    let mut response = Response::new(document(problem.status, problem.code, problem.title, &problem.detail).into());
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.extend([code_header(problem.code)]);
    match problem.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(SCHEME));
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        _ => {}
    }
    headers.extend(problem.header.map(|header| *header));
    response
}

#[cfg(test)]
mod tests {
    use strongroom::Error;

    use super::*;

    #[test]
    fn only_retryable_errors_have_retry_after() {
        for (again, error) in [(true, Error::Busy), (false, Error::NotFound), (false, Error::Storage("".into()))] {
            let response = problem(error.into());
            assert_eq!(response.headers().contains_key(RETRY_AFTER), again);
        }
    }
}
