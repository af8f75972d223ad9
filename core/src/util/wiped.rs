//! Secret data of any length, wiped on drop in one pass over its memory.

use std::collections::TryReserveError;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

use crate::util::memory;

/// Secret data, wiped on drop. (`Zeroizing<Vec<u8>>` wipes byte by byte, which costs as much as opening a record.)
#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// A copy without spare capacity.
    ///
    /// # Errors
    ///
    /// Without memory.
    pub fn copy(data: impl AsRef<[u8]>) -> Result<Self, TryReserveError> {
        memory::copy(data.as_ref()).map(Self)
    }

    /// `len` zeros, without spare capacity.
    ///
    /// # Errors
    ///
    /// Without memory.
    pub fn zeros(len: usize) -> Result<Self, TryReserveError> {
        memory::zeros(len).map(Self)
    }

    /// No bytes. Growth beyond this capacity would leave a copy in memory, except by [`append`](Self::append).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Adds `bytes`. Growth doubles the capacity, and wipes the old memory.
    ///
    /// # Errors
    ///
    /// Without memory: nothing is added.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), TryReserveError> {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            self.grow(needed.max(self.0.capacity().saturating_mul(2)))?;
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Moves the bytes into memory of this capacity, and wipes the old memory.
    ///
    /// # Errors
    ///
    /// Without memory: nothing is moved.
    pub fn grow(&mut self, capacity: usize) -> Result<(), TryReserveError> {
        let mut larger = Vec::new();
        larger.try_reserve_exact(capacity)?;
        larger.extend_from_slice(&self.0);
        *self = Self(larger);
        Ok(())
    }

    /// The bytes, for the caller, who wipes them.
    #[must_use]
    pub fn into_inner(mut self) -> Vec<u8> {
        mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(data: Vec<u8>) -> Self {
        Self(data)
    }
}

impl From<String> for Wiped {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
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

/// For `bytes::Bytes::from_owner`.
impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiped").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize(); // it has bytes that were removed
        self.0.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_keeps_the_bytes() {
        let mut data = Wiped::default();
        for byte in 0..100 {
            data.append(&[byte; 7]).unwrap();
        }
        assert!((0..100).all(|byte| data[7 * usize::from(byte)..][..7] == [byte; 7]));
        assert_eq!((data.len(), data.capacity()), (700, 896));
        assert!(data.grow(usize::MAX).is_err());
        assert_eq!(data.into_inner().len(), 700);
    }

    #[test]
    fn debug_shows_no_data() {
        assert_eq!(format!("{:?}", Wiped::from(vec![7; 3])), "Wiped { len: 3, .. }");
    }
}
