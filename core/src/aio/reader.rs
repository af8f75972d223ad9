//! A record read in pieces by async code.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use super::pool::{OnPool, Pool};
use super::stream::Stream;
use crate::error::Error;
use crate::strongroom;
use crate::util::wiped::Wiped;

/// The bytes of the first piece, and of the later ones.
const FIRST_LEN: usize = 16 << 10;
const PIECE_LEN: usize = 256 << 10;

/// Reads a record from any position, in constant memory: [`strongroom::RecordReader`](crate::RecordReader) for async
/// code, with the same promises. Each [`io::Error`] has the [`Error`] inside.
///
/// It is buffered, and fetches a piece when one is needed. If the future of a read or a seek is dropped, no data is
/// lost.
pub struct RecordReader {
    stream: Stream<strongroom::RecordReader, Outcome>,
    pool: Pool,
    /// A piece of the record, and its place. It stays until another one is read: a record that was taken from a server
    /// can be read only once.
    piece: Wiped,
    piece_start: u64,
    /// Whether the record ends with the piece.
    is_last: bool,
    /// The place of the next byte.
    position: u64,
    /// The distance from the end of a seek at work.
    seek_end: Option<i64>,
    /// The bytes of the next piece.
    next_len: usize,
}

/// The outcome of a call.
enum Outcome {
    Piece(io::Result<(Wiped, bool)>, u64),
    Len(Result<u64, Error>),
}

impl RecordReader {
    pub(super) fn new(reader: OnPool<strongroom::RecordReader>) -> Self {
        Self {
            pool: reader.pool().clone(),
            stream: Stream::Idle(reader),
            piece: Wiped::default(),
            piece_start: 0,
            is_last: false,
            position: 0,
            seek_end: None,
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
        let start = self.position.checked_sub(self.piece_start).and_then(|start| usize::try_from(start).ok());
        start.and_then(|start| self.piece.get(start..)).unwrap_or_default()
    }

    /// Whether the position is the end, or after it.
    fn is_at_end(&self) -> bool {
        self.is_last && self.position >= self.piece_start.saturating_add(self.piece.len() as u64)
    }

    /// Waits for the call at work, if there is one, and notes its outcome.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.stream.poll(cx))? {
            Some(Outcome::Piece(piece, start)) => {
                ((self.piece, self.is_last), self.piece_start) = (piece?, start);
            }
            Some(Outcome::Len(len)) => {
                if let Some(distance) = self.seek_end.take() {
                    self.position = len?.checked_add_signed(distance).ok_or_else(before_start)?;
                }
            }
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads `len` bytes from `start` on, or fewer before the end or an error. Returns whether they are the last ones.
fn read_piece(reader: &mut strongroom::RecordReader, start: u64, len: usize) -> io::Result<(Wiped, bool)> {
    reader.seek(SeekFrom::Start(start))?;
    let (mut piece, mut filled, mut is_last) = (Wiped::from(vec![0; len]), 0, false);
    while let Some(free) = piece.get_mut(filled..).filter(|free| !free.is_empty()) {
        match reader.read(free) {
            Ok(0) => {
                is_last = true;
                break;
            }
            Ok(read) => filled += read,
            // The data before an error is read first; the next call has the same error.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok((piece, is_last))
}

impl AsyncBufRead for RecordReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let reader = self.get_mut();
        loop {
            ready!(reader.poll_idle(cx))?;
            if !reader.unread().is_empty() || reader.is_at_end() {
                return Poll::Ready(Ok(reader.unread()));
            }
            let (start, len) = (reader.position, reader.next_len);
            reader.next_len = PIECE_LEN;
            reader.stream.start(&reader.pool, move |reader| Outcome::Piece(read_piece(reader, start, len), start));
        }
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        let amount = amount.min(self.unread().len());
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
        match to {
            SeekFrom::Start(position) => reader.position = position,
            SeekFrom::Current(distance) => {
                reader.position = reader.position.checked_add_signed(distance).ok_or_else(before_start)?;
            }
            SeekFrom::End(distance) => {
                reader.seek_end = Some(distance);
                reader.stream.start(&reader.pool, |reader| Outcome::Len(reader.len()));
            }
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

fn before_start() -> Error {
    Error::InvalidArgument("a position before the start of the record".into())
}

fn unexpected() -> Error {
    Error::Internal("a call has the outcome of another".into())
}
