//! The lengths of plaintexts, messages and chunks, as pure functions of each other that are defined for each `u64`.

use super::{CHUNK_LEN, Error, PREFIX_LEN, SEALED_CHUNK_LEN, TAG_LEN};
use crate::util::memory;

const CHUNK: u64 = CHUNK_LEN as u64;
const SEALED_CHUNK: u64 = SEALED_CHUNK_LEN as u64;
const PREFIX: u64 = PREFIX_LEN as u64;
const TAG: u64 = TAG_LEN as u64;

/// The most chunks of a message: 2^38 (chunked-encryption, "Message chunking").
pub(super) const MAX_CHUNKS: u64 = 1 << 38;

/// The most plaintext bytes of one message: 4 PiB less one byte.
pub const MAX_PLAINTEXT_LEN: u64 = MAX_CHUNKS * CHUNK - 1;
/// The size in bytes of the longest message.
pub const MAX_MESSAGE_LEN: u64 = PREFIX + MAX_PLAINTEXT_LEN + TAG * MAX_CHUNKS;

/// The number of chunks of a plaintext of `plaintext_len` bytes: `plaintext_len / 16384 + 1`.
#[must_use]
pub const fn chunk_count(plaintext_len: u64) -> u64 {
    plaintext_len / CHUNK + 1
}

/// The size of the message that holds `plaintext_len` bytes: `56 + n + 16 * (n / 16384 + 1)`.
///
/// `None` above [`MAX_PLAINTEXT_LEN`].
#[must_use]
pub const fn message_len(plaintext_len: u64) -> Option<u64> {
    if plaintext_len > MAX_PLAINTEXT_LEN {
        return None;
    }
    Some(PREFIX + plaintext_len + TAG * chunk_count(plaintext_len))
}

/// The number of plaintext bytes in a message of `message_len` bytes. Only opening the message's final chunk proves its
/// length.
///
/// # Errors
///
/// [`Error::Corrupt`] for a size that no message has.
pub const fn plaintext_len(message_len: u64) -> Result<u64, Error> {
    if message_len > MAX_MESSAGE_LEN {
        return Err(Error::Corrupt);
    }
    let Some(chunks) = message_len.checked_sub(PREFIX) else {
        return Err(Error::Corrupt);
    };
    let Some(final_chunk) = (chunks % SEALED_CHUNK).checked_sub(TAG) else {
        return Err(Error::Corrupt);
    };
    Ok(chunks / SEALED_CHUNK * CHUNK + final_chunk)
}

/// The offset of chunk `index` in the message, in bytes: `56 + index * 16400`. `None` from chunk 2^38 on.
#[must_use]
pub const fn chunk_offset(index: u64) -> Option<u64> {
    if index >= MAX_CHUNKS {
        return None;
    }
    Some(PREFIX + index * SEALED_CHUNK)
}

/// `message_len` for buffers in memory.
pub(super) fn message_len_usize(plaintext_len: usize) -> Result<usize, Error> {
    u64::try_from(plaintext_len)
        .ok()
        .and_then(message_len)
        .and_then(|len| usize::try_from(len).ok())
        .ok_or(Error::TooLarge)
}

/// `plaintext_len` for buffers in memory.
pub(super) fn plaintext_len_usize(message_len: usize) -> Result<usize, Error> {
    let len = plaintext_len(u64::try_from(message_len).map_err(|_| Error::Corrupt)?)?;
    usize::try_from(len).map_err(|_| Error::TooLarge)
}

/// A buffer of `len` zeros, without spare capacity.
pub(crate) fn zeros(len: usize) -> Result<Vec<u8>, Error> {
    memory::zeros(len).map_err(|_| Error::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_allocation_is_an_error() {
        assert_eq!(zeros(3).unwrap(), [0; 3]);
        assert!(matches!(zeros(usize::MAX / 2), Err(Error::TooLarge)));
    }

    #[test]
    fn sizes_of_the_standards_examples() {
        assert_eq!(message_len(0), Some(56 + 16));
        assert_eq!(message_len(1024), Some(56 + 1024 + 16));
        assert_eq!(message_len(16_384), Some(56 + 16_384 + 32));
        assert_eq!(message_len(20_480), Some(56 + 20_480 + 32));
        assert_eq!(message_len(MAX_PLAINTEXT_LEN), Some(MAX_MESSAGE_LEN));
        assert_eq!(message_len(MAX_PLAINTEXT_LEN + 1), None);
        assert_eq!(message_len(u64::MAX), None);
    }

    #[test]
    fn each_message_size_has_one_plaintext_size() {
        let mut next = 0;
        for size in 0..=80_000 {
            match plaintext_len(size) {
                Ok(len) => {
                    assert_eq!(len, next);
                    assert_eq!(message_len(len), Some(size));
                    next += 1;
                }
                Err(error) => assert!(matches!(error, Error::Corrupt)),
            }
        }
        assert_eq!(plaintext_len(MAX_MESSAGE_LEN).unwrap(), MAX_PLAINTEXT_LEN);
        assert!(plaintext_len(MAX_MESSAGE_LEN + 1).is_err());
        assert!(plaintext_len(u64::MAX).is_err());
    }

    #[test]
    fn chunks_stop_at_two_to_the_38() {
        assert_eq!(chunk_offset(0), Some(56));
        assert_eq!(chunk_offset(3), Some(56 + 3 * 16_400));
        assert!(chunk_offset(MAX_CHUNKS - 1).is_some());
        assert_eq!(chunk_offset(MAX_CHUNKS), None);
        assert_eq!(chunk_count(MAX_PLAINTEXT_LEN), MAX_CHUNKS);
    }
}
