//! Data of any length, as bytes, in constant memory.

use std::io::{self, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, IF_RANGE, RANGE};
use strongroom::protocol::base64url::decode;
use strongroom::protocol::names::{OCTET_STREAM, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY};
use strongroom::protocol::range::content_range;
use strongroom::{Error, RecordKey, RecordReader, RecordWriter};
use zeroize::Zeroizing;

use super::{Records, hand_out, options};
use crate::answer::Response;
use crate::body::Source;
use crate::gate::Effect;
use crate::problem::Problem;
use crate::service::Call;
use crate::wire;

impl Call<Records> {
    fn id(&self) -> Result<Vec<u8>, Problem> {
        let header = self.header(&STRONGROOM_ID)?.ok_or_else(|| missing(&STRONGROOM_ID))?;
        let id = header.to_str().ok().and_then(decode);
        id.ok_or_else(|| Problem::bad_request("Strongroom-Id is base64url without padding"))
    }

    fn key(&self, name: &HeaderName) -> Result<Option<RecordKey>, Problem> {
        let Some(header) = self.header(name)? else { return Ok(None) };
        Ok(Some(RecordKey::from_text(header.to_str().unwrap_or_default())?))
    }

    fn needed_key(&self) -> Result<RecordKey, Problem> {
        self.key(&STRONGROOM_KEY)?.ok_or_else(|| missing(&STRONGROOM_KEY))
    }
}

fn missing(name: &HeaderName) -> Problem {
    Problem::bad_request(format!("the header {name} is missing"))
}

/// The error in what a reader or writer of records says.
pub(super) fn of_reader(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}

pub(super) async fn store(mut call: Call<Records>) -> Result<Response, Problem> {
    let (id, key) = (call.id()?, call.key(&STRONGROOM_KEY)?);
    let start = move |records: &Records| records.store.create_record_with(&id, options(key.as_ref()));
    receive(&mut call, StatusCode::CREATED, start).await
}

pub(super) async fn replace(mut call: Call<Records>) -> Result<Response, Problem> {
    let (id, old, key) = (call.id()?, call.needed_key()?, call.key(&STRONGROOM_NEW_KEY)?);
    let start = move |records: &Records| {
        records.hide(records.store.replace_record_with(&id, &old, options(key.as_ref())), &id, &old)
    };
    receive(&mut call, StatusCode::OK, start).await
}

/// Takes the body into the writer that `start` gives, and hands out the key.
async fn receive(
    call: &mut Call<Records>,
    status: StatusCode,
    start: impl FnOnce(&Records) -> Result<RecordWriter, Error> + Send + 'static,
) -> Result<Response, Problem> {
    let most = call.shared.limits.record_bytes;
    call.body.check_announced(most)?;
    // Nothing is begun for who sends nothing.
    let mut piece = call.body.piece(most).await?;
    let writer = call.run_with_key(Effect::None, start).await?;
    let mut writer = call.shared.threads.guard(writer);
    while !piece.is_empty() {
        (writer, ()) = writer.with(move |writer| writer.write_all(&piece).map_err(of_reader)).await?;
        piece = call.body.piece(most).await?;
    }
    let key = writer.end(RecordWriter::finish).await??;
    Ok(hand_out(status, &key))
}

impl Source for RecordReader {
    fn next_piece(&mut self, len: usize) -> Result<Bytes, Problem> {
        let mut piece = Zeroizing::new(vec![0; len]);
        self.read_exact(&mut piece).map_err(of_reader)?;
        Ok(Bytes::from_owner(piece))
    }
}

/// The first piece is opened before the answer begins: a record that is damaged at its start is an error answer.
pub(super) async fn retrieve(mut call: Call<Records>) -> Result<Response, Problem> {
    let (id, key) = (call.id()?, call.needed_key()?);
    let range = call.header(&RANGE)?.cloned();
    if !call.body.piece(0).await.is_ok_and(|body| body.is_empty()) {
        return Err(Problem::bad_request("a retrieve of bytes has an empty body"));
    }
    let (reader, len) = call
        .run_with_key(Effect::None, move |records| {
            let mut reader = records.hide(records.store.open_record(&id, &key), &id, &key)?;
            let len = reader.len()?;
            Ok::<_, Error>((reader, len))
        })
        .await?;
    let reader = call.shared.threads.guard(reader);
    let range = match &range {
        Some(range) if wire::range_applies(call.header(&IF_RANGE)?, None) => wire::range(range, len)?,
        _ => None,
    };
    let (start, count) = range.unwrap_or((0, len));
    let (reader, _) = reader.with(move |reader| reader.seek(SeekFrom::Start(start)).map_err(of_reader)).await?;
    let mut response = Response::new(call.stream(reader, count).await?);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let range = HeaderValue::from_str(&content_range(start, count, len));
        headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}
