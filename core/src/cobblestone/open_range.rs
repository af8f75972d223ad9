//! Opening single chunks and ranges of chunks, each straight into its place in the caller's buffer. The rest of the
//! message need not be in memory.

use std::fmt;
use std::ops::Range;

use super::message_key::MessageKey;
use super::size::{chunk_count, chunk_offset, plaintext_len};
use super::{CHUNK_LEN, Error, KEY_LEN, PREFIX_LEN, SEALED_CHUNK_LEN, TAG_LEN};
use crate::util::wiped::Wiped;

const CHUNK: u64 = CHUNK_LEN as u64;

/// Opens the bytes `range` of the plaintext of `message`, up to its end.
///
/// Only the final chunk, which proves the length, and the chunks that overlap `range` are opened.
///
/// # Errors
///
/// [`Error::WrongKey`] or [`Error::Corrupt`]; [`Error::TooLarge`] if the range does not fit in memory. Corruption of
/// chunks outside the range is not detected.
///
/// ```
/// # #[cfg(feature = "hazmat")] {
/// use strongroom::cobblestone::{open_range, seal};
///
/// let message = seal(&[7; 32], b"example v1", b"attack at dawn")?;
/// assert_eq!(open_range(&[7; 32], b"example v1", &message, 10..14)?, b"dawn");
/// assert_eq!(open_range(&[7; 32], b"example v1", &message, 10..99)?, b"dawn");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_range(key: &[u8; KEY_LEN], context: &[u8], message: &[u8], range: Range<u64>) -> Result<Vec<u8>, Error> {
    let prefix = message.first_chunk().ok_or(Error::Corrupt)?;
    let message_len = u64::try_from(message.len()).map_err(|_| Error::TooLarge)?;
    RangeOpener::new(key, context, prefix, message_len)?.read(range, |offset, sealed| {
        let start = usize::try_from(offset).map_err(|_| Error::Corrupt)?;
        let part = message.get(start..).and_then(|rest| rest.get(..sealed.len()));
        sealed.copy_from_slice(part.ok_or(Error::Corrupt)?);
        Ok(())
    })
}

/// Opens parts of a message, which a function reads at given offsets.
pub struct RangeOpener {
    key: MessageKey,
    plaintext_len: u64,
    /// Whether the final chunk has been opened, which proves the length.
    length_proved: bool,
}

impl RangeOpener {
    /// Starts to open the message whose first 56 bytes are `prefix`, and which is `message_len` bytes long.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKey`]; [`Error::Corrupt`] if no message has this length.
    pub fn new(
        key: &[u8; KEY_LEN],
        context: &[u8],
        prefix: &[u8; PREFIX_LEN],
        message_len: u64,
    ) -> Result<Self, Error> {
        let key = MessageKey::recover(key, context, prefix)?;
        Ok(Self { key, plaintext_len: plaintext_len(message_len)?, length_proved: false })
    }

    /// The length of the plaintext in bytes; not authenticated until the final chunk has been opened.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Whether the final chunk has been opened, which proves the length.
    #[must_use]
    pub fn length_is_proved(&self) -> bool {
        self.length_proved
    }

    /// The plaintext bytes of chunk `index`: 16,384, fewer for the final one, 0 after it.
    #[must_use]
    pub fn chunk_len(&self, index: u64) -> usize {
        let rest = index.checked_mul(CHUNK).and_then(|start| self.plaintext_len.checked_sub(start)).unwrap_or(0);
        usize::try_from(rest).map_or(CHUNK_LEN, |rest| rest.min(CHUNK_LEN))
    }

    /// Opens chunk `index` from `sealed` into `plaintext`, which is [`chunk_len`](Self::chunk_len) bytes long.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]; `plaintext` is unchanged, or all zeros.
    pub fn open_chunk(&mut self, index: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        if plaintext.len() != self.chunk_len(index) {
            return Err(Error::BufferSize);
        }
        self.key.open_chunk(index, sealed, plaintext)?;
        if index == chunk_count(self.plaintext_len) - 1 {
            self.length_proved = true;
        }
        Ok(())
    }

    /// Opens the chunks `sealed`, from `first` on, into `plaintext`, which has exactly the length of their plaintext.
    /// This proves the length only if the final chunk is among them.
    pub(crate) fn open_chunks(&self, first: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        self.key.open_chunks(first, sealed, plaintext)
    }

    /// Opens the bytes `range` of the plaintext, up to its end.
    ///
    /// `read(offset, buffer)` fills `buffer` with the message's bytes from `offset` on. The first call opens the
    /// final chunk, which proves the length.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::TooLarge`] if the range does not fit in memory, and the errors of `read`.
    pub fn read<E: From<Error>>(
        &mut self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let end = range.end.min(self.plaintext_len);
        let start = range.start.min(end);
        let len = usize::try_from(end - start).map_err(|_| Error::TooLarge)?;
        let mut sealed = vec![0; SEALED_CHUNK_LEN];
        let mut chunk = Wiped::from(vec![0; CHUNK_LEN]);

        let mut at_hand = None;
        if !self.length_proved {
            let final_index = chunk_count(self.plaintext_len) - 1;
            self.read_chunk(final_index, &mut sealed, &mut chunk, &mut read)?;
            at_hand = Some(final_index);
        }
        let mut plaintext = Wiped::default();
        plaintext.grow(len).map_err(|_| Error::TooLarge)?;
        let mut next = start;
        while next < end {
            let index = next / CHUNK;
            if at_hand.take() != Some(index) {
                self.read_chunk(index, &mut sealed, &mut chunk, &mut read)?;
            }
            let chunk = chunk.get(..self.chunk_len(index)).ok_or(Error::BufferSize)?;
            let first = index * CHUNK;
            let to = usize::try_from(end - first).map_or(chunk.len(), |to| to.min(chunk.len()));
            let from = usize::try_from(next - first).map_err(|_| Error::TooLarge)?;
            plaintext.extend_from_slice(chunk.get(from..to).ok_or(Error::Corrupt)?);
            next = first + CHUNK;
        }
        Ok(plaintext.into_inner())
    }

    /// Reads chunk `index` into `sealed` and opens it into the start of `plaintext`.
    fn read_chunk<E: From<Error>>(
        &mut self,
        index: u64,
        sealed: &mut [u8],
        plaintext: &mut [u8],
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let plaintext = plaintext.get_mut(..self.chunk_len(index)).ok_or(Error::BufferSize)?;
        let sealed = sealed.get_mut(..plaintext.len() + TAG_LEN).ok_or(Error::BufferSize)?;
        read(chunk_offset(index).ok_or(Error::Corrupt)?, sealed)?;
        Ok(self.open_chunk(index, sealed, plaintext)?)
    }
}

impl fmt::Debug for RangeOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeOpener")
            .field("plaintext_len", &self.plaintext_len)
            .field("length_proved", &self.length_proved)
            .finish_non_exhaustive()
    }
}
