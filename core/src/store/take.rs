//! The operation `take`, reading once: it proves the key, claims the record (`claim.rs`), and reads and removes it.

use super::Store;
use super::address::Address;
use super::claim::Claim;
use super::reader::{self, Reader, open_version};
use super::stored_version::StoredVersion;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::ReadRecord;
use crate::storage::{Fetched, Head};
use crate::util::wiped::Wiped;

impl Store {
    /// All data is opened before the record is claimed: a damaged record is not lost.
    pub(super) fn take_at(&self, address: &Address<'_>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        self.of_one_version(address, |found| {
            let (data, head) = match found {
                Fetched::Record(sealed) => (address.open(key, &sealed)?, Head::of(&sealed).ok_or(Error::Corrupt)?),
                Fetched::Long { info, start } => (self.long(address, key, info, start)?.retrieve()?, info.head),
            };
            let data = Wiped::from(data);
            drop(self.claim(address, head)?);
            Ok(data.into_inner())
        })
    }

    /// A reader of the record, which only it can read from now on.
    pub(super) fn take_reader(&self, address: &Address<'_>, key: &RecordKey) -> Result<Reader, Error> {
        for _ in 0..reader::ATTEMPTS {
            let mut found = open_version(&self.storage, address, key)?;
            let claim = found.len().and_then(|_| self.claim(address, found.info().head));
            match claim {
                Err(Error::Conflict) => {}
                claim => {
                    let version = StoredVersion::new(&self.storage, address, found.info());
                    return Reader::new(version.claimed(claim?), address, key);
                }
            }
        }
        Err(Error::Conflict)
    }

    fn claim(&self, address: &Address<'_>, head: Head) -> Result<Claim, Error> {
        Claim::new(&self.storage, &address.locator, head, &self.clock)
    }
}
