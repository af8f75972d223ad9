//! The HTTP of the crate `object_store`, by this library's client. Every answer with an error becomes a [`Failed`].

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

use super::failed::Failed;
use crate::http::AnyHost;

/// The most bytes of an answer: a segment, or a page of a list.
const MAX_ANSWER_LEN: usize = 32 << 20;

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
            let answer = self.send(Request::from_parts(head, body)).await;
            // `Unknown` is the kind that `object_store` never repeats.
            let (head, body) = answer.map_err(|failed| HttpError::new(HttpErrorKind::Unknown, failed))?.into_parts();
            Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
        })
    }
}

impl Transport {
    /// The answer, if it is a success.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<hyper::Response<Bytes>, Failed> {
        let answer = self.0.send(request, MAX_ANSWER_LEN).await.map_err(Failed::of_transport)?;
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
