//! AES-256-GCM by AWS-LC, Amazon's fork of BoringSSL: the same bytes, faster (feature `aws-lc-rs`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Error, KEY_LEN, NONCE_LEN, TAG_LEN};

/// As [`super::cipher::Cipher`], except that a failure writes zeros.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Result<Self, Error> {
        // The key has the right length, so only a lack of memory fails.
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::TooLarge)?)))
    }

    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8], sealed: &mut [u8]) -> Result<(), Error> {
        if plaintext.len().checked_add(TAG_LEN) != Some(sealed.len()) {
            return Err(Error::BufferSize);
        }
        // The only function of `aws-lc-rs` that seals from one buffer into another. Its first pair of buffers is empty
        // here.
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_scatter(nonce, Aad::empty(), &mut [], plaintext, sealed).map_err(|_| Error::TooLarge)
    }

    pub(super) fn seal_in_place(&self, nonce: [u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), data).map_err(|_| Error::TooLarge)?;
        tag.as_ref().try_into().map_err(|_| Error::BufferSize)
    }

    pub(super) fn open(&self, nonce: [u8; NONCE_LEN], sealed: &[u8], plaintext: &mut [u8]) -> Result<(), Error> {
        let (body, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(Error::Corrupt)?;
        if body.len() != plaintext.len() {
            return Err(Error::BufferSize);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::empty(), body, tag, plaintext).map_err(|_| Error::Corrupt)
    }

    pub(super) fn open_in_place(&self, nonce: [u8; NONCE_LEN], sealed: &mut [u8]) -> Result<(), Error> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::empty(), sealed).map(drop).map_err(|_| Error::Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher;
    use super::*;

    /// Both ciphers have the same results, and each opens the other's output.
    #[test]
    fn seals_and_opens_like_aes_gcm() {
        let (key, nonce) = ([7; KEY_LEN], [9; NONCE_LEN]);
        let (ours, reference) = (Cipher::new(&key).unwrap(), cipher::Cipher::new(&key).unwrap());
        for len in [0, 1, 15, 16, 17, 1024, 16_383, 16_384] {
            let plaintext: Vec<u8> = (0..=255).cycle().take(len).collect();
            let mut sealed = vec![0; len + TAG_LEN];
            ours.seal(nonce, &plaintext, &mut sealed).unwrap();
            let mut by_reference = vec![0; len + TAG_LEN];
            reference.seal(nonce, &plaintext, &mut by_reference).unwrap();
            assert_eq!(sealed, by_reference);

            let mut opened = vec![1; len];
            ours.open(nonce, &sealed, &mut opened).unwrap();
            assert_eq!(opened, plaintext);
            for bad in [0, len / 2, len + 15] {
                let mut altered = sealed.clone();
                altered[bad] ^= 1;
                let mut opened = vec![1; len];
                assert!(matches!(ours.open(nonce, &altered, &mut opened), Err(Error::Corrupt)));
                assert!(opened.iter().all(|byte| *byte == 0), "no plaintext is left");
                assert!(matches!(ours.open_in_place(nonce, &mut altered), Err(Error::Corrupt)));
                assert!(altered[..len].iter().all(|byte| *byte == 0), "no plaintext is left");
            }
            for wrong_len in [len + 1, len.wrapping_sub(1)] {
                if wrong_len < usize::MAX {
                    let mut other = vec![1; wrong_len];
                    assert!(matches!(ours.open(nonce, &sealed, &mut other), Err(Error::BufferSize)));
                }
                for cipher_len in [wrong_len.wrapping_add(TAG_LEN), 0] {
                    let mut other = vec![1; cipher_len];
                    assert!(matches!(ours.seal(nonce, &plaintext, &mut other), Err(Error::BufferSize)));
                    assert!(matches!(reference.seal(nonce, &plaintext, &mut other), Err(Error::BufferSize)));
                }
            }
            reference.open(nonce, &sealed, &mut opened).unwrap();
            assert_eq!(opened, plaintext);
            let mut in_place = [plaintext.clone(), plaintext.clone()];
            let tags = [
                ours.seal_in_place(nonce, &mut in_place[0]).unwrap(),
                reference.seal_in_place(nonce, &mut in_place[1]).unwrap(),
            ];
            assert_eq!([&*in_place[0], &tags[0]].concat(), sealed);
            assert_eq!([&*in_place[1], &tags[1]].concat(), sealed);
            let mut in_place = [sealed.clone(), sealed.clone()];
            ours.open_in_place(nonce, &mut in_place[0]).unwrap();
            reference.open_in_place(nonce, &mut in_place[1]).unwrap();
            assert_eq!((&in_place[0][..len], &in_place[1][..len]), (&*plaintext, &*plaintext));
        }
        assert!(matches!(ours.open(nonce, &[0; TAG_LEN - 1], &mut []), Err(Error::Corrupt)));
    }
}
