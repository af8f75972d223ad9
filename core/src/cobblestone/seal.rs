//! Sealing: whole messages, to a buffer or in place, and messages in pieces.

use std::fmt;
use std::iter::once;

use zeroize::Zeroize;

use super::message_key::MessageKey;
use super::size::{message_len_usize, plaintext_len_usize, zeros};
use super::{CHUNK_LEN, Error, KEY_LEN, PART_CHUNKS, PREFIX_LEN, SEALED_CHUNK_LEN, TAG_LEN, WORTH_SHARING};
use crate::util::fork_check::OwnerProcess;
use crate::util::parallel;
use crate::util::wiped::Wiped;

/// Seals `plaintext` into a new message, [`message_len`](super::message_len) bytes long.
///
/// # Errors
///
/// [`Error::TooLarge`] if the message would be too long or does not fit in memory, [`Error::Random`] if the system has
/// no random bytes.
pub fn seal(key: &[u8; KEY_LEN], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let mut message = zeros(message_len_usize(plaintext.len())?)?;
    seal_into(key, context, plaintext, &mut message)?;
    Ok(message)
}

/// Seals `plaintext` into `message`, which is exactly [`message_len`](super::message_len) bytes long. Each byte is
/// read once and written once.
///
/// # Errors
///
/// [`Error::BufferSize`] for a `message` of another length, [`Error::TooLarge`], [`Error::Random`].
pub fn seal_into(key: &[u8; KEY_LEN], context: &[u8], plaintext: &[u8], message: &mut [u8]) -> Result<(), Error> {
    if message.len() != message_len_usize(plaintext.len())? {
        return Err(Error::BufferSize);
    }
    let (message_key, prefix) = MessageKey::generate(key, context)?;
    seal_chunks(&message_key, &prefix, plaintext, message)
}

/// The rest of [`seal_into`], for a given salt.
pub(super) fn seal_chunks(
    message_key: &MessageKey,
    prefix: &[u8; PREFIX_LEN],
    plaintext: &[u8],
    message: &mut [u8],
) -> Result<(), Error> {
    let (prefix_out, sealed) = message.split_first_chunk_mut::<PREFIX_LEN>().ok_or(Error::BufferSize)?;
    prefix_out.copy_from_slice(prefix);
    let parts = plaintext.chunks(PART_CHUNKS * CHUNK_LEN).chain(once(&[][..]));
    let parts = sealed.chunks_mut(PART_CHUNKS * SEALED_CHUNK_LEN).zip(parts);
    parallel::for_each(
        parallel::for_bytes(plaintext.len(), WORTH_SHARING),
        (0..).step_by(PART_CHUNKS).zip(parts),
        |(first, (sealed, part))| {
            // An empty final chunk may follow the whole chunks.
            let chunks = part.chunks(CHUNK_LEN).chain(once(&[][..]));
            let chunks = (first..).zip(sealed.chunks_mut(SEALED_CHUNK_LEN).zip(chunks));
            chunks.into_iter().try_for_each(|(index, (sealed, chunk))| message_key.seal_chunk(index, chunk, sealed))
        },
    )
}

/// [`seal`] with a given salt, for the test vectors.
#[cfg(test)]
pub(crate) fn seal_with_salt(
    key: &[u8; KEY_LEN],
    context: &[u8],
    salt: &[u8; super::SALT_LEN],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut message = vec![0; message_len_usize(plaintext.len())?];
    let (message_key, prefix) = MessageKey::with_salt(key, context, salt)?;
    seal_chunks(&message_key, &prefix, plaintext, &mut message)?;
    Ok(message)
}

/// Seals in place: `buffer` is as long as the message and starts with the plaintext; the bytes after the plaintext are
/// overwritten. No second buffer is used.
///
/// # Errors
///
/// [`Error::BufferSize`] if no message has the length of `buffer`, [`Error::Random`]. The buffer is unchanged.
///
/// ```
/// # #[cfg(feature = "hazmat")] {
/// use strongroom::cobblestone::{message_len, open, seal_in_place};
///
/// let mut buffer = b"attack at dawn".to_vec();
/// buffer.resize(usize::try_from(message_len(14).unwrap())?, 0);
/// seal_in_place(&[7; 32], b"example v1", &mut buffer)?;
/// assert_eq!(open(&[7; 32], b"example v1", &buffer)?, b"attack at dawn");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn seal_in_place(key: &[u8; KEY_LEN], context: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
    let plaintext_len = plaintext_len_usize(buffer.len()).map_err(|_| Error::BufferSize)?;
    let (message_key, prefix) = MessageKey::generate(key, context)?;
    let outcome = move_and_seal(&message_key, plaintext_len, buffer);
    match buffer.first_chunk_mut::<PREFIX_LEN>() {
        Some(start) if outcome.is_ok() => start.copy_from_slice(&prefix),
        _ => buffer.zeroize(), // neither plaintext nor message
    }
    outcome
}

/// Proceeds from the last chunk: each sealed chunk lies after all plaintext that is still to be moved.
fn move_and_seal(key: &MessageKey, plaintext_len: usize, buffer: &mut [u8]) -> Result<(), Error> {
    for index in (0..=plaintext_len / CHUNK_LEN).rev() {
        let from = index * CHUNK_LEN;
        let len = CHUNK_LEN.min(plaintext_len - from);
        let to = PREFIX_LEN + index * SEALED_CHUNK_LEN;
        buffer.copy_within(from..from + len, to);
        let chunk = buffer.get_mut(to..to + len + TAG_LEN).ok_or(Error::BufferSize)?;
        key.seal_chunk_in_place(u64::try_from(index).map_err(|_| Error::TooLarge)?, chunk)?;
    }
    Ok(())
}

/// Seals a message in pieces of any size. It buffers at most one chunk of plaintext.
///
/// ```
/// # #[cfg(feature = "hazmat")] {
/// use strongroom::cobblestone::{Sealer, open};
///
/// let mut message = Vec::new();
/// let mut sealer = Sealer::new(&[7; 32], b"example v1", &mut message)?;
/// sealer.update(b"attack ", &mut message)?;
/// sealer.update(b"at dawn", &mut message)?;
/// sealer.finish(&mut message)?;
/// assert_eq!(open(&[7; 32], b"example v1", &message)?, b"attack at dawn");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a message without `finish` does not open"]
pub struct Sealer {
    key: MessageKey,
    next: u64,
    /// Plaintext that does not fill a chunk yet. Its capacity is one chunk, because growth would leave a copy in
    /// memory.
    buffer: Wiped,
    /// The process that began the message. A forked child has the same key and counter, and must not continue.
    owner: OwnerProcess,
}

impl Sealer {
    /// Starts a message: appends its first 56 bytes, salt and commitment, to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Random`].
    pub fn new(key: &[u8; KEY_LEN], context: &[u8], out: &mut Vec<u8>) -> Result<Self, Error> {
        let (key, prefix) = MessageKey::generate(key, context)?;
        out.extend_from_slice(&prefix);
        let buffer = Wiped::with_capacity(CHUNK_LEN);
        Ok(Self { key, next: 0, buffer, owner: OwnerProcess::current() })
    }

    /// Processes more plaintext, and appends the complete chunks to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] at 4 PiB or more, or without memory: nothing is processed. [`Error::Forked`] in a forked
    /// child.
    pub fn update(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.check_process()?;
        let chunks = self.buffer.len().saturating_add(plaintext.len()) / CHUNK_LEN;
        out.try_reserve(chunks.saturating_mul(SEALED_CHUNK_LEN)).map_err(|_| Error::TooLarge)?;
        if !self.buffer.is_empty() {
            let missing = CHUNK_LEN - self.buffer.len();
            let (piece, rest) = plaintext.split_at_checked(missing).unwrap_or((plaintext, &[]));
            self.buffer.extend_from_slice(piece);
            plaintext = rest;
            if self.buffer.len() < CHUNK_LEN {
                return Ok(());
            }
            append_sealed(&self.key, &mut self.next, &self.buffer, out)?;
            self.buffer.clear();
        }
        let (chunks, rest) = plaintext.as_chunks::<CHUNK_LEN>();
        for chunk in chunks {
            append_sealed(&self.key, &mut self.next, chunk, out)?;
        }
        self.buffer.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the message: appends the final chunk to `out`. Without it the message does not open.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] at 4 PiB or more, or without memory; [`Error::Forked`] in a forked child.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.check_process()?;
        append_sealed(&self.key, &mut self.next, &self.buffer, out)
    }
}

impl Sealer {
    fn check_process(&self) -> Result<(), Error> {
        if self.owner.is_current() { Ok(()) } else { Err(Error::Forked) }
    }
}

fn append_sealed(key: &MessageKey, next: &mut u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (start, len) = (out.len(), chunk.len() + TAG_LEN);
    out.try_reserve(len).map_err(|_| Error::TooLarge)?;
    out.resize(start + len, 0);
    let outcome = out.get_mut(start..).ok_or(Error::BufferSize);
    let outcome = outcome.and_then(|sealed| key.seal_chunk(*next, chunk, sealed));
    match outcome {
        Ok(()) => *next += 1,
        Err(_) => out.truncate(start),
    }
    outcome
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("chunks", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the sealer, a forked child is a process with another id.
    #[test]
    fn a_forked_child_does_not_seal_with_the_parents_nonces() {
        let mut message = Vec::new();
        let mut sealer = Sealer::new(&[7; KEY_LEN], b"", &mut message).unwrap();
        sealer.owner = sealer.owner.forked();
        let before = message.clone();
        assert!(matches!(sealer.update(&[7; 20_000], &mut message).unwrap_err(), Error::Forked));
        assert!(matches!(sealer.finish(&mut message).unwrap_err(), Error::Forked));
        assert_eq!(message, before);
    }
}
