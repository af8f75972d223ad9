//! The key schedule, and a single chunk sealed or opened.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::size::MAX_CHUNKS;
use super::{CHUNK_LEN, COMMITMENT_LEN, Cipher, Error, KEY_LEN, NONCE_LEN, PREFIX_LEN, SALT_LEN, TAG_LEN};
use crate::random;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// What one message is sealed with: derived, used for this message only.
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
        let (message_key, commitment) = derive(key, salt, context)?;
        let mut prefix = [0; PREFIX_LEN];
        let (salt_out, commitment_out) = prefix.split_at_mut(SALT_LEN);
        salt_out.copy_from_slice(salt);
        commitment_out.copy_from_slice(&commitment);
        Ok((message_key, prefix))
    }

    /// The key of the message that starts with `prefix`, or `WrongKey` where the commitment is another's.
    pub(super) fn recover(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<Self, Error> {
        let (salt, commitment) = prefix.split_first_chunk().ok_or(Error::Corrupt)?;
        let (message_key, expected) = derive(key, salt, context)?;
        if bool::from(expected.as_slice().ct_eq(commitment)) { Ok(message_key) } else { Err(Error::WrongKey) }
    }

    /// Seals chunk `index` from `plaintext` into `sealed`, which is `TAG_LEN` longer.
    pub(super) fn seal_chunk(&self, index: u64, plaintext: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split_tag_mut(sealed)?;
        *tag = self.cipher.seal(self.nonce(index)?, plaintext, body)?;
        Ok(())
    }

    /// Seals chunk `index` where it lies, at the start of `chunk`, with `TAG_LEN` bytes behind it for the tag.
    pub(super) fn seal_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split_tag_mut(chunk)?;
        *tag = self.cipher.seal_in_place(self.nonce(index)?, body)?;
        Ok(())
    }

    /// Opens chunk `index` from `sealed` into `plaintext`, which is `TAG_LEN` shorter, and after [`Error::Corrupt`] as
    /// it was, or all zeros.
    pub(super) fn open_chunk(&self, index: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        let nonce = self.nonce(index).map_err(|_| Error::Corrupt)?; // no message has so many chunks
        self.cipher.open(nonce, sealed, plaintext)
    }

    /// Opens chunk `index` where it lies; its plaintext is all but the last `TAG_LEN` bytes of `chunk`.
    pub(super) fn open_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let nonce = self.nonce(index).map_err(|_| Error::Corrupt)?;
        self.cipher.open_in_place(nonce, chunk)
    }

    /// Base nonce XOR the chunk's index, big-endian and as wide as the nonce.
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

/// `HKDF-Expand-SHA-512(prk = key, info = INFO || salt || context, 76)` (RFC 5869, section 2.3): the message's key
/// and base nonce, and its commitment.
///
/// Two blocks of 64 bytes make 76, so the loop is written out. (The crate `hkdf` refuses a PRK shorter than the hash.)
fn derive(
    key: &[u8; KEY_LEN],
    salt: &[u8; SALT_LEN],
    context: &[u8],
) -> Result<(MessageKey, [u8; COMMITMENT_LEN]), Error> {
    // HMAC fills a key up to the hash's block with zeros (RFC 2104, section 2).
    let mut hmac_key = Zeroizing::new([0; 128]);
    hmac_key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let keyed = Hmac::<Sha512>::new((&*hmac_key).into());
    let block = |previous: &[u8], number: u8| {
        let hmac = keyed.clone().chain_update(previous).chain_update(INFO).chain_update(salt);
        let hmac = hmac.chain_update(context).chain_update([number]);
        Zeroizing::new(<[u8; 64]>::from(hmac.finalize().into_bytes()))
    };
    let block_1 = block(&[], 1);
    let block_2 = block(&*block_1, 2);

    let mut output = block_1.iter().chain(block_2.iter());
    let mut take = |part: &mut [u8]| part.iter_mut().zip(&mut output).for_each(|(to, from)| *to = *from);
    let mut aead_key = Zeroizing::new([0; KEY_LEN]);
    let mut base_nonce = Zeroizing::new([0; NONCE_LEN]);
    let mut commitment = [0; COMMITMENT_LEN];
    take(&mut *aead_key);
    take(&mut *base_nonce);
    take(&mut commitment);

    Ok((MessageKey { cipher: Cipher::new(&aead_key)?, base_nonce }, commitment))
}

/// A sealed chunk's body and tag. No chunk is longer than `CHUNK_LEN`.
fn split_tag_mut(chunk: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG_LEN]), Error> {
    chunk.split_last_chunk_mut().filter(|(body, _)| body.len() <= CHUNK_LEN).ok_or(Error::BufferSize)
}
