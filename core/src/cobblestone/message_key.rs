//! The key schedule, and a single chunk sealed or opened: the only use of AES-GCM.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::size::MAX_CHUNKS;
use super::{CHUNK_LEN, COMMITMENT_LEN, Error, KEY_LEN, PREFIX_LEN, SALT_LEN, TAG_LEN};
use crate::random;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
const NONCE_LEN: usize = 12;

/// What one message is sealed with: derived, used for this message only.
pub(super) struct MessageKey {
    cipher: Aes256Gcm,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl MessageKey {
    /// The key of a new message, and the message's first bytes: a random salt and the commitment.
    pub(super) fn generate(key: &[u8; KEY_LEN], context: &[u8]) -> Result<(Self, [u8; PREFIX_LEN]), Error> {
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt)?;
        Ok(Self::with_salt(key, context, &salt))
    }

    /// The same for a given salt, which must never repeat under one key: for `generate`, and for test vectors.
    pub(super) fn with_salt(key: &[u8; KEY_LEN], context: &[u8], salt: &[u8; SALT_LEN]) -> (Self, [u8; PREFIX_LEN]) {
        let (message_key, commitment) = derive(key, salt, context);
        let mut prefix = [0; PREFIX_LEN];
        let (salt_out, commitment_out) = prefix.split_at_mut(SALT_LEN);
        salt_out.copy_from_slice(salt);
        commitment_out.copy_from_slice(&commitment);
        (message_key, prefix)
    }

    /// The key of the message that starts with `prefix`, or `WrongKey` where the commitment is another's.
    pub(super) fn recover(key: &[u8; KEY_LEN], context: &[u8], prefix: &[u8; PREFIX_LEN]) -> Result<Self, Error> {
        let (salt, commitment) = prefix.split_first_chunk().ok_or(Error::Corrupt)?;
        let (message_key, expected) = derive(key, salt, context);
        if bool::from(expected.as_slice().ct_eq(commitment)) { Ok(message_key) } else { Err(Error::WrongKey) }
    }

    /// Seals chunk `index` from `plaintext` into `sealed`, which is `TAG_LEN` longer.
    pub(super) fn seal_chunk(&self, index: u64, plaintext: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split_tag_mut(sealed)?;
        let buffer = InOutBuf::new(plaintext, body).map_err(|_| Error::BufferSize)?;
        self.seal_inout(index, buffer, tag)
    }

    /// Seals chunk `index` where it lies, at the start of `chunk`, with `TAG_LEN` bytes behind it for the tag.
    pub(super) fn seal_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = split_tag_mut(chunk)?;
        self.seal_inout(index, body.into(), tag)
    }

    fn seal_inout(&self, index: u64, buffer: InOutBuf<'_, '_, u8>, tag_out: &mut [u8]) -> Result<(), Error> {
        if buffer.len() > CHUNK_LEN {
            return Err(Error::BufferSize);
        }
        let nonce = self.nonce(index)?;
        let tag = self.cipher.encrypt_inout_detached(&nonce, &[], buffer).map_err(|_| Error::TooLarge)?;
        tag_out.copy_from_slice(&tag);
        Ok(())
    }

    /// Opens chunk `index` from `sealed` into `plaintext`, which is `TAG_LEN` shorter. The tag is checked before a
    /// byte is written.
    pub(super) fn open_chunk(&self, index: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(Error::Corrupt)?;
        let buffer = InOutBuf::new(body, plaintext).map_err(|_| Error::BufferSize)?;
        self.open_inout(index, buffer, tag)
    }

    /// Opens chunk `index` where it lies; its plaintext is all but the last `TAG_LEN` bytes of `chunk`.
    pub(super) fn open_chunk_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = chunk.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Corrupt)?;
        self.open_inout(index, body.into(), tag)
    }

    fn open_inout(&self, index: u64, buffer: InOutBuf<'_, '_, u8>, tag: &[u8; TAG_LEN]) -> Result<(), Error> {
        let nonce = self.nonce(index).map_err(|_| Error::Corrupt)?; // no message has so many chunks
        self.cipher.decrypt_inout_detached(&nonce, &[], buffer, &Tag::from(*tag)).map_err(|_| Error::Corrupt)
    }

    /// Base nonce XOR the chunk's index, big-endian and as wide as the nonce.
    fn nonce(&self, index: u64) -> Result<Nonce<aes_gcm::aead::consts::U12>, Error> {
        if index >= MAX_CHUNKS {
            return Err(Error::TooLarge);
        }
        let mut nonce = *self.base_nonce;
        for (byte, counter) in nonce.iter_mut().rev().zip(index.to_le_bytes()) {
            *byte ^= counter;
        }
        Ok(nonce.into())
    }
}

/// `HKDF-Expand-SHA-512(prk = key, info = INFO || salt || context, 76)` (RFC 5869, section 2.3): the message's key
/// and base nonce, and its commitment.
///
/// Two blocks of 64 bytes make 76, so the loop is written out. (The crate `hkdf` refuses a PRK shorter than the hash.)
fn derive(key: &[u8; KEY_LEN], salt: &[u8; SALT_LEN], context: &[u8]) -> (MessageKey, [u8; COMMITMENT_LEN]) {
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

    (MessageKey { cipher: Aes256Gcm::new((&*aead_key).into()), base_nonce }, commitment)
}

fn split_tag_mut(chunk: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), Error> {
    let body = chunk.len().checked_sub(TAG_LEN).ok_or(Error::BufferSize)?;
    chunk.split_at_mut_checked(body).ok_or(Error::BufferSize)
}
