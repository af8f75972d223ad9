//! Requests to the encryption server.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::http::ApiRequest;
use crate::key::RecordKey;
use crate::operations::NewVersion;
use crate::protocol::base64url;
use crate::protocol::names::{
    self, JSON, OCTET_STREAM, STRONGROOM_EXPIRES_AT, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NAMESPACE,
    STRONGROOM_NEW_KEY, STRONGROOM_PAD,
};
use crate::record::is_id;
use crate::util::wiped::Wiped;

/// Makes requests about the ids of one namespace.
#[derive(Default)]
pub(super) struct Requests {
    /// `None` for the default namespace.
    namespace: Option<HeaderValue>,
}

/// The record of a request in JSON.
#[derive(Clone, Copy)]
pub(super) struct Record<'r> {
    pub(super) id: &'r [u8],
    pub(super) key: Option<&'r RecordKey>,
    pub(super) new_key: Option<&'r RecordKey>,
    pub(super) data: Option<&'r [u8]>,
    /// 0 for none.
    pub(super) expires_at: u64,
    pub(super) padded: bool,
}

impl<'r> Record<'r> {
    pub(super) fn new(id: &'r [u8]) -> Self {
        Self { id, key: None, new_key: None, data: None, expires_at: 0, padded: false }
    }

    pub(super) fn key(self, key: &'r RecordKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

impl Requests {
    pub(super) fn in_namespace(name: &[u8]) -> Result<Self, Error> {
        let namespace = if name.is_empty() { None } else { Some(secret(base64url::encode_id(name))?) };
        Ok(Self { namespace })
    }

    pub(super) fn store(&self, id: &[u8], new: NewVersion<'_>) -> Result<ApiRequest, Error> {
        let request = self.of_bytes(names::STORE, id)?.with(STRONGROOM_KEY, secret(new.key.to_text())?);
        Ok(with_options(request, new))
    }

    pub(super) fn retrieve(&self, id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
        Ok(self.of_bytes(names::RETRIEVE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
    }

    pub(super) fn take(&self, id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
        Ok(self.of_bytes(names::TAKE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
    }

    pub(super) fn replace(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<ApiRequest, Error> {
        let request = self.of_bytes(names::REPLACE, id)?.with(STRONGROOM_KEY, secret(old.to_text())?);
        Ok(with_options(request.with(STRONGROOM_NEW_KEY, secret(new.key.to_text())?), new))
    }

    /// A request in JSON about one record.
    pub(super) fn json(&self, path: &'static str, record: Record<'_>) -> Result<ApiRequest, Error> {
        Ok(self.of_json(path, object(record)?))
    }

    /// A request in JSON about many records.
    pub(super) fn many<'r>(
        &self,
        path: &'static str,
        records: impl Iterator<Item = Record<'r>> + Clone,
    ) -> Result<ApiRequest, Error> {
        const BEGIN: &str = "{\"records\":[";
        let lengths = records.clone().map(|record| object_len(record.id, record.data));
        // Full capacity from the start: growth would leave a copy of keys and data in memory.
        let mut body = text(lengths.fold(BEGIN.len() + 2, usize::saturating_add))?;
        push(&mut body, &[BEGIN]);
        for (n, record) in records.enumerate() {
            push(&mut body, &[if n == 0 { "" } else { "," }]);
            body.extend_from_slice(&object(record)?);
        }
        push(&mut body, &["]}"]);
        Ok(self.of_json(path, body))
    }

    fn of_json(&self, path: &'static str, body: Wiped) -> ApiRequest {
        self.new_request(path).of_type(JSON).body(Bytes::from_owner(body))
    }

    fn of_bytes(&self, path: &'static str, id: &[u8]) -> Result<ApiRequest, Error> {
        check_id(id)?;
        let request = self.new_request(path).of_type(OCTET_STREAM);
        Ok(request.with(STRONGROOM_ID, secret(base64url::encode_id(id))?))
    }

    fn new_request(&self, path: &'static str) -> ApiRequest {
        let request = ApiRequest::new(Method::POST, path);
        match &self.namespace {
            Some(namespace) => request.with(STRONGROOM_NAMESPACE, namespace.clone()),
            None => request,
        }
    }
}

fn with_options(request: ApiRequest, new: NewVersion<'_>) -> ApiRequest {
    let expiry = (new.expires_at != 0).then(|| (STRONGROOM_EXPIRES_AT, new.expires_at.into()));
    let padding = new.padded.then_some((STRONGROOM_PAD, HeaderValue::from_static("true")));
    expiry.into_iter().chain(padding).fold(request, |request, (name, value)| request.with(name, value))
}

/// The most bytes of an [`object`], and a comma.
fn object_len(id: &[u8], data: Option<&[u8]>) -> usize {
    const FIELDS: usize = 288;
    base64_len(id.len()).saturating_add(data.map_or(0, |data| base64_len(data.len()))).saturating_add(FIELDS)
}

fn base64_len(len: usize) -> usize {
    len.div_ceil(3).saturating_mul(4)
}

/// An empty text with room for `capacity` bytes.
fn text(capacity: usize) -> Result<Wiped, Error> {
    let mut text = Wiped::default();
    text.grow(capacity).map_err(|_| Error::TooLarge)?;
    Ok(text)
}

fn push(text: &mut Wiped, parts: &[&str]) {
    parts.iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
}

/// A record in JSON.
fn object(record: Record<'_>) -> Result<Wiped, Error> {
    let Record { id, key, new_key, data, expires_at, padded } = record;
    check_id(id)?;
    let mut object = text(object_len(id, data))?;
    push(&mut object, &["{\"id_base64\":\"", &Base64::encode_string(id), "\""]);
    for (field, key) in [(",\"key\":\"", key), (",\"new_key\":\"", new_key)] {
        if let Some(key) = key {
            push(&mut object, &[field, &key.to_text(), "\""]);
        }
    }
    if let Some(data) = data {
        let mut room = Wiped::zeros(base64_len(data.len())).map_err(|_| Error::TooLarge)?;
        let data = Base64::encode(data, &mut room).map_err(|_| Error::TooLarge)?;
        push(&mut object, &[",\"data\":\"", data, "\""]);
    }
    if expires_at != 0 {
        push(&mut object, &[",\"expires_at\":", &expires_at.to_string()]);
    }
    if padded {
        push(&mut object, &[",\"pad\":true"]);
    }
    push(&mut object, &["}"]);
    Ok(object)
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
