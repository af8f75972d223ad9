//! Operations in JSON, with small data.

use std::io::Read;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use hyper::StatusCode;
use strongroom::Wiped;
use strongroom::protocol::documents;
use strongroom::protocol::limits::PURGE_RECORDS;
use strongroom::protocol::names::JSON;
use strongroom::{Error, RecordKey, RecordReader};

use super::backend::{EncryptionBackend, key_answer, record_error, write_options};
use super::fields::{Fields, Request, refuse, required};
use crate::answer_memory::SHORT_RECORD;
use crate::blocking_pool::Effect;
use crate::body::answer_chunks::CHUNK_LEN;
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
    call.refuse_record_headers()?;
    let body = call.body.all(call.shared.limits.json_bytes).await?;
    let request = Request::try_from(request_text::object::<Fields<'_>>(&body)?)?;
    call.audit(|| call.backend.locator(request.id.as_deref()?));
    Ok(request)
}

pub(super) async fn store(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    refuse(&request.new_key, "new_key")?;
    let (id, data) = (required(request.id, "id")?, required(request.data, "data")?);
    let (key, options) = (request.key, request.options);
    let key = call
        .run(Effect::Write, move |backend| backend.store()?.store_with(id, data, write_options(key.as_ref(), options)));
    Ok(key_answer(StatusCode::CREATED, &key.await?))
}

/// The id and the key of a request that has no other field.
async fn record_named(call: &mut Call<EncryptionBackend>) -> Result<(Vec<u8>, RecordKey), Problem> {
    let request = request(call).await?;
    refuse(&request.data, "data")?;
    request.refuse_write_options()?;
    Ok((required(request.id, "id")?, required(request.key, "key")?))
}

/// Opens the record as a stream, so that a long record, or a wrong key, is rejected before the record is read. Data
/// that is not short is read after memory for it is reserved.
pub(super) async fn retrieve(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = record_named(&mut call).await?;
    let max_len = max_data_len(&call);
    let opened = call.run_with_key(Effect::None, move |backend| {
        let (mut reader, len) = backend.open(&id, &key)?;
        let len = usize::try_from(len).ok().filter(|_| len <= max_len).ok_or(Error::TooLarge)?;
        if len > SHORT_RECORD {
            return Ok(Opened::Long(Box::new(reader), len));
        }
        Ok::<_, Error>(Opened::Short(read(&mut reader, len)?))
    });
    let (reader, len) = match opened.await? {
        Opened::Short(answer) => return Ok(answer),
        Opened::Long(reader, len) => (call.shared.pool.own(reader), len),
    };
    let permits = call.reserve(memory_of(len as u64)).await?;
    let (_, answer) = reader.with(move |reader| read(reader, len)).await?;
    Ok(answer.map(|content| content.with_permits(permits)))
}

/// The most bytes of data in an answer.
fn max_data_len(call: &Call<EncryptionBackend>) -> u64 {
    call.shared.limits.json_bytes / 4 * 3
}

/// The memory of an answer with `len` bytes of data.
fn memory_of(len: u64) -> u64 {
    const FIELD_BYTES: u64 = 64;
    len / 3 * 4 + FIELD_BYTES
}

enum Opened {
    Short(Response),
    Long(Box<RecordReader>, usize),
}

fn read(reader: &mut RecordReader, len: usize) -> Result<Response, Error> {
    let mut data = Wiped::zeros(len).map_err(|_| Error::TooLarge)?;
    reader.read_exact(&mut data).map_err(record_error)?;
    Ok(data_answer(&data))
}

fn data_answer(data: &[u8]) -> Response {
    secret(StatusCode::OK, "data", &Wiped::from(Base64::encode_string(data)))
}

/// Everything that can fail for another reason than the record comes before the record is taken, because its data is
/// lost with a failure after that.
pub(super) async fn take(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = record_named(&mut call).await?;
    let (max_len, record) = (max_data_len(&call), Arc::new((id, key)));
    let opened = Arc::clone(&record);
    let opened = call.run_with_key(Effect::None, move |backend| match backend.open(&opened.0, &opened.1)? {
        (_, len) if len > max_len => Err(Error::TooLarge),
        (_, len) => Ok(len),
    });
    let len = opened.await?;
    let permits = call.reserve(memory_of(len)).await?;
    let taken = call.run_with_key(Effect::Write, move |backend| {
        let (id, key) = &*record;
        backend.hide(backend.store()?.take(id, key), id, key).map(Wiped::from)
    });
    Ok(data_answer(&taken.await?).map(|content| content.with_permits(permits)))
}

/// A long record waits for a permit, so that such calls leave threads to others.
pub(super) async fn rekey(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    refuse(&request.data, "data")?;
    let (id, old) = (required(request.id, "id")?, required(request.key, "key")?);
    let (new, options) = (request.new_key, request.options);
    let record = Arc::new((id, old));
    let opened = Arc::clone(&record);
    let opened = call.run_with_key(Effect::None, move |backend| Ok::<_, Error>(backend.open(&opened.0, &opened.1)?.1));
    let len = match opened.await {
        // The client's new key may open the record: the call then repeats an earlier one.
        Err(problem) if problem.status == StatusCode::NOT_FOUND && new.is_some() => 0,
        outcome => outcome?,
    };
    let permit = if len > CHUNK_LEN as u64 { Some(call.shared.rekeys.acquire().await?) } else { None };
    let key = call.run_with_key(Effect::Write, move |backend| {
        let _permit = permit; // the work is finished even if the client has disconnected
        let (id, old) = &*record;
        backend.hide(backend.store()?.rekey_with(id, old, write_options(new.as_ref(), options)), id, old)
    });
    Ok(key_answer(StatusCode::OK, &key.await?))
}

pub(super) async fn replace(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    let (id, key, data) = (required(request.id, "id")?, required(request.key, "key")?, required(request.data, "data")?);
    let (new_key, options) = (request.new_key, request.options);
    let key = call.run_with_key(Effect::Write, move |backend| {
        let options = write_options(new_key.as_ref(), options);
        backend.hide(backend.store()?.replace_with(&id, &key, data, options), &id, &key)
    });
    Ok(key_answer(StatusCode::OK, &key.await?))
}

pub(super) async fn delete(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let (id, key) = record_named(&mut call).await?;
    call.run_with_key(Effect::Write, move |backend| backend.hide(backend.store()?.delete(&id, &key), &id, &key))
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn erase(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let id = id_alone(&mut call).await?;
    let erased = call.run(Effect::Write, move |backend| backend.store()?.erase(id)).await?;
    Ok(json(StatusCode::OK, &documents::erased(erased)))
}

pub(super) async fn contains(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let id = id_alone(&mut call).await?;
    let found = call.run(Effect::None, move |backend| backend.store()?.contains(id)).await?;
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
    call.backend.require_whole_store()?;
    let request = any_request(&mut call).await?;
    refuse(&request.id, "id")?;
    refuse(&request.data, "data")?;
    refuse(&request.key, "key")?;
    request.refuse_write_options()?;
    let limit = usize::try_from(required(request.limit, "limit")?).unwrap_or(usize::MAX).min(PURGE_RECORDS);
    let purged = call.run(Effect::Write, move |backend| backend.store()?.purge(limit)).await?;
    Ok(json(StatusCode::OK, &documents::purged(purged)))
}

pub(super) async fn stats(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    call.backend.require_whole_store()?;
    let Request { id: None, data: None, key: None, new_key: None, options: None, limit: None } =
        any_request(&mut call).await?
    else {
        return Err(Problem::bad_request("the body must be {}"));
    };
    let stats = call.run(Effect::None, |backend| backend.store()?.stats()).await?;
    Ok(json(StatusCode::OK, &documents::stats(stats.records, stats.bytes, stats.expired, stats.free)))
}
