//! The HTTP of the crate `object_store`, by this library's client. Every answer with an error becomes a [`Failed`].

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, StatusCode, Uri};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;
use tokio::time::Instant;

use super::failed::Failed;
use crate::http::{AnyHost, transfer_time};

/// The most bytes of an answer: a segment, or a page of a list.
const MAX_ANSWER_LEN: usize = 32 << 20;

tokio::task_local! {
    /// The end of the call that makes the requests. The time of a transfer is not counted.
    static END: Cell<Option<Instant>>;
}

/// Runs a call, none of whose requests goes on after this time.
pub(super) async fn until<T>(end: Instant, call: impl Future<Output = T>) -> T {
    END.scope(Cell::new(Some(end)), call).await
}

/// Runs a part of a call, each of whose requests has the whole time.
pub(super) async fn without_end<T>(part: impl Future<Output = T>) -> T {
    END.scope(Cell::new(None), part).await
}

/// The end of the call, if it has one.
pub(super) fn end() -> Option<Instant> {
    END.try_with(Cell::get).ok().flatten()
}

#[derive(Clone, Debug)]
pub(super) struct Transport(pub(super) AnyHost);

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Transport {
    // As `async_trait` expands it.
    fn call<'l, 'a>(
        &'l self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>
    where
        'l: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = collect(body).await?;
            let is_list = is_list(&head.uri);
            let answer = self.send(Request::from_parts(head, body)).await;
            // `Unknown` is the kind that `object_store` never repeats.
            let (head, body) = answer.map_err(|failed| HttpError::new(HttpErrorKind::Unknown, failed))?.into_parts();
            let body = if is_list { without_misread_names(body) } else { body };
            Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
        })
    }
}

impl Transport {
    /// The answer, if it is a success.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<hyper::Response<Bytes>, Failed> {
        let (begun, end, sent) = (Instant::now(), end(), request.body().len());
        let time = end.map_or(Duration::MAX, |end| end.saturating_duration_since(begun));
        if time.is_zero() {
            return Err(Failed::NoTime);
        }
        let answer = self.0.send(request, MAX_ANSWER_LEN, time).await.map_err(Failed::of_transport)?;
        if let Some(end) = end {
            let later = end + begun.elapsed().min(transfer_time(sent + answer.body().len()));
            END.with(|now| now.set(now.get().max(Some(later))));
        }
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        Err(Failed::Status { status, code: code(status, answer.body()) })
    }
}

/// The body: one piece, unless the crate built it itself.
async fn collect(body: HttpRequestBody) -> Result<Bytes, HttpError> {
    match body.as_bytes() {
        Some(bytes) => Ok(bytes.clone()),
        None => Ok(body.collect().await?.to_bytes()),
    }
}

/// Whether this is the address of a list: of S3 and Google, or of Azure.
fn is_list(uri: &Uri) -> bool {
    let mut options = uri.query().unwrap_or_default().split('&');
    options.any(|option| option == "list-type=2" || option == "comp=list")
}

/// A list without the objects whose names the crate misreads. It takes `r/`, the marker of a folder that other programs
/// write, for `r`, and an object `r//a` makes the whole list invalid. This library writes no such names.
fn without_misread_names(list: Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(&list) else { return list };
    let [start, end, name] =
        if text.contains("<Blob>") { ["<Blob>", "</Blob>", "Name"] } else { ["<Contents>", "</Contents>", "Key"] };
    let (name_start, name_end) = (format!("<{name}>"), format!("</{name}>"));
    let is_misread = |object: &str| {
        let name = object.split_once(&name_start).and_then(|(_, rest)| rest.split_once(&name_end));
        name.is_some_and(|(name, _)| !is_read_exactly(name))
    };
    let pieces = text.split_inclusive(end).map(|piece| match piece.split_once(start) {
        Some((before, object)) if is_misread(object) => before,
        _ => piece,
    });
    pieces.collect::<String>().into()
}

/// Whether the crate reads this name in a list as it is. A reference such as `&#1;` may stand for a control character,
/// which is invalid there.
fn is_read_exactly(name: &str) -> bool {
    !name.contains("&#") && Path::parse(name).is_ok_and(|path| path.as_ref() == name.trim())
}

/// The code in the error document of a server: `<Code>NoSuchKey</Code>`. Anything else is not shown.
fn code(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match code.filter(is_code) {
        Some(code) => code.to_owned(),
        None if status.is_redirection() => "PermanentRedirect".to_owned(),
        None => String::new(),
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(object: &str, name: &str, names: &[&str]) -> Bytes {
        let objects = names.iter().map(|key| format!("\n<{object}><{name}>{key}</{name}><Size>1</Size></{object}>"));
        format!("<?xml?><List><Prefix>p/</Prefix>{}<NextMarker/></List>", objects.collect::<String>()).into()
    }

    fn kept(list: Bytes) -> String {
        String::from_utf8(without_misread_names(list).to_vec()).unwrap().replace('\n', "")
    }

    #[test]
    fn misread_names_are_not_listed() {
        let names =
            ["p/", "p/a", "p/a/", "p/a/ ", "p/b//", "p/b//c", "/p", "p/./a", "p/../a", "p/&#1;", "p/c~", "p/d&amp;#"];
        for (object, name) in [("Contents", "Key"), ("Blob", "Name")] {
            let expected = String::from_utf8(list(object, name, &["p/a", "p/c~", "p/d&amp;#"]).to_vec()).unwrap();
            assert_eq!(kept(list(object, name, &names)), expected.replace('\n', ""));
            let empty = list(object, name, &[]);
            assert_eq!(kept(list(object, name, &["p/"])), kept(empty.clone()));
            assert_eq!(without_misread_names(empty.clone()), empty);
        }
        for other in ["", "<Contents>", "</Contents><Contents><Key>p/", "<Contents><Key/></Contents>"] {
            assert_eq!(without_misread_names(other.into()), other);
        }
        let binary = Bytes::from_static(b"\xff<Contents><Key>p/</Key></Contents>");
        assert_eq!(without_misread_names(binary.clone()), binary);
    }

    #[test]
    fn only_lists_are_changed() {
        let is_list = |target: &str| is_list(&target.parse().unwrap());
        assert!(is_list("http://h/bucket?list-type=2&prefix=p%2F"));
        assert!(is_list("https://h/container?restype=container&comp=list"));
        assert!(!is_list("http://h/bucket/list-type=2") && !is_list("http://h/bucket/a?sig=comp=list"));
    }
}
