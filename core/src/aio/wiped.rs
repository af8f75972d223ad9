//! Plaintext that crosses threads, wiped on drop.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// Plaintext. (`Zeroizing<Vec<u8>>` wipes byte by byte, which costs as much as opening a record.)
#[derive(Default)]
pub(super) struct Wiped(Vec<u8>);

impl Wiped {
    pub(super) fn copy(data: impl AsRef<[u8]>) -> Self {
        Self(data.as_ref().to_vec())
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes, for the caller.
    pub(super) fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(data: Vec<u8>) -> Self {
        Self(data)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.resize(self.0.capacity(), 0); // what was removed before is in the spare capacity
        self.0.as_mut_slice().zeroize();
    }
}
