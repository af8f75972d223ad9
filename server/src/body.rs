//! Bodies: requests' within their limits of size and time, and answers' from a storage piece by piece.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::config::Limits;
use crate::gate::{Gate, OnThread};
use crate::problem::Problem;

/// What is read or written at once.
pub(crate) const PIECE_LEN: usize = 256 << 10;

/// What each request may send before it needs one of the places for long bodies.
const SHORT: u64 = 64 << 10;

/// How long the rest of a body is taken and thrown away, so that a client that is still sending can read why it was refused.
const DRAIN: Duration = Duration::from_secs(2);

/// A request's body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Body,
    ended: bool,
    received: u64,
    waited: Duration,
    end: Instant,
    granted: Duration,
    rate: u64,
    total: Arc<AtomicU64>,
    long: Arc<Gate>,
    place: Option<OwnedSemaphorePermit>,
}

impl RequestBody {
    pub(crate) fn new(body: Body, limits: &Limits, total: Arc<AtomicU64>, long: Arc<Gate>) -> Self {
        Self {
            ended: body.is_end_stream(),
            body,
            received: 0,
            waited: Duration::ZERO,
            end: Instant::now() + Duration::from_secs(limits.body_most_seconds),
            granted: Duration::from_secs(limits.body_seconds),
            rate: limits.body_bytes_per_second.max(1),
            total,
            long,
            place: None,
        }
    }

    /// Where it is long, its place is one of these.
    pub(crate) fn takes_place_of(&mut self, gate: &Arc<Gate>) {
        self.long = Arc::clone(gate);
    }

    /// The place, if it has one, for who goes on with what came.
    pub(crate) fn take_place(&mut self) -> Option<OwnedSemaphorePermit> {
        self.place.take()
    }

    /// What the client says that there is, or what there is at least.
    pub(crate) fn announced(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// Fails where more than `most` bytes are announced.
    pub(crate) fn check_announced(&self, most: u64) -> Result<(), Problem> {
        if self.announced() > most { Err(Problem::too_large()) } else { Ok(()) }
    }

    /// The next bytes; `None` at the end of a body that is whole.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        while !self.ended {
            let start = Instant::now();
            let granted = self.granted + Duration::from_secs(self.received / self.rate);
            let deadline = self.end.min(start + granted.saturating_sub(self.waited));
            let frame = timeout_at(deadline, self.body.frame()).await.map_err(|_| Problem::too_slow())?;
            self.waited += start.elapsed();
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    self.ended = true;
                    return Err(Problem::bad_request("the body was cut short"));
                }
                None => {
                    self.ended = true;
                    break;
                }
            };
            if let Ok(data) = frame.into_data() {
                let len = data.len() as u64;
                self.received += len;
                self.total.fetch_add(len, Ordering::Relaxed);
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next [`PIECE_LEN`] bytes or somewhat more; less only at the end, where it is nothing. Of a
    /// body of more than `most` bytes, the last piece is never had.
    pub(crate) async fn piece(&mut self, most: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
        self.gather(PIECE_LEN, most).await
    }

    /// All of it.
    pub(crate) async fn all(&mut self, most: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
        self.check_announced(most)?;
        self.gather(usize::MAX, most).await
    }

    async fn gather(&mut self, len: usize, most: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let mut gathered = Zeroizing::new(Vec::new());
        while gathered.len() < len {
            let Some(data) = self.next().await? else { break };
            if self.received > most {
                return Err(Problem::too_large());
            }
            if self.received > SHORT && self.place.is_none() {
                self.place = Some(self.long.enter().await?);
            }
            grow(&mut gathered, data.len());
            gathered.extend_from_slice(&data);
        }
        Ok(gathered)
    }
}

/// Makes room for `more` bytes, and leaves no copy behind.
fn grow(buffer: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = buffer.len() + more;
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * buffer.capacity())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
}

/// A body that nobody read to its end was refused, and its client may still be sending: a connection that is closed at
/// once would lose the answer.
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

/// Gives the bytes of a long answer one piece after the other, on a thread that may block.
pub(crate) trait Source: Send + 'static {
    /// The next `len` bytes.
    fn next_piece(&mut self, len: usize) -> Result<Bytes, Problem>;
}

/// The answer's body with `len` bytes of `source`. Its first piece is there when this returns, so that what fails at once is
/// an error answer; what fails later cuts the connection. Of a
/// long one, a client that takes no piece for a minute loses the place.
pub(crate) async fn stream(
    source: OnThread<impl Source>,
    len: u64,
    long: &Arc<Gate>,
    limits: &Limits,
) -> Result<Body, Problem> {
    let (mut source, first) = next_piece(source, len).await?;
    let mut left = len - first.len() as u64;
    if left == 0 {
        return Ok(Body::from(first));
    }
    let (sender, rest) = mpsc::channel(1);
    let stall = Duration::from_secs(limits.idle_seconds);
    let place = long.enter().await?;
    tokio::spawn(async move {
        let _place = place;
        while left > 0 {
            let piece = match next_piece(source, left).await {
                Ok((next, piece)) => {
                    source = next;
                    piece
                }
                Err(problem) => {
                    let (error, cause) = (problem.title, problem.cause);
                    tracing::error!(target: "strongroom", error, cause, "an answer was cut");
                    return;
                }
            };
            left -= piece.len() as u64;
            if !matches!(timeout(stall, sender.send(piece)).await, Ok(Ok(()))) {
                return; // the client is gone, or asleep
            }
        }
    });
    Ok(Body::new(Answer { first: Some(first), rest, left: len }))
}

async fn next_piece<S: Source>(source: OnThread<S>, left: u64) -> Result<(OnThread<S>, Bytes), Problem> {
    let len = usize::try_from(left).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
    source.with(move |source| source.next_piece(len)).await
}

/// An answer could not be sent to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
struct Cut;

struct Answer {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
    left: u64,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match self.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(self.rest.poll_recv(context)),
        };
        // Where there is no more before the end, it was given up.
        let Some(piece) = piece else { return Poll::Ready(Some(Err(Cut))) };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
