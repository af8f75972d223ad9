//! The formulas of `docs/FORMAT.md`, implemented independently.

use sha2::{Digest, Sha512};

use super::cases::Vector;

/// HMAC by its definition (RFC 2104).
pub(super) fn hmac_sha512(key: &[u8], message: &[u8]) -> [u8; 64] {
    let mut block = [0; 128];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha512::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha512::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

pub(super) fn field(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value].concat()
}

/// `data || zeros || LE64(len(data))`, of Padmé's length, by its table of steps: from 2^e on, lengths are multiples of
/// 2^(e - (floor(log2(e)) + 1)).
pub(super) fn padded(mut data: Vec<u8>) -> Vec<u8> {
    let (len, mut exponent) = (data.len() as u64, 3);
    while 2_u64 << exponent <= len + 8 {
        exponent += 1;
    }
    let mut digits = 0;
    while exponent >> digits > 0 {
        digits += 1;
    }
    let step = 1 << (exponent - digits);
    data.resize(usize::try_from((len + 8).div_ceil(step) * step - 8).unwrap(), 0);
    data.extend(len.to_le_bytes());
    data
}

/// The intermediate values of a record.
pub(super) struct Derived {
    pub(super) header: Vec<u8>,
    pub(super) context: Vec<u8>,
    pub(super) block_1: [u8; 64],
    pub(super) block_2: [u8; 64],
    pub(super) aead_key: Vec<u8>,
    pub(super) base_nonce: Vec<u8>,
    pub(super) commitment: Vec<u8>,
    pub(super) locator_key: [u8; 32],
    pub(super) locator: [u8; 32],
    pub(super) check_value: Vec<u8>,
}

impl Derived {
    pub(super) fn new(vector: &Vector) -> Self {
        let id = vector.id.bytes();
        let header = [&[1, 1, u8::from(vector.padded), 0], &vector.expires_at.to_le_bytes()[..]].concat();
        let names = [field(&vector.namespace), field(&id)].concat();
        let context = [b"strongroom/v1\0", &header[..], &names].concat();
        let info = [b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0", &vector.salt[..], &context].concat();
        let block_1 = hmac_sha512(&vector.record_key, &[&info[..], &[1]].concat());
        let block_2 = hmac_sha512(&vector.record_key, &[&block_1[..], &info, &[2]].concat());
        let output = [block_1, block_2].concat();
        let locator_key = blake3::derive_key("strongroom 2026-11-23 v1 locator", &vector.index_key);
        let hash = blake3::keyed_hash(&locator_key, &names);
        let locator = [&[vector.generation], &hash.as_bytes()[..31]].concat();
        let check_value = blake3::derive_key("strongroom 2026-11-23 v1 index key check", &vector.index_key);
        Self {
            header,
            context,
            block_1,
            block_2,
            aead_key: output[..32].to_vec(),
            base_nonce: output[32..44].to_vec(),
            commitment: output[44..76].to_vec(),
            locator_key,
            locator: locator.try_into().unwrap(),
            check_value: check_value[..16].to_vec(),
        }
    }
}
