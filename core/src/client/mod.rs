//! The client of the encryption server (`docs/HTTP.md`), with the methods of [`Strongroom`](crate::Strongroom).

mod reader;
mod write;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

pub use reader::Reader;
pub use writer::Writer;

use crate::error::{Error, same_key};
use crate::http::{self, ApiRequest, ApiResponse, Endpoint, Failure, HttpClient, RetryPolicy, TooLate};
use crate::key::RecordKey;
use crate::protocol::names::{self, JSON, OCTET_STREAM, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY};
use crate::protocol::{ErrorCode, base64url, documents};
use crate::record::is_id;
use crate::storage::Stats;

/// A store behind an encryption server, which sees ids, keys and data while it works on them.
///
/// It has the methods of [`Strongroom`](crate::Strongroom) for which a server has an endpoint, and the same errors with
/// one exception: the server does not distinguish a wrong key from a missing record, both are [`Error::NotFound`]. The
/// client makes new keys and sends them to the server, so that it can repeat a call whose answer is lost, until the
/// endpoint's time is up. A write whose outcome is still unknown then is [`Error::Indeterminate`].
///
/// ```no_run
/// use strongroom::Endpoint;
/// use strongroom::client::Client;
///
/// let endpoint = Endpoint::new("https://strongroom.example:8420")?.token_file("/run/secrets/strongroom-token");
/// let store = Client::open(&endpoint)?;
/// let key = store.store("user:42:passport", b"scanned pages")?;
/// assert_eq!(store.retrieve("user:42:passport", &key)?, b"scanned pages");
/// # Ok::<(), strongroom::Error>(())
/// ```
pub struct Client {
    http: Arc<HttpClient>,
}

impl Client {
    /// The encryption server at `endpoint`, which need not be reachable yet.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`], and [`Error::Storage`] where a file of the endpoint cannot be read.
    pub fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self { http: Arc::new(HttpClient::open(endpoint)?) })
    }

    /// As [`Strongroom::retrieve`](crate::Strongroom::retrieve).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], also for a wrong key; [`Error::Corrupt`], [`Error::Expired`], [`Error::Unsupported`],
    /// [`Error::InvalidId`], and those of the server and the connection.
    pub fn retrieve(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        let request = retrieve_request(id.as_ref(), key)?.at_most(u64::MAX);
        Ok(self.http.read(&request, self.http.end()).map_err(of_read)?.body)
    }

    /// As [`Strongroom::retrieve_range`](crate::Strongroom::retrieve_range).
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_range(&self, id: impl AsRef<[u8]>, key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let is_empty = range.is_empty();
        // For an empty range, one byte is requested: the answer proves the key.
        let last = if is_empty { range.start } else { range.end - 1 };
        let most = (last - range.start).saturating_add(1);
        let request = retrieve_request(id.as_ref(), key)?.range(range.start, Some(last)).at_most(most);
        let answer = match self.http.read(&request, self.http.end()) {
            Err(Failure::Problem(problem)) if problem.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(Vec::new());
            }
            outcome => outcome.map_err(of_read)?,
        };
        let (part, len) = http::part(answer.status, &answer.headers).ok_or_else(protocol_violation)?;
        let expected = range.start..last.saturating_add(1).min(len);
        if part != expected || answer.body.len() as u64 != part.end.saturating_sub(part.start) {
            return Err(protocol_violation());
        }
        Ok(if is_empty { Vec::new() } else { answer.body })
    }

    /// As [`Strongroom::open_record`](crate::Strongroom::open_record).
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), for the record's beginning and its end; the rest is checked as it is read.
    pub fn open_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Reader, Error> {
        Reader::open(Arc::clone(&self.http), retrieve_request(id.as_ref(), key)?)
    }

    /// As [`Strongroom::delete`](crate::Strongroom::delete).
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::Indeterminate`] also where an answer was lost and there is no such record now.
    pub fn delete(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        let request = json_request(names::DELETE, id.as_ref(), Some(key))?;
        match self.http.write(&request, RetryPolicy::Idempotent, self.http.end()) {
            // The lost attempt or another caller removed it, or it never existed: nobody can tell.
            (Err(Failure::Problem(problem)), true)
                if matches!(problem.code(), Some(ErrorCode::NotFound | ErrorCode::Conflict)) =>
            {
                Err(Error::Indeterminate("the answer was lost, and there is no such record now".into()))
            }
            (outcome, _) => outcome.map(drop).map_err(of_write),
        }
    }

    /// As [`Strongroom::erase`](crate::Strongroom::erase).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the server and the connection: [`Error::Indeterminate`] where the answer was
    /// lost, since this request is never repeated then.
    pub fn erase(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        let request = json_request(names::ERASE, id.as_ref(), None)?;
        // A repetition could remove a record that was stored meanwhile.
        let (outcome, _) = self.http.write(&request, RetryPolicy::UnlessDone, self.http.end());
        document(&outcome.map_err(of_write)?, documents::read_erased)
    }

    /// As [`Strongroom::stats`](crate::Strongroom::stats).
    ///
    /// # Errors
    ///
    /// Those of the server and the connection.
    pub fn stats(&self) -> Result<Stats, Error> {
        let request = ApiRequest::new(Method::POST, names::STATS).of_type(JSON).body(Bytes::from_static(b"{}"));
        let answer = self.http.read(&request, self.http.end()).map_err(of_read)?;
        let (records, bytes) = document(&answer, documents::read_stats)?;
        Ok(Stats::new(records, bytes))
    }

    /// Closes this handle; every later call is [`Error::Closed`].
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a child of the process that opened it.
    pub fn close(&self) -> Result<(), Error> {
        self.http.close().map_err(of_read)
    }
}

fn check_id(id: &[u8]) -> Result<(), Error> {
    if is_id(id) { Ok(()) } else { Err(Error::InvalidId) }
}

fn bytes_request(path: &'static str, id: &[u8]) -> Result<ApiRequest, Error> {
    check_id(id)?;
    let request = ApiRequest::new(Method::POST, path).of_type(OCTET_STREAM);
    Ok(request.with(STRONGROOM_ID, secret(base64url::encode_id(id))?))
}

fn store_request(id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
    Ok(bytes_request(names::STORE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
}

fn retrieve_request(id: &[u8], key: &RecordKey) -> Result<ApiRequest, Error> {
    Ok(bytes_request(names::RETRIEVE, id)?.with(STRONGROOM_KEY, secret(key.to_text())?))
}

fn replace_request(id: &[u8], old: &RecordKey, new: &RecordKey) -> Result<ApiRequest, Error> {
    if old.ct_eq(new) {
        return Err(same_key());
    }
    let request = bytes_request(names::REPLACE, id)?.with(STRONGROOM_KEY, secret(old.to_text())?);
    Ok(request.with(STRONGROOM_NEW_KEY, secret(new.to_text())?))
}

fn json_request(path: &'static str, id: &[u8], key: Option<&RecordKey>) -> Result<ApiRequest, Error> {
    check_id(id)?;
    let id = Base64::encode_string(id);
    // Full capacity from the start: growth would leave a copy of the key behind.
    let mut body = Zeroizing::new(String::with_capacity(id.len() + 128));
    ["{\"id_base64\":\"", &id, "\""].into_iter().for_each(|part| body.push_str(part));
    if let Some(key) = key {
        [",\"key\":\"", &key.to_text(), "\""].into_iter().for_each(|part| body.push_str(part));
    }
    body.push('}');
    Ok(ApiRequest::new(Method::POST, path).of_type(JSON).body(Bytes::from_owner(body)))
}

/// A header that is never shown, and is wiped when its last copy is dropped.
fn secret(text: Zeroizing<String>) -> Result<HeaderValue, Error> {
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
    let mut value = value.map_err(|error| Error::Internal(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A copy that is wiped when its last handle is dropped.
fn wiped(data: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(data.to_vec()))
}

/// Decodes an answer in JSON.
fn document<T>(answer: &ApiResponse, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, Error> {
    let document: Value = serde_json::from_slice(&answer.body).map_err(|_| protocol_violation())?;
    read(&document).ok_or_else(protocol_violation)
}

/// The error of an answer that violates the protocol.
fn protocol_violation() -> Error {
    Error::Storage("the answer is not that of an encryption server".into())
}

/// The error of a request that changes nothing, so that no outcome is unknown.
fn of_read(failure: Failure) -> Error {
    match failure {
        Failure::Lost(source) if source.is::<TooLate>() => Error::Busy,
        Failure::Lost(source) => Error::Storage(source),
        Failure::Problem(problem) if problem.code() == Some(ErrorCode::Internal) => Error::Internal(problem.into()),
        Failure::TooLarge => Error::TooLarge,
        Failure::ProtocolViolation => protocol_violation(),
        other => of_write(other),
    }
}

fn of_write(failure: Failure) -> Error {
    match failure {
        Failure::Problem(problem) if problem.is_denial() => Error::AccessDenied(problem.into()),
        Failure::Problem(problem) if !problem.is_ours() => protocol_violation(),
        Failure::Problem(problem) => match problem.code() {
            Some(ErrorCode::NotFound) => Error::NotFound,
            Some(ErrorCode::AlreadyExists) => Error::AlreadyExists,
            Some(ErrorCode::Corrupt) => Error::Corrupt,
            Some(ErrorCode::InvalidId) => Error::InvalidId,
            Some(ErrorCode::Unsupported) => Error::Unsupported(problem.detail.into()),
            Some(ErrorCode::TooLarge) => Error::TooLarge,
            Some(ErrorCode::IndexKeyMismatch) => Error::IndexKeyMismatch,
            Some(ErrorCode::Conflict) => Error::Conflict,
            Some(ErrorCode::Busy) => Error::Busy,
            Some(ErrorCode::StorageFull) => Error::StorageFull,
            Some(ErrorCode::InvalidArgument) if problem.status == StatusCode::BAD_REQUEST => {
                Error::InvalidArgument(problem.detail.into())
            }
            Some(ErrorCode::Expired) => Error::Expired,
            // The error may have come after the commit.
            Some(ErrorCode::Internal) => Error::Indeterminate(problem.into()),
            _ => Error::Storage(problem.into()),
        },
        Failure::NotSent(source) | Failure::Untrusted(source) => Error::Storage(source),
        Failure::Denied(source) => Error::AccessDenied(source),
        Failure::Lost(source) => Error::Indeterminate(source),
        // The server succeeded, or a proxy says so.
        Failure::TooLarge | Failure::ProtocolViolation => Error::Indeterminate(protocol_violation().into()),
        Failure::Forked => Error::Forked,
        Failure::Closed => Error::Closed,
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.http).finish()
    }
}
