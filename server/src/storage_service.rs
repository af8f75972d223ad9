//! The storage service: records under locators, over any storage.

use std::sync::Arc;

use axum::routing::MethodFilter;
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{FutureExt, TryFutureExt};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use serde_json::Value;
use strongroom::Error;
use strongroom::protocol::base64url::encode_etag;
use strongroom::protocol::batch::{CreateManyDecoder, InvalidBatch, decode_locators, encode_get_many};
use strongroom::protocol::documents::{self, Verification};
use strongroom::protocol::limits::{GET_MANY_REQUEST_BYTES, PAGE_ENTRIES, VERIFY_RECORDS};
use strongroom::protocol::names::{self, JSON, OCTET_STREAM};
use strongroom::protocol::range::content_range;
use strongroom::storage::{self, HEAD_LEN, Head, Info, Locator, PutMode, Storage};

use crate::backend::Backend;
use crate::blocking_pool::Effect;
use crate::body::chunks::{CHUNK_LEN, ChunkSource, from_parts};
use crate::body::content::{Content, Permits, Response};
use crate::call::Call;
use crate::conditions::{Tags, range_applies};
use crate::config::document::Config;
use crate::headers;
use crate::problem::Problem;
use crate::request_text;
use crate::response::{empty, json};
use crate::route::{Handler, Route};
use crate::service::Service;
use crate::start::StartError;
use crate::tokens::scope::Scope;

/// The most bytes of an entry.
const ENTRY_LEN: u64 = 256;
/// How often reading starts again when the record is replaced.
const ATTEMPTS: usize = 5;

impl Service {
    /// The storage service over `storage`.
    ///
    /// # Errors
    ///
    /// Where the file of tokens cannot be read, or the system gives no random bytes.
    pub fn storage(storage: Arc<dyn Storage>, config: &Config) -> Result<Self, StartError> {
        Self::new(StorageBackend(storage), ROUTES, config)
    }
}

struct StorageBackend(Arc<dyn Storage>);

impl Backend for StorageBackend {
    const OPENAPI: &'static str = include_str!("../openapi/storage.json");
    const PORT: u16 = 8421;

    fn ready(&self) -> Result<(), Error> {
        self.0.settings()?;
        Ok(())
    }
}

const fn route(method: MethodFilter, path: &'static str, handler: Handler<StorageBackend>) -> Route<StorageBackend> {
    Route { method, path, scope: Some(Scope::Storage), handler }
}

const ROUTES: &[Route<StorageBackend>] = &[
    route(MethodFilter::PUT, names::RECORD, |call| Box::pin(put(call))),
    route(MethodFilter::GET, names::RECORD, |call| Box::pin(get(call))),
    route(MethodFilter::HEAD, names::RECORD, |call| Box::pin(info(call))),
    route(MethodFilter::DELETE, names::RECORD, |call| Box::pin(delete(call))),
    route(MethodFilter::GET, names::RECORDS, |call| Box::pin(list(call))),
    route(MethodFilter::POST, names::CREATE_MANY, |call| Box::pin(create_many(call))),
    route(MethodFilter::POST, names::GET_MANY, |call| Box::pin(get_many(call))),
    route(MethodFilter::POST, names::RENAME, |call| Box::pin(rename(call))),
    route(MethodFilter::GET, names::EXPIRED, |call| Box::pin(list_expired(call))),
    route(MethodFilter::GET, names::SETTINGS, |call| Box::pin(settings(call))),
    route(MethodFilter::POST, names::SWAP_SETTINGS, |call| Box::pin(swap_settings(call))),
    route(MethodFilter::POST, names::VERIFY, |call| Box::pin(verify(call))),
    route(MethodFilter::GET, names::STATS, |call| Box::pin(stats(call))),
    route(MethodFilter::POST, names::MAINTAIN, |call| Box::pin(maintain(call))),
];

impl Call<StorageBackend> {
    fn locator(&self) -> Result<Locator, Problem> {
        request_text::locator(self.head.uri.path().rsplit('/').next().unwrap_or_default())
    }

    fn if_match(&self) -> Result<Option<Tags>, Problem> {
        Tags::of(self.head.headers.get_all(IF_MATCH), false)
    }

    /// The record's head and length; where it is to be one of certain versions and is not, that is the error.
    fn find(
        &self,
        locator: Locator,
        expected: Option<Tags>,
    ) -> impl Future<Output = Result<Info, Problem>> + Send + use<> {
        let info = self.run(Effect::None, move |backend| backend.0.info(&locator));
        async move {
            let info = info.await?;
            match expected {
                Some(tags) => {
                    info.filter(|info| tags.matches(Some(&info.head))).ok_or_else(|| storage::Error::Conflict.into())
                }
                None => info.ok_or_else(Problem::not_found),
            }
        }
    }

    /// The one version that is expected: a list of them, or any, is looked up, since a storage compares one.
    fn version(&self, locator: Locator, expected: Tags) -> impl Future<Output = Result<Head, Problem>> + Send + use<> {
        match expected {
            Tags::Heads(heads) if let [head] = *heads => ready(Ok(head)).left_future(),
            tags => self.find(locator, Some(tags)).map_ok(|info| info.head).right_future(),
        }
    }

    /// What `read` finds in a JSON body.
    async fn json_body<T>(&mut self, read: fn(&Value) -> Option<T>, expected: &'static str) -> Result<T, Problem> {
        self.require_type(JSON)?;
        headers::check_conditions(&self.head.headers)?;
        let body: Value = request_text::object(&self.body.all(self.shared.limits.json_bytes).await?)?;
        read(&body).ok_or_else(|| Problem::bad_request(expected))
    }

    fn if_none_match(&self) -> Result<Option<Tags>, Problem> {
        Tags::of(self.head.headers.get_all(IF_NONE_MATCH), true)
    }

    /// Whether the client has this version already (304).
    fn is_known(&self, head: &Head) -> Result<bool, Problem> {
        Ok(self.if_none_match()?.is_some_and(|tags| tags.matches(Some(head))))
    }
}

/// A short record is written at once, a long one as it comes.
async fn put(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    call.require_type(OCTET_STREAM)?;
    let most = call.shared.limits.record_bytes;
    call.body.check_announced(most)?;
    let mode = match (call.if_none_match()?, call.if_match()?) {
        (None, None) => PutMode::Overwrite,
        (None, Some(tags)) => PutMode::ReplaceIf(call.version(locator, tags).await?),
        (Some(Tags::Any), None) => PutMode::Create,
        (Some(Tags::Heads(_)), None) => return Err(Problem::bad_request("If-None-Match is * here")),
        (Some(_), Some(_)) => return Err(Problem::bad_request("give If-Match or If-None-Match, not both")),
    };
    let mut chunk = call.body.chunk(most).await?;
    if chunk.len() < CHUNK_LEN {
        call.run(Effect::Write, move |backend| backend.0.put(&locator, &chunk, mode)).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let upload = call.run(Effect::None, move |backend| Arc::clone(&backend.0).upload(&locator, mode)).await?;
    let mut upload = call.shared.pool.own(upload);
    while !chunk.is_empty() {
        (upload, ()) = upload.with(move |upload| upload.write(&chunk)).await?;
        chunk = call.body.chunk(most).await?;
    }
    upload.end(|upload| upload.commit()).await??;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// A part of one version of a record.
struct RecordPart {
    storage: Arc<dyn Storage>,
    locator: Locator,
    head: Head,
    offset: u64,
}

impl ChunkSource for RecordPart {
    fn next_chunk(&mut self, len: usize) -> Result<Bytes, Problem> {
        let mut chunk = vec![0; len];
        self.storage.read_at(&self.locator, &self.head, self.offset, &mut chunk).map_err(|error| match error {
            // The head is the same, and the record shorter than it was.
            storage::Error::InvalidArgument(_) => storage::Error::Corrupt.into(),
            error => Problem::from(error),
        })?;
        self.offset += len as u64;
        Ok(chunk.into())
    }
}

async fn get(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    let is_any_version = call.if_match()?.is_none();
    let range = call.header(&RANGE)?.cloned();
    // The record may be replaced after its head is known and before the first chunk is read; from then on it is one version.
    let mut call = call;
    for _ in 0..ATTEMPTS {
        let info = call.find(locator, call.if_match()?).await?;
        if call.is_known(&info.head)? {
            return Ok(not_modified(&info.head));
        }
        let etag = encode_etag(info.head.as_bytes());
        let range = match &range {
            Some(range) if range_applies(call.header(&IF_RANGE)?, Some(&etag)) => request_text::range(range, info.len)?,
            _ => None,
        };
        let (start, count) = range.unwrap_or((0, info.len));
        let part = RecordPart { storage: Arc::clone(&call.backend.0), locator, head: info.head, offset: start };
        let part = call.shared.pool.own(part);
        let body = match call.stream(part, count).await {
            Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED && is_any_version => continue,
            body => body?,
        };
        let mut response = Response::new(body);
        describe(&mut response, &info.head, count);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut response, CONTENT_RANGE, &content_range(start, count, info.len));
        }
        return Ok(response);
    }
    Err(storage::Error::Busy.into())
}

async fn info(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let info = call.find(call.locator()?, call.if_match()?).await?;
    if call.is_known(&info.head)? {
        return Ok(not_modified(&info.head));
    }
    let mut response = empty(StatusCode::OK);
    describe(&mut response, &info.head, info.len);
    Ok(response)
}

fn not_modified(head: &Head) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    insert(&mut response, ETAG, &encode_etag(head.as_bytes()));
    response
}

fn describe(response: &mut Response, head: &Head, len: u64) {
    insert(response, ETAG, &encode_etag(head.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    response.headers_mut().extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
}

async fn delete(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    let expected = match call.if_match()? {
        None => None,
        Some(tags) => Some(call.version(locator, tags).await?),
    };
    match call.run(Effect::Write, move |backend| backend.0.delete(&locator, expected.as_ref())).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Problem::not_found()),
    }
}

async fn list(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let (mut after, mut limit) = (None, PAGE_ENTRIES);
    for (name, value) in request_text::query(call.head.uri.query()) {
        match name {
            names::AFTER => after = Some(request_text::locator(value)?),
            names::LIMIT => limit = request_text::number(name, value)?,
            _ => return Err(unknown_name()),
        }
    }
    page(call, limit, move |storage, limit| storage.list(after.as_ref(), limit)).await
}

async fn list_expired(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let (mut now, mut limit) = (None, PAGE_ENTRIES);
    for (name, value) in request_text::query(call.head.uri.query()) {
        match name {
            names::NOW => now = Some(request_text::number(name, value)?),
            names::LIMIT => limit = request_text::number(name, value)?,
            _ => return Err(unknown_name()),
        }
    }
    let now = now.ok_or_else(|| Problem::bad_request("the query has no `now`: a Unix time in seconds"))?;
    page(call, limit, move |storage, limit| storage.list_expired(now, limit)).await
}

fn unknown_name() -> Problem {
    Problem::bad_request("the query has a name that is not known")
}

/// A page of records, which counts as an answer in memory from before it is made.
async fn page(
    call: Call<StorageBackend>,
    limit: usize,
    list: impl FnOnce(&dyn Storage, usize) -> Result<Vec<storage::Entry>, storage::Error> + Send + 'static,
) -> Result<Response, Problem> {
    let limit = limit.min(PAGE_ENTRIES);
    let permits = call.reserve(limit as u64 * ENTRY_LEN).await?;
    let entries = call.run(Effect::None, move |backend| list(&*backend.0, limit)).await?;
    let lines = entries.iter().map(|entry| (entry.locator, &entry.info.head.as_bytes()[..], entry.info.len));
    let page = json(StatusCode::OK, &documents::page(lines));
    Ok(page.map(|content| content.with_permits(permits)))
}

async fn rename(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str =
        "the body is {from, head, to}: locators of 64 lower-case hex digits, and a head of 91 characters";
    let (from, head, to) = call.json_body(documents::read_rename::<HEAD_LEN>, BODY).await?;
    let head = Head::require(&head)?;
    call.run(Effect::Write, move |backend| backend.0.rename(&from, &head, &to)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Each record is taken from the body as it comes: a batch is in memory once.
async fn create_many(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.require_type(OCTET_STREAM)?;
    let most = call.shared.limits.batch_bytes;
    call.body.check_announced(most)?;
    call.body.use_limit(&call.shared.batches);
    let mut batch = CreateManyDecoder::new(most);
    while let Some(bytes) = call.body.frame(most).await? {
        batch.push(&bytes).map_err(invalid_batch)?;
    }
    let records = batch.finish().map_err(invalid_batch)?;
    let permit = call.body.take_permit();
    call.run(Effect::Write, move |backend| {
        let _permit = permit; // the work is finished even if the client has gone
        let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, record.as_slice())).collect();
        backend.0.create_many(&records)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The answer is the records as they were read, and keeps its permit until it is sent. Their lengths are read before they
/// are: together they may not exceed a batch.
async fn get_many(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.require_type(OCTET_STREAM)?;
    let body = call.body.all(GET_MANY_REQUEST_BYTES).await?;
    let locators = decode_locators(&body);
    let locators = locators.ok_or_else(|| Problem::bad_request("the body is locators of 32 bytes each"))?;
    let most = call.shared.limits.batch_bytes;
    let batches = Arc::clone(&call.shared.batches);
    let permit = batches.acquire().await?;
    // The work has the permit: it is finished even if the client has gone.
    let answer = call.run(Effect::None, move |backend| {
        let mut bytes = 0_u64;
        for locator in &locators {
            bytes = bytes.saturating_add(backend.0.info(locator)?.map_or(0, |info| info.len));
            if bytes > most {
                return Err(storage::Error::TooLarge);
            }
        }
        Ok((encode_get_many(backend.0.get_many(&locators)?), permit))
    });
    let (parts, permit) = answer.await?;
    let mut permits = Permits::default();
    permits.add(permit, Some(&batches));
    let mut response = Response::new(Content::new(from_parts(parts), permits));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    Ok(response)
}

fn invalid_batch(error: InvalidBatch) -> Problem {
    match error {
        InvalidBatch::TooManyRecords => Problem::too_large(),
        InvalidBatch::Malformed => {
            Problem::bad_request("the body is for each record its locator (32 bytes), its length (8 bytes) and itself")
        }
    }
}

async fn settings(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let settings = call.run(Effect::None, |backend| backend.0.settings()).await?.ok_or_else(Problem::not_found)?;
    let mut response = Response::new(settings.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    Ok(response)
}

async fn swap_settings(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body is {expected, new}: both in base64url, without padding";
    let (expected, new) = call.json_body(documents::read_swap_settings, BODY).await?;
    call.run(Effect::Write, move |backend| backend.0.swap_settings(expected.as_deref(), &new)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn verify(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body is {after, limit}: a locator of 64 lower-case hex digits or null, and a number";
    let (after, limit) = call.json_body(documents::read_verify, BODY).await?;
    let limit = limit.min(VERIFY_RECORDS);
    let verified = call.run(Effect::None, move |backend| backend.0.verify(after.as_ref(), limit)).await?;
    let storage::Verified { records, bytes, damaged, next } = verified;
    Ok(json(StatusCode::OK, &documents::verification(&Verification { records, bytes, damaged, next })))
}

async fn stats(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let stats = call.run(Effect::None, |backend| backend.0.stats()).await?;
    Ok(json(StatusCode::OK, &documents::stats(stats.records, stats.bytes)))
}

async fn maintain(call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.run(Effect::Write, |backend| backend.0.maintain()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_openapi_document_has_all_routes_and_no_other() {
        crate::operations::check_openapi(super::ROUTES);
    }
}
