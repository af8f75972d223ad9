//! Plaintext that crosses threads, wiped on drop.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

use crate::error::Error;
use crate::util::memory;

/// Plaintext. (`Zeroizing<Vec<u8>>` wipes byte by byte, which costs as much as opening a record.)
#[derive(Default)]
pub(super) struct Wiped(Vec<u8>);

impl Wiped {
    /// [`Error::TooLarge`] if the data does not fit in memory twice.
    pub(super) fn copy(data: impl AsRef<[u8]>) -> Result<Self, Error> {
        memory::copy(data.as_ref()).map(Self).map_err(|_| Error::TooLarge)
    }

    pub(super) fn zeros(len: usize) -> Result<Self, Error> {
        memory::zeros(len).map(Self).map_err(|_| Error::TooLarge)
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
