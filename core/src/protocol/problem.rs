//! Errors on the wire: a document (RFC 9457) and a header with the error's number.

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::names::STRONGROOM_CODE;

/// The most characters of a service's description that are shown.
const SHOWN: usize = 300;

/// The document of an error.
#[must_use]
pub fn document(status: StatusCode, number: u8, name: &str, detail: &str) -> String {
    let document = json!({
        "type": "about:blank",
        "title": name,
        "status": status.as_u16(),
        "detail": detail,
        "code": number,
    });
    document.to_string()
}

/// The description in the document of an error, truncated, without control characters; `None` if `body` is not such a
/// document.
#[must_use]
pub fn detail(body: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let detail = document.get("detail")?.as_str()?;
    Some(detail.chars().filter(|character| !character.is_control()).take(SHOWN).collect())
}

/// The header with an error's number.
#[must_use]
pub fn code_header(number: u8) -> (HeaderName, HeaderValue) {
    (STRONGROOM_CODE, HeaderValue::from(u16::from(number)))
}

/// The error's number in the headers of an answer. An answer without it is not from one of our services.
#[must_use]
pub fn code_in(headers: &HeaderMap) -> Option<u8> {
    headers.get(STRONGROOM_CODE)?.to_str().ok()?.parse().ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_the_problem_of_a_service() {
        let body = document(StatusCode::NOT_FOUND, 1, "NotFound", "no\u{1b}[31m record");
        assert_eq!(detail(body.as_bytes()).unwrap(), "no[31m record");
        assert_eq!(detail(document(StatusCode::OK, 1, "", &"x".repeat(1000)).as_bytes()).unwrap().len(), SHOWN);
        assert_eq!(code_in(&HeaderMap::from_iter([code_header(21)])), Some(21));
        for wrong in ["", "0", "256", "-1", "x"] {
            let headers = HeaderMap::from_iter([(STRONGROOM_CODE, HeaderValue::from_static(wrong))]);
            assert_eq!(code_in(&headers), None, "{wrong}");
        }
        for wrong in ["", "[]", "{}", "{\"detail\":1}", "<html>"] {
            assert_eq!(detail(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
