//! Opening whole messages, into a buffer or in place, and messages that arrive in pieces.

use std::fmt;
use std::iter::once;

use zeroize::Zeroize;

use super::message_key::{self, MessageKey};
use super::size::{plaintext_len_usize, zeros};
use super::{CHUNK_LEN, Error, KEY_LEN, PART_CHUNKS, PREFIX_LEN, SEALED_CHUNK_LEN, TAG_LEN, WORTH_SHARING};
use crate::util::parallel;

/// Opens `message` into a new plaintext, [`plaintext_len`](super::plaintext_len) bytes long.
///
/// # Errors
///
/// [`Error::WrongKey`], [`Error::Corrupt`], or [`Error::TooLarge`] if it does not fit in memory. Then no plaintext is
/// released.
pub fn open(key: &[u8; KEY_LEN], context: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    let (message_key, sealed) = start(key, context, message)?;
    let mut plaintext = zeros(plaintext_len_usize(message.len())?)?;
    open_chunks(&message_key, sealed, &mut plaintext)?;
    Ok(plaintext)
}

/// Opens `message` into `plaintext`, which is exactly [`plaintext_len`](super::plaintext_len) bytes long.
///
/// # Errors
///
/// [`Error::BufferSize`] for a `plaintext` of another length, [`Error::WrongKey`]: `plaintext` is unchanged.
/// [`Error::Corrupt`]: `plaintext` is all zeros, or unchanged.
pub fn open_into(key: &[u8; KEY_LEN], context: &[u8], message: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
    let (message_key, sealed) = start(key, context, message)?;
    if plaintext.len() != plaintext_len_usize(message.len())? {
        return Err(Error::BufferSize);
    }
    open_chunks(&message_key, sealed, plaintext)
}

/// Opens in place: returns the plaintext, which is the start of `buffer`; the rest of `buffer` is wiped. No second
/// buffer is used.
///
/// # Errors
///
/// [`Error::WrongKey`]: `buffer` is unchanged. [`Error::Corrupt`]: `buffer` is all zeros, or unchanged.
pub fn open_in_place<'b>(key: &[u8; KEY_LEN], context: &[u8], buffer: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
    let (message_key, _) = start(key, context, buffer)?;
    let plaintext_len = plaintext_len_usize(buffer.len())?;
    if let Err(error) = open_and_move(&message_key, plaintext_len, buffer) {
        buffer.zeroize();
        return Err(error);
    }
    let (plaintext, rest) = buffer.split_at_mut_checked(plaintext_len).ok_or(Error::BufferSize)?;
    rest.zeroize();
    Ok(plaintext)
}

/// Checks that `key` and `context` are those of the message that starts with `prefix`.
///
/// # Errors
///
/// [`Error::WrongKey`] if they are not.
pub fn verify_key(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<(), Error> {
    message_key::verify(key, context, prefix).map(drop)
}

/// The key of `message`, whose commitment is verified, and its sealed chunks.
#[inline(always)]
fn start<'m>(key: &[u8; KEY_LEN], context: &[u8], message: &'m [u8]) -> Result<(MessageKey, &'m [u8]), Error> {
    let (prefix, sealed) = message.split_first_chunk::<PREFIX_LEN>().ok_or(Error::Corrupt)?;
    Ok((MessageKey::recover(key, context, prefix)?, sealed))
}

fn open_chunks(key: &MessageKey, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
    let threads = parallel::for_bytes(plaintext.len(), WORTH_SHARING);
    let parts = plaintext.chunks_mut(PART_CHUNKS * CHUNK_LEN).chain(once(&mut [][..]));
    let parts = sealed.chunks(PART_CHUNKS * SEALED_CHUNK_LEN).zip(parts);
    let outcome = parallel::for_each(threads, (0..).step_by(PART_CHUNKS).zip(parts), |(first, (sealed, part))| {
        key.open_chunks(first, sealed, part)
    });
    if outcome.is_err() {
        plaintext.zeroize();
    }
    outcome
}

/// Proceeds from the first chunk: each chunk's plaintext lies before all chunks that are still sealed.
fn open_and_move(key: &MessageKey, plaintext_len: usize, buffer: &mut [u8]) -> Result<(), Error> {
    for index in 0..=plaintext_len / CHUNK_LEN {
        let to = index * CHUNK_LEN;
        let len = CHUNK_LEN.min(plaintext_len - to);
        let from = PREFIX_LEN + index * SEALED_CHUNK_LEN;
        let chunk = buffer.get_mut(from..from + len + TAG_LEN).ok_or(Error::Corrupt)?;
        key.open_chunk_in_place(u64::try_from(index).map_err(|_| Error::Corrupt)?, chunk)?;
        buffer.copy_within(from..from + len, to);
    }
    Ok(())
}

/// Opens a message piece by piece, in pieces of any size; it holds at most one sealed chunk.
///
/// Its output is the authentic beginning of the message. Only the success of [`Opener::finish`] proves that nothing is
/// missing.
///
/// ```
/// # #[cfg(feature = "hazmat")] {
/// use strongroom::cobblestone::{Opener, seal};
///
/// let message = seal(&[7; 32], b"example v1", b"attack at dawn")?;
/// let (prefix, chunks) = message.split_first_chunk().unwrap();
/// let mut plaintext = Vec::new();
/// let mut opener = Opener::new(&[7; 32], b"example v1", prefix)?;
/// for piece in chunks.chunks(5) {
///     opener.update(piece, &mut plaintext)?;
/// }
/// opener.finish(&mut plaintext)?;
/// assert_eq!(plaintext, b"attack at dawn");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "only `finish` tells that nothing is missing"]
pub struct Opener {
    key: MessageKey,
    next: u64,
    /// A sealed chunk that is not complete yet.
    buffer: Vec<u8>,
    failed: bool,
}

impl Opener {
    /// Starts to open the message whose first 56 bytes are `prefix`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKey`].
    pub fn new(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<Self, Error> {
        let key = MessageKey::recover(key, context, prefix)?;
        Ok(Self { key, next: 0, buffer: Vec::with_capacity(SEALED_CHUNK_LEN), failed: false })
    }

    /// Processes more of the message, and appends the plaintext of the complete chunks to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], also of each later call: only the chunks before the altered one are released.
    /// [`Error::TooLarge`] without memory: nothing is processed.
    pub fn update(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Corrupt);
        }
        let chunks = self.buffer.len().saturating_add(sealed.len()) / SEALED_CHUNK_LEN;
        out.try_reserve(chunks.saturating_mul(CHUNK_LEN)).map_err(|_| Error::TooLarge)?;
        if !self.buffer.is_empty() {
            let missing = SEALED_CHUNK_LEN - self.buffer.len();
            let (piece, rest) = sealed.split_at_checked(missing).unwrap_or((sealed, &[]));
            self.buffer.extend_from_slice(piece);
            sealed = rest;
            if self.buffer.len() < SEALED_CHUNK_LEN {
                return Ok(());
            }
            self.append_opened(None, out)?;
            self.buffer.clear();
        }
        // The final chunk is shorter, so a whole chunk can be opened before the next bytes arrive.
        let (chunks, rest) = sealed.as_chunks::<SEALED_CHUNK_LEN>();
        for chunk in chunks {
            self.append_opened(Some(chunk), out)?;
        }
        self.buffer.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the message: appends the plaintext of the final chunk to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the message is altered or incomplete.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Corrupt);
        }
        self.append_opened(None, out)
    }

    /// Opens the next chunk: `sealed`, or the buffered bytes.
    fn append_opened(&mut self, sealed: Option<&[u8; SEALED_CHUNK_LEN]>, out: &mut Vec<u8>) -> Result<(), Error> {
        let sealed = sealed.map_or(&*self.buffer, |sealed| sealed);
        let start = out.len();
        let outcome = sealed.len().checked_sub(TAG_LEN).ok_or(Error::Corrupt).and_then(|len| {
            out.try_reserve(len).map_err(|_| Error::TooLarge)?;
            out.resize(start + len, 0);
            let plaintext = out.get_mut(start..).ok_or(Error::BufferSize)?;
            self.key.open_chunk(self.next, sealed, plaintext)
        });
        match outcome {
            Ok(()) => self.next += 1,
            Err(_) => {
                out.truncate(start);
                self.failed = true;
            }
        }
        outcome
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("chunks", &self.next).field("failed", &self.failed).finish_non_exhaustive()
    }
}
