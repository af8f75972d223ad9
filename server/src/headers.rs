//! Headers that change the meaning of a request (RFC 9110). A request with an unsupported one is rejected.

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, RANGE, TRANSFER_ENCODING,
};
use strongroom::protocol::names::{
    self, STRONGROOM_EXPIRES_AT, STRONGROOM_EXPIRES_IN, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY,
    STRONGROOM_PAD,
};

use crate::conditions::Tags;
use crate::problem::Problem;

/// The headers of a request that writes a new version of a record from bytes.
pub(crate) const WRITE_HEADERS: [HeaderName; 4] =
    [STRONGROOM_NEW_KEY, STRONGROOM_EXPIRES_AT, STRONGROOM_EXPIRES_IN, STRONGROOM_PAD];
/// The headers of requests to the encryption server whose data is in bytes.
pub(crate) const RECORD_HEADERS: [HeaderName; 6] =
    [STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY, STRONGROOM_EXPIRES_AT, STRONGROOM_EXPIRES_IN, STRONGROOM_PAD];

/// Fails if the request has one of these headers, which would be ignored.
pub(crate) fn refuse(headers: &HeaderMap, names: &[HeaderName]) -> Result<(), Problem> {
    match names.iter().find(|name| headers.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Problem::bad_request(format!("{name} is not a header of this request"))),
    }
}

/// Fails if a header requests a feature that the route does not support.
pub(crate) fn check(route: &str, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    for (name, value) in headers {
        let value = value.as_bytes().trim_ascii();
        match *name {
            AUTHORIZATION | CONTENT_TYPE | RANGE | IF_RANGE => check_single(headers, name)?,
            _ if name.as_str().starts_with("strongroom-") => check_single(headers, name)?,
            // The coded bytes are not the record, and no route decodes them.
            CONTENT_ENCODING if !value.eq_ignore_ascii_case(b"identity") => return Err(Problem::content_coding()),
            TRANSFER_ENCODING if !value.eq_ignore_ascii_case(b"chunked") => {
                return Err(Problem::bad_request("the only supported transfer coding is chunked"));
            }
            // A part of a record would be stored as the whole record.
            CONTENT_RANGE if [Method::PUT, Method::POST].contains(method) => {
                return Err(Problem::bad_request("records are stored whole: send the body without Content-Range"));
            }
            IF_MATCH | IF_NONE_MATCH if route != names::RECORD => check_conditions(headers)?,
            EXPECT if !value.eq_ignore_ascii_case(b"100-continue") => return Err(Problem::expectation()),
            _ => {}
        }
    }
    Ok(())
}

/// Fails if a condition is false for resources without entity tags: `If-Match` with a list, or `If-None-Match: *`.
fn check_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let tags = |name, weak| Tags::of(headers.get_all(name), weak);
    if matches!(tags(IF_MATCH, false)?, Some(Tags::Heads(_))) || tags(IF_NONE_MATCH, true)? == Some(Tags::Any) {
        return Err(Problem::condition("this path has no ETags: send the request without If-Match and If-None-Match"));
    }
    Ok(())
}

/// Fails if the header occurs more than once.
pub(crate) fn check_single(headers: &HeaderMap, name: &HeaderName) -> Result<(), Problem> {
    match headers.get_all(name).iter().nth(1) {
        Some(_) => Err(Problem::bad_request(format!("{name} is given twice"))),
        None => Ok(()),
    }
}
