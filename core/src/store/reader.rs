//! A record read in pieces from a storage, by several cores if it is long.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize;

use super::address::Address;
use super::padding;
use super::read_ahead::ReadAhead;
use super::stored_version::{StoredVersion, parallel_reads, part_chunks};
use crate::cobblestone::{CHUNK_LEN, RangeOpener, SEALED_CHUNK_LEN, TAG_LEN, chunk_count, chunk_offset, verify_key};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::ReadRecord;
use crate::record::{HEADER_LEN, Header};
use crate::storage::{self, HEAD_LEN, Info, Limits, Storage};
use crate::util::clock::Clock;
use crate::util::interrupt::is_interrupted;
use crate::util::parallel;
use crate::util::wiped::Wiped;

const CHUNK: u64 = CHUNK_LEN as u64;
/// The length of the end that is read when a record is opened: it has data even if the final chunk is empty.
const END_LEN: usize = SEALED_CHUNK_LEN + TAG_LEN;
/// The most attempts of a read, which starts again if the record is replaced.
pub(super) const ATTEMPTS: usize = 5;
/// The most memory that is reserved for a length that is not proved yet.
const MOST_UNPROVED: u64 = 16 << 20;
/// The minimum bytes for which several cores fetch and open a record faster than one.
const WORTH_SHARING: usize = if cfg!(feature = "aws-lc-rs") { 1 << 20 } else { parallel::WORTH_SHARING };

/// One version of a record.
pub(super) struct Reader {
    read_ahead: ReadAhead,
    opener: RangeOpener,
    header: Header,
    /// The length of the data, if the record is padded and the length is proved.
    unpadded_len: Option<u64>,
    clock: Clock,
    position: u64,
    /// The plaintext of chunk `chunk_index`, if any.
    chunk: Wiped,
    chunk_index: Option<u64>,
}

impl Reader {
    /// Opens this version of the record at `address`, unless it has expired.
    pub(super) fn new(version: StoredVersion, address: &Address<'_>, key: &RecordKey) -> Result<Self, Error> {
        let (context, prefix, header) = address.context_of(&version.info().head)?;
        if address.clock.forbids(header.expiry()) {
            // Without the right key the answer is `WrongKey`, never `Expired`.
            verify_key(key.expose_bytes(), &context, &prefix)?;
            return Err(Error::Expired);
        }
        let message_len = version.info().len.checked_sub(HEADER_LEN as u64).ok_or(Error::Corrupt)?;
        let opener = RangeOpener::new(key.expose_bytes(), &context, &prefix, message_len)?;
        // Full capacity from the start: growth would leave a copy in memory.
        let chunk = Wiped::with_capacity(CHUNK_LEN);
        let (clock, read_ahead) = (address.clock.clone(), ReadAhead::new(version));
        Ok(Self { read_ahead, opener, header, unpadded_len: None, clock, position: 0, chunk, chunk_index: None })
    }

    /// Fails if the record has expired since it was opened.
    fn check_expiry(&self) -> Result<(), Error> {
        if self.clock.forbids(self.header.expiry()) { Err(Error::Expired) } else { Ok(()) }
    }

    /// The whole data, opened by several cores.
    pub(super) fn retrieve(&mut self) -> Result<Vec<u8>, Error> {
        let len = self.opener.plaintext_len();
        let len = if self.header.padded || len > MOST_UNPROVED { self.len()? } else { len };
        let len = usize::try_from(len).map_err(|_| Error::TooLarge)?;
        let mut data = Wiped::zeros(len).map_err(|_| Error::TooLarge)?;
        self.open_all(&mut data)?;
        Ok(data.into_inner())
    }

    /// Opens the whole data into the start of `buffer`, by several cores. Returns its length.
    pub(super) fn retrieve_into(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let len = if self.header.padded { self.len()? } else { self.opener.plaintext_len() };
        let len = usize::try_from(len).map_err(|_| Error::TooLarge)?;
        let Some(data) = buffer.get_mut(..len) else {
            self.len()?; // proves the length
            return Err(Error::TooLarge);
        };
        self.open_all(data).inspect_err(|_| data.zeroize())?;
        Ok(len)
    }

    /// Fills `data` with the whole data. After a failure, the caller must wipe it.
    fn open_all(&mut self, data: &mut [u8]) -> Result<(), Error> {
        if !self.header.padded {
            return self.open_parts(0, data, true);
        }
        // The chunk in which the padding begins is not opened in place.
        let (whole, rest) = data.split_at_mut_checked(data.len() / CHUNK_LEN * CHUNK_LEN).ok_or(Error::Corrupt)?;
        self.open_parts(0, whole, false)?;
        self.position = whole.len() as u64;
        rest.copy_from_slice(self.current_chunk()?);
        Ok(())
    }

    /// Fills `data` with the plaintext from chunk `first` on. Each core repeatedly fetches a part of the record and
    /// opens it into its place. `to_end` means that `data` extends to the record's end: the final chunk is then opened
    /// even if it is empty, which proves the length. After a failure, the caller must wipe `data`.
    fn open_parts(&self, first: usize, data: &mut [u8], to_end: bool) -> Result<(), Error> {
        self.check_expiry()?;
        let (version, opener) = (self.read_ahead.version(), &self.opener);
        let limits = version.limits();
        let part_chunks = part_chunks(&limits);
        let part_len = part_chunks.saturating_mul(CHUNK_LEN);
        let (len, none) = (data.len(), data.is_empty() && to_end);
        let last = len.saturating_sub(1) / part_len;
        let parts = data.chunks_mut(part_len).chain(none.then(Default::default)).enumerate();
        let open = |(n, part): (usize, &mut [u8])| {
            if is_interrupted() {
                return Err(Error::Busy); // each part takes a while, but perhaps without a long wait
            }
            let ends_empty = to_end && n == last && part.len().is_multiple_of(CHUNK_LEN);
            let chunks = part.len().div_ceil(CHUNK_LEN) + usize::from(ends_empty);
            let mut sealed = vec![0; part.len() + chunks * TAG_LEN];
            let first = first.saturating_add(n.saturating_mul(part_chunks)) as u64;
            version.read(chunk_offset(first).ok_or(Error::Corrupt)?, &mut sealed)?;
            Ok(opener.open_chunks(first, &sealed, part)?)
        };
        match parallel_reads(&limits) {
            Some(threads) => parallel::wait_for_each(threads.min(last.saturating_add(1)), parts, open),
            None => parallel::for_each(parallel::for_bytes(len, WORTH_SHARING), parts, open),
        }
    }

    /// The bytes `range`, up to the end. The position is unchanged.
    pub(super) fn read_range(&mut self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let len = self.len()?;
        let end = range.end.min(len);
        let start = range.start.min(end);
        if start == end {
            return Ok(Vec::new());
        }
        let (first, last) = (start / CHUNK, (end - 1) / CHUNK);
        let in_memory = |value: u64| usize::try_from(value).map_err(|_| Error::TooLarge);
        let (skip, wanted) = (in_memory(start % CHUNK)?, in_memory(end - start)?);
        if first == last && self.chunk_index == Some(first) {
            return Ok(self.chunk.get(skip..skip + wanted).ok_or(Error::Corrupt)?.to_vec());
        }
        let sealed_end = last.saturating_add(1).saturating_mul(CHUNK).min(self.opener.plaintext_len());
        let whole = in_memory(sealed_end - first * CHUNK)?;
        let mut data = Wiped::zeros(whole).map_err(|_| Error::TooLarge)?;
        self.open_parts(in_memory(first)?, &mut data, false)?;
        data.copy_within(skip..skip + wanted, 0);
        data.get_mut(wanted..).unwrap_or_default().zeroize();
        data.truncate(wanted);
        Ok(data.into_inner())
    }

    /// Passes all data from the position on to `write`, in pieces.
    pub(super) fn copy_to(&mut self, mut write: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let piece = self.current_chunk()?;
            if piece.is_empty() {
                return Ok(());
            }
            write(piece)?;
            self.position += piece.len() as u64;
        }
    }

    /// The head and length of the version.
    pub(super) fn info(&self) -> Info {
        self.read_ahead.version().info()
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// Whether the data can have this length, according to the storage.
    pub(super) fn may_have_len(&self, len: u64) -> bool {
        let plaintext_len = if self.header.padded { padding::padded_len(len) } else { Some(len) };
        plaintext_len == Some(self.opener.plaintext_len())
    }

    /// Whether the next bytes equal `data`. If so, the position moves past them.
    pub(super) fn continues_with(&mut self, mut data: &[u8]) -> Result<bool, Error> {
        while !data.is_empty() {
            let stored = self.current_chunk()?;
            let (next, rest) = data.split_at(stored.len().min(data.len()));
            if next.is_empty() || stored.get(..next.len()) != Some(next) {
                return Ok(false);
            }
            self.position += next.len() as u64;
            data = rest;
        }
        Ok(true)
    }

    /// Whether the position is the proved end.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.current_chunk()?.is_empty())
    }

    /// The rest of the chunk at the position; nothing at the end.
    fn current_chunk(&mut self) -> Result<&[u8], Error> {
        let index = self.position / CHUNK;
        // In a padded record, the proved length tells where the data ends.
        let end = if self.header.padded { self.len()? } else { self.opener.plaintext_len() };
        // At the end, the final chunk is opened even if it is empty: only it proves the end.
        if index < chunk_count(end) {
            self.load_chunk(index)?;
            let start = usize::try_from(self.position % CHUNK).map_err(|_| Error::TooLarge)?;
            let end = usize::try_from(end - index * CHUNK).map_or(self.chunk.len(), |end| end.min(self.chunk.len()));
            Ok(self.chunk.get(start..end).unwrap_or_default())
        } else {
            self.len()?;
            Ok(&[])
        }
    }

    /// The length of the data of a padded record: the last 8 bytes of the plaintext, in the final chunk or, if that is
    /// empty, in the one before it.
    fn read_unpadded_len(&mut self) -> Result<u64, Error> {
        let padded = self.opener.plaintext_len();
        if padded.is_multiple_of(CHUNK) {
            self.load_chunk((padded / CHUNK).checked_sub(1).ok_or(Error::Corrupt)?)?;
        }
        let trailer = self.chunk.last_chunk().ok_or(Error::Corrupt)?;
        padding::data_len(padded, *trailer).ok_or(Error::Corrupt)
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

    /// Opens chunk `index` into `plaintext`, which has the chunk's length.
    fn open_chunk(&mut self, index: u64, plaintext: &mut [u8]) -> Result<(), Error> {
        self.check_expiry()?;
        let end = chunk_count(self.opener.plaintext_len());
        let opener = &self.opener;
        let sealed = self.read_ahead.chunks_from(index, end, |chunks| sealed_len(opener, chunks))?;
        let sealed = sealed.get(..plaintext.len() + TAG_LEN).ok_or(Error::Corrupt)?;
        Ok(self.opener.open_chunk(index, sealed, plaintext)?)
    }
}

/// The number of bytes to read first: all of a short record, the first part of a long one.
pub(super) fn first_part_len(limits: &Limits) -> u64 {
    (HEAD_LEN + part_chunks(limits).saturating_mul(SEALED_CHUNK_LEN)) as u64
}

/// Opens the record at `address` to read parts of it. Also reads its final chunk, which proves the length.
pub(super) fn open_version(
    storage: &Arc<dyn Storage>,
    address: &Address<'_>,
    key: &RecordKey,
) -> Result<Reader, Error> {
    for _ in 0..ATTEMPTS {
        match storage.get_end(&address.locator, END_LEN) {
            // The record was replaced or removed between the reads of its head and its end.
            Err(storage::Error::Conflict) => {}
            found => {
                let (info, end) = found?.ok_or(Error::NotFound)?;
                let version = StoredVersion::new(storage, address, info).with_end(end);
                return Reader::new(version, address, key);
            }
        }
    }
    Err(Error::Conflict)
}

/// The bytes of these chunks, sealed. All but the record's final one are whole.
fn sealed_len(opener: &RangeOpener, chunks: &Range<u64>) -> usize {
    chunks.clone().next_back().map_or(0, |last| {
        let whole = usize::try_from(last - chunks.start).unwrap_or(usize::MAX);
        whole.saturating_mul(SEALED_CHUNK_LEN).saturating_add(opener.chunk_len(last) + TAG_LEN)
    })
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let index = self.position / CHUNK;
        let whole = self.opener.chunk_len(index);
        if self.position.is_multiple_of(CHUNK)
            && whole > 0
            && self.chunk_index != Some(index)
            && !self.header.padded
            && let Some(target) = buffer.get_mut(..whole)
        {
            // The target has room for the whole chunk: open it directly there.
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

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.current_chunk()?)
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl ReadRecord for Reader {
    /// Opens the final chunk, which proves the length.
    fn len(&mut self) -> Result<u64, Error> {
        if let Some(len) = self.unpadded_len {
            return Ok(len);
        }
        if self.header.padded || !self.opener.length_is_proved() {
            self.load_chunk(chunk_count(self.opener.plaintext_len()) - 1)?;
        }
        if self.header.padded {
            self.unpadded_len = Some(self.read_unpadded_len()?);
        }
        Ok(self.unpadded_len.unwrap_or(self.opener.plaintext_len()))
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn set_position(&mut self, position: u64) {
        self.position = position;
    }
}
