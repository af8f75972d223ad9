//! The storage service: records under locators, over any storage.

use std::sync::Arc;

use axum::response::Response;
use axum::routing::MethodFilter;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    RANGE,
};
use serde::Deserialize;
use serde_json::json;
use strongroom::Error;
use strongroom::storage::{self, Head, Info, Locator, PutMode, Storage};
use tokio::sync::OwnedSemaphorePermit;

use crate::body::{PIECE_LEN, Source};
use crate::config::Config;
use crate::problem::Problem;
use crate::service::{BYTES, Backend, Call, JSON, Route, Service, empty, json};
use crate::start::StartError;
use crate::token::Scope;
use crate::wire;

/// The most lines of a page.
const PAGE: usize = 1000;
/// The most bytes of a `get-many` request.
const MANY: u64 = 1 << 20;
/// The length that says that there is no record.
const NONE: u64 = u64::MAX;
/// How often a record that is replaced all the time is looked at anew.
const ATTEMPTS: usize = 5;

impl Service {
    /// The storage service over `storage`.
    ///
    /// # Errors
    ///
    /// Where the file of tokens cannot be read, or the system gives no random bytes.
    pub fn storage(storage: Arc<dyn Storage>, config: &Config) -> Result<Self, StartError> {
        Self::new(Records(storage), ROUTES, config)
    }
}

struct Records(Arc<dyn Storage>);

impl Backend for Records {
    const OPENAPI: &'static str = include_str!("../openapi/storage.json");
    const PORT: u16 = 8421;

    fn ready(&self) -> Result<(), Error> {
        self.0.check_value()?;
        Ok(())
    }
}

const fn route(method: MethodFilter, path: &'static str, handler: crate::service::Handler<Records>) -> Route<Records> {
    Route { method, path, scope: Some(Scope::Storage), handler }
}

const ROUTES: &[Route<Records>] = &[
    route(MethodFilter::PUT, "/v1/records/{locator}", |call| Box::pin(put(call))),
    route(MethodFilter::GET, "/v1/records/{locator}", |call| Box::pin(get(call))),
    route(MethodFilter::HEAD, "/v1/records/{locator}", |call| Box::pin(info(call))),
    route(MethodFilter::DELETE, "/v1/records/{locator}", |call| Box::pin(delete(call))),
    route(MethodFilter::GET, "/v1/records", |call| Box::pin(list(call))),
    route(MethodFilter::POST, "/v1/create-many", |call| Box::pin(create_many(call))),
    route(MethodFilter::POST, "/v1/get-many", |call| Box::pin(get_many(call))),
    route(MethodFilter::GET, "/v1/check-value", |call| Box::pin(check_value(call))),
    route(MethodFilter::PUT, "/v1/check-value", |call| Box::pin(init_check_value(call))),
    route(MethodFilter::GET, "/v1/stats", |call| Box::pin(stats(call))),
    route(MethodFilter::POST, "/v1/maintain", |call| Box::pin(maintain(call))),
];

impl Call<Records> {
    fn locator(&self) -> Result<Locator, Problem> {
        wire::locator(self.head.uri.path().rsplit('/').next().unwrap_or_default())
    }

    fn if_match(&self) -> Result<Option<Head>, Problem> {
        self.header(&IF_MATCH)?.map(wire::head).transpose()
    }

    fn put_mode(&self) -> Result<PutMode, Problem> {
        match (self.header(&IF_NONE_MATCH)?, self.if_match()?) {
            (None, None) => Ok(PutMode::Overwrite),
            (None, Some(head)) => Ok(PutMode::ReplaceIf(head)),
            (Some(any), None) if any == "*" => Ok(PutMode::Create),
            (Some(_), None) => Err(Problem::bad_request("If-None-Match is * here")),
            (Some(_), Some(_)) => Err(Problem::bad_request("give If-Match or If-None-Match, not both")),
        }
    }

    /// The record's head and length; where it is to be a certain version and is not, that is the error.
    fn find(
        &self,
        locator: Locator,
        expected: Option<Head>,
    ) -> impl Future<Output = Result<Info, Problem>> + Send + use<> {
        let info = self.run(move |records| records.0.info(&locator));
        async move {
            let info = info.await?;
            match expected {
                Some(head) => info.filter(|info| info.head == head).ok_or_else(|| storage::Error::Conflict.into()),
                None => info.ok_or_else(Problem::not_found),
            }
        }
    }
}

/// A short record is written at once, a long one as it comes.
async fn put(mut call: Call<Records>) -> Result<Response, Problem> {
    let (locator, mode) = (call.locator()?, call.put_mode()?);
    call.require_type(BYTES)?;
    let most = call.shared.limits.record_bytes;
    call.body.check_announced(most)?;
    let mut piece = call.body.piece(most).await?;
    if piece.len() < PIECE_LEN {
        call.run(move |records| records.0.put(&locator, &piece, mode)).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let upload = call.run(move |records| Arc::clone(&records.0).upload(&locator, mode)).await?;
    let mut upload = call.shared.threads.guard(upload);
    while !piece.is_empty() {
        (upload, ()) = upload.with(move |upload| upload.write(&piece)).await?;
        piece = call.body.piece(most).await?;
    }
    upload.end(|upload| upload.commit()).await??;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// A part of one version of a record.
struct Part {
    storage: Arc<dyn Storage>,
    locator: Locator,
    head: Head,
    offset: u64,
}

impl Source for Part {
    fn next_piece(&mut self, len: usize) -> Result<Bytes, Problem> {
        let mut piece = vec![0; len];
        self.storage.read_at(&self.locator, &self.head, self.offset, &mut piece).map_err(|error| match error {
            // The head is the same, and the record shorter than it was.
            storage::Error::InvalidArgument(_) => storage::Error::Corrupt.into(),
            error => Problem::from(error),
        })?;
        self.offset += len as u64;
        Ok(piece.into())
    }
}

async fn get(call: Call<Records>) -> Result<Response, Problem> {
    let (locator, expected) = (call.locator()?, call.if_match()?);
    let range = call.header(&RANGE)?.cloned();
    // The record may be replaced between the look at it and the first piece; from then on it is one version.
    let mut call = call;
    for _ in 0..ATTEMPTS {
        let info = call.find(locator, expected).await?;
        let (start, count) = match &range {
            Some(range) => wire::range(range, info.len)?,
            None => (0, info.len),
        };
        let part = Part { storage: Arc::clone(&call.backend.0), locator, head: info.head, offset: start };
        let part = call.shared.threads.guard(part);
        let body = match call.stream(part, count).await {
            Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED && expected.is_none() => continue,
            body => body?,
        };
        let mut response = Response::new(body);
        describe(&mut response, &info.head, count);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut response, CONTENT_RANGE, &wire::content_range(start, count, info.len));
        }
        return Ok(response);
    }
    Err(storage::Error::Busy.into())
}

async fn info(call: Call<Records>) -> Result<Response, Problem> {
    let info = call.find(call.locator()?, call.if_match()?).await?;
    let mut response = empty(StatusCode::OK);
    describe(&mut response, &info.head, info.len);
    Ok(response)
}

fn describe(response: &mut Response, head: &Head, len: u64) {
    insert(response, ETAG, &wire::etag(head));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    response.headers_mut().extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
}

async fn delete(call: Call<Records>) -> Result<Response, Problem> {
    let (locator, expected) = (call.locator()?, call.if_match()?);
    match call.run(move |records| records.0.delete(&locator, expected.as_ref())).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Problem::not_found()),
    }
}

async fn list(call: Call<Records>) -> Result<Response, Problem> {
    let (mut after, mut limit) = (None, PAGE);
    for (name, value) in wire::query(call.head.uri.query()) {
        match name {
            "after" => after = Some(wire::locator(value)?),
            "limit" => limit = value.parse().map_err(|_| Problem::bad_request("limit is a number"))?,
            _ => return Err(Problem::bad_request("the query has a name that is not known")),
        }
    }
    let entries = call.run(move |records| records.0.list(after.as_ref(), limit.min(PAGE))).await?;
    let line = |entry: &storage::Entry| json!({"locator": wire::to_hex(entry.locator.as_bytes()), "bytes": entry.len});
    Ok(json(StatusCode::OK, &json!({"records": entries.iter().map(line).collect::<Vec<_>>()})))
}

async fn create_many(mut call: Call<Records>) -> Result<Response, Problem> {
    call.require_type(BYTES)?;
    let most = call.shared.limits.batch_bytes;
    call.body.check_announced(most)?;
    call.body.takes_place_of(&call.shared.batches);
    let body = call.body.all(most).await?;
    let records = parse_records(&body).ok_or_else(|| {
        Problem::bad_request("the body is for each record its locator (32 bytes), its length (8 bytes) and itself")
    })?;
    drop(body);
    let place = call.body.take_place();
    call.run(move |there| {
        let _place = place; // the work goes on also where the client does not wait for it
        there.0.create_many(&records)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn parse_records(mut body: &[u8]) -> Option<Vec<(Locator, Vec<u8>)>> {
    let mut records = Vec::new();
    while let Some((locator, rest)) = body.split_first_chunk() {
        let (len, rest) = rest.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        records.push((Locator::from_bytes(*locator), record.to_vec()));
        body = rest;
    }
    body.is_empty().then_some(records)
}

/// The answer to a `get-many`, which keeps its place until it is sent.
struct Batch {
    answer: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// Their lengths are known before they are read: together they may not be more than a batch.
async fn get_many(mut call: Call<Records>) -> Result<Response, Problem> {
    call.require_type(BYTES)?;
    let body = call.body.all(MANY).await?;
    let (locators, rest) = body.as_chunks();
    if !rest.is_empty() {
        return Err(Problem::bad_request("the body is locators of 32 bytes each"));
    }
    let locators: Vec<_> = locators.iter().copied().map(Locator::from_bytes).collect();
    let most = call.shared.limits.batch_bytes;
    let shared = Arc::clone(&call.shared);
    let place = shared.batches.enter().await?;
    let answer = call.run(move |there| {
        let mut bytes = 0_u64;
        for locator in &locators {
            bytes = bytes.saturating_add(there.0.info(locator)?.map_or(0, |info| info.len));
            if bytes > most {
                return Err(storage::Error::TooLarge);
            }
        }
        let mut answer = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default() + 8 * locators.len());
        for record in there.0.get_many(&locators)? {
            answer.extend_from_slice(&record.as_ref().map_or(NONE, |record| record.len() as u64).to_le_bytes());
            answer.extend(record.into_iter().flatten());
        }
        Ok(Batch { answer, _place: place })
    });
    let mut response = Response::new(Bytes::from_owner(answer.await?).into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckValue {
    check_value: String,
}

async fn check_value(call: Call<Records>) -> Result<Response, Problem> {
    let value = call.run(|records| records.0.check_value()).await?.ok_or_else(Problem::not_found)?;
    Ok(json(StatusCode::OK, &json!({"check_value": wire::to_hex(&value)})))
}

async fn init_check_value(mut call: Call<Records>) -> Result<Response, Problem> {
    call.require_type(JSON)?;
    let body = call.body.all(call.shared.limits.json_bytes).await?;
    let value = wire::object(&body).ok().and_then(|value: CheckValue| wire::from_hex(value.check_value.as_bytes()));
    let value = value.ok_or_else(|| Problem::bad_request("the body is {\"check_value\": \"32 hex digits\"}"))?;
    let value = call.run(move |records| records.0.init_check_value(&value)).await?;
    Ok(json(StatusCode::OK, &json!({"check_value": wire::to_hex(&value)})))
}

async fn stats(call: Call<Records>) -> Result<Response, Problem> {
    let stats = call.run(|records| records.0.stats()).await?;
    Ok(json(StatusCode::OK, &json!({"records": stats.records, "bytes": stats.bytes})))
}

async fn maintain(call: Call<Records>) -> Result<Response, Problem> {
    call.run(|records| records.0.maintain()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_openapi_document_has_all_routes_and_no_other() {
        crate::service::check_openapi(super::ROUTES);
    }
}
