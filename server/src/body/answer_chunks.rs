//! Long answers: read from the storage in chunks while they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::unsent_answer::{Permits, SourceFailed};
use crate::blocking_pool::PoolOwned;
use crate::concurrency_limit::ConcurrencyLimit;
use crate::problem::Problem;
use crate::shared::Shared;

/// The bytes of a chunk, which is read or written by one call.
pub(crate) const CHUNK_LEN: usize = 256 << 10;

/// The chunks of a long answer, read on a thread that may block.
pub(crate) trait ChunkSource: Send + 'static {
    /// The next `len` bytes.
    fn next_chunk(&mut self, len: usize) -> Result<Bytes, Problem>;
}

/// The chunks of a long answer in memory, in addition to those that the connection has: one is sent, one waits, one is
/// read.
const CHUNKS: u64 = 3;

/// The memory of an answer of `len` bytes that is sent in chunks.
pub(crate) fn memory_of(len: u64) -> u64 {
    len.min(CHUNKS * CHUNK_LEN as u64)
}

/// Adds the permit of `long` for an answer of `len` bytes, if it needs one.
pub(crate) async fn add_long_permit(
    len: u64,
    long: &Arc<ConcurrencyLimit>,
    permits: &mut Permits,
) -> Result<(), Problem> {
    if len > CHUNK_LEN as u64 {
        permits.add(long.acquire().await?, Some(long));
    }
    Ok(())
}

/// The answer's body with `len` bytes of `source`. The first chunk is read before this returns: a failure until then is
/// an error answer, a later one aborts the answer.
pub(crate) async fn stream(
    source: PoolOwned<impl ChunkSource>,
    len: u64,
    shared: &Arc<Shared>,
) -> Result<Body, Problem> {
    let (mut source, first) = next_chunk(source, len).await?;
    let mut left = len - first.len() as u64;
    if left == 0 {
        return Ok(Body::from(first));
    }
    let (sender, rest) = mpsc::channel(1);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        while left > 0 {
            let chunk = match next_chunk(source, left).await {
                Ok((next, chunk)) => {
                    source = next;
                    chunk
                }
                Err(problem) => {
                    let _ = sender.send(Err(SourceFailed::new(problem, shared))).await; // fails if the answer has ended
                    return;
                }
            };
            left -= chunk.len() as u64;
            if sender.send(Ok(chunk)).await.is_err() {
                return; // the answer has ended
            }
        }
    });
    Ok(Body::new(ChunkedBody { first: Some(first), rest, left: len }))
}

async fn next_chunk<S: ChunkSource>(source: PoolOwned<S>, left: u64) -> Result<(PoolOwned<S>, Bytes), Problem> {
    let len = usize::try_from(left).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
    source.with(move |source| source.next_chunk(len)).await
}

struct ChunkedBody {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Result<Bytes, SourceFailed>>,
    left: u64,
}

impl hyper::body::Body for ChunkedBody {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceFailed>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let chunk = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => std::task::ready!(self.rest.poll_recv(context)),
        };
        let chunk = match chunk {
            Some(Ok(chunk)) => chunk,
            Some(Err(failed)) => return Poll::Ready(Some(Err(failed))),
            None => return Poll::Ready(None), // too early
        };
        self.left = self.left.saturating_sub(chunk.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A body of parts that are all in memory.
pub(crate) fn from_parts(parts: Vec<Bytes>) -> Body {
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
