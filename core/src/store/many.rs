//! Operations on many records.

use super::Store;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::NewKey;
use crate::storage;
use crate::util::parallel;

/// The cost of the derivation of a record's keys, in bytes whose encryption takes as long.
const KEY_SCHEDULE_COST: usize = 8 << 10;

impl Store {
    /// Creates all records in one transaction. Several cores seal them.
    pub(super) fn create_all(&self, records: &[(&[u8], &[u8], NewKey<'_>)]) -> Result<(), Error> {
        let cost = records.iter().map(|(_, data, _)| data.len().saturating_add(KEY_SCHEDULE_COST));
        let threads = parallel::for_bytes(cost.fold(0, usize::saturating_add), parallel::WORTH_SHARING);
        let mut made: Vec<_> = records.iter().map(|_| None).collect();
        parallel::for_each(threads, records.iter().zip(&mut made), |((id, data, new), made)| {
            let address = self.address(id)?;
            *made = Some((address.locator, address.seal(new.key, data)?));
            Ok::<_, Error>(())
        })?;
        let sealed: Vec<_> = made.iter().flatten().map(|(locator, record)| (*locator, record.as_slice())).collect();
        match self.storage.create_many(&sealed) {
            Err(storage::Error::AlreadyExists) if records.iter().all(|(.., new)| new.is_callers) => {
                // Either all exist or none. If they exist, an earlier attempt may have stored them.
                records.iter().try_for_each(|(id, data, new)| {
                    self.repeated(&self.address(id)?, new.key, || Error::AlreadyExists)?.write_all(data)
                })
            }
            outcome => Ok(outcome?),
        }
    }

    /// Opens each record independently.
    pub(super) fn open_all(&self, records: &[(&[u8], &RecordKey)]) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let addresses = records.iter().map(|(id, _)| self.address(id)).collect::<Result<Vec<_>, _>>()?;
        let locators: Vec<_> = addresses.iter().map(|address| address.locator).collect();
        let found = self.storage.get_many(&locators, u64::MAX)?;
        let outcomes = addresses.iter().zip(records).zip(found);
        Ok(outcomes.map(|((address, (_, key)), sealed)| address.open(key, &sealed.ok_or(Error::NotFound)?)).collect())
    }
}
