//! Locators: the names under which a storage holds records, computed from ids.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::IndexKey;
use crate::util::hex;

const LOCATOR_CONTEXT: &str = "strongroom 2026-11-23 v1 locator";
const CHECK_CONTEXT: &str = "strongroom 2026-11-23 v1 index key check";
const HINT_CONTEXT: &str = "strongroom 2026-11-26 v1 index key hint";

/// Bytes of a locator.
pub const LOCATOR_LEN: usize = 32;

/// The name of a record in a storage: the generation of the index key, and a keyed BLAKE3 hash of the id under that
/// key.
///
/// Its order is that of its bytes. `Debug` shows four of them, enough to distinguish locators.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator([u8; LOCATOR_LEN]);

impl Locator {
    /// The greatest locator. No record is behind it.
    pub(crate) const LAST: Self = Self([u8::MAX; LOCATOR_LEN]);

    /// The locator with these bytes, as a storage lists them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LOCATOR_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a storage writes them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LOCATOR_LEN] {
        &self.0
    }

    /// The 64 lower-case hexadecimal digits of the locator, as reports show it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::to_hex(&self.0)
    }

    /// The locator with these digits; `None` if they are not 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::from_hex(text).map(Self)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Locator({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The first generation of a store's index key. Each rotation adds 1, and wraps from 255 to 1.
pub(crate) const FIRST_GENERATION: u8 = 1;

/// The first byte of locators that no index key makes: of records that a `take` has claimed.
pub(crate) const CLAIMED: u8 = 0;

/// The key that computes locators, derived from the index key, which then need not stay in memory.
pub(crate) struct LocatorKey {
    key: [u8; 32],
    generation: u8,
}

impl LocatorKey {
    /// `blake3::derive_key(LOCATOR_CONTEXT, index key)`
    pub(crate) fn new(index_key: &IndexKey, generation: u8) -> Self {
        Self { key: derive_key(LOCATOR_CONTEXT, index_key), generation }
    }

    pub(crate) fn generation(&self) -> u8 {
        self.generation
    }

    /// `generation(1) || blake3::keyed_hash(locator key, LE64(len(namespace)) || namespace || LE64(len(id)) || id)[0..31]`
    pub(crate) fn locator(&self, namespace: &[u8], id: &[u8]) -> Locator {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for field in [namespace, id] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        let hash = hasher.finalize();
        hasher.zeroize(); // it holds the key
        let mut locator = [self.generation; LOCATOR_LEN];
        locator.iter_mut().skip(1).zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Locator(locator)
    }
}

impl Drop for LocatorKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ZeroizeOnDrop for LocatorKey {}

/// The value that identifies a store's index key: the first 16 bytes of `blake3::derive_key(CHECK_CONTEXT, index key)`.
pub(crate) fn check_value(index_key: &IndexKey) -> [u8; 16] {
    let hash = derive_key(CHECK_CONTEXT, index_key);
    let mut check_value = [0; 16];
    check_value.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    check_value
}

/// Four bytes of a hash of a check value, by which people compare index keys.
pub(crate) fn hint(check_value: &[u8; 16]) -> [u8; 4] {
    let [a, b, c, d, ..] = blake3::derive_key(HINT_CONTEXT, check_value);
    [a, b, c, d]
}

/// `blake3::derive_key`; wipes the index key from the hasher.
fn derive_key(context: &str, index_key: &IndexKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(index_key.expose_bytes());
    let key = hasher.finalize().into();
    hasher.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_the_start_of_the_hash() {
        assert_eq!(hint(&[7; 16]), [0x20, 0xdc, 0x83, 0xe9]); // by the Python package `blake3`
    }

    #[test]
    fn debug_shows_the_start() {
        assert_eq!(format!("{:?}", Locator::from_bytes([0xab; LOCATOR_LEN])), "Locator(abababab..)");
    }
}
