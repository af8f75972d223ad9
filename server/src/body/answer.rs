//! The bodies of answers while they are sent. Each has a minimum rate and a maximum time, and is aborted if the client
//! is too slow.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::transfer_deadline::TransferDeadline;
use super::unsent_answer::{Content, Cut, Permits, SourceFailed};
use crate::connection::{ActiveRequest, Deadline};
use crate::counted::Counted;
use crate::http2_stream::end_of_stream;
use crate::observation::Observation;
use crate::problem::Problem;
use crate::shared::Shared;

/// The most bytes that are passed to the connection as one slice. Progress within a slice is not visible.
const SLICE_LEN: usize = 64 << 10;
/// The most bytes of an answer that the connection may hold.
const WINDOW: usize = 256 << 10;

/// The body for the connection. Until it is sent, its request is observed and counts as running, and possibly as one
/// without a valid token.
pub(crate) fn send(
    content: Content,
    shared: &Arc<Shared>,
    (active_request, unauthenticated): (ActiveRequest, Option<Counted>),
    observation: Observation,
) -> Body {
    let left = content.len();
    if left == 0 {
        observation.sent();
        return Body::empty();
    }
    let connection = Arc::clone(active_request.connection());
    let deadline = TransferDeadline::new(&shared.limits);
    let unsent = Arc::new(UnsentBytes {
        bytes: AtomicUsize::new(0),
        end: Instant::now() + deadline.longest(),
        waiting: Mutex::new(Waiting { deadline, since: None }),
        changed: AtomicWaker::new(),
        stream: end_of_stream(),
        was_overdue: AtomicBool::new(false),
        sent: Arc::clone(&shared.metrics.sent),
        permits: content.permits,
        _counted: (active_request, unauthenticated),
    });
    let watched: Arc<dyn Deadline> = unsent.clone();
    connection.watch(&watched);
    Body::new(PacedBody {
        body: content.body,
        slices: Bytes::new(),
        left,
        unsent,
        waits_for_end: connection.is_http2(),
        observation: Some(observation),
    })
}

/// The bytes of an answer that the connection has taken and not yet sent. Hyper does not poll the body while the client
/// receives nothing, so the connection's own loop checks the deadline.
#[derive(Debug)]
pub(crate) struct UnsentBytes {
    bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
    end: Instant,
    changed: AtomicWaker,
    /// The end of the stream in HTTP/2.
    stream: Option<Arc<Notify>>,
    /// Whether the client was too slow at the last check.
    was_overdue: AtomicBool,
    sent: Arc<AtomicU64>,
    permits: Permits,
    _counted: (ActiveRequest, Option<Counted>),
}

#[derive(Debug)]
struct Waiting {
    deadline: TransferDeadline,
    /// The start of the current wait for the client.
    since: Option<Instant>,
}

impl UnsentBytes {
    fn slice(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if self.bytes.fetch_add(bytes.len(), Ordering::Relaxed) == 0 {
            self.waiting().since = Some(Instant::now());
        }
        Bytes::from_owner(Slice { bytes, unsent: Arc::clone(self) })
    }

    fn mark_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        let left = self.bytes.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        let now = Instant::now();
        let mut waiting = self.waiting();
        let waited = waiting.since.map_or(Duration::ZERO, |since| now - since);
        waiting.deadline.add_wait(waited);
        waiting.deadline.add_bytes(bytes as u64);
        waiting.since = (left > 0).then_some(now);
        drop(waiting);
        self.changed.wake();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnsentBytes {
    /// Whether the client is too slow.
    fn is_overdue(&self) -> bool {
        let unsent = self.bytes.load(Ordering::Relaxed) as u64;
        let waiting = self.waiting();
        let Some(since) = waiting.since else { return false };
        let left = waiting.deadline.time_left(unsent, self.permits.are_contended());
        drop(waiting);
        Instant::now() >= self.end || since.elapsed() >= left
    }
}

impl Deadline for UnsentBytes {
    /// In HTTP/1, the answer ends when hyper polls it again.
    fn end_if_overdue(&self) -> bool {
        let is_overdue = self.is_overdue();
        if is_overdue {
            self.changed.wake();
            self.stream.iter().for_each(|stream| stream.notify_one());
        }
        self.was_overdue.swap(is_overdue, Ordering::Relaxed) && is_overdue
    }
}

/// Bytes that count as unsent until the connection drops them.
struct Slice {
    bytes: Bytes,
    unsent: Arc<UnsentBytes>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.unsent.mark_sent(self.bytes.len());
    }
}

struct PacedBody {
    body: Body,
    /// Bytes of the body that the connection has not taken.
    slices: Bytes,
    /// Bytes that the connection has not taken.
    left: u64,
    unsent: Arc<UnsentBytes>,
    /// HTTP/1 drops a body once all of it is taken, before it is sent; HTTP/2 drops a body early only if it is
    /// cancelled.
    waits_for_end: bool,
    /// Present until the answer is sent, or its source has failed.
    observation: Option<Observation>,
}

impl PacedBody {
    fn end(&mut self) {
        if let Some(observation) = self.observation.take() {
            observation.sent();
        }
    }

    fn fail(&mut self, problem: Problem) -> Cut {
        if let Some(observation) = self.observation.take() {
            observation.failed(problem);
        }
        Cut
    }

    /// Waits until at most `max_unsent` bytes are unsent; fails if that takes too long.
    fn poll_sent(&self, context: &mut Context<'_>, max_unsent: usize) -> Poll<Result<(), Cut>> {
        let is_sent = || self.unsent.bytes.load(Ordering::Acquire) <= max_unsent;
        if is_sent() {
            return Poll::Ready(Ok(()));
        }
        self.unsent.changed.register(context.waker());
        if is_sent() {
            Poll::Ready(Ok(()))
        } else if self.unsent.is_overdue() {
            Poll::Ready(Err(Cut))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for PacedBody {
    fn drop(&mut self) {
        if self.left == 0 && !self.waits_for_end {
            self.end();
        }
    }
}

impl hyper::body::Body for PacedBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if this.left == 0 {
            // The request runs until everything is sent: otherwise it could not be aborted any more.
            return match ready!(this.poll_sent(context, 0)) {
                Ok(()) => {
                    this.end();
                    Poll::Ready(None)
                }
                Err(cut) => Poll::Ready(Some(Err(cut))),
            };
        }
        if let Err(cut) = ready!(this.poll_sent(context, WINDOW - SLICE_LEN)) {
            return Poll::Ready(Some(Err(cut)));
        }
        while this.slices.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => this.slices = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(this.fail(problem(error))))),
                None => return Poll::Ready(Some(Err(this.fail(Problem::internal("the answer ended early"))))),
            }
        }
        let bytes = this.slices.split_to(this.slices.len().min(SLICE_LEN));
        this.left = this.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(this.unsent.slice(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The problem of the source of a body.
fn problem(error: axum::Error) -> Problem {
    let text = error.to_string();
    let failed = error.into_inner().downcast::<SourceFailed>().ok();
    failed.and_then(|failed| failed.into_problem()).unwrap_or_else(|| Problem::internal(&text))
}
