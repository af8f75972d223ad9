//! A record read in pieces by async code.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use super::pool::{OnPool, Pool};
use super::stream::Stream;
use super::wiped::Wiped;
use crate::error::Error;
use crate::strongroom;

/// The bytes of the first piece, and of the later ones.
const FIRST_LEN: usize = 16 << 10;
const PIECE_LEN: usize = 256 << 10;

/// Reads a record from any position, in constant memory: [`strongroom::RecordReader`](crate::RecordReader) for async
/// code, with the same promises. Each [`io::Error`] has the [`Error`] inside.
///
/// It is buffered, and fetches a piece when one is needed. If the future of a read or a seek is dropped, no data is lost.
pub struct RecordReader {
    stream: Stream<strongroom::RecordReader, Outcome>,
    pool: Pool,
    /// A piece of the record, and the number of its bytes that were read from here.
    piece: Wiped,
    consumed: usize,
    /// Whether the record ends with the piece.
    is_last: bool,
    /// The place of the next byte.
    position: u64,
    /// The bytes of the next piece.
    next_len: usize,
}

/// The outcome of a call.
enum Outcome {
    Piece { piece: Wiped, is_last: bool, failure: Option<io::Error> },
    Position(io::Result<u64>),
    Len(Result<u64, Error>),
}

impl RecordReader {
    pub(super) fn new(reader: OnPool<strongroom::RecordReader>) -> Self {
        Self {
            pool: reader.pool().clone(),
            stream: Stream::Idle(reader),
            piece: Wiped::default(),
            consumed: 0,
            is_last: false,
            position: 0,
            next_len: FIRST_LEN,
        }
    }

    /// The length of the data in bytes, proved by opening the final chunk.
    ///
    /// # Errors
    ///
    /// As [`strongroom::RecordReader::len`](crate::RecordReader::len).
    pub async fn len(&mut self) -> Result<u64, Error> {
        poll_fn(|cx| self.poll_idle(cx)).await.map_err(super::writer::inner)?;
        self.stream.start(&self.pool, |reader| Outcome::Len(reader.len()));
        match poll_fn(|cx| self.stream.poll(cx)).await? {
            Some(Outcome::Len(len)) => len,
            _ => Err(unexpected()),
        }
    }

    /// Whether the record has no data, proved as for [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub async fn is_empty(&mut self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    fn unread(&self) -> &[u8] {
        self.piece.get(self.consumed..).unwrap_or_default()
    }

    /// Waits for the call at work, if there is one, and notes its outcome.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.stream.poll(cx))? {
            Some(Outcome::Piece { piece, is_last, failure }) => {
                (self.piece, self.consumed, self.is_last) = (piece, 0, is_last);
                failure.map_or(Ok(()), Err)?;
            }
            Some(Outcome::Position(position)) => {
                self.position = position?;
                self.piece.clear();
                (self.consumed, self.is_last) = (0, false);
            }
            Some(Outcome::Len(_)) | None => {}
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads the next `len` bytes, or fewer before the end or an error, into `piece`.
fn read_piece(reader: &mut strongroom::RecordReader, mut piece: Wiped, len: usize) -> Outcome {
    if piece.capacity() < len {
        piece = Wiped::with_capacity(len); // growth would leave a copy of the data in memory
    }
    piece.resize(len, 0);
    let (mut filled, mut is_last, mut failure) = (0, false, None);
    while let Some(free) = piece.get_mut(filled..).filter(|free| !free.is_empty()) {
        match reader.read(free) {
            Ok(0) => {
                is_last = true;
                break;
            }
            Ok(read) => filled += read,
            // The data before an error is read first; the next call has the same error.
            Err(_) if filled > 0 => break,
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    piece.truncate(filled);
    Outcome::Piece { piece, is_last, failure }
}

impl AsyncBufRead for RecordReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let reader = self.get_mut();
        loop {
            ready!(reader.poll_idle(cx))?;
            if !reader.unread().is_empty() || reader.is_last {
                return Poll::Ready(Ok(reader.unread()));
            }
            let (piece, len) = (std::mem::take(&mut reader.piece), reader.next_len);
            reader.next_len = PIECE_LEN;
            reader.stream.start(&reader.pool, move |reader| read_piece(reader, piece, len));
        }
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        let amount = amount.min(self.unread().len());
        self.consumed += amount;
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl AsyncRead for RecordReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unread = ready!(self.as_mut().poll_fill_buf(cx))?;
        let unread = unread.get(..buffer.remaining()).unwrap_or(unread);
        let len = unread.len();
        buffer.put_slice(unread);
        self.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for RecordReader {
    /// Seeking from the end proves the length first. A position past the end is allowed; reads there return nothing.
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let reader = self.get_mut();
        if matches!(reader.stream, Stream::Busy(_)) {
            return Err(io::Error::other("another call is at work: complete it before the next seek"));
        }
        let invalid = || Error::InvalidArgument("a position before the start of the record".into());
        let to = match to {
            SeekFrom::Current(distance) => {
                SeekFrom::Start(reader.position.checked_add_signed(distance).ok_or_else(invalid)?)
            }
            to => to,
        };
        if to != SeekFrom::Start(reader.position) {
            reader.stream.start(&reader.pool, move |reader| Outcome::Position(reader.seek(to)));
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let reader = self.get_mut();
        ready!(reader.poll_idle(cx))?;
        Poll::Ready(Ok(reader.position))
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader").field("position", &self.position).finish_non_exhaustive()
    }
}

fn unexpected() -> Error {
    Error::Internal("a call has the outcome of another".into())
}
