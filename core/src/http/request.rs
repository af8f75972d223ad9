//! Requests and their bodies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use tokio::sync::{mpsc, oneshot};

use super::timing::IdleTimer;
use crate::protocol::limits::DOCUMENT_BYTES;
use crate::protocol::range::{last_bytes, range};

/// The length of the pieces that are passed to a connection.
const FRAME_LEN: usize = 64 << 10;

/// A request to a service, which can be sent more than once.
#[derive(Clone)]
pub(crate) struct ApiRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// The maximum length of an accepted answer.
    pub(crate) max_len: u64,
    /// The time that the service may need before it answers, in addition to the endpoint's.
    pub(crate) work: Duration,
}

impl ApiRequest {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let (headers, body, max_len) = (Vec::new(), Bytes::new(), DOCUMENT_BYTES as u64);
        Self { method, path: path.into(), headers, body, max_len, work: Duration::ZERO }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the `Content-Type` of the body.
    pub(crate) fn of_type(self, media_type: &'static str) -> Self {
        self.with(CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    /// Requests the bytes from `first` to `last` inclusive, or to the end.
    pub(crate) fn range(self, first: u64, last: Option<u64>) -> Self {
        self.with(RANGE, range(first, last))
    }

    /// Requests the last `count` bytes.
    pub(crate) fn last_bytes(self, count: u64) -> Self {
        self.with(RANGE, last_bytes(count))
    }

    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// Waits longer for the answer, because the service has much to do.
    pub(crate) fn work(mut self, work: Duration) -> Self {
        self.work = work;
        self
    }

    /// Accepts an answer of at most this many bytes.
    pub(crate) fn at_most(mut self, max_len: u64) -> Self {
        self.max_len = max_len;
        self
    }
}

/// A request's body.
pub(super) enum OutgoingBody {
    Whole(Bytes, IdleTimer),
    Pieces(Pieces),
    Ended,
}

/// A body that comes piece by piece.
pub(super) struct Pieces {
    /// Pieces, then `None`. If the channel is closed without `None`, the request is cancelled.
    pub(super) inbox: mpsc::Receiver<Option<Bytes>>,
    /// Told when the connection wants the first piece.
    pub(super) connected: Option<oneshot::Sender<()>>,
    pub(super) idle: IdleTimer,
}

/// The sender of a body stopped before its end.
#[derive(Debug, thiserror::Error)]
#[error("the request was cancelled")]
pub(super) struct Cancelled;

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = Cancelled;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cancelled>>> {
        let piece = match &mut *self {
            Self::Whole(bytes, clock) if !bytes.is_empty() => {
                clock.tick();
                Some(Ok(bytes.split_to(bytes.len().min(FRAME_LEN))))
            }
            Self::Whole(..) | Self::Ended => None,
            Self::Pieces(Pieces { inbox, connected, idle }) => {
                connected.take().map(|connected| connected.send(())); // nobody may wait for it
                idle.stop();
                let piece = ready!(inbox.poll_recv(context));
                idle.tick();
                match piece {
                    Some(Some(bytes)) => Some(Ok(bytes)),
                    Some(None) => None,
                    None => Some(Err(Cancelled)),
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
