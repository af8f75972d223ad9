//! Read-ahead of sealed chunks. Random access reads them one at a time; sequential access reads growing parts in
//! advance, so that one core reads while another opens. Several parts are read at the same time from a storage to whose
//! service each read takes a while.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::stored_version::{StoredVersion, parallel_reads, part_chunks};
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
    /// The most chunks of a part. Parts of sequential reads begin at multiples of it.
    max_chunks: u64,
    /// The most threads that read in advance.
    max_threads: usize,
    piece: Piece,
    /// The chunks that the last part had, or would have had before it was cut at such a multiple.
    wanted: u64,
    /// Those that are fetching come first, in the order of their pieces.
    threads: VecDeque<ReaderThread>,
    /// Whether the record was replaced or removed; each later read fails, too.
    lost: bool,
    /// Dropped after the thread has ended: a claimed record is then removed by this thread, whose waits are not
    /// cancelled.
    version: Arc<StoredVersion>,
}

impl ReadAhead {
    pub(super) fn new(version: StoredVersion) -> Self {
        let limits = version.limits();
        let max_chunks = MAX_CHUNKS.max(part_chunks(&limits) as u64);
        // One of the parallel parts is being opened.
        let max_threads = parallel_reads(&limits).map_or(1, |parts| parts.saturating_sub(1).max(1));
        let (piece, threads) = (Piece::default(), VecDeque::new());
        Self { version: Arc::new(version), max_chunks, max_threads, piece, wanted: 1, threads, lost: false }
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
            let growth = (self.max_chunks / GROWTH_STEPS).max(2);
            self.wanted = if in_order { (self.wanted * growth).min(self.max_chunks) } else { 1 };
            let is_run = self.wanted == self.max_chunks;
            let len = self.wanted.min(self.max_chunks - index % self.max_chunks);
            let mut outcome = self.fetch(index..index.saturating_add(len).min(end), end, is_run, &len_of);
            if matches!(outcome, Err(Error::Corrupt)) && len > 1 {
                self.wanted = 1; // only later chunks may be missing
                outcome = self.fetch(index..index + 1, end, false, &len_of);
            }
            self.lost = matches!(outcome, Err(Error::Conflict));
            outcome?;
        }
        let start = len_of(&(self.piece.chunks.start..index));
        self.piece.sealed.get(start..).ok_or(Error::Corrupt)
    }

    /// Replaces the piece. `is_run` means that the following chunks will be needed, too.
    fn fetch(
        &mut self,
        chunks: Range<u64>,
        end: u64,
        is_run: bool,
        len_of: &impl Fn(&Range<u64>) -> usize,
    ) -> Result<(), Error> {
        // There is no piece until this succeeds; its buffer is reused.
        let mut old = std::mem::take(&mut self.piece);
        let awaited = self.take_awaited(&chunks)?.transpose()?;
        if is_run {
            let spare = if awaited.is_some() { std::mem::take(&mut old) } else { Piece::default() };
            self.request_after(chunks.end, end, len_of, spare);
        }
        let len = len_of(&chunks);
        self.piece = match awaited {
            Some(piece) => piece,
            None => old.fill(&self.version, chunks, len)?,
        };
        Ok(())
    }

    /// The piece with these chunks, if it is being fetched. Pieces before it are dropped.
    fn take_awaited(&mut self, chunks: &Range<u64>) -> Result<Option<Result<Piece, Error>>, Error> {
        while let Some(first) = self.threads.front_mut().filter(|thread| thread.awaited.is_some()) {
            let is_wanted = first.awaited.as_ref() == Some(chunks);
            let piece = first.take(chunks)?;
            self.threads.rotate_left(1);
            if is_wanted {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// Lets all threads fetch the pieces after chunk `first`, the first of them into `spare`.
    fn request_after(&mut self, first: u64, end: u64, len_of: &impl Fn(&Range<u64>) -> usize, mut spare: Piece) {
        let awaited = self.threads.iter().filter_map(|thread| thread.awaited.as_ref());
        let mut next = awaited.map(|chunks| chunks.end).max().unwrap_or(first);
        while next < end {
            if self.threads.iter().all(|thread| thread.awaited.is_some()) {
                if self.threads.len() >= self.max_threads {
                    return;
                }
                let Some(thread) = ReaderThread::start(Arc::clone(&self.version)) else { return };
                self.threads.push_back(thread);
            }
            let chunks = next..next.saturating_add(self.max_chunks).min(end);
            let idle = self.threads.iter_mut().find(|thread| thread.awaited.is_none());
            let len = len_of(&chunks);
            next = chunks.end;
            if !idle.is_some_and(|thread| thread.request(std::mem::take(&mut spare), chunks, len)) {
                return;
            }
        }
    }
}

/// The threads end at the same time.
impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.threads.iter().for_each(ReaderThread::cancel);
    }
}

/// A thread that fetches a piece while another is opened.
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

    /// Returns whether the thread fetches the chunks.
    fn request(&mut self, buffer: Piece, chunks: Range<u64>, len: usize) -> bool {
        let request = (buffer, chunks.clone(), len);
        let here = self.owner.is_current();
        let sent = here && self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok());
        self.awaited = sent.then_some(chunks);
        sent
    }

    fn cancel(&self) {
        if self.owner.is_current() {
            self.cancellation.cancel();
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
        self.cancel();
        drop((requests, pieces));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
