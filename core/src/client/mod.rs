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
use hyper::Method;
use serde_json::Value;

use errors::{of_read, of_repeated_write, of_write, protocol_violation};
pub use nodes::nodes;
use reader::Reader;
pub use ready::ready;
use request::{Record, Requests};
use writer::Writer;

use crate::error::Error;
use crate::http::{self, ApiRequest, ApiResponse, Endpoint, Exchanges, Failure, HttpClient, PendingCall, RetryPolicy};
use crate::key::RecordKey;
use crate::operations::{Call, FoundRecords, NewVersion, Operations, ReadRecord, WriteRecord};
use crate::protocol::documents;
use crate::protocol::limits::{REKEY_BYTES, REKEY_BYTES_PER_SECOND};
use crate::protocol::names::{self, JSON};
use crate::protocol::nodes::Role;
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

    /// A call that makes these exchanges. It may be interrupted; `to_error` converts that failure.
    fn call<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        to_error: fn(Failure) -> Error,
        work: impl FnOnce(Exchanges) -> F,
    ) -> Result<Call<T>, Error> {
        PendingCall::new(&self.http, to_error, work).map(Call::Pending)
    }

    /// A call with a request that changes nothing. `decode` gets the answer.
    fn read<T: Send + 'static>(
        &self,
        request: ApiRequest,
        decode: impl FnOnce(ApiResponse) -> Result<T, Error> + Send + 'static,
    ) -> Result<Call<T>, Error> {
        self.call(of_read, async move |http| decode(http.read(&request, http.end()).await.map_err(of_read)?))
    }

    /// A call with a request that changes something. `decode` gets the answer.
    fn change<T: Send + 'static>(
        &self,
        request: ApiRequest,
        policy: RetryPolicy,
        decode: impl FnOnce(ApiResponse) -> Result<T, Error> + Send + 'static,
    ) -> Result<Call<T>, Error> {
        self.call(of_write, async move |http| {
            decode(of_repeated_write(http.write(&request, policy, http.end() + request.work).await)?)
        })
    }

    /// A write under a key that the client or its caller made, so that it may be repeated.
    fn write(&self, request: ApiRequest) -> Result<Call<()>, Error> {
        self.change(request, RetryPolicy::Idempotent, |_| Ok(()))
    }

    /// A call for the bytes `range`.
    fn range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<Call<Vec<u8>>, Error> {
        let request = self.requests.retrieve(id, key)?;
        self.call(of_read, async move |http| Ok(read_range(&http, request, range).await?.0))
    }

    /// The error of an operation that clients do not have.
    fn operators<T>(&self, why: &'static str) -> Result<T, Error> {
        self.http.check_open().map_err(of_read)?;
        Err(Error::Unsupported(why.into()))
    }
}

impl Operations for Client {
    #[cfg(feature = "tokio")]
    fn is_service(&self) -> bool {
        true
    }

    fn namespace(&self, name: &[u8]) -> Result<Arc<dyn Operations>, Error> {
        Ok(Arc::new(Self { http: Arc::clone(&self.http), requests: Requests::in_namespace(name)? }))
    }

    fn store(&self, id: &[u8], data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error> {
        self.write(self.requests.store(id, new)?.body(wiped(data)?))
    }

    fn replace(&self, id: &[u8], old: &RecordKey, data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error> {
        self.write(self.requests.replace(id, old, new)?.body(wiped(data)?))
    }

    fn rekey(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Call<()>, Error> {
        let NewVersion { key, is_callers, expires_at, padded } = new;
        let proof = self.requests.retrieve(id, old)?;
        let record = Record { new_key: Some(key), expires_at, padded, ..Record::new(id).key(old) };
        let request = self.requests.json(names::REKEY, record)?;
        self.call(of_write, async move |http| {
            // The server answers after all of the data is sealed.
            let len = match read_range(&http, proof, 0..0).await {
                Err(Error::NotFound) if is_callers => 0, // the record may be that of an earlier attempt
                Err(Error::AccessDenied(_)) => 0,        // a token may have the scope `store` without `retrieve`
                outcome => outcome?.1,
            };
            let request = request.work(rekey_time(len));
            let end = http.end() + request.work;
            of_repeated_write(http.write(&request, RetryPolicy::Idempotent, end).await).map(drop)
        })
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
        // Fails before all data is sent.
        Ok(Box::new(match self.range(id, old, 0..0)?.wait() {
            // A token may have the scope `store` without `retrieve`.
            Err(Error::AccessDenied(_)) => Writer::new(Arc::clone(&self.http), request),
            proof => proof.map(|_| Writer::with_proved_old_key(Arc::clone(&self.http), request))?,
        }))
    }

    fn store_many(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<Call<()>, Error> {
        self.create_all(records)
    }

    fn retrieve(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error> {
        let request = self.requests.retrieve(id, key)?.at_most(u64::MAX);
        self.read(request, |answer| answer.into_data().ok_or_else(protocol_violation))
    }

    fn retrieve_into(&self, id: &[u8], key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        Reader::open(Arc::clone(&self.http), self.requests.retrieve(id, key)?)?.retrieve_into(buffer)
    }

    fn retrieve_range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<Call<Vec<u8>>, Error> {
        self.range(id, key, range)
    }

    fn open_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(Reader::open(Arc::clone(&self.http), self.requests.retrieve(id, key)?)?))
    }

    fn take(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error> {
        let request = self.requests.take(id, key)?.at_most(u64::MAX);
        let decode = |answer: ApiResponse| answer.into_data().ok_or_else(|| of_write(Failure::ProtocolViolation));
        self.change(request, RetryPolicy::UnlessDone, decode)
    }

    fn take_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error> {
        Ok(Box::new(Reader::take(Arc::clone(&self.http), self.requests.take(id, key)?)?))
    }

    fn retrieve_many(&self, records: &[(&[u8], &RecordKey)]) -> Result<Call<FoundRecords>, Error> {
        self.retrieve_all(records)
    }

    fn contains(&self, id: &[u8]) -> Result<Call<bool>, Error> {
        let request = self.requests.json(names::CONTAINS, Record::new(id))?;
        self.read(request, |answer| answer.document(documents::read_contains).map_err(of_read))
    }

    fn delete(&self, id: &[u8], key: &RecordKey) -> Result<Call<()>, Error> {
        let request = self.requests.json(names::DELETE, Record::new(id).key(key))?;
        self.write(request)
    }

    fn erase(&self, id: &[u8]) -> Result<Call<bool>, Error> {
        let request = self.requests.json(names::ERASE, Record::new(id))?;
        // A repetition could remove a record that was stored in the meantime.
        self.change(request, RetryPolicy::UnlessDone, |answer| {
            answer.document(documents::read_erased).map_err(of_write)
        })
    }

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        let body = Bytes::from(documents::purge(None, limit).to_string());
        let request = ApiRequest::new(Method::POST, names::PURGE).of_type(JSON).body(body);
        let read = move |answer: &Value| documents::read_purged(answer).filter(|purged| *purged <= limit);
        let decode = move |answer: ApiResponse| answer.document(read).map_err(of_write);
        self.change(request, RetryPolicy::Idempotent, decode)?.wait()
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

    fn stats(&self) -> Result<Call<Stats>, Error> {
        let request = ApiRequest::new(Method::POST, names::STATS).of_type(JSON).body(Bytes::from_static(b"{}"));
        self.read(request, |answer| {
            let [records, bytes, expired, free] = answer.document(documents::read_stats).map_err(of_read)?;
            Ok(Stats { records, bytes, expired, free })
        })
    }

    fn close(&self) -> Result<(), Error> {
        self.http.close().map_err(of_read)
    }
}

/// The bytes `range`, up to the end, and the length of the whole data; if the range begins after the end, its start.
async fn read_range(http: &Exchanges, request: ApiRequest, range: Range<u64>) -> Result<(Vec<u8>, u64), Error> {
    let is_empty = range.is_empty();
    // For an empty range, one byte is requested: the answer proves the key.
    let last = if is_empty { range.start } else { range.end - 1 };
    let max_len = (last - range.start).saturating_add(1);
    let request = request.range(range.start, Some(last)).at_most(max_len);
    let mut answer = match http.read(&request, http.end()).await {
        Err(Failure::Problem(problem)) if problem.is_no_such_range() => return Ok((Vec::new(), range.start)),
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

/// How long a server may take to seal a record again. The server tells the length, and could claim any.
fn rekey_time(len: u64) -> Duration {
    Duration::from_secs(len.min(REKEY_BYTES) / REKEY_BYTES_PER_SECOND)
}

/// A copy that is wiped when its last handle is dropped.
fn wiped(data: &[u8]) -> Result<Bytes, Error> {
    Wiped::copy(data).map(Bytes::from_owner).map_err(|_| Error::TooLarge)
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
