//! Decoys: if there is no record, the key is tried on a decoy, which takes as long as a wrong key on a record, so that
//! the time does not reveal the difference.

use std::sync::Arc;

use strongroom::storage::MemoryStorage;
use strongroom::{Error, IndexKey, RecordKey, Strongroom};

/// The block length of the hash: ids with the same number of blocks take the same time.
const BLOCK: usize = 128;
const BLOCKS: usize = 33;

/// Records without known keys, one for each length of ids in blocks.
pub(super) struct DecoyRecords(Strongroom);

impl DecoyRecords {
    pub(super) fn new() -> Result<Self, Error> {
        let storage = Arc::new(MemoryStorage::new());
        let store = Strongroom::builder().storage(storage).index_key(IndexKey::generate()?).open()?;
        for blocks in 0..BLOCKS {
            store.store(Self::id(blocks * BLOCK), b"")?;
        }
        Ok(Self(store))
    }

    /// Tries the key on a decoy, which no key opens.
    pub(super) fn try_key(&self, id: &[u8], key: &RecordKey) {
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
        let (decoys, key) = (DecoyRecords::new().unwrap(), RecordKey::generate().unwrap());
        for len in 1..=4096 {
            let outcome = decoys.0.open_record(DecoyRecords::id(len), &key);
            assert!(matches!(outcome, Err(Error::WrongKey)), "{len}");
        }
    }
}
