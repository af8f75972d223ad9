//! Cobblestone-256: authenticated encryption of messages of any size, in chunks.
//!
//! The public standard [c2sp.org/chunked-encryption] with AES-256-GCM and SHA-512. It is compatible with other
//! implementations (pyca/cryptography, Go, TypeScript).
//!
//! ```text
//! message = salt(24) || commitment(32) || chunk 0 || chunk 1 || ... || final chunk
//! chunk   = AES-256-GCM(16,384 bytes of plaintext) || tag(16)       the final one holds 0 to 16,383 bytes
//! ```
//!
//! # Properties
//!
//! - Each message has its own key, derived from the input key and a random salt, so callers manage no nonces, and an
//!   input key may seal many messages.
//! - The commitment binds a message to one key and one context: no message opens under two, and a wrong key is detected
//!   before the first chunk is read.
//! - Each chunk is bound to its position: truncated, extended, reordered or exchanged chunks do not open.
//! - Each chunk opens independently, so streams and ranges need no more memory than one chunk.
//!
//! # Security
//!
//! This module is public (feature `hazmat`) for tools that read or write the record format.
//! [`Strongroom`](crate::Strongroom) uses it correctly for you. If you use it directly, make sure that
//!
//! - the input key is 32 uniformly random bytes, never a password;
//! - the context identifies the message's purpose, so that one message cannot replace another;
//! - the output of an [`Opener`] is treated as incomplete until [`Opener::finish`] succeeds: it is the authentic
//!   beginning of the message, but the end may be missing.
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
mod open_range;
mod seal;
mod size;

pub use open::{Opener, open, open_in_place, open_into, verify_key};
pub use open_range::{RangeOpener, open_range};
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
/// Plaintext bytes of every chunk except the final one, which is always shorter.
pub const CHUNK_LEN: usize = 16_384;
/// Bytes of a chunk's authentication tag.
pub const TAG_LEN: usize = 16;
/// Bytes of a sealed chunk, except the final one.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;

/// The number of chunks that a thread seals or opens as one unit.
pub(crate) const PART_CHUNKS: usize = 8;
/// The minimum plaintext bytes for which several cores are faster than one. With AWS-LC, two cores take 1.3 times as
/// long as one for 1 MiB, and 0.7 times for 4 MiB.
const WORTH_SHARING: usize = if cfg!(feature = "aws-lc-rs") { 2 << 20 } else { parallel::WORTH_SHARING };

/// The cause of a failure to seal or open a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message was sealed under another key or context, or its first 56 bytes were altered. These cannot be
    /// distinguished.
    #[error("the key or the context is not the one that the message was sealed with")]
    WrongKey,
    /// The message was altered, truncated or extended after its first 56 bytes.
    #[error("the message was altered, or is not complete")]
    Corrupt,
    /// The plaintext exceeds the limit of a message, 4 PiB less one byte, or does not fit in memory.
    #[error("the message is too large")]
    TooLarge,
    /// A buffer does not have the size that the size functions return.
    #[error("a buffer has the wrong size")]
    BufferSize,
    /// The message was begun before this process was forked: parent and child would seal with the same key and nonce.
    #[error("the message was begun before this process was forked")]
    Forked,
    /// The system could not provide a random salt.
    #[error(transparent)]
    Random(#[from] RandomError),
}
