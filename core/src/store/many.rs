//! Storing many records in one transaction, sealed by several cores; retrieving many.

use super::{Store, expiry};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::NewVersion;
use crate::storage;
use crate::util::parallel;

/// The cost of the derivation of a record's keys, in bytes whose encryption takes as long.
const KEY_SCHEDULE_COST: usize = 8 << 10;

impl Store {
    /// Creates all records in one transaction. Several cores seal them.
    pub(super) fn create_all(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<(), Error> {
        let cost = records.iter().map(|(_, data, _)| data.len().saturating_add(KEY_SCHEDULE_COST));
        let threads = parallel::for_bytes(cost.fold(0, usize::saturating_add), parallel::WORTH_SHARING);
        let mut made: Vec<_> = records.iter().map(|_| None).collect();
        parallel::for_each(threads, records.iter().zip(&mut made), |((id, data, new), made)| {
            let address = self.address(id)?;
            *made = Some((address.locator, address.seal(*new, data)?));
            Ok::<_, Error>(())
        })?;
        let sealed: Vec<_> = made.iter().flatten().map(|(locator, record)| (*locator, record.as_slice())).collect();
        self.keys.settings_check.run(&*self.storage)?; // sealing may have taken its time
        let mut outcome = self.storage.create_many(&sealed);
        if matches!(outcome, Err(storage::Error::AlreadyExists)) {
            let addresses = records.iter().map(|(id, ..)| self.address(id)).collect::<Result<Vec<_>, _>>()?;
            if expiry::free(&*self.storage, &addresses)? {
                outcome = self.storage.create_many(&sealed);
            }
        }
        match outcome {
            Err(storage::Error::AlreadyExists) if records.iter().all(|(.., new)| new.is_callers) => {
                // An earlier attempt stored all of them or none; since then, some may have expired.
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
