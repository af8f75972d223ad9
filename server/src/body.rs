//! Bodies: requests' within their limits of size and time, and answers' from a storage piece by piece.

use std::convert::Infallible;
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

use crate::answer::{Cut, Held, TICK};
use crate::config::Limits;
use crate::gate::{Gate, OnThread};
use crate::pace::Pace;
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
    end: Instant,
    pace: Pace,
    total: Arc<AtomicU64>,
    long: Arc<Gate>,
    place: Option<OwnedSemaphorePermit>,
}

impl RequestBody {
    pub(crate) fn new(body: Body, limits: &Limits, total: Arc<AtomicU64>, long: Arc<Gate>) -> Self {
        let pace = Pace::new(limits);
        Self {
            ended: body.is_end_stream(),
            body,
            received: 0,
            end: Instant::now() + pace.total(),
            pace,
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
            let wanted = self.place.is_some() && self.long.waiting() > 0;
            let allowed = self.pace.left(0, wanted);
            let deadline = self.end.min(start + allowed.min(TICK));
            let frame = timeout_at(deadline, self.body.frame()).await;
            self.pace.waited(start.elapsed());
            let frame = match frame {
                Ok(frame) => frame,
                // The deadline comes nearer when others wait.
                Err(_) if allowed > TICK && Instant::now() < self.end => continue,
                Err(_) => return Err(Problem::too_slow()),
            };
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
                self.pace.passed(len);
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

    /// The next bytes; none at the end. The last bytes of a body with more than `most` are an error.
    pub(crate) async fn chunk(&mut self, most: u64) -> Result<Option<Bytes>, Problem> {
        let Some(data) = self.next().await? else { return Ok(None) };
        if self.received > most {
            return Err(Problem::too_large());
        }
        if self.received > SHORT && self.place.is_none() {
            self.place = Some(self.long.enter().await?);
        }
        Ok(Some(data))
    }

    async fn gather(&mut self, len: usize, most: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let mut gathered = Zeroizing::new(Vec::new());
        while gathered.len() < len {
            let Some(data) = self.chunk(most).await? else { break };
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

/// Pieces of a long answer in memory at once, beside those that the connection has: one is there, one waits, one is made.
const PIECES: u64 = 3;

/// The bytes of the budget that a long answer of `len` bytes holds.
pub(crate) fn charge_of(len: u64) -> u64 {
    len.min(PIECES * PIECE_LEN as u64)
}

/// The answer's body with `len` bytes of `source`, of which the first piece is there when this returns: what fails at once
/// is an error answer, what fails later cuts the connection. A long one takes a place in `held`.
pub(crate) async fn stream(
    source: OnThread<impl Source>,
    len: u64,
    long: &Arc<Gate>,
    held: &mut Held,
) -> Result<Body, Problem> {
    let (mut source, first) = next_piece(source, len).await?;
    let mut left = len - first.len() as u64;
    if left == 0 {
        return Ok(Body::from(first));
    }
    let (sender, rest) = mpsc::channel(1);
    held.add(long.enter().await?, Some(long));
    tokio::spawn(async move {
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
            if sender.send(piece).await.is_err() {
                return; // the answer has ended
            }
        }
    });
    Ok(Body::new(Pieces { first: Some(first), rest, left: len }))
}

async fn next_piece<S: Source>(source: OnThread<S>, left: u64) -> Result<(OnThread<S>, Bytes), Problem> {
    let len = usize::try_from(left).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
    source.with(move |source| source.next_piece(len)).await
}

struct Pieces {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
    left: u64,
}

impl hyper::body::Body for Pieces {
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

/// A body of parts that are all there.
pub(crate) fn of_parts(parts: Vec<Bytes>) -> Body {
    let left = parts.iter().map(|part| part.len() as u64).sum();
    Body::new(Parts { parts: parts.into_iter(), left })
}

struct Parts {
    parts: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.next();
        self.left -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
