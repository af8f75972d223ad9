//! HKDF-Expand (RFC 5869, section 2.3) with HMAC-SHA-512 (RFC 2104), built on the hash's compression function.
//!
//! Eight calls of that function are most of the cost of a small record. The crate `hmac` processes its input in pieces,
//! each with buffers to wipe, which costs half as much again; here the input of a hash is one slice. (The crate `hkdf`
//! rejects a key shorter than the hash.)

use sha2::block_api::compress512;
use zeroize::{Zeroize, Zeroizing};

use super::KEY_LEN;

/// Bytes of an input block of the compression function.
const BLOCK_LEN: usize = 128;
const HASH_LEN: usize = 64;

/// The state of SHA-512 between blocks.
type State = [u64; 8];

/// The initial state (FIPS 180-4, section 5.3.5).
const INITIAL: State = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// The first two blocks of output, wiped on drop. (As slices, because arrays are wiped byte by byte.)
pub(super) struct Output(pub(super) [[u8; HASH_LEN]; 2]);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.as_flattened_mut().zeroize();
    }
}

/// The beginning of `HKDF-Expand-SHA-512(prk = key, info)`. The parts of `info` are concatenated.
pub(super) fn expand(key: &[u8; KEY_LEN], info: &[&[u8]]) -> Output {
    let hmac = Hmac::new(key);
    let info_len = info.iter().map(|part| part.len()).sum::<usize>();
    // Capacity for the longest input, padded: growth would leave a copy in memory.
    let mut input = Vec::with_capacity(info_len + HASH_LEN + 2 * BLOCK_LEN);
    let mut block = |before: &[u8], number: u8, block: &mut [u8; HASH_LEN]| {
        input.clear();
        input.extend_from_slice(before);
        info.iter().for_each(|part| input.extend_from_slice(part));
        input.push(number);
        hmac.authenticate(&mut input, block);
    };
    let mut output = Output([[0; HASH_LEN]; 2]);
    let [first, second] = &mut output.0;
    block(&[], 1, first);
    block(first, 2, second);
    input.as_mut_slice().zeroize();
    output
}

/// The states of HMAC's two hashes after their first block, which is the key.
struct Hmac {
    inner: Zeroizing<State>,
    outer: Zeroizing<State>,
}

impl Hmac {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        let state_behind = |pad: u8| {
            // A key is padded to a block with zeros.
            let mut block = [[pad; KEY_LEN]; BLOCK_LEN / KEY_LEN];
            let [start, ..] = &mut block;
            start.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
            let mut state = Zeroizing::new(INITIAL);
            compress(&mut state, block.as_flattened());
            block.as_flattened_mut().zeroize();
            state
        };
        Self { inner: state_behind(0x36), outer: state_behind(0x5c) }
    }

    /// Writes the authentication code of `input` to `code`. The caller must wipe `input` afterwards.
    fn authenticate(&self, input: &mut Vec<u8>, code: &mut [u8; HASH_LEN]) {
        hash_rest(&self.inner, input, code);
        input.clear();
        input.extend_from_slice(code);
        hash_rest(&self.outer, input, code);
    }
}

/// Ends a hash after its first block: pads `input`, and writes the result to `hash`.
fn hash_rest(before: &Zeroizing<State>, input: &mut Vec<u8>, hash: &mut [u8; HASH_LEN]) {
    // One bit, zeros, and the length in bits, to the end of a block (FIPS 180-4, section 5.1.2).
    let bits = (BLOCK_LEN + input.len()) as u128 * 8;
    input.push(0x80);
    input.resize((input.len() + 16).next_multiple_of(BLOCK_LEN) - 16, 0);
    input.extend_from_slice(&bits.to_be_bytes());
    let mut state = before.clone();
    compress(&mut state, input);
    hash.as_chunks_mut().0.iter_mut().zip(&*state).for_each(|(to, word)| *to = word.to_be_bytes());
}

fn compress(state: &mut State, blocks: &[u8]) {
    compress512(state, blocks.as_chunks().0);
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha512;

    use super::*;

    /// At each length of the input, and so of the padding, also if the padding needs another block.
    #[test]
    fn agrees_with_the_crate_hmac() {
        let mut key = [0xa5; KEY_LEN];
        key.iter_mut().zip(0..).for_each(|(byte, n)| *byte ^= n);
        let info: Vec<u8> = (0..=255).cycle().take(600).collect();
        let hmac = |parts: &[&[u8]]| -> [u8; HASH_LEN] {
            let keyed = Hmac::<Sha512>::new_from_slice(&key).unwrap();
            parts.iter().fold(keyed, |hmac, part| hmac.chain_update(part)).finalize().into_bytes().into()
        };
        for len in 0..info.len() {
            let info = &info[..len];
            let (start, end) = info.split_at(len / 3);
            let first = hmac(&[info, &[1]]);
            let second = hmac(&[&first, info, &[2]]);
            assert_eq!(expand(&key, &[start, end]).0, [first, second], "{len}");
        }
        assert_ne!(expand(&[0; KEY_LEN], &[&info]).0, expand(&key, &[&info]).0);
    }
}
