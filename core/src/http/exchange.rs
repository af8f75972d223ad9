//! One request and its answer, in whole or piece by piece. Nothing here waits for ever: a peer that sends or receives no
//! byte for a while, or all too few, is given up. Nothing takes more memory than was asked for, nor much more than has
//! arrived.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::Failure;
use super::connector::Connector;
use super::failure::root;
use crate::protocol::limits::{BYTES_PER_SECOND, DOCUMENT_BYTES};
use crate::protocol::range::{last_bytes, range};

/// What is handed to a connection at once.
const FRAME_LEN: usize = 64 << 10;
/// The longest answer for which memory is asked on the word of a service, before its bytes are there.
const MOST_UNPROVED: usize = 16 << 20;

/// What is asked for, to be said more than once if need be.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// The most bytes of the answer that are taken.
    pub(crate) most: u64,
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new(), most: DOCUMENT_BYTES as u64 }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the `Content-Type` of its body.
    pub(crate) fn of_type(self, media_type: &'static str) -> Self {
        self.with(CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    /// Asks for the bytes from `first` to `last` inclusive, or to the end.
    pub(crate) fn range(self, first: u64, last: Option<u64>) -> Self {
        self.with(RANGE, range(first, last))
    }

    /// Asks for the last `count` bytes.
    pub(crate) fn last_bytes(self, count: u64) -> Self {
        self.with(RANGE, last_bytes(count))
    }

    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// Takes an answer of so many bytes at most.
    pub(crate) fn at_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }
}

/// An answer that is all there.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer that has begun.
pub(crate) struct Arriving {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    clock: Clock,
    patience: Patience,
}

/// How much longer a service is waited for: each byte that it sends adds to it.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    left: Duration,
    /// The time that a lost connection costs, however soon it was lost.
    loss: Duration,
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self { left: time, loss: time / 10 }
    }

    /// What `future` gives, unless it takes too long.
    async fn watch<T>(&mut self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let begun = Instant::now();
        let outcome = timeout(self.left, future).await;
        self.spend(begun.elapsed());
        outcome.unwrap_or_else(|_| Err(Failure::too_late()))
    }

    pub(crate) fn spend(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
    }

    pub(crate) fn spend_loss(&mut self) {
        self.spend(self.loss);
    }

    pub(crate) fn earn(&mut self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SECOND;
        self.left = self.left.saturating_add(Duration::from_micros(micros));
    }

    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.left.is_zero() { Err(Failure::too_late()) } else { Ok(()) }
    }
}

/// When something last happened; none while it is the caller who is waited for.
#[derive(Clone)]
pub(super) struct Clock {
    last: Arc<Mutex<Option<Instant>>>,
    most: Duration,
}

impl Clock {
    pub(super) fn new(most: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(Some(Instant::now()))), most }
    }

    pub(super) fn tick(&self) {
        *self.last() = Some(Instant::now());
    }

    fn stop(&self) {
        *self.last() = None;
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> Instant {
        self.last().unwrap_or_else(Instant::now) + self.most
    }

    /// What `future` gives, unless nothing happens for too long.
    pub(super) async fn watch<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = std::pin::pin!(future);
        loop {
            let end = self.end();
            tokio::select! {
                biased;
                outcome = &mut future => return Ok(outcome),
                () = sleep_until(end) => if self.end() <= Instant::now() {
                    return Err(Failure::too_late());
                },
            }
        }
    }
}

/// A request's body.
pub(super) enum Outgoing {
    Whole(Bytes, Clock),
    /// Pieces, and `None` at the end. Where they stop without it, the request is taken back.
    Pieces(mpsc::Receiver<Option<Bytes>>, Clock),
    Ended,
}

/// The rest of a body will not come.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up")]
pub(super) struct GivenUp;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let piece = match &mut *self {
            Self::Whole(bytes, clock) if !bytes.is_empty() => {
                clock.tick();
                Some(Ok(bytes.split_to(bytes.len().min(FRAME_LEN))))
            }
            Self::Whole(..) | Self::Ended => None,
            Self::Pieces(pieces, clock) => {
                clock.stop();
                let piece = ready!(pieces.poll_recv(context));
                clock.tick();
                match piece {
                    Some(Some(bytes)) => Some(Ok(bytes)),
                    Some(None) => None,
                    None => Some(Err(GivenUp)),
                }
            }
        };
        if !matches!(piece, Some(Ok(_))) {
            *self = Self::Ended;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, _) => bytes.is_empty(),
            Self::Pieces(..) => false,
            Self::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(..) => SizeHint::default(),
            Self::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Sends a request, and waits for the head of its answer.
pub(super) async fn send(
    client: Client<Connector, Outgoing>,
    mut request: Request<Outgoing>,
    clock: Clock,
    patience: Patience,
) -> Result<Arriving, Failure> {
    let connection = capture_connection(&mut request);
    let answer =
        clock.watch(client.request(request)).await.map_err(|too_late| match &*connection.connection_metadata() {
            Some(_) => too_late,
            None => too_late.before_end(),
        })?;
    let answer = answer.map_err(Failure::of_client)?;
    clock.tick();
    let (head, body) = answer.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Failure::NoSense); // none was asked for, and the bytes would be taken for the data
    }
    Ok(Arriving { status: head.status, headers: head.headers, body, clock, patience })
}

impl Arriving {
    /// The length of the body, which all answers of our services have.
    pub(crate) fn len(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next bytes; `None` at the end of an answer that is whole.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            self.clock.tick();
            match self.patience.watch(self.clock.watch(self.body.frame())).await? {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.patience.earn(data.len());
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Failure::broken(root(&error))),
                None => return Ok(None),
            }
        }
    }

    /// The whole answer, of at most so many bytes. No copy of them is left elsewhere.
    pub(super) async fn all(mut self, most: u64) -> Result<Answer, Failure> {
        if !self.status.is_success() {
            return Ok(self.refusal().await);
        }
        // That of a `HEAD` has a length, and no body.
        let len = if self.body.is_end_stream() { 0 } else { self.len().unwrap_or(0) };
        if len > most {
            return Err(Failure::NoSense); // more than was asked for: a range, for instance, was dropped on the way
        }
        let len = usize::try_from(len).map_err(|_| Failure::TooLarge)?;
        let mut body = Zeroizing::new(Vec::new());
        make_room(&mut body, len.min(MOST_UNPROVED))?;
        while let Some(data) = self.next().await? {
            let filled = body.len() + data.len();
            if filled > len {
                return Err(Failure::TooLarge); // it had no length, or another
            }
            if filled > body.capacity() {
                let double = body.capacity().saturating_mul(2).max(filled);
                make_room(&mut body, double.min(len))?;
            }
            body.extend_from_slice(&data);
        }
        Ok(Answer { status: self.status, headers: self.headers, body: mem::take(&mut *body) })
    }

    /// What the service says of a refusal, or what stands before it, in whatever form; where that is long or cut off, the
    /// status alone.
    async fn refusal(mut self) -> Answer {
        let mut body = Vec::new();
        while let Ok(Some(data)) = self.next().await {
            if data.len() > DOCUMENT_BYTES - body.len() {
                body.clear();
                break;
            }
            body.extend_from_slice(&data);
        }
        Answer { status: self.status, headers: self.headers, body }
    }
}

/// Moves what is in `body` to where there is room for so many bytes. The old buffer is wiped.
fn make_room(body: &mut Zeroizing<Vec<u8>>, capacity: usize) -> Result<(), Failure> {
    let mut larger = Zeroizing::new(Vec::new());
    larger.try_reserve_exact(capacity).map_err(|_| Failure::TooLarge)?;
    larger.extend_from_slice(body);
    *body = larger;
    Ok(())
}
