//! Answers, whole or piece by piece. An answer takes no more memory than its request allows, and not much more than its
//! received bytes need.

use std::ops::Range;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE};
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;

use super::failure::{Failure, root};
use super::problem::Problem;
use super::timing::{IdleTimer, TimeBudget};
use crate::protocol::limits::DOCUMENT_BYTES;
use crate::protocol::range::parse_content_range;
use crate::util::fork_check::ProcessOwned;
use crate::util::wiped::Wiped;

/// The most memory that is reserved for an answer before its bytes arrive.
const MAX_UNVERIFIED_CAPACITY: usize = 16 << 20;

/// An answer that is complete.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer that has begun and is read piece by piece.
pub(crate) struct StreamingResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(super) body: ProcessOwned<Incoming>,
    pub(super) idle: IdleTimer,
    pub(super) budget: TimeBudget,
}

impl ApiResponse {
    /// The body as data; `None` unless it has the length in the headers: nothing else tells a whole body from a part,
    /// or from one that is missing.
    pub(crate) fn into_data(self) -> Option<Vec<u8>> {
        (content_length(&self.headers)? == self.body.len() as u64).then_some(self.body)
    }

    /// The body as a document in JSON, from which `read` takes a value.
    pub(crate) fn document<T>(&self, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, Failure> {
        let document = serde_json::from_slice(&self.body).ok();
        document.and_then(|document| read(&document)).ok_or(Failure::ProtocolViolation)
    }
}

impl StreamingResponse {
    /// The length of the body according to the headers; our services always send it.
    pub(crate) fn len(&self) -> Option<u64> {
        content_length(&self.headers)
    }

    /// The next bytes; `None` at the end of a complete answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let body = self.body.get_mut().ok_or(Failure::Forked)?;
        loop {
            self.idle.tick();
            match self.budget.watch(self.idle.watch(body.frame())).await? {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.budget.earn(data.len());
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Failure::broken(root(&error))),
                None => return Ok(None),
            }
        }
    }

    /// The whole answer, of at most `max_len` bytes. No other copy of them is left in memory.
    pub(super) async fn all(mut self, max_len: u64) -> Result<ApiResponse, Failure> {
        if !self.status.is_success() {
            return Ok(self.refusal().await);
        }
        // The answer to a `HEAD` has a length, but no body.
        let has_body = self.body.get_mut().is_some_and(|body| !body.is_end_stream());
        let len = if has_body { self.len().unwrap_or(0) } else { 0 };
        if len > max_len {
            return Err(Failure::TooLong); // more than requested: a proxy may have dropped the range
        }
        let len = usize::try_from(len).map_err(|_| Failure::TooLarge)?;
        let mut body = Wiped::default();
        body.grow(len.min(MAX_UNVERIFIED_CAPACITY)).map_err(|_| Failure::TooLarge)?;
        while let Some(data) = self.next().await? {
            let filled = body.len() + data.len();
            if filled > len {
                return Err(Failure::ProtocolViolation); // it had no length, or a wrong one
            }
            if filled > body.capacity() {
                let double = body.capacity().saturating_mul(2).max(filled);
                body.grow(double.min(len)).map_err(|_| Failure::TooLarge)?;
            }
            body.extend_from_slice(&data);
        }
        Ok(ApiResponse { status: self.status, headers: self.headers, body: body.into_inner() })
    }

    /// The error answer of a service, or of a proxy before it, in any form. A body that is long or cut off is dropped.
    async fn refusal(mut self) -> ApiResponse {
        let mut body = Vec::new();
        while let Ok(Some(data)) = self.next().await {
            if data.len() > DOCUMENT_BYTES - body.len() {
                body.clear();
                break;
            }
            body.extend_from_slice(&data);
        }
        ApiResponse { status: self.status, headers: self.headers, body }
    }
}

/// The length of an answer's body according to its headers.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The answer if it is a success, else its failure.
pub(super) fn accepted(answer: ApiResponse) -> Result<ApiResponse, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let problem = Problem::read(answer.status, &answer.headers, &answer.body);
    Err(if problem.is_indeterminate() { Failure::Lost(problem.into()) } else { Failure::Problem(problem) })
}

/// The range of bytes in a partial answer, and the length of the whole; `None` for another answer: a proxy may have
/// dropped the requested range.
pub(crate) fn part(status: StatusCode, headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let range = headers.get(CONTENT_RANGE).filter(|_| status == StatusCode::PARTIAL_CONTENT)?;
    parse_content_range(range.to_str().ok()?)
}
