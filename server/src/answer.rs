//! Answers on their way out. Each holds its bytes' part of the budget until the connection has sent them, has a minimum
//! rate and a deadline, and ends where it falls behind.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::connection::UnderWay;
use crate::counted::Counted;
use crate::gate::Gate;
use crate::pace::Pace;
use crate::service::Shared;

/// The bytes that the connection gets at once; progress within them is not seen.
const SLICE_LEN: usize = 64 << 10;
/// How much of an answer the connection may hold.
const WINDOW: usize = 256 << 10;

/// How often a deadline is looked at, which comes nearer when others wait.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// An answer as its handler makes it.
pub(crate) type Response = hyper::Response<Content>;

/// An answer's body, and the places and bytes that it holds until it is sent.
#[derive(Debug, Default)]
pub(crate) struct Content {
    body: Body,
    held: Held,
}

/// Places and bytes, each of a gate at which others may wait.
#[derive(Debug, Default)]
pub(crate) struct Held(Vec<(OwnedSemaphorePermit, Option<Arc<Gate>>)>);

impl Held {
    pub(crate) fn add(&mut self, permit: OwnedSemaphorePermit, gate: Option<&Arc<Gate>>) {
        self.0.push((permit, gate.cloned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether others wait for what is held here.
    fn is_wanted(&self) -> bool {
        self.0.iter().any(|(_, gate)| gate.as_ref().is_some_and(|gate| gate.waiting() > 0))
    }
}

impl From<OwnedSemaphorePermit> for Held {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(vec![(permit, None)])
    }
}

impl<B: Into<Body>> From<B> for Content {
    fn from(body: B) -> Self {
        Self { body: body.into(), held: Held::default() }
    }
}

impl Content {
    pub(crate) fn new(body: impl Into<Body>, held: Held) -> Self {
        Self { body: body.into(), held }
    }

    /// Its length: all of them are known.
    pub(crate) fn len(&self) -> u64 {
        self.body.size_hint().lower()
    }

    pub(crate) fn is_charged(&self) -> bool {
        !self.held.is_empty()
    }

    pub(crate) fn charge(&mut self, held: Held) {
        self.held = held;
    }

    pub(crate) fn charged(self, held: Held) -> Self {
        Self { held, ..self }
    }

    /// The body for the connection, which counts as under way, and perhaps as a stranger's, until it is sent. `name` is the
    /// request's, for the log.
    pub(crate) fn send(
        self,
        shared: &Arc<Shared>,
        (under_way, stranger): (UnderWay, Option<Counted>),
        route: &'static str,
        name: String,
    ) -> Body {
        let left = self.len();
        if left == 0 {
            return Body::empty();
        }
        let connection = Arc::clone(under_way.connection());
        let pace = Pace::new(&shared.limits);
        let unsent = Arc::new(Unsent {
            bytes: AtomicUsize::new(0),
            end: Instant::now() + pace.total(),
            waiting: Mutex::new(Waiting { pace, since: None }),
            changed: AtomicWaker::new(),
            sent: Arc::clone(&shared.metrics.sent),
            held: self.held,
            _counted: (under_way, stranger),
        });
        connection.watch(&unsent);
        Body::new(Answer {
            body: self.body,
            slices: Bytes::new(),
            left,
            unsent,
            waits_for_end: connection.is_http2(),
            log: Some((Arc::clone(shared), route, name)),
        })
    }
}

/// The bytes of an answer that the connection has taken and not yet sent. Hyper asks for no more
/// while the client takes nothing, so that the connection's own loop looks at the time.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
    end: Instant,
    changed: AtomicWaker,
    sent: Arc<AtomicU64>,
    held: Held,
    _counted: (UnderWay, Option<Counted>),
}

#[derive(Debug)]
struct Waiting {
    pace: Pace,
    /// Since when the client is waited for.
    since: Option<Instant>,
}

impl Unsent {
    fn give(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if self.bytes.fetch_add(bytes.len(), Ordering::Relaxed) == 0 {
            self.waiting().since = Some(Instant::now());
        }
        Bytes::from_owner(Slice { bytes, unsent: Arc::clone(self) })
    }

    fn took(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        let left = self.bytes.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        let now = Instant::now();
        let mut waiting = self.waiting();
        let waited = waiting.since.map_or(Duration::ZERO, |since| now - since);
        waiting.pace.waited(waited);
        waiting.pace.passed(bytes as u64);
        waiting.since = (left > 0).then_some(now);
        drop(waiting);
        self.changed.wake();
    }

    /// Whether the client is too slow. If it is, the answer ends where hyper asks for more of it.
    pub(crate) fn is_overdue(&self) -> bool {
        let open = self.bytes.load(Ordering::Relaxed) as u64;
        let waiting = self.waiting();
        let Some(since) = waiting.since else { return false };
        let left = waiting.pace.left(open, self.held.is_wanted());
        drop(waiting);
        let overdue = Instant::now() >= self.end || since.elapsed() >= left;
        if overdue {
            self.changed.wake();
        }
        overdue
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that count as unsent until the connection drops them.
struct Slice {
    bytes: Bytes,
    unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.unsent.took(self.bytes.len());
    }
}

/// An answer could not be sent to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
pub(crate) struct Cut;

struct Answer {
    body: Body,
    /// Bytes of the body that the connection has not taken.
    slices: Bytes,
    /// Bytes that the connection has not taken.
    left: u64,
    unsent: Arc<Unsent>,
    /// HTTP/1 drops a body that is taken before it is sent, HTTP/2 only one that is given up.
    waits_for_end: bool,
    /// For an answer that does not come to its end.
    log: Option<(Arc<Shared>, &'static str, String)>,
}

impl Answer {
    /// Waits until no more than `most` bytes are unsent; fails where that takes too long.
    fn poll_sent(&self, context: &mut Context<'_>, most: usize) -> Poll<Result<(), Cut>> {
        let is_sent = || self.unsent.bytes.load(Ordering::Acquire) <= most;
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

impl Drop for Answer {
    fn drop(&mut self) {
        let Some((shared, route, request_id)) = self.log.take() else { return };
        if self.left > 0 || self.waits_for_end {
            shared.metrics.cut.fetch_add(1, Ordering::Relaxed);
            tracing::info!(target: "strongroom", request_id, route, "the client did not take the answer to its end");
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if this.left == 0 {
            // It is under way until all is sent: nothing else could end it.
            return match ready!(this.poll_sent(context, 0)) {
                Ok(()) => {
                    this.log = None;
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
                // Where there is no more before the end, it was given up.
                Some(Err(_)) | None => return Poll::Ready(Some(Err(Cut))),
            }
        }
        let bytes = this.slices.split_to(this.slices.len().min(SLICE_LEN));
        this.left = this.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(this.unsent.give(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
