//! The bodies of requests, within their limits of size, time and concurrency.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::Body as _;
use strongroom::{Error, Wiped};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer_chunks::CHUNK_LEN;
use super::transfer_deadline::{TICK, TransferDeadline};
use crate::concurrency_limit::ConcurrencyLimit;
use crate::config::limits::Limits;
use crate::problem::Problem;

/// The maximum length of a body without a permit for long bodies.
const SHORT: u64 = 64 << 10;

/// How long the rest of a rejected body is read and dropped, so that a client that is still sending can read the
/// answer.
const DRAIN: Duration = Duration::from_secs(2);

/// A request's body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Body,
    is_http_2: bool,
    /// The announced length.
    len: Option<u64>,
    ended: bool,
    received: u64,
    end: Instant,
    deadline: TransferDeadline,
    total: Arc<AtomicU64>,
    long: Arc<ConcurrencyLimit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl RequestBody {
    pub(crate) fn new(
        body: Body,
        version: Version,
        limits: &Limits,
        total: Arc<AtomicU64>,
        long: Arc<ConcurrencyLimit>,
    ) -> Self {
        let deadline = TransferDeadline::new(limits);
        Self {
            is_http_2: version == Version::HTTP_2,
            len: body.size_hint().exact(),
            ended: body.is_end_stream(),
            body,
            received: 0,
            end: Instant::now() + deadline.longest(),
            deadline,
            total,
            long,
            permit: None,
        }
    }

    /// Sets the limit that provides the permit of a long body.
    pub(crate) fn use_limit(&mut self, limit: &Arc<ConcurrencyLimit>) {
        self.long = Arc::clone(limit);
    }

    /// The body's permit, if it has one, for the work on its data.
    pub(crate) fn take_permit(&mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }

    /// The announced length, or the minimum if there is none.
    fn announced(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// Fails if more than `max_len` bytes are announced.
    pub(crate) fn check_announced(&self, max_len: u64) -> Result<(), Problem> {
        if self.announced() > max_len { Err(Problem::too_large()) } else { Ok(()) }
    }

    /// The next bytes; `None` at the end of a complete body.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        while !self.ended {
            let start = Instant::now();
            let contended = self.permit.is_some() && self.long.waiting() > 0;
            let allowed = self.deadline.time_left(0, contended);
            let deadline = self.end.min(start + allowed.min(TICK));
            let frame = timeout_at(deadline, self.body.frame()).await;
            self.deadline.add_wait(start.elapsed());
            let frame = match frame {
                Ok(frame) => frame,
                // The deadline becomes earlier when other requests wait.
                Err(_) if allowed > TICK && Instant::now() < self.end => continue,
                Err(_) => return Err(Problem::too_slow()),
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    self.ended = true;
                    return Err(cut_short());
                }
                None => {
                    self.ended = true;
                    if self.is_complete() {
                        break;
                    }
                    return Err(cut_short());
                }
            };
            if let Ok(data) = frame.into_data() {
                let len = data.len() as u64;
                self.received += len;
                self.deadline.add_bytes(len);
                self.total.fetch_add(len, Ordering::Relaxed);
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Whether the end of the frames is that of the body. In HTTP/2 a stream can also be reset without an error
    /// (`NO_ERROR`): then hyper ends the frames, too.
    fn is_complete(&self) -> bool {
        self.len.is_none_or(|len| len == self.received) && (!self.is_http_2 || self.body.is_end_stream())
    }

    /// The next [`CHUNK_LEN`] bytes or slightly more; fewer only at the end, then none. If the body has more than
    /// `max_len` bytes, its last chunk is an error.
    pub(crate) async fn chunk(&mut self, max_len: u64) -> Result<Wiped, Problem> {
        self.gather(CHUNK_LEN, max_len).await
    }

    /// The whole body.
    pub(crate) async fn all(&mut self, max_len: u64) -> Result<Wiped, Problem> {
        self.check_announced(max_len)?;
        self.gather(usize::MAX, max_len).await
    }

    /// The next bytes as they arrived; `None` at the end. If the body has more than `max_len` bytes, its last bytes are
    /// an error.
    pub(crate) async fn frame(&mut self, max_len: u64) -> Result<Option<Bytes>, Problem> {
        let Some(data) = self.next().await? else { return Ok(None) };
        if self.received > max_len {
            return Err(Problem::too_large());
        }
        if self.received > SHORT && self.permit.is_none() {
            self.permit = Some(self.long.acquire().await?);
        }
        Ok(Some(data))
    }

    async fn gather(&mut self, len: usize, max_len: u64) -> Result<Wiped, Problem> {
        let mut gathered = Wiped::default();
        while gathered.len() < len {
            let Some(data) = self.frame(max_len).await? else { break };
            gathered.append(&data).map_err(|_| Problem::from(Error::TooLarge))?;
        }
        Ok(gathered)
    }
}

fn cut_short() -> Problem {
    Problem::bad_request("the body was cut short")
}

/// An unread rest means that the body was rejected, and its client may still be sending. If the connection were closed
/// immediately, the client could lose the answer.
impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut body = std::mem::take(&mut self.body);
            runtime.spawn(timeout(DRAIN, async move { while let Some(Ok(_)) = body.frame().await {} }));
        }
    }
}
