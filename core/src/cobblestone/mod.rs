//! Cobblestone-256: authenticated encryption of messages of any size, in chunks.
//!
//! The public standard [c2sp.org/chunked-encryption] with AES-256-GCM and SHA-512. Other implementations of it
//! (pyca/cryptography, Go, TypeScript) read what this one writes, and the other way round.
//!
//! ```text
//! message = salt(24) || commitment(32) || chunk 0 || chunk 1 || ... || final chunk
//! chunk   = AES-256-GCM(16,384 bytes of plaintext) || tag(16)       the final one holds 0 to 16,383 bytes
//! ```
//!
//! # What it gives
//!
//! - Each message has a key of its own, derived from the input key and a random salt: there is no nonce to manage,
//!   and an input key may seal many messages.
//! - The commitment binds a message to one key and one context: no message opens under two, and a wrong key is known
//!   before the first chunk is read.
//! - A chunk has one place: cut, lengthened, reordered or exchanged chunks do not open.
//! - Each chunk opens by itself, so streams and ranges need no more memory than one chunk.
//!
//! # Security
//!
//! These are the record format's parts, made public (feature `hazmat`) for those who write tools for it.
//! [`Strongroom`](crate::Strongroom) uses them rightly for you. If you use them directly, make sure that
//!
//! - the input key is 32 uniformly random bytes, never a password;
//! - the context says what the message is, so that one cannot pass for another;
//! - what an [`Opener`] gives out is the true beginning of the message, but only the success of
//!   [`Opener::finish`] says that nothing is missing.
//!
//! ```
//! # #[cfg(feature = "hazmat")] {
//! use strongroom::cobblestone::{open, seal};
//!
//! let key = [7; 32];
//! let message = seal(&key, b"example v1", b"attack at dawn")?;
//! assert_eq!(open(&key, b"example v1", &message)?, b"attack at dawn");
//! assert!(open(&key, b"example v2", &message).is_err());
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [c2sp.org/chunked-encryption]: https://c2sp.org/chunked-encryption

#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod cipher;
#[cfg(feature = "aws-lc-rs")]
mod cipher_aws_lc;
mod hkdf;
mod message_key;
mod open;
mod range;
mod seal;
mod size;

pub use open::{Opener, open, open_in_place, open_into, verify_key};
pub use range::{RangeOpener, open_range};
#[cfg(test)]
pub(crate) use seal::seal_with_salt;
pub use seal::{Sealer, seal, seal_in_place, seal_into};
pub(crate) use size::zeros;
pub use size::{MAX_MESSAGE_LEN, MAX_PLAINTEXT_LEN, chunk_count, chunk_offset, message_len, plaintext_len};

#[cfg(not(feature = "aws-lc-rs"))]
use cipher::Cipher;
#[cfg(feature = "aws-lc-rs")]
use cipher_aws_lc::Cipher;

use crate::util::parallel;
use crate::util::random::RandomError;

/// Bytes of an input key.
pub const KEY_LEN: usize = 32;
/// Bytes of the random salt at the start of a message.
pub const SALT_LEN: usize = 24;
/// Bytes of the key commitment after the salt.
pub const COMMITMENT_LEN: usize = 32;
/// Bytes of a chunk's nonce.
const NONCE_LEN: usize = 12;
/// Bytes before the first chunk: salt and commitment.
pub const PREFIX_LEN: usize = SALT_LEN + COMMITMENT_LEN;
/// Plaintext bytes of every chunk but the final one, which is always shorter.
pub const CHUNK_LEN: usize = 16_384;
/// Bytes of a chunk's authentication tag.
pub const TAG_LEN: usize = 16;
/// Bytes of a sealed chunk, except the final one.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;

/// The chunks that a core takes at once.
pub(crate) const PART_CHUNKS: usize = 8;
/// Plaintext bytes from which on several cores are faster than one. With AWS-LC, two take 1.3 times as long as one for
/// 1 MiB, and 0.7 times for 4 MiB.
const WORTH_SHARING: usize = if cfg!(feature = "aws-lc-rs") { 2 << 20 } else { parallel::WORTH_SHARING };

/// Why a message was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message was sealed under another key or context, or its first 56 bytes were altered. These cannot be
    /// told apart.
    #[error("the key or the context is not the one that the message was sealed with")]
    WrongKey,
    /// The message was altered, cut or lengthened after its first 56 bytes.
    #[error("the message was altered, or is not complete")]
    Corrupt,
    /// More plaintext than a message may hold, 4 PiB less one byte, or than fits in memory.
    #[error("the message is too large")]
    TooLarge,
    /// A buffer is not of the size that the size functions give.
    #[error("a buffer has the wrong size")]
    BufferSize,
    /// The message was begun before this process was forked: parent and child would seal under one key and one nonce.
    #[error("the message was begun before this process was forked")]
    Forked,
    /// The system has no random salt.
    #[error(transparent)]
    Random(#[from] RandomError),
}
