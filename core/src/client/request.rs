//! Requests to the encryption server.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::http::ApiRequest;
use crate::key::RecordKey;
use crate::protocol::base64url;
use crate::protocol::names::{self, JSON, OCTET_STREAM, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY};
use crate::record::is_id;

pub(super) fn store(id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
    Ok(of_bytes(names::STORE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
}

pub(super) fn retrieve(id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
    Ok(of_bytes(names::RETRIEVE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
}

pub(super) fn replace(id: &[u8], old: &RecordKey, new: &RecordKey) -> Result<ApiRequest, Error> {
    let request = of_bytes(names::REPLACE, id)?.with(STRONGROOM_KEY, secret(old.to_text())?);
    Ok(request.with(STRONGROOM_NEW_KEY, secret(new.to_text())?))
}

/// A request in JSON about one record.
pub(super) fn json(path: &'static str, id: &[u8], key: Option<&RecordKey>) -> Result<ApiRequest, Error> {
    Ok(of_json(path, record(id, key, None)?))
}

/// A request in JSON about many records: each with its key, and its data if it is to be stored.
pub(super) fn many<'r>(
    path: &'static str,
    records: impl Iterator<Item = (&'r [u8], &'r RecordKey, Option<&'r [u8]>)> + Clone,
) -> Result<ApiRequest, Error> {
    const BEGIN: &str = "{\"records\":[";
    let len = records.clone().map(|(id, _, data)| record_len(id, data)).fold(BEGIN.len() + 2, usize::saturating_add);
    // Full capacity from the start: growth would leave a copy of keys and data in memory.
    let mut body = Zeroizing::new(String::with_capacity(len));
    body.push_str(BEGIN);
    for (n, (id, key, data)) in records.enumerate() {
        body.push_str(if n == 0 { "" } else { "," });
        body.push_str(&record(id, Some(key), data)?);
    }
    body.push_str("]}");
    Ok(of_json(path, body))
}

/// The most bytes of a [`record`], and a comma.
fn record_len(id: &[u8], data: Option<&[u8]>) -> usize {
    const FIELDS: usize = 128;
    let base64 = |len: usize| len.div_ceil(3).saturating_mul(4);
    base64(id.len()).saturating_add(data.map_or(0, |data| base64(data.len()))).saturating_add(FIELDS)
}

/// A record in JSON.
fn record(id: &[u8], key: Option<&RecordKey>, data: Option<&[u8]>) -> Result<Zeroizing<String>, Error> {
    check_id(id)?;
    let mut object = Zeroizing::new(String::with_capacity(record_len(id, data)));
    ["{\"id_base64\":\"", &Base64::encode_string(id), "\""].into_iter().for_each(|part| object.push_str(part));
    if let Some(key) = key {
        [",\"key\":\"", &key.to_text(), "\""].into_iter().for_each(|part| object.push_str(part));
    }
    if let Some(data) = data {
        let data = Zeroizing::new(Base64::encode_string(data));
        [",\"data\":\"", &data, "\""].into_iter().for_each(|part| object.push_str(part));
    }
    object.push('}');
    Ok(object)
}

fn of_json(path: &'static str, body: Zeroizing<String>) -> ApiRequest {
    ApiRequest::new(Method::POST, path).of_type(JSON).body(Bytes::from_owner(body))
}

fn of_bytes(path: &'static str, id: &[u8]) -> Result<ApiRequest, Error> {
    check_id(id)?;
    let request = ApiRequest::new(Method::POST, path).of_type(OCTET_STREAM);
    Ok(request.with(STRONGROOM_ID, secret(base64url::encode_id(id))?))
}

fn check_id(id: &[u8]) -> Result<(), Error> {
    if is_id(id) { Ok(()) } else { Err(Error::InvalidId) }
}

/// A header that is never shown, and is wiped when its last copy is dropped.
fn secret(text: Zeroizing<String>) -> Result<HeaderValue, Error> {
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
    let mut value = value.map_err(|error| Error::Internal(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}
