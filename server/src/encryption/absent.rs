//! What is done with a key where there is no record: as much as with a wrong one, so that time tells nobody which it was.

use std::sync::Arc;

use strongroom::storage::MemoryStorage;
use strongroom::{Error, IndexKey, RecordKey, Strongroom};

/// How much longer an id must be to be more work: a block of the hash.
const BLOCK: usize = 128;
const BLOCKS: usize = 33;

/// Records that nobody has the key of, one for each length of ids.
pub(super) struct Absent(Strongroom);

impl Absent {
    pub(super) fn new() -> Result<Self, Error> {
        let storage = Arc::new(MemoryStorage::new());
        let store = Strongroom::builder().storage(storage).index_key(IndexKey::generate()?).open()?;
        for blocks in 0..BLOCKS {
            store.store(Self::id(blocks * BLOCK), b"")?;
        }
        Ok(Self(store))
    }

    pub(super) fn try_key(&self, id: &[u8], key: &RecordKey) {
        // It does not open: that is the work.
        let _ = self.0.open_record(Self::id(id.len()), key);
    }

    fn id(len: usize) -> &'static [u8] {
        const LONGEST: [u8; BLOCKS * BLOCK] = [0; BLOCKS * BLOCK];
        LONGEST.get(..(len / BLOCK * BLOCK).max(1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_of_ids_has_a_record() {
        let (absent, key) = (Absent::new().unwrap(), RecordKey::generate().unwrap());
        for len in 1..=4096 {
            let outcome = absent.0.open_record(Absent::id(len), &key);
            assert!(matches!(outcome, Err(Error::WrongKey)), "{len}");
        }
    }
}
