//! The key schedule of a message, and AES-GCM on one chunk, which the other files here call.

use std::iter::once;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::size::MAX_CHUNKS;
use super::{
    CHUNK_LEN, COMMITMENT_LEN, Cipher, Error, KEY_LEN, NONCE_LEN, PREFIX_LEN, SALT_LEN, SEALED_CHUNK_LEN, TAG_LEN, hkdf,
};
use crate::util::random;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The derived key of one message, used for this message only.
pub(super) struct MessageKey {
    cipher: Cipher,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl MessageKey {
    /// The key of a new message, and the message's first bytes: a random salt and the commitment.
    pub(super) fn generate(key: &[u8; KEY_LEN], context: &[u8]) -> Result<(Self, [u8; PREFIX_LEN]), Error> {
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt)?;
        Self::with_salt(key, context, &salt)
    }

    /// The same for a given salt, which must never repeat under one key: for `generate`, and for test vectors.
    pub(super) fn with_salt(
        key: &[u8; KEY_LEN],
        context: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Result<(Self, [u8; PREFIX_LEN]), Error> {
        let derived = derive(key, salt, context);
        let (aead_key, base_nonce, commitment) = split(&derived)?;
        let mut prefix = [0; PREFIX_LEN];
        let (salt_out, commitment_out) = prefix.split_at_mut(SALT_LEN);
        salt_out.copy_from_slice(salt);
        commitment_out.copy_from_slice(commitment);
        Ok((Self::new(aead_key, base_nonce)?, prefix))
    }

    /// The key of the message that starts with `prefix`, or `WrongKey` if the commitment differs.
    #[inline(always)] // each return copies the cipher's 600 bytes
    pub(super) fn recover(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<Self, Error> {
        let derived = verify(key, context, prefix)?;
        let (aead_key, base_nonce, _) = split(&derived)?;
        Self::new(aead_key, base_nonce)
    }

    #[inline(always)]
    fn new(aead_key: &[u8; KEY_LEN], base_nonce: &[u8; NONCE_LEN]) -> Result<Self, Error> {
        Ok(Self { cipher: Cipher::new(aead_key)?, base_nonce: Zeroizing::new(*base_nonce) })
    }

    /// Seals chunk `index` from `plaintext` into `sealed`, which is `TAG_LEN` longer.
    pub(super) fn seal_chunk(&self, index: u64, plaintext: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        if plaintext.len() > CHUNK_LEN {
            return Err(Error::BufferSize);
        }
        self.cipher.seal(self.nonce(index)?, plaintext, sealed)
    }

    /// Seals chunk `index` in place: `chunk` is the plaintext and `TAG_LEN` bytes for the tag.
    pub(super) fn seal_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split_tag_mut(chunk)?;
        *tag = self.cipher.seal_in_place(self.nonce(index)?, body)?;
        Ok(())
    }

    /// Opens chunk `index` from `sealed` into `plaintext`, which is `TAG_LEN` shorter. After [`Error::Corrupt`],
    /// `plaintext` is unchanged, or all zeros.
    pub(super) fn open_chunk(&self, index: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        let nonce = self.nonce(index).map_err(|_| Error::Corrupt)?; // no message has so many chunks
        self.cipher.open(nonce, sealed, plaintext)
    }

    /// Opens the chunks `sealed`, from `first` on, into `plaintext`, which has exactly the length of their plaintext.
    pub(super) fn open_chunks(&self, first: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        // An empty final chunk may follow the whole chunks.
        let chunks = plaintext.chunks_mut(CHUNK_LEN).chain(once(&mut [][..]));
        let mut chunks = (first..).zip(sealed.chunks(SEALED_CHUNK_LEN).zip(chunks));
        chunks.try_for_each(|(index, (sealed, chunk))| self.open_chunk(index, sealed, chunk))
    }

    /// Opens chunk `index` in place; its plaintext is all but the last `TAG_LEN` bytes of `chunk`.
    pub(super) fn open_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let nonce = self.nonce(index).map_err(|_| Error::Corrupt)?;
        self.cipher.open_in_place(nonce, chunk)
    }

    /// Base nonce XOR the chunk's index, as a big-endian number of the nonce's length.
    fn nonce(&self, index: u64) -> Result<[u8; NONCE_LEN], Error> {
        if index >= MAX_CHUNKS {
            return Err(Error::TooLarge);
        }
        let mut nonce = *self.base_nonce;
        for (byte, counter) in nonce.iter_mut().rev().zip(index.to_le_bytes()) {
            *byte ^= counter;
        }
        Ok(nonce)
    }
}

/// The derived values of the message that starts with `prefix`, or `WrongKey` if the commitment differs.
pub(super) fn verify(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<hkdf::Output, Error> {
    let (salt, commitment) = prefix.split_first_chunk().ok_or(Error::Corrupt)?;
    let derived = derive(key, salt, context);
    let (_, _, expected) = split(&derived)?;
    if bool::from(expected.as_slice().ct_eq(commitment)) { Ok(derived) } else { Err(Error::WrongKey) }
}

/// `HKDF-Expand-SHA-512(prk = key, info = INFO || salt || context, 76)`
fn derive(key: &[u8; KEY_LEN], salt: &[u8; SALT_LEN], context: &[u8]) -> hkdf::Output {
    hkdf::expand(key, &[INFO, salt, context])
}

/// The message's key and base nonce, and its commitment.
type Parts<'d> = (&'d [u8; KEY_LEN], &'d [u8; NONCE_LEN], &'d [u8; COMMITMENT_LEN]);

fn split(derived: &hkdf::Output) -> Result<Parts<'_>, Error> {
    let split = || {
        let (aead_key, rest) = derived.0.as_flattened().split_first_chunk()?;
        let (base_nonce, rest) = rest.split_first_chunk()?;
        Some((aead_key, base_nonce, rest.first_chunk()?))
    };
    split().ok_or(Error::BufferSize)
}

/// A sealed chunk's body and tag. No chunk is longer than `CHUNK_LEN`.
fn split_tag_mut(chunk: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG_LEN]), Error> {
    chunk.split_last_chunk_mut().filter(|(body, _)| body.len() <= CHUNK_LEN).ok_or(Error::BufferSize)
}
