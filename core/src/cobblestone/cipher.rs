//! AES-256-GCM by the crate `aes-gcm`, the default.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};

use super::{Error, KEY_LEN, NONCE_LEN, TAG_LEN};

/// AES-256-GCM (NIST SP 800-38D) without associated data, with a nonce of 12 bytes and a tag of 16. A nonce must not be
/// used twice to seal.
pub(super) struct Cipher(Aes256Gcm);

impl Cipher {
    #[expect(clippy::unnecessary_wraps, reason = "AWS-LC's may fail")]
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Result<Self, Error> {
        Ok(Self(Aes256Gcm::new(key.into())))
    }

    /// Seals `plaintext` into `sealed`, which is longer by the length of the tag.
    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = sealed.split_last_chunk_mut().ok_or(Error::BufferSize)?;
        *tag = self.seal_inout(nonce, InOutBuf::new(plaintext, body).map_err(|_| Error::BufferSize)?)?;
        Ok(())
    }

    pub(super) fn seal_in_place(&self, nonce: [u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        self.seal_inout(nonce, data.into())
    }

    fn seal_inout(&self, nonce: [u8; NONCE_LEN], data: InOutBuf<'_, '_, u8>) -> Result<[u8; TAG_LEN], Error> {
        let tag = self.0.encrypt_inout_detached(&nonce.into(), &[], data).map_err(|_| Error::TooLarge)?;
        Ok(tag.into())
    }

    /// Opens `sealed`, which ends with its tag, into `plaintext`. On [`Error::Corrupt`], no byte is written.
    pub(super) fn open(&self, nonce: [u8; NONCE_LEN], sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = sealed.split_last_chunk().ok_or(Error::Corrupt)?;
        self.open_inout(nonce, InOutBuf::new(body, plaintext).map_err(|_| Error::BufferSize)?, tag)
    }

    /// Opens `sealed` in place: the plaintext is all but the last 16 bytes, which are the tag.
    pub(super) fn open_in_place(&self, nonce: [u8; NONCE_LEN], sealed: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = sealed.split_last_chunk_mut().ok_or(Error::Corrupt)?;
        self.open_inout(nonce, body.into(), tag)
    }

    fn open_inout(&self, nonce: [u8; NONCE_LEN], data: InOutBuf<'_, '_, u8>, tag: &[u8; TAG_LEN]) -> Result<(), Error> {
        self.0.decrypt_inout_detached(&nonce.into(), &[], data, &Tag::from(*tag)).map_err(|_| Error::Corrupt)
    }
}
