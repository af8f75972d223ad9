//! The operations on an encryption server (`docs/HTTP.md`), which sees ids, keys and data while it works on them. The
//! client makes the key of each write, so that the write may be repeated when its answer is lost.

mod errors;
mod many;
mod nodes;
mod reader;
mod ready;
mod request;
mod writer;

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;

use errors::{of_read, of_write, protocol_violation};
pub use nodes::nodes;
use reader::Reader;
pub use ready::ready;
use request::{Record, Requests};
use writer::Writer;

use crate::error::Error;
use crate::http::{self, ApiRequest, ApiResponse, Endpoint, Failure, HttpClient, RetryPolicy};
use crate::key::RecordKey;
use crate::operations::{NewVersion, Operations, ReadRecord, WriteRecord};
use crate::protocol::limits::{REKEY_BYTES, REKEY_BYTES_PER_SECOND};
use crate::protocol::names::{self, JSON};
use crate::protocol::nodes::Role;
use crate::protocol::{ErrorCode, documents};
use crate::storage::{Locator, Stats, Storage};
use crate::util::wiped::Wiped;

/// The operations on an encryption server.
pub(crate) struct Client {
    http: Arc<HttpClient>,
    requests: Requests,
}

impl Client {
    /// The encryption server at `endpoint`, which need not be reachable yet.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self { http: Arc::new(HttpClient::open(endpoint, Role::Encryption)?), requests: Requests::default() })
    }

    /// Sends a request that changes nothing.
    fn read(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        self.http.read(request, self.http.end()).map_err(of_read)
    }

    /// The bytes `range`, up to the end, and the length of the whole data; if the range begins after the end, its start.
    fn range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<(Vec<u8>, u64), Error> {
        let is_empty = range.is_empty();
        // For an empty range, one byte is requested: the answer proves the key.
        let last = if is_empty { range.start } else { range.end - 1 };
        let max_len = (last - range.start).saturating_add(1);
        let request = self.requests.retrieve(id, key)?.range(range.start, Some(last)).at_most(max_len);
        let mut answer = match self.http.read(&request, self.http.end()) {
            Err(Failure::Problem(problem)) if problem.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok((Vec::new(), range.start));
            }
            outcome => outcome.map_err(of_read)?,
        };
        let data = Wiped::from(mem::take(&mut answer.body));
        let (part, len) = http::part(answer.status, &answer.headers).ok_or_else(protocol_violation)?;
        let expected = range.start..last.saturating_add(1).min(len);
        if part != expected || data.len() as u64 != part.end.saturating_sub(part.start) {
            return Err(protocol_violation());
        }
        Ok((if is_empty { Vec::new() } else { data.into_inner() }, len))
    }

    /// The error of an operation that clients do not have.
    fn operators<T>(&self, why: &'static str) -> Result<T, Error> {
        self.http.check_open().map_err(of_read)?;
        Err(Error::Unsupported(why.into()))
    }

    /// Sends a write under a key that the client or its caller made, so that it may be repeated.
    fn write(&self, request: &ApiRequest) -> Result<(), Error> {
        self.http.write(request, RetryPolicy::Idempotent, self.http.end() + request.work).0.map(drop).map_err(of_write)
    }
}

impl Operations for Client {
    fn namespace(&self, name: &[u8]) -> Result<Arc<dyn Operations>, Error> {
        Ok(Arc::new(Self { http: Arc::clone(&self.http), requests: Requests::in_namespace(name)? }))
    }

    fn store(&self, id: &[u8], data: &[u8], new: NewVersion<'_>) -> Result<(), Error> {
        self.write(&self.requests.store(id, new)?.body(wiped(data)?))
    }

    fn replace(&self, id: &[u8], old: &RecordKey, data: &[u8], new: NewVersion<'_>) -> Result<(), Error> {
        self.write(&self.requests.replace(id, old, new)?.body(wiped(data)?))
    }

    fn rekey(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<(), Error> {
        // The server answers after all of the data is sealed.
        let len = match self.range(id, old, 0..0) {
            Err(Error::NotFound) if new.is_callers => 0, // the record may be that of an earlier attempt
            Err(Error::AccessDenied(_)) => 0,            // a token may have the scope `store` without `retrieve`
            outcome => outcome?.1,
        };
        let NewVersion { key, expires_at, padded, .. } = new;
        let record = Record { new_key: Some(key), expires_at, padded, ..Record::new(id).key(old) };
        self.write(&self.requests.json(names::REKEY, record)?.work(rekey_time(len)))
    }

    fn create_record(&self, id: &[u8], new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error> {
        Ok(Box::new(Writer::new(Arc::clone(&self.http), self.requests.store(id, new)?)))
    }

    fn replace_record(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error> {
        let request = self.requests.replace(id, old, new)?;
        if new.is_callers {
            // The record may be that of an earlier attempt.
            return Ok(Box::new(Writer::new(Arc::clone(&self.http), request)));
        }
        self.retrieve_range(id, old, 0..0)?; // fails before all data is sent
        Ok(Box::new(Writer::with_proved_old_key(Arc::clone(&self.http), request)))
    }

    fn store_many(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<(), Error> {
        self.create_all(records)
    }

    fn retrieve(&self, id: &[u8], key: &RecordKey) -> Result<Vec<u8>, Error> {
        Ok(self.read(&self.requests.retrieve(id, key)?.at_most(u64::MAX))?.body)
    }

    fn retrieve_into(&self, id: &[u8], key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        Reader::open(Arc::clone(&self.http), self.requests.retrieve(id, key)?)?.retrieve_into(buffer)
    }

    fn retrieve_range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        Ok(self.range(id, key, range)?.0)
    }
    fn open_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(Reader::open(Arc::clone(&self.http), self.requests.retrieve(id, key)?)?))
    }

    fn take(&self, id: &[u8], key: &RecordKey) -> Result<Vec<u8>, Error> {
        let request = self.requests.take(id, key)?.at_most(u64::MAX);
        let (answer, _) = self.http.write(&request, RetryPolicy::UnlessDone, self.http.end());
        Ok(answer.map_err(of_write)?.body)
    }

    fn take_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(Reader::take(Arc::clone(&self.http), self.requests.take(id, key)?)?))
    }

    fn retrieve_many(&self, records: &[(&[u8], &RecordKey)]) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        self.retrieve_all(records)
    }

    fn contains(&self, id: &[u8]) -> Result<bool, Error> {
        document(&self.read(&self.requests.json(names::CONTAINS, Record::new(id))?)?, documents::read_contains)
    }

    fn delete(&self, id: &[u8], key: &RecordKey) -> Result<(), Error> {
        let request = self.requests.json(names::DELETE, Record::new(id).key(key))?;
        match self.http.write(&request, RetryPolicy::Idempotent, self.http.end()) {
            // The lost attempt or another caller removed it, or it never existed: these cannot be distinguished.
            (Err(Failure::Problem(problem)), true)
                if matches!(problem.code(), Some(ErrorCode::NotFound | ErrorCode::Conflict)) =>
            {
                Err(Error::Indeterminate("the answer was lost, and there is no such record now".into()))
            }
            (outcome, _) => outcome.map(drop).map_err(of_write),
        }
    }

    fn erase(&self, id: &[u8]) -> Result<bool, Error> {
        let request = self.requests.json(names::ERASE, Record::new(id))?;
        // A repetition could remove a record that was stored in the meantime.
        let (outcome, _) = self.http.write(&request, RetryPolicy::UnlessDone, self.http.end());
        document(&outcome.map_err(of_write)?, documents::read_erased)
    }

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        let body = Bytes::from(documents::purge(None, limit).to_string());
        let request = ApiRequest::new(Method::POST, names::PURGE).of_type(JSON).body(body);
        let (outcome, _) = self.http.write(&request, RetryPolicy::Idempotent, self.http.end());
        let purged = document(&outcome.map_err(of_write)?, documents::read_purged)?;
        if purged <= limit { Ok(purged) } else { Err(protocol_violation()) }
    }

    fn storage(&self) -> Result<&Arc<dyn Storage>, Error> {
        self.http.check_open().map_err(of_read)?;
        let text = "an encryption server does not give access to its storage: run this where the storage is";
        Err(Error::Unsupported(text.into()))
    }

    fn maintain(&self) -> Result<(), Error> {
        self.operators("an encryption server maintains its store itself")
    }

    fn compact(&self, _: u64) -> Result<u64, Error> {
        self.operators("a store is compacted where it lies, not through an encryption server")
    }

    fn index_key_hint(&self) -> Option<[u8; 4]> {
        None
    }

    fn begin_rotation(&self) -> Result<(), Error> {
        self.operators("the index key is rotated where the store is opened, not through an encryption server")
    }

    fn unrotated(&self, _: usize) -> Result<Option<Vec<Locator>>, Error> {
        self.operators("the index key is rotated where the store is opened, not through an encryption server")
    }

    fn erase_unrotated(&self, _: &Locator) -> Result<bool, Error> {
        self.operators("the index key is rotated where the store is opened, not through an encryption server")
    }

    fn locators(&self, _: Option<&[u8]>, _: &[u8]) -> Result<(Locator, Option<Locator>), Error> {
        self.operators("an encryption server does not tell locators")
    }

    fn generations(&self) -> Result<Vec<u8>, Error> {
        self.operators("an encryption server does not tell locators")
    }

    fn finish_rotation(&self) -> Result<(), Error> {
        self.operators("the index key is rotated where the store is opened, not through an encryption server")
    }

    fn stats(&self) -> Result<Stats, Error> {
        let request = ApiRequest::new(Method::POST, names::STATS).of_type(JSON).body(Bytes::from_static(b"{}"));
        let [records, bytes, expired, free] = document(&self.read(&request)?, documents::read_stats)?;
        Ok(Stats { records, bytes, expired, free })
    }

    fn close(&self) -> Result<(), Error> {
        self.http.close().map_err(of_read)
    }
}

/// How long a server may take to seal a record again. The server tells the length, and could claim any.
fn rekey_time(len: u64) -> Duration {
    Duration::from_secs(len.min(REKEY_BYTES) / REKEY_BYTES_PER_SECOND)
}

/// A copy that is wiped when its last handle is dropped.
fn wiped(data: &[u8]) -> Result<Bytes, Error> {
    Wiped::copy(data).map(Bytes::from_owner).map_err(|_| Error::TooLarge)
}

/// Decodes an answer in JSON.
fn document<T>(answer: &ApiResponse, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, Error> {
    let document: Value = serde_json::from_slice(&answer.body).map_err(|_| protocol_violation())?;
    read(&document).ok_or_else(protocol_violation)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.http).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_costs_half_an_hour_at_most() {
        assert_eq!(rekey_time(3 * REKEY_BYTES_PER_SECOND), Duration::from_secs(3));
        assert_eq!(rekey_time(u64::MAX), Duration::from_secs(2048));
    }
}
