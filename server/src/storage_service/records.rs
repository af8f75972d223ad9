//! Operations on one record: reading, writing, removing and renaming.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{FutureExt, TryFutureExt};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use strongroom::protocol::base64url::encode_etag;
use strongroom::protocol::documents;
use strongroom::protocol::names::OCTET_STREAM;
use strongroom::protocol::range::content_range;
use strongroom::storage::{self, Fetched, HEAD_LEN, Head, Info, Locator, PutMode, Storage};

use super::backend::StorageBackend;
use crate::answer_memory::SHORT_RECORD;
use crate::blocking_pool::Effect;
use crate::body::answer_chunks::{CHUNK_LEN, ChunkSource};
use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::conditions::{Tags, range_applies};
use crate::problem::Problem;
use crate::request_text;
use crate::response::empty;

/// The most attempts of a read, which starts again if the record is replaced.
const ATTEMPTS: usize = 5;

impl Call<StorageBackend> {
    fn locator(&self) -> Result<Locator, Problem> {
        let locator = request_text::locator(self.head.uri.path().rsplit('/').next().unwrap_or_default())?;
        self.audit(|| Some(locator));
        Ok(locator)
    }

    fn if_match(&self) -> Result<Option<Tags>, Problem> {
        Tags::of(self.head.headers.get_all(IF_MATCH), false)
    }

    /// The record's head and length. Fails if the request expects another version.
    fn find(
        &self,
        locator: Locator,
        expected: Option<Tags>,
    ) -> impl Future<Output = Result<Info, Problem>> + Send + use<> {
        let info = self.run(Effect::None, move |backend| backend.0.info(&locator));
        async move { check(info.await?, expected) }
    }

    /// As [`find`](Self::find), with all bytes of a short record, so that one call of the storage is enough for it.
    fn find_or_read(
        &self,
        locator: Locator,
        expected: Option<Tags>,
    ) -> impl Future<Output = Result<(Info, Option<Bytes>), Problem>> + Send + use<> {
        let found = self.run(Effect::None, move |backend| {
            Ok::<_, storage::Error>(match backend.0.get_up_to(&locator, SHORT_RECORD as u64)? {
                Some(Fetched::Record(record)) => {
                    let head = Head::of(&record).ok_or(storage::Error::Corrupt)?;
                    (Some(Info::new(head, record.len() as u64)), Some(Bytes::from(record)))
                }
                Some(Fetched::Long { info, .. }) => (Some(info), None),
                None => (None, None),
            })
        });
        async move {
            let (info, record) = found.await?;
            Ok((check(info, expected)?, record))
        }
    }

    /// The expected version. A list of tags, or `*`, requires a lookup, because a storage compares only one version.
    fn version(&self, locator: Locator, expected: Tags) -> impl Future<Output = Result<Head, Problem>> + Send + use<> {
        match expected {
            Tags::Heads(heads) if let [head] = *heads => ready(Ok(head)).left_future(),
            tags => self.find(locator, Some(tags)).map_ok(|info| info.head).right_future(),
        }
    }

    fn if_none_match(&self) -> Result<Option<Tags>, Problem> {
        Tags::of(self.head.headers.get_all(IF_NONE_MATCH), true)
    }

    /// Whether the client has this version already (304).
    fn is_known(&self, head: &Head) -> Result<bool, Problem> {
        Ok(self.if_none_match()?.is_some_and(|tags| tags.matches(Some(head))))
    }
}

/// Fails unless the record exists and is of an expected version.
fn check(info: Option<Info>, expected: Option<Tags>) -> Result<Info, Problem> {
    match expected {
        Some(tags) => info.filter(|info| tags.matches(Some(&info.head))).ok_or_else(|| storage::Error::Conflict.into()),
        None => info.ok_or_else(Problem::not_found),
    }
}

/// A short record is written at once, a long one as it arrives.
pub(super) async fn put(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    call.require_type(OCTET_STREAM)?;
    let max_len = call.shared.limits.record_bytes;
    call.body.check_announced(max_len)?;
    let mode = match (call.if_none_match()?, call.if_match()?) {
        (None, None) => PutMode::Overwrite,
        (None, Some(tags)) => PutMode::ReplaceIf(call.version(locator, tags).await?),
        (Some(Tags::Any), None) => PutMode::Create,
        (Some(Tags::Heads(_)), None) => return Err(Problem::bad_request("If-None-Match must be *")),
        (Some(_), Some(_)) => return Err(Problem::bad_request("give If-Match or If-None-Match, not both")),
    };
    let mut chunk = call.body.chunk(max_len).await?;
    if chunk.len() < CHUNK_LEN {
        call.run(Effect::Write, move |backend| backend.0.put(&locator, &chunk, mode)).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let upload = call.run(Effect::None, move |backend| Arc::clone(&backend.0).upload(&locator, mode)).await?;
    let mut upload = call.shared.pool.own(upload);
    while !chunk.is_empty() {
        (upload, ()) = upload.with(move |upload| upload.write(&chunk)).await?;
        chunk = call.body.chunk(max_len).await?;
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
            // The head is the same, but the record is shorter than before.
            storage::Error::InvalidArgument(_) => storage::Error::Corrupt.into(),
            error => Problem::from(error),
        })?;
        self.offset += len as u64;
        Ok(chunk.into())
    }
}

pub(super) async fn get(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    let is_any_version = call.if_match()?.is_none();
    let range = call.header(&RANGE)?.cloned();
    // A long record may be replaced between the reads of its head and its first chunk; after that, the answer has only
    // one version.
    let mut call = call;
    for _ in 0..ATTEMPTS {
        let (info, record) = call.find_or_read(locator, call.if_match()?).await?;
        if call.is_known(&info.head)? {
            return Ok(not_modified(&info));
        }
        let etag = encode_etag(info.head.as_bytes());
        let range = match &range {
            Some(range) if range_applies(call.header(&IF_RANGE)?, Some(&etag)) => request_text::range(range, info.len)?,
            _ => None,
        };
        let (start, count) = range.unwrap_or((0, info.len));
        let body = match record {
            Some(record) => part_of(record, start, count)?.into(),
            None => {
                let part = RecordPart { storage: Arc::clone(&call.backend.0), locator, head: info.head, offset: start };
                let part = call.shared.pool.own(part);
                match call.stream(part, count).await {
                    Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED && is_any_version => continue,
                    body => body?,
                }
            }
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

fn part_of(record: Bytes, start: u64, count: u64) -> Result<Bytes, Problem> {
    let [start, end] = [Some(start), start.checked_add(count)].map(|at| at.and_then(|at| usize::try_from(at).ok()));
    let part = start.zip(end).and_then(|(start, end)| record.get(start..end));
    part.map(|part| record.slice_ref(part)).ok_or_else(|| storage::Error::Corrupt.into())
}

pub(super) async fn info(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let info = call.find(call.locator()?, call.if_match()?).await?;
    if call.is_known(&info.head)? {
        return Ok(not_modified(&info));
    }
    let mut response = empty(StatusCode::OK);
    describe(&mut response, &info.head, info.len);
    Ok(response)
}

/// With the length that a 200 would have (RFC 9110 section 8.6).
fn not_modified(info: &Info) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    insert(&mut response, ETAG, &encode_etag(info.head.as_bytes()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(info.len));
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

pub(super) async fn delete(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let locator = call.locator()?;
    let expected = match (call.if_match()?, call.if_none_match()?) {
        (None, None) => None,
        (Some(Tags::Heads(heads)), None) if let [head] = *heads => Some(head),
        (wanted, spared) => {
            // A record that does not exist is not another version.
            let head = call.find(locator, None).await?.head;
            if wanted.is_some_and(|tags| !tags.matches(Some(&head))) {
                return Err(storage::Error::Conflict.into());
            }
            if spared.is_some_and(|tags| tags.matches(Some(&head))) {
                return Err(storage::Error::AlreadyExists.into());
            }
            Some(head)
        }
    };
    match call.run(Effect::Write, move |backend| backend.0.delete(&locator, expected.as_ref())).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Problem::not_found()),
    }
}

pub(super) async fn rename(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str =
        "the body must be {from, head, to}: locators of 64 lower-case hex digits, and a head of 91 characters";
    let (from, head, to) = call.json_body(documents::read_rename::<HEAD_LEN>, BODY).await?;
    call.audit(|| Some(from));
    let head = Head::require(&head)?;
    call.run(Effect::Write, move |backend| backend.0.rename(&from, &head, &to)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
