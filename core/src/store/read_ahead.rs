//! Read-ahead of sealed chunks. Random access reads them one at a time; sequential access reads growing parts in
//! advance, so that one core reads while another opens.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::stored_version::{StoredVersion, part_chunks};
use crate::cobblestone::chunk_offset;
use crate::error::Error;
use crate::util::fork_check::OwnerProcess;
use crate::util::handoff::{Receiver, Sender, handoff};
use crate::util::interrupt::{self, Cancellation};
use crate::util::threads;

/// The most chunks of a part, unless the storage prefers longer parts.
const MAX_CHUNKS: u64 = 64;
/// The number of steps after which a sequential read has about the longest parts.
const GROWTH_STEPS: u64 = 32;

/// Consecutive sealed chunks.
#[derive(Default)]
struct Piece {
    chunks: Range<u64>,
    sealed: Vec<u8>,
}

impl Piece {
    /// Fills this piece with these chunks, `len` bytes long.
    fn fill(mut self, version: &StoredVersion, chunks: Range<u64>, len: usize) -> Result<Self, Error> {
        self.sealed.resize(len, 0);
        version.read(chunk_offset(chunks.start).ok_or(Error::Corrupt)?, &mut self.sealed)?;
        Ok(Self { chunks, ..self })
    }
}

pub(super) struct ReadAhead {
    /// The most chunks of a part.
    max_chunks: u64,
    piece: Piece,
    ahead: Option<ReaderThread>,
    /// Whether the record was replaced or removed; each later read fails, too.
    lost: bool,
    /// Dropped after the thread has ended: a claimed record is then removed by this thread, whose waits are not cancelled.
    version: Arc<StoredVersion>,
}

impl ReadAhead {
    pub(super) fn new(version: StoredVersion) -> Self {
        let max_chunks = MAX_CHUNKS.max(part_chunks(&version.limits()) as u64);
        Self { version: Arc::new(version), max_chunks, piece: Piece::default(), ahead: None, lost: false }
    }

    pub(super) fn version(&self) -> &StoredVersion {
        &self.version
    }

    /// The sealed chunks in memory from `index` on. `end` is the number of chunks of the record, and `len_of` returns
    /// the bytes of a range of them.
    pub(super) fn chunks_from(
        &mut self,
        index: u64,
        end: u64,
        len_of: impl Fn(&Range<u64>) -> usize,
    ) -> Result<&[u8], Error> {
        if !self.piece.chunks.contains(&index) {
            if self.lost {
                return Err(Error::Conflict);
            }
            if interrupt::is_interrupted() {
                return Err(Error::Busy);
            }
            let in_order = index == self.piece.chunks.end && index > 0;
            let before = self.piece.chunks.end - self.piece.chunks.start;
            let growth = (self.max_chunks / GROWTH_STEPS).max(2);
            let wanted = if in_order { (before * growth).min(self.max_chunks) } else { 1 };
            let mut outcome = self.fetch(index..index.saturating_add(wanted).min(end), end, &len_of);
            if matches!(outcome, Err(Error::Corrupt)) && wanted > 1 {
                outcome = self.fetch(index..index + 1, end, &len_of); // only later chunks may be missing
            }
            self.lost = matches!(outcome, Err(Error::Conflict));
            outcome?;
        }
        let start = len_of(&(self.piece.chunks.start..index));
        self.piece.sealed.get(start..).ok_or(Error::Corrupt)
    }

    fn fetch(&mut self, chunks: Range<u64>, end: u64, len_of: &impl Fn(&Range<u64>) -> usize) -> Result<(), Error> {
        // There is no piece until this succeeds; its buffer is reused.
        let old = std::mem::take(&mut self.piece);
        let awaited = match &mut self.ahead {
            Some(ahead) => ahead.take(&chunks)?,
            None => None,
        };
        let next = chunks.end..chunks.end.saturating_add(self.max_chunks).min(end);
        let is_run = chunks.end - chunks.start == self.max_chunks && !next.is_empty();
        match awaited {
            Some(piece) => {
                self.piece = piece?;
                if let (true, Some(ahead)) = (is_run, &mut self.ahead) {
                    ahead.request(old, next.clone(), len_of(&next));
                }
            }
            None => {
                if is_run && self.ahead.is_none() {
                    self.ahead = ReaderThread::start(Arc::clone(&self.version));
                }
                if let (true, Some(ahead)) = (is_run, &mut self.ahead) {
                    ahead.request(Piece::default(), next.clone(), len_of(&next));
                }
                let len = len_of(&chunks);
                self.piece = old.fill(&self.version, chunks, len)?;
            }
        }
        Ok(())
    }
}

/// A thread that fetches the next piece while the current one is opened.
struct ReaderThread {
    /// Both are `None` once the thread must end.
    requests: Option<Sender<Request>>,
    pieces: Option<Receiver<Result<Piece, Error>>>,
    thread: Option<JoinHandle<()>>,
    /// The chunks that are being fetched.
    awaited: Option<Range<u64>>,
    cancellation: Cancellation,
    owner: OwnerProcess,
}

/// A buffer to reuse, the chunks, and their number of bytes.
type Request = (Piece, Range<u64>, usize);

impl ReaderThread {
    /// `None` if no thread can be started; then each piece is fetched when it is needed.
    fn start(version: Arc<StoredVersion>) -> Option<Self> {
        let (requests, inbox) = handoff::<Request>();
        let (outbox, pieces) = handoff();
        let work = move || {
            while let Some((piece, chunks, len)) = inbox.receive() {
                if outbox.send(piece.fill(&version, chunks, len)).is_err() {
                    break; // the reader is gone
                }
            }
        };
        let cancellation = Cancellation::default();
        let cancelled = cancellation.clone();
        let work = move || cancelled.run(work);
        let thread = threads::spawn("strongroom-read", work).ok()?;
        Some(Self {
            requests: Some(requests),
            pieces: Some(pieces),
            thread: Some(thread),
            awaited: None,
            cancellation,
            owner: OwnerProcess::current(),
        })
    }

    /// The piece that is being fetched, if it has these chunks; any other is dropped.
    fn take(&mut self, chunks: &Range<u64>) -> Result<Option<Result<Piece, Error>>, Error> {
        if self.awaited.is_some() && !self.owner.is_current() {
            return Err(Error::Forked); // the thread belongs to the parent, so the wait would never end
        }
        let Some(awaited) = self.awaited.take() else { return Ok(None) };
        let piece = self.pieces.as_ref().and_then(Receiver::receive);
        if piece.is_none() && interrupt::was_interrupted() {
            self.awaited = Some(awaited); // it is still being fetched
            return Err(Error::Busy);
        }
        Ok(piece.filter(|_| awaited == *chunks))
    }

    fn request(&mut self, buffer: Piece, chunks: Range<u64>, len: usize) {
        let request = (buffer, chunks.clone(), len);
        let here = self.owner.is_current();
        if here && self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok()) {
            self.awaited = Some(chunks);
        }
    }
}

/// The thread has ended when this returns, so that it keeps no storage open.
impl Drop for ReaderThread {
    fn drop(&mut self) {
        let (requests, pieces, thread) = (self.requests.take(), self.pieces.take(), self.thread.take());
        if !self.owner.is_current() {
            // The thread belongs to the parent: a wait for it, or for a lock that it shares, would never end.
            let _ = ManuallyDrop::new((requests, pieces, thread));
            return;
        }
        self.cancellation.cancel();
        drop((requests, pieces));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
