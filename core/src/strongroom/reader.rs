//! A record read in pieces.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::source_failed;
use crate::cobblestone::{CHUNK_LEN, RangeOpener, SEALED_CHUNK_LEN, TAG_LEN, chunk_count, chunk_offset};
use crate::error::Error;
use crate::locator::Locator;
use crate::record::HEADER_LEN;
use crate::storage::{self, Head, Storage};

const CHUNK: u64 = CHUNK_LEN as u64;

/// The most chunks that are fetched at once, when a record is read from front to back: 1 MiB.
const FETCH_MOST: usize = 64;

/// A record, read from any place in constant memory.
///
/// No byte comes out before its chunk is authenticated. If a chunk was altered, all before it can be read, and reading
/// it is [`Error::Corrupt`] each time. Reading is pinned to the version that was opened: once it is replaced or removed,
/// it is [`Error::Conflict`] each time, and never a mix. (`retrieve` answers for the whole record; a stream that has
/// come to its end without an error has been whole.)
///
/// The errors arrive in an [`io::Error`]; [`io::Error::downcast`] gives the [`Error`].
pub struct RecordReader {
    storage: Arc<dyn Storage>,
    locator: Locator,
    head: Head,
    opener: RangeOpener,
    position: u64,
    /// The plaintext of chunk `chunk_index`, if any.
    chunk: Zeroizing<Vec<u8>>,
    chunk_index: Option<u64>,
    /// Sealed chunks, fetched together: the numbers of those that are there.
    fetched: Vec<u8>,
    fetched_chunks: Range<u64>,
    /// The record is not what it was: said again each time.
    lost: bool,
}

impl RecordReader {
    pub(super) fn new(storage: Arc<dyn Storage>, locator: Locator, head: Head, opener: RangeOpener) -> Self {
        Self {
            storage,
            locator,
            head,
            opener,
            position: 0,
            chunk: Zeroizing::default(),
            chunk_index: None,
            fetched: Vec::new(),
            fetched_chunks: 0..0,
            lost: false,
        }
    }

    /// The length of the data in bytes, proved by opening the final chunk.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Conflict`], and those of the storage.
    pub fn len(&mut self) -> Result<u64, Error> {
        if !self.opener.length_is_proved() {
            self.load_chunk(chunk_count(self.opener.plaintext_len()) - 1)?;
        }
        Ok(self.opener.plaintext_len())
    }

    /// Whether there is no data, proved as by [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// The bytes `range`; what of it lies behind the end is left out. The position stays.
    pub(super) fn read_range(&mut self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let Self { storage, locator, head, opener, .. } = self;
        opener.read(range, |offset, sealed| read_message(&**storage, locator, head, offset, sealed))
    }

    /// Whether the data from here to the end is what `source` gives.
    pub(super) fn equals(&mut self, mut source: impl Read) -> Result<bool, Error> {
        let mut theirs = Zeroizing::new(vec![0; CHUNK_LEN]);
        loop {
            let ours = self.current_chunk()?;
            let len = ours.len();
            let theirs = theirs.get_mut(..len.max(1)).ok_or(Error::Corrupt)?;
            let read = read_full(&mut source, theirs).map_err(source_failed)?;
            if theirs.get(..read) != Some(ours) {
                return Ok(false);
            }
            if len == 0 {
                return Ok(true);
            }
            self.position += len as u64;
        }
    }

    /// What is left of the chunk at the position; nothing at the end.
    fn current_chunk(&mut self) -> Result<&[u8], Error> {
        let index = self.position / CHUNK;
        // The final chunk is opened at the end too, also where it is empty: only it says that this is the end.
        if index < chunk_count(self.opener.plaintext_len()) {
            self.load_chunk(index)?;
            let start = usize::try_from(self.position % CHUNK).map_err(|_| Error::TooLarge)?;
            Ok(self.chunk.get(start..).unwrap_or_default())
        } else {
            self.len()?;
            Ok(&[])
        }
    }

    fn load_chunk(&mut self, index: u64) -> Result<(), Error> {
        if self.chunk_index == Some(index) {
            return Ok(());
        }
        self.chunk_index = None;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(self.opener.chunk_len(index), 0);
        let outcome = self.open_chunk(index, &mut chunk);
        self.chunk = chunk;
        outcome?;
        self.chunk_index = Some(index);
        Ok(())
    }

    /// Opens chunk `index` into `plaintext`, which has its length.
    fn open_chunk(&mut self, index: u64, plaintext: &mut [u8]) -> Result<(), Error> {
        if !self.fetched_chunks.contains(&index) {
            self.fetch(index)?;
        }
        let start = usize::try_from(index - self.fetched_chunks.start).map_err(|_| Error::TooLarge)? * SEALED_CHUNK_LEN;
        let sealed = self.fetched.get(start..).and_then(|rest| rest.get(..plaintext.len() + TAG_LEN));
        Ok(self.opener.open_chunk(index, sealed.ok_or(Error::Corrupt)?, plaintext)?)
    }

    /// Fetches chunk `index`, and more behind it the longer the record is read from front to back.
    fn fetch(&mut self, index: u64) -> Result<(), Error> {
        if self.lost {
            return Err(Error::Conflict);
        }
        let before = self.fetched_chunks.end - self.fetched_chunks.start;
        let in_order = index == self.fetched_chunks.end && index > 0;
        let wanted = if in_order { (before * 2).min(FETCH_MOST as u64) } else { 1 };
        let end = index.saturating_add(wanted).min(chunk_count(self.opener.plaintext_len()));

        // All but the last of these are whole.
        let whole = usize::try_from(end - index - 1).map_err(|_| Error::TooLarge)?;
        let last = self.opener.chunk_len(end - 1) + TAG_LEN;
        self.fetched_chunks = 0..0;
        self.fetched.resize(whole * SEALED_CHUNK_LEN + last, 0);
        let offset = chunk_offset(index).ok_or(Error::Corrupt)?;
        let outcome = read_message(&*self.storage, &self.locator, &self.head, offset, &mut self.fetched);
        self.lost = matches!(outcome, Err(Error::Conflict));
        outcome?;
        self.fetched_chunks = index..end;
        Ok(())
    }
}

/// Reads a part of a record's message.
fn read_message(
    storage: &dyn Storage,
    locator: &Locator,
    head: &Head,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let offset = offset.checked_add(HEADER_LEN as u64).ok_or(Error::Corrupt)?;
    storage.read_at(locator, head, offset, buffer).map_err(|error| match error {
        // The head is the same, and the record shorter than it was.
        storage::Error::InvalidArgument(_) => Error::Corrupt,
        error => error.into(),
    })
}

/// Fills `buffer` as far as `source` goes.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Read for RecordReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let index = self.position / CHUNK;
        let whole = self.opener.chunk_len(index);
        if self.position.is_multiple_of(CHUNK)
            && whole > 0
            && self.chunk_index != Some(index)
            && let Some(target) = buffer.get_mut(..whole)
        {
            // A whole chunk is wanted: open it where it is wanted.
            self.open_chunk(index, target)?;
            self.position += whole as u64;
            return Ok(whole);
        }
        let chunk = self.current_chunk()?;
        let len = chunk.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..len), chunk.get(..len)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.position += len as u64;
        Ok(len)
    }
}

impl BufRead for RecordReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.current_chunk()?)
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl Seek for RecordReader {
    /// Seeking from the end proves the length first. A position behind the end is allowed, and nothing is read there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len()?.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let invalid = || Error::InvalidArgument("a position before the start of the record".into());
        self.position = position.ok_or_else(invalid)?;
        Ok(self.position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader").field("position", &self.position).finish_non_exhaustive()
    }
}
