//! Data of any length, as bytes, in constant memory.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use axum::response::Response;
use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use strongroom::{Error, RecordKey, RecordReader, RecordWriter};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Records, hand_out};
use crate::body::Source;
use crate::problem::Problem;
use crate::service::{BYTES, Call, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY};
use crate::wire;

impl Call<Records> {
    fn id(&self) -> Result<Vec<u8>, Problem> {
        let header = self.header(&STRONGROOM_ID)?.ok_or_else(|| missing(&STRONGROOM_ID))?;
        let id = header.to_str().ok().and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
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

/// Where a body goes: into a record, or, where a request is repeated, beside the one that is there.
enum Sink {
    Write(RecordWriter),
    Compare(RecordReader),
}

impl Sink {
    fn store(records: &Records, id: &[u8], key: Option<&RecordKey>) -> Result<Self, Error> {
        let Some(key) = key else { return records.store.create_record(id).map(Self::Write) };
        match records.store.create_record_with_key(id, key) {
            Err(Error::AlreadyExists) => {
                records.store.open_record(id, key).map(Self::Compare).map_err(|error| match error {
                    Error::WrongKey | Error::Corrupt | Error::Expired | Error::Unsupported(_) => Error::AlreadyExists,
                    Error::NotFound => Error::Conflict,
                    error => error,
                })
            }
            writer => writer.map(Self::Write),
        }
    }

    fn replace(records: &Records, id: &[u8], old: &RecordKey, new: Option<&RecordKey>) -> Result<Self, Error> {
        let Some(new) = new else { return records.store.replace_record(id, old).map(Self::Write) };
        match records.store.replace_record_with_key(id, old, new) {
            Err(Error::WrongKey) => records.store.open_record(id, new).map(Self::Compare),
            // Replaced just now: perhaps by the same request.
            Err(Error::Conflict) => records.store.open_record(id, new).map(Self::Compare).map_err(|_| Error::Conflict),
            writer => writer.map(Self::Write),
        }
    }

    /// The next bytes; those that are not what is there are as good as another record.
    fn push(&mut self, piece: &[u8], differs: fn() -> Error) -> Result<(), Error> {
        match self {
            Self::Write(writer) => writer.write_all(piece).map_err(of_reader),
            Self::Compare(reader) => {
                let mut there = Zeroizing::new(vec![0; piece.len()]);
                reader.read_exact(&mut there).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => differs(),
                    _ => of_reader(error),
                })?;
                if bool::from(there.ct_eq(piece)) { Ok(()) } else { Err(differs()) }
            }
        }
    }

    /// The end: the record's key.
    fn finish(self, records: &Records, target: Target) -> Result<RecordKey, Problem> {
        match self {
            Self::Write(writer) => {
                writer.finish().map_err(|error| records.too_late(error, &target.id, target.key.as_ref()))
            }
            Self::Compare(mut reader) => match (reader.read(&mut [0]).map_err(of_reader)?, target.key) {
                (0, Some(key)) => Ok(key),
                _ => Err((target.differs)().into()),
            },
        }
    }
}

pub(super) async fn store(mut call: Call<Records>) -> Result<Response, Problem> {
    let (id, key) = (call.id()?, call.key(&STRONGROOM_KEY)?);
    let target = Target { id, key, differs: || Error::AlreadyExists, status: StatusCode::CREATED };
    receive(&mut call, target, |records, target| Sink::store(records, &target.id, target.key.as_ref())).await
}

pub(super) async fn replace(mut call: Call<Records>) -> Result<Response, Problem> {
    let (id, old, key) = (call.id()?, call.needed_key()?, call.key(&STRONGROOM_NEW_KEY)?);
    let target = Target { id, key, differs: || Error::WrongKey, status: StatusCode::OK };
    let open = move |records: &Records, target: &Target| {
        records.hide(Sink::replace(records, &target.id, &old, target.key.as_ref()), &target.id, &old)
    };
    receive(&mut call, target, open).await
}

/// What a body is to become.
struct Target {
    id: Vec<u8>,
    /// The caller's own key for it.
    key: Option<RecordKey>,
    /// What it means that a repeated request's body is another.
    differs: fn() -> Error,
    status: StatusCode,
}

/// Takes the body into the sink that `open` gives, and hands out the key.
async fn receive(
    call: &mut Call<Records>,
    target: Target,
    open: impl FnOnce(&Records, &Target) -> Result<Sink, Error> + Send + 'static,
) -> Result<Response, Problem> {
    let most = call.shared.limits.record_bytes;
    call.body.check_announced(most)?;
    // Nothing is begun for who sends nothing.
    let mut piece = call.body.piece(most).await?;
    let differs = target.differs;
    let open = call.run_with_key(move |records| open(records, &target).map(|sink| (sink, target)));
    let (sink, target) = open.await?;
    let mut sink = call.shared.threads.guard(sink);
    while !piece.is_empty() {
        (sink, ()) = sink.with(move |sink| sink.push(&piece, differs)).await?;
        piece = call.body.piece(most).await?;
    }
    let records = Arc::clone(&call.backend);
    let status = target.status;
    let key = sink.end(move |sink| sink.finish(&records, target)).await??;
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
        .run_with_key(move |records| {
            let mut reader = records.hide(records.store.open_record(&id, &key), &id, &key)?;
            let len = reader.len()?;
            Ok::<_, Error>((reader, len))
        })
        .await?;
    let reader = call.shared.threads.guard(reader);
    let (start, count) = match &range {
        Some(range) => wire::range(range, len)?,
        None => (0, len),
    };
    let (reader, _) = reader.with(move |reader| reader.seek(SeekFrom::Start(start)).map_err(of_reader)).await?;
    let mut response = Response::new(call.stream(reader, count).await?);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let range = HeaderValue::from_str(&wire::content_range(start, count, len));
        headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}
