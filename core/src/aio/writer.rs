//! A record written piece by piece by async code.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::pool::{OnPool, Pool};
use super::stream::Stream;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::MAX_PIECE_LEN;
use crate::strongroom;
use crate::util::wiped::Wiped;

/// The capacity of the first buffer: most records are short.
const SHORT_LEN: usize = 4 << 10;

/// A record that is being written. [`finish`](Self::finish) stores it; dropping the writer stores nothing, and
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) only does what [`flush`](tokio::io::AsyncWriteExt::flush) does.
///
/// A writer needs constant memory: it gathers 256 KiB, and waits until the piece before is written. The error of a
/// failed write comes with a later call, and each [`io::Error`] has the [`Error`] inside.
#[must_use = "a record that is not finished is not there"]
pub struct RecordWriter {
    stream: Stream<strongroom::RecordWriter, Written>,
    pool: Pool,
    key: RecordKey,
    /// The data that no call has yet.
    gathered: Wiped,
    /// The buffer of the call before.
    spare: Wiped,
    len: u64,
}

/// The outcome of a write, and its buffer for the next one.
type Written = (io::Result<()>, Wiped);

impl RecordWriter {
    pub(super) fn new(writer: OnPool<strongroom::RecordWriter>) -> Result<Self, Error> {
        let key = writer.get()?.key().duplicate();
        let pool = writer.pool().clone();
        Ok(Self {
            stream: Stream::Idle(writer),
            pool,
            key,
            gathered: Wiped::default(),
            spare: Wiped::default(),
            len: 0,
        })
    }

    /// The key that will open the record. Save it before [`finish`](Self::finish), so that neither a crash nor a
    /// cancellation can lose the key of a stored record.
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// The number of bytes accepted so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.len
    }

    /// Stores the record durably, and returns its key. If the future is dropped, the record is stored or not.
    ///
    /// # Errors
    ///
    /// As [`strongroom::RecordWriter::finish`](crate::RecordWriter::finish).
    pub async fn finish(mut self) -> Result<RecordKey, Error> {
        poll_fn(|cx| self.poll_written(cx)).await.map_err(inner)?;
        let Self { stream, pool, gathered, .. } = self;
        let stream = stream.into_idle()?;
        let finish = pool.run(move || {
            let mut writer = stream.into_inner()?;
            writer.write_all(&gathered).map_err(inner)?;
            writer.finish()
        });
        finish.await
    }

    /// Waits for the write at work, if there is one.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((outcome, buffer)) = ready!(self.stream.poll(cx))? {
            self.spare = buffer;
            outcome?;
        }
        Poll::Ready(Ok(()))
    }

    /// Starts to write the gathered data, after the write at work.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        let mut piece = mem::replace(&mut self.gathered, mem::take(&mut self.spare));
        self.stream.start(&self.pool, move |writer| {
            let outcome = writer.write_all(&piece);
            piece.clear();
            (outcome, piece)
        });
        Poll::Ready(Ok(()))
    }

    /// Makes room for `len` more bytes, if a piece may have them, and leaves no copy of the data in memory.
    fn make_room(&mut self, len: usize) -> Result<(), Error> {
        let needed = self.gathered.len().saturating_add(len);
        if self.gathered.capacity() < needed.min(MAX_PIECE_LEN) {
            let capacity = if needed <= SHORT_LEN { SHORT_LEN } else { MAX_PIECE_LEN };
            self.gathered.grow(capacity).map_err(|_| Error::TooLarge)?;
        }
        Ok(())
    }
}

impl AsyncWrite for RecordWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= MAX_PIECE_LEN {
            ready!(self.poll_write_gathered(cx))?;
        }
        self.make_room(data.len())?;
        let free = MAX_PIECE_LEN.saturating_sub(self.gathered.len());
        let data = data.get(..free).unwrap_or(data);
        self.gathered.extend_from_slice(data);
        self.len = self.len.saturating_add(data.len() as u64);
        Poll::Ready(Ok(data.len()))
    }

    /// Waits until all data is passed to the store. Only [`finish`](Self::finish) makes a record durable.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() {
            ready!(self.poll_write_gathered(cx))?;
        }
        self.poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("bytes", &self.len).finish_non_exhaustive()
    }
}

/// The error inside that of a stream.
pub(super) fn inner(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Storage(error.into()))
}
