//! The client of the storage service (`docs/HTTP.md`), which sees only locators and sealed records.
//!
//! A call whose answer is lost is repeated if that does no harm. A record's head shows whether the record is stored
//! already, because no two writes have the same head, except copies of one record.

mod answer;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use hyper::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::Value;

use super::error::again;
use super::types::check_settings;
use super::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, MAX_SETTINGS_LEN, PutMode, Stats, Storage, Upload, Verified,
    VerifyPosition,
};
use crate::http::{self, ApiRequest, ApiResponse, Endpoint, Failure, HttpClient, InvalidEndpoint, RetryPolicy};
use crate::protocol::limits::{BATCH_BYTES, BATCH_RECORDS, PAGE_ENTRIES, VERIFY_RECORDS};
use crate::protocol::names::{self, JSON, OCTET_STREAM};
use crate::protocol::nodes::Role;
use crate::protocol::{base64url, batch, documents};
use crate::util::memory;
use answer::{entries, found, head_in, is_general, of_read, of_write, protocol_violation, verified};
use upload::RemoteUpload;

/// The most bytes of one entry of a page.
const LINE_BYTES: u64 = 1024;
/// The most bytes of the result of one step of a verification.
const VERIFY_BYTES: u64 = 256 << 10;
/// The most bytes of records that one step of a verification counts: more than any service checks in one, but so few
/// that a false number delays the next step only for a while.
const VERIFIED_BYTES: u64 = 256 << 20;
/// A part of a long record, 256 sealed chunks: long enough that the latency of a request matters little.
const PART_LEN: usize = 256 * 16_400;
/// Parts that are requested in parallel.
const PARALLEL_PARTS: usize = 2;
/// The most heads that are compared after a refusal, if no answer was lost: a large batch has too many for a call.
const REFUSED_HEADS: usize = 4;

/// A storage service.
///
/// A call without an answer is repeated until the endpoint's time limit, if a repetition does no harm; an outcome that
/// is still unknown then is [`Error::Indeterminate`]. The service limits [`create_many`](Storage::create_many) (64 MiB
/// unless configured otherwise); [`get_many`](Storage::get_many) makes a request for each 32,768 locators, limited to
/// 64 MiB, too: more is [`Error::TooLarge`] or [`Error::Backend`]. After a fork, only the parent can use the handle.
///
/// The service is not trusted. No call takes more memory than the longest valid answer: the caller bounds
/// [`get_up_to`](Storage::get_up_to) and [`read_at`](Storage::read_at); only [`get`](Storage::get) is bounded only by
/// the length that the service sends. After the endpoint's time limit, an answer slower than 1 KiB a second is
/// abandoned.
#[derive(Debug)]
pub struct RemoteStorage {
    http: HttpClient,
}

impl RemoteStorage {
    /// The storage service at `endpoint`, which need not be reachable yet.
    ///
    /// # Errors
    ///
    /// If a file of the endpoint cannot be used.
    pub fn open(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        Ok(Self { http: HttpClient::open(endpoint, Role::Storage)? })
    }

    /// Sends a request that changes nothing or is idempotent.
    fn read(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        self.http.read(request, self.http.end()).map_err(of_read)
    }

    /// Sends a write of the record with this head.
    fn write(&self, locator: &Locator, head: Head, request: &ApiRequest, mode: PutMode) -> Result<(), Error> {
        let repeat = match mode {
            PutMode::Create | PutMode::ReplaceIf(_) => RetryPolicy::Idempotent,
            // A repetition could overwrite a record that another client wrote in the meantime.
            PutMode::Overwrite => RetryPolicy::UnlessDone,
        };
        let end = self.http.end();
        let (outcome, lost) = self.http.write(request, repeat, end);
        self.resolve_outcome(outcome, lost, &[(*locator, head)], end)
    }

    /// The outcome of a write of all these records or none. After `AlreadyExists`, `Conflict` or a lost answer, any
    /// stored head can show that an earlier attempt succeeded: one with a lost answer, or one that a proxy repeated.
    /// The other records may have been replaced since.
    fn resolve_outcome(
        &self,
        outcome: Result<ApiResponse, Failure>,
        lost: bool,
        written: &[(Locator, Head)],
        end: Instant,
    ) -> Result<(), Error> {
        let Err(error) = outcome.map_err(of_write) else { return Ok(()) };
        if !matches!(error, Error::AlreadyExists | Error::Conflict | Error::Indeterminate(_)) {
            return Err(error);
        }
        let may_be_done = lost || matches!(error, Error::Indeterminate(_));
        // A proxy's repetition comes at once, when hardly any record can have been replaced.
        let compared = if may_be_done { written.len() } else { REFUSED_HEADS };
        for (locator, head) in written.iter().take(compared) {
            match self.info_until(locator, end) {
                Ok(Some(info)) if info.head == *head => return Ok(()),
                Ok(None) if !may_be_done => break, // there was no repetition
                Ok(_) => {}
                Err(unknown) if lost => return Err(Error::Indeterminate(unknown.into())),
                Err(_) => break,
            }
        }
        // The lost attempt may have succeeded before another write.
        Err(if lost { Error::Indeterminate(error.into()) } else { error })
    }

    fn info_until(&self, locator: &Locator, end: Instant) -> Result<Option<Info>, Error> {
        let Some(answer) = self.find(&record_request(Method::HEAD, locator), end)? else { return Ok(None) };
        let head = head_in(&answer.headers).ok_or_else(protocol_violation)?;
        Ok(Some(Info { head, len: http::content_length(&answer.headers).ok_or_else(protocol_violation)? }))
    }

    /// At most [`BATCH_RECORDS`] records, of at most `max_len` bytes in total.
    fn get_batch(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let max_len = max_len.saturating_add(batch::lengths_len(locators.len())).min(BATCH_BYTES);
        let body = batch::encode_locators(locators);
        let request = ApiRequest::new(Method::POST, names::GET_MANY).of_type(OCTET_STREAM).body(body);
        let answer = self.http.read(&request.at_most(max_len), self.http.end()).map_err(|failure| match failure {
            Failure::TooLong => Error::TooLarge,
            other => of_read(other),
        })?;
        let records = batch::decode_get_many(&answer.body, locators.len()).ok_or_else(protocol_violation)?;
        let copy = |record: Option<&[u8]>| record.map(memory::copy).transpose().map_err(|_| Error::TooLarge);
        records.into_iter().map(copy).collect()
    }

    fn settings_until(&self, end: Instant) -> Result<Option<Vec<u8>>, Error> {
        let request = ApiRequest::new(Method::GET, names::SETTINGS).at_most(MAX_SETTINGS_LEN as u64);
        self.find(&request, end)?.map(data).transpose()
    }

    /// As [`read`](Self::read); `None` if there is no such record or document.
    fn find(&self, request: &ApiRequest, end: Instant) -> Result<Option<ApiResponse>, Error> {
        found(self.http.read(request, end), of_read)
    }
}

/// The body of an answer that has only that.
fn data(answer: ApiResponse) -> Result<Vec<u8>, Error> {
    answer.into_data().ok_or_else(protocol_violation)
}

fn record_request(method: Method, locator: &Locator) -> ApiRequest {
    ApiRequest::new(method, names::record(locator))
}

fn json_request(path: &str, body: &Value) -> ApiRequest {
    ApiRequest::new(Method::POST, path).of_type(JSON).body(body.to_string().into())
}

fn if_match(request: ApiRequest, head: &Head) -> ApiRequest {
    let etag = HeaderValue::try_from(base64url::encode_etag(head.as_bytes()));
    request.with(IF_MATCH, etag.unwrap_or(HeaderValue::from_static("\"\""))) // base64 is valid in a header
}

fn with_mode(request: ApiRequest, mode: PutMode) -> ApiRequest {
    match mode {
        PutMode::Create => request.with(IF_NONE_MATCH, HeaderValue::from_static("*")),
        PutMode::ReplaceIf(head) => if_match(request, &head),
        PutMode::Overwrite => request,
    }
}

fn put_request(locator: &Locator, mode: PutMode) -> ApiRequest {
    with_mode(record_request(Method::PUT, locator).of_type(OCTET_STREAM), mode)
}

impl Storage for RemoteStorage {
    fn kind(&self) -> &'static str {
        "remote"
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let head = Head::require(record)?;
        let body = memory::copy(record).map_err(|_| Error::TooLarge)?;
        self.write(locator, head, &put_request(locator, mode).body(body.into()), mode)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        let head = |(locator, record): &(Locator, &[u8])| Ok((*locator, Head::require(record)?));
        let written = records.iter().map(head).collect::<Result<Vec<_>, Error>>()?;
        if written.is_empty() {
            return self.http.check_open().map_err(of_read);
        }
        let body = batch::encode_create_many(records).map_err(|_| Error::TooLarge)?;
        let request = ApiRequest::new(Method::POST, names::CREATE_MANY).of_type(OCTET_STREAM).body(body);
        let end = self.http.end();
        let (outcome, lost) = self.http.write(&request, RetryPolicy::Idempotent, end);
        self.resolve_outcome(outcome, lost, &written, end)
    }

    /// One request for all new records, if all of them are new. After an error of the service, no further request.
    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        let is_new = |mode| mode == PutMode::Create;
        let new: Vec<_> = records.iter().filter(|record| is_new(record.2)).map(|record| (record.0, record.1)).collect();
        let together = (new.len() > 1).then(|| self.create_many(&new));
        let mut failed =
            together.as_ref().and_then(|outcome| outcome.as_ref().err()).filter(|e| is_general(e)).map(again);
        let put = |(locator, record, mode): &(Locator, &[u8], PutMode)| {
            if is_new(*mode) && matches!(together, Some(Ok(()))) {
                return Ok(());
            }
            if let Some(error) = &failed {
                return Err(again(error));
            }
            let outcome = self.put(locator, record, *mode);
            failed = outcome.as_ref().err().filter(|error| is_general(error)).map(again);
            outcome
        };
        records.iter().map(put).collect()
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        let answer = self.find(&record_request(Method::GET, locator).at_most(u64::MAX), self.http.end())?;
        answer.map(data).transpose()
    }

    /// One request: the first `max_len` bytes, usually the whole record.
    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        if max_len == u64::MAX {
            return Ok(self.get(locator)?.map(Fetched::Record));
        }
        let Some(last) = max_len.checked_sub(1) else {
            return Ok(self.info(locator)?.map(|info| Fetched::Long { info, start: Vec::new() }));
        };
        let request = record_request(Method::GET, locator).range(0, Some(last)).at_most(max_len);
        let Some(answer) = self.find(&request, self.http.end())? else { return Ok(None) };
        let (part, len) = http::part(answer.status, &answer.headers).ok_or_else(protocol_violation)?;
        if part != (0..len.min(max_len)) || answer.body.len() as u64 != part.end {
            return Err(protocol_violation());
        }
        if len == part.end {
            return Ok(Some(Fetched::Record(answer.body)));
        }
        let head = Head::of(&answer.body).or_else(|| head_in(&answer.headers)).ok_or_else(protocol_violation)?;
        Ok(Some(Fetched::Long { info: Info { head, len }, start: answer.body }))
    }

    /// As many requests as the service's limit of locators needs.
    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.http.check_open().map_err(of_read)?; // also without locators
        let (mut records, mut left) = (Vec::new(), max_len);
        for locators in locators.chunks(BATCH_RECORDS) {
            let found = self.get_batch(locators, left)?;
            left = found.iter().flatten().fold(left, |left, record| left.saturating_sub(record.len() as u64));
            records.extend(found);
        }
        Ok(records)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.info_until(locator, self.http.end())
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let ends_before = || Error::InvalidArgument("the record ends before this range".into());
        let request = if_match(record_request(Method::GET, locator), head);
        let Some(last) = (buffer.len() as u64).checked_sub(1) else {
            // An empty read still checks the version and the offset.
            let info = self.info(locator)?.filter(|info| info.head == *head).ok_or(Error::Conflict)?;
            return if offset <= info.len { Ok(()) } else { Err(ends_before()) };
        };
        let last = offset.checked_add(last).ok_or_else(ends_before)?;
        let request = request.range(offset, Some(last)).at_most(buffer.len() as u64);
        let answer = match self.http.read(&request, self.http.end()) {
            Err(Failure::Problem(problem)) if problem.is_no_such_range() => return Err(ends_before()),
            outcome => outcome.map_err(of_read)?,
        };
        let part = http::part(answer.status, &answer.headers);
        part.filter(|(part, _)| part.start == offset).ok_or_else(protocol_violation)?;
        if answer.body.len() != buffer.len() {
            return Err(ends_before());
        }
        buffer.copy_from_slice(&answer.body);
        Ok(())
    }

    /// One request, for the last `len` bytes.
    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        if len == 0 {
            return Ok(self.info(locator)?.map(|info| (info, Vec::new())));
        }
        let request = record_request(Method::GET, locator).last_bytes(len as u64).at_most(len as u64);
        let Some(answer) = self.find(&request, self.http.end())? else { return Ok(None) };
        let (part, all) = http::part(answer.status, &answer.headers).ok_or_else(protocol_violation)?;
        let head = head_in(&answer.headers).ok_or_else(protocol_violation)?;
        let is_end = part == (all.saturating_sub(len as u64)..all) && answer.body.len() as u64 == part.end - part.start;
        if is_end { Ok(Some((Info { head, len: all }, answer.body))) } else { Err(protocol_violation()) }
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.http.check_open().map_err(of_read)?;
        // A damaged record may be overwritten, too.
        let there = if mode == PutMode::Overwrite { None } else { self.info(locator)?.map(|info| info.head) };
        mode.check(there)?;
        Ok(Box::new(RemoteUpload::new(self, *locator, mode)))
    }

    /// Removes one given version, so that a retry after a lost answer does no harm. A damaged record has none, so its
    /// delete is not repeated.
    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let end = self.http.end();
        loop {
            let head = match expected {
                Some(head) => Some(*head),
                None => match self.info_until(locator, end) {
                    Err(Error::Corrupt) => None,
                    found => match found? {
                        Some(info) => Some(info.head),
                        None => return Ok(false),
                    },
                },
            };
            let request = record_request(Method::DELETE, locator);
            let (request, policy) = match head {
                Some(head) => (if_match(request, &head), RetryPolicy::Idempotent),
                None => (request, RetryPolicy::UnlessDone),
            };
            let (outcome, lost) = self.http.write(&request, policy, end);
            return match found(outcome, of_write) {
                Ok(Some(_)) => Ok(true),
                // The record existed before, so the lost attempt has removed it.
                Ok(None) => Ok(lost),
                Err(Error::Conflict) if lost => {
                    Err(Error::Indeterminate("the answer was lost, and the record has another version now".into()))
                }
                Err(Error::Conflict) if expected.is_none() => continue,
                Err(error) => Err(error),
            };
        }
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        let body = documents::rename(from, head.as_bytes(), to);
        let end = self.http.end();
        let (outcome, lost) = self.http.write(&json_request(names::RENAME, &body), RetryPolicy::Idempotent, end);
        match lost {
            // The lost attempt may have moved the record before another write to `from`.
            true => self.resolve_outcome(outcome, lost, &[(*to, *head)], end),
            false => outcome.map(drop).map_err(of_write),
        }
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let (mut found, mut after) = (Vec::new(), after.copied());
        loop {
            let wanted = PAGE_ENTRIES.min(limit - found.len());
            let request = ApiRequest::new(Method::GET, names::page(after.as_ref(), wanted));
            let answer = self.read(&request.at_most((wanted as u64 + 1) * LINE_BYTES))?;
            let in_order = |page: &[Entry]| {
                let locators = after.iter().chain(page.iter().map(|entry| &entry.locator));
                page.len() <= wanted && locators.map(Locator::as_bytes).is_sorted_by(|one, next| one < next)
            };
            let page = answer.document(entries).map_err(of_read)?;
            if !in_order(&page) {
                return Err(protocol_violation());
            }
            let is_last = page.len() < wanted;
            after = page.last().map(|entry| entry.locator);
            found.extend(page);
            if is_last || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let limit = limit.min(PAGE_ENTRIES);
        let request = ApiRequest::new(Method::GET, names::expired(now, limit)).at_most((limit as u64 + 1) * LINE_BYTES);
        let page = self.read(&request)?.document(entries).map_err(of_read)?;
        if page.len() <= limit { Ok(page) } else { Err(protocol_violation()) }
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        let (outcome, _) = self.http.write(
            &json_request(names::PURGE, &documents::purge(Some(now), limit)),
            RetryPolicy::Idempotent,
            self.http.end(),
        );
        let read = |answer: &Value| documents::read_purged(answer).filter(|purged| *purged <= limit);
        outcome.and_then(|answer| answer.document(read)).map_err(of_write)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.settings_until(self.http.end())
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        let body = documents::swap_settings(expected, new);
        let end = self.http.end();
        let (outcome, lost) = self.http.write(&json_request(names::SWAP_SETTINGS, &body), RetryPolicy::Idempotent, end);
        let Err(error) = outcome.map_err(of_write) else { return Ok(()) };
        if !matches!(error, Error::Conflict | Error::Indeterminate(_)) {
            return Err(error);
        }
        // An attempt with a lost answer, or one that a proxy repeated, may have written them.
        match self.settings_until(end) {
            Ok(there) if there.as_deref() == Some(new) => Ok(()),
            Err(unknown) if lost => Err(Error::Indeterminate(unknown.into())),
            Ok(_) if lost => Err(Error::Indeterminate(error.into())), // as above
            _ => Err(error),
        }
    }

    /// In steps of 1,000 records at most.
    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let limit = limit.clamp(1, VERIFY_RECORDS);
        let body = documents::verify(position.map(ToString::to_string).as_deref(), limit);
        let answer = self.read(&json_request(names::VERIFY, &body).at_most(VERIFY_BYTES))?;
        let mut verified =
            answer.document(|answer| verified(documents::read_verification(answer)?)).map_err(of_read)?;
        let goes_on = verified.next.as_ref().is_none_or(|next| next.is_after(position));
        if verified.records > limit as u64 || !goes_on {
            return Err(protocol_violation());
        }
        verified.bytes = verified.bytes.min(VERIFIED_BYTES);
        Ok(verified)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        let answer = self.read(&ApiRequest::new(Method::GET, names::stats(now)))?;
        let [records, bytes, expired, free] = answer.document(documents::read_stats).map_err(of_read)?;
        Ok(Stats { records, bytes, expired, free })
    }

    fn maintain(&self) -> Result<(), Error> {
        self.read(&ApiRequest::new(Method::POST, names::MAINTAIN)).map(drop)
    }

    fn compact(&self, limit: u64) -> Result<u64, Error> {
        let answer = self.read(&json_request(names::COMPACT, &documents::compact(limit)))?;
        let compacted = answer.document(documents::read_compacted).map_err(of_read)?;
        if compacted <= limit { Ok(compacted) } else { Err(protocol_violation()) }
    }

    fn limits(&self) -> Limits {
        Limits { batch_bytes: BATCH_BYTES, part_len: PART_LEN, parallel_parts: PARALLEL_PARTS, ..Limits::default() }
    }

    /// Closes this handle; the service keeps running.
    fn close(&self) -> Result<(), Error> {
        self.http.close().map_err(of_read)
    }
}
