//! Operations in JSON, with small data.

use std::io::Read;

use base64ct::{Base64, Encoding};
use hyper::StatusCode;
use strongroom::protocol::documents;
use strongroom::protocol::limits::PURGE_RECORDS;
use strongroom::protocol::names::JSON;
use strongroom::{Error, RecordReader};
use zeroize::Zeroizing;

use super::backend::{EncryptionBackend, key_answer, record_error, write_options};
use super::fields::{Fields, Request, refuse, required};
use crate::blocking_pool::Effect;
use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::request_text;
use crate::response::{empty, json, secret};

/// The fields of a request about one record.
async fn request(call: &mut Call<EncryptionBackend>) -> Result<Request, Problem> {
    let request = any_request(call).await?;
    refuse(&request.limit, "limit")?;
    Ok(request)
}

async fn any_request(call: &mut Call<EncryptionBackend>) -> Result<Request, Problem> {
    call.require_type(JSON)?;
    call.refuse_expiry_headers()?;
    let body = call.body.all(call.shared.limits.json_bytes).await?;
    Request::try_from(request_text::object::<Fields<'_>>(&body)?)
}

pub(super) async fn store(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    refuse(&request.new_key, "new_key")?;
    let (id, data) = (required(request.id, "id")?, required(request.data, "data")?);
    let (key, expiry) = (request.key, request.expiry);
    let key =
        call.run(Effect::Write, move |backend| backend.store.store_with(id, data, write_options(key.as_ref(), expiry)));
    Ok(key_answer(StatusCode::CREATED, &key.await?))
}

/// Opens the record as a stream, so that a long record, or a wrong key, is rejected before the record is read. Data
/// that is not short is read after memory for it is reserved.
pub(super) async fn retrieve(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    refuse(&request.data, "data")?;
    request.refuse_write_options()?;
    let (id, key) = (required(request.id, "id")?, required(request.key, "key")?);
    let max_len = call.shared.limits.json_bytes / 4 * 3;
    let opened = call.run_with_key(Effect::None, move |backend| {
        let mut reader = backend.hide(backend.store.open_record(&id, &key), &id, &key)?;
        let len = reader.len()?;
        let len = usize::try_from(len).ok().filter(|_| len <= max_len).ok_or(Error::TooLarge)?;
        if len > SHORT {
            return Ok(Opened::Long(Box::new(reader), len));
        }
        Ok::<_, Error>(Opened::Short(read(&mut reader, len)?))
    });
    let (reader, len) = match opened.await? {
        Opened::Short(answer) => return Ok(answer),
        Opened::Long(reader, len) => (call.shared.pool.own(reader), len),
    };
    let permits = call.reserve(len as u64 / 3 * 4 + FIELD_BYTES).await?;
    let (_, answer) = reader.with(move |reader| read(reader, len)).await?;
    Ok(answer.map(|content| content.with_permits(permits)))
}

/// The most bytes of a record that is read without reserved memory.
const SHORT: usize = 16 << 10;
/// The most bytes of an answer in addition to the data.
const FIELD_BYTES: u64 = 64;

enum Opened {
    Short(Response),
    Long(Box<RecordReader>, usize),
}

fn read(reader: &mut RecordReader, len: usize) -> Result<Response, Error> {
    let mut data = Zeroizing::new(vec![0; len]);
    reader.read_exact(&mut data).map_err(record_error)?;
    Ok(secret(StatusCode::OK, "data", &Zeroizing::new(Base64::encode_string(&data))))
}

pub(super) async fn replace(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    let (id, key, data) = (required(request.id, "id")?, required(request.key, "key")?, required(request.data, "data")?);
    let (new_key, expiry) = (request.new_key, request.expiry);
    let key = call.run_with_key(Effect::Write, move |backend| {
        let options = write_options(new_key.as_ref(), expiry);
        backend.hide(backend.store.replace_with(&id, &key, data, options), &id, &key)
    });
    Ok(key_answer(StatusCode::OK, &key.await?))
}

pub(super) async fn delete(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    refuse(&request.data, "data")?;
    request.refuse_write_options()?;
    let (id, key) = (required(request.id, "id")?, required(request.key, "key")?);
    call.run_with_key(Effect::Write, move |backend| backend.hide(backend.store.delete(&id, &key), &id, &key)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn erase(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let id = id_alone(&mut call).await?;
    let erased = call.run(Effect::Write, move |backend| backend.store.erase(id)).await?;
    Ok(json(StatusCode::OK, &documents::erased(erased)))
}

pub(super) async fn contains(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let id = id_alone(&mut call).await?;
    let found = call.run(Effect::None, move |backend| backend.store.contains(id)).await?;
    Ok(json(StatusCode::OK, &documents::contains(found)))
}

/// The id of a request that has no other field.
async fn id_alone(call: &mut Call<EncryptionBackend>) -> Result<Vec<u8>, Problem> {
    let request = request(call).await?;
    refuse(&request.data, "data")?;
    refuse(&request.key, "key")?;
    request.refuse_write_options()?;
    required(request.id, "id")
}

/// Removes at most [`PURGE_RECORDS`] expired records, so that no request takes long.
pub(super) async fn purge(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = any_request(&mut call).await?;
    refuse(&request.id, "id")?;
    refuse(&request.data, "data")?;
    refuse(&request.key, "key")?;
    request.refuse_write_options()?;
    let limit = usize::try_from(required(request.limit, "limit")?).unwrap_or(usize::MAX).min(PURGE_RECORDS);
    let purged = call.run(Effect::Write, move |backend| backend.store.purge(limit)).await?;
    Ok(json(StatusCode::OK, &documents::purged(purged)))
}

pub(super) async fn stats(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let Request { id: None, data: None, key: None, new_key: None, expiry: None, limit: None } =
        any_request(&mut call).await?
    else {
        return Err(Problem::bad_request("the body must be {}"));
    };
    let stats = call.run(Effect::None, |backend| backend.store.stats()).await?;
    Ok(json(StatusCode::OK, &documents::stats(stats.records, stats.bytes, stats.expired)))
}
