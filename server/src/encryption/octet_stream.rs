//! Data of any length as `application/octet-stream`, in constant memory.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, IF_RANGE, RANGE};
use strongroom::Wiped;
use strongroom::protocol::base64url::decode;
use strongroom::protocol::names::{
    OCTET_STREAM, STRONGROOM_EXPIRES_AT, STRONGROOM_EXPIRES_IN, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY,
    STRONGROOM_PAD,
};
use strongroom::protocol::range::content_range;
use strongroom::{Error, RecordKey, RecordReader, RecordWriter, WriteOptions};

use super::backend::{self, EncryptionBackend, key_answer, record_error, write_options};
use crate::blocking_pool::Effect;
use crate::body::answer_chunks::{self, CHUNK_LEN, ChunkSource};
use crate::body::unsent_answer::{Content, Response};
use crate::call::Call;
use crate::conditions::range_applies;
use crate::headers::{self, RECORD_HEADERS, WRITE_HEADERS};
use crate::problem::Problem;
use crate::request_text;

impl Call<EncryptionBackend> {
    fn id(&self) -> Result<Vec<u8>, Problem> {
        let header = self.header(&STRONGROOM_ID)?.ok_or_else(|| missing(&STRONGROOM_ID))?;
        let id = header.to_str().ok().and_then(decode);
        let id = id.ok_or_else(|| Problem::bad_request("Strongroom-Id must be base64url without padding"))?;
        self.audit(|| self.backend.locator(&id));
        Ok(id)
    }

    fn key(&self, name: &HeaderName) -> Result<Option<RecordKey>, Problem> {
        let Some(header) = self.header(name)? else { return Ok(None) };
        Ok(Some(RecordKey::from_text(header.to_str().unwrap_or_default())?))
    }

    fn options(&self) -> Result<Option<WriteOptions<'static>>, Problem> {
        let pad = match self.header(&STRONGROOM_PAD)?.map(HeaderValue::as_bytes) {
            None => None,
            Some(b"true") => Some(true),
            Some(b"false") => Some(false),
            Some(_) => return Err(Problem::bad_request("Strongroom-Pad must be true or false")),
        };
        backend::options(self.number(&STRONGROOM_EXPIRES_AT)?, self.number(&STRONGROOM_EXPIRES_IN)?, pad)
    }

    /// Fails if a request in JSON has one of the headers of data that is sent as bytes.
    pub(super) fn refuse_record_headers(&self) -> Result<(), Problem> {
        headers::refuse(&self.head.headers, &RECORD_HEADERS)
    }

    fn number(&self, name: &HeaderName) -> Result<Option<u64>, Problem> {
        let Some(header) = self.header(name)? else { return Ok(None) };
        request_text::number(name.as_str(), header.to_str().unwrap_or_default()).map(Some)
    }

    fn required_key(&self) -> Result<RecordKey, Problem> {
        self.key(&STRONGROOM_KEY)?.ok_or_else(|| missing(&STRONGROOM_KEY))
    }
}

fn missing(name: &HeaderName) -> Problem {
    Problem::bad_request(format!("the header {name} is missing"))
}

pub(super) async fn store(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = (call.id()?, call.key(&STRONGROOM_KEY)?);
    headers::refuse(&call.head.headers, &[STRONGROOM_NEW_KEY])?;
    let target = Target { id, old: None, key, options: call.options()? };
    receive(&mut call, StatusCode::CREATED, target).await
}

pub(super) async fn replace(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, old, key) = (call.id()?, call.required_key()?, call.key(&STRONGROOM_NEW_KEY)?);
    let target = Target { id, old: Some(old), key, options: call.options()? };
    receive(&mut call, StatusCode::OK, target).await
}

/// The destination of a body.
struct Target {
    id: Vec<u8>,
    /// The key of the version that is replaced.
    old: Option<RecordKey>,
    /// The client's key for the new version.
    key: Option<RecordKey>,
    options: Option<WriteOptions<'static>>,
}

impl Target {
    fn write(&self, backend: &EncryptionBackend, data: &[u8]) -> Result<RecordKey, Error> {
        let options = write_options(self.key.as_ref(), self.options);
        match &self.old {
            None => backend.store()?.store_with(&self.id, data, options),
            Some(old) => backend.hide(backend.store()?.replace_with(&self.id, old, data, options), &self.id, old),
        }
    }

    fn writer(&self, backend: &EncryptionBackend) -> Result<RecordWriter, Error> {
        let options = write_options(self.key.as_ref(), self.options);
        match &self.old {
            None => backend.store()?.create_record_with(&self.id, options),
            Some(old) => backend.hide(backend.store()?.replace_record_with(&self.id, old, options), &self.id, old),
        }
    }
}

/// Writes the body to the record, and returns its key.
async fn receive(call: &mut Call<EncryptionBackend>, status: StatusCode, target: Target) -> Result<Response, Problem> {
    let max_len = call.shared.limits.record_bytes;
    call.body.check_announced(max_len)?;
    // The write begins only after data has arrived.
    let mut chunk = call.body.chunk(max_len).await?;
    if chunk.len() < CHUNK_LEN {
        // A short body is complete.
        let write = move |backend: &EncryptionBackend| target.write(backend, &chunk);
        return Ok(key_answer(status, &call.run_with_key(Effect::Write, write).await?));
    }
    let writer = call.run_with_key(Effect::None, move |backend| target.writer(backend)).await?;
    let mut writer = call.shared.pool.own(writer);
    while !chunk.is_empty() {
        (writer, ()) = writer.with(move |writer| writer.write_all(&chunk).map_err(record_error)).await?;
        chunk = call.body.chunk(max_len).await?;
    }
    let key = writer.end(RecordWriter::finish).await??;
    Ok(key_answer(status, &key))
}

impl ChunkSource for RecordReader {
    fn next_chunk(&mut self, len: usize) -> Result<Bytes, Problem> {
        let mut chunk = Wiped::zeros(len).map_err(|_| Error::TooLarge)?;
        self.read_exact(&mut chunk).map_err(record_error)?;
        Ok(Bytes::from_owner(chunk))
    }
}

/// The id and the key of a request without a body.
async fn record_named(call: &mut Call<EncryptionBackend>) -> Result<(Vec<u8>, RecordKey), Problem> {
    let (id, key) = (call.id()?, call.required_key()?);
    headers::refuse(&call.head.headers, &WRITE_HEADERS)?;
    if !call.body.chunk(0).await.is_ok_and(|body| body.is_empty()) {
        return Err(Problem::bad_request("the body must be empty: the id and the key are in headers"));
    }
    Ok((id, key))
}

/// The first chunk is opened before the answer begins, so that damage at the start of a record is an error answer.
pub(super) async fn retrieve(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = record_named(&mut call).await?;
    let range = call.header(&RANGE)?.cloned();
    let (reader, len) = call.run_with_key(Effect::None, move |backend| backend.open(&id, &key)).await?;
    let reader = call.shared.pool.own(reader);
    let range = match &range {
        Some(range) if range_applies(call.header(&IF_RANGE)?, None) => request_text::range(range, len)?,
        _ => None,
    };
    let (start, count) = range.unwrap_or((0, len));
    let (reader, _) = reader.with(move |reader| reader.seek(SeekFrom::Start(start)).map_err(record_error)).await?;
    let mut response = bytes_answer(call.stream(reader, count).await?);
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let range = HeaderValue::from_str(&content_range(start, count, len));
        headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Everything that can fail for another reason than the record comes before the record is taken, because its data is
/// lost with a failure after that. Such a failure is `Indeterminate`, because the others say that nothing has changed.
pub(super) async fn take(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = record_named(&mut call).await?;
    let key = Arc::new(key);
    let (opened_id, opened_key) = (id.clone(), Arc::clone(&key));
    let opened =
        call.run_with_key(Effect::None, move |backend| Ok::<_, Error>(backend.open(&opened_id, &opened_key)?.1));
    let len = opened.await?;
    let permits = call.reserve_stream(len).await?;
    let taken = call.run_with_key(Effect::Write, move |backend| {
        let mut reader = backend.hide(backend.store()?.take_record(&id, &key), &id, &key)?;
        let len = reader.len().map_err(|error| Error::Indeterminate(error.into()))?;
        Ok::<_, Error>((reader, len))
    });
    let (reader, len) = taken.await?;
    let body = answer_chunks::stream(call.shared.pool.own(reader), len, &call.shared).await;
    let body =
        body.map_err(|problem| Error::Indeterminate(problem.cause.unwrap_or_else(|| problem.title.into()).into()))?;
    Ok(bytes_answer(Content::new(body, permits)))
}

fn bytes_answer(content: Content) -> Response {
    let mut response = Response::new(content);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    response
}
