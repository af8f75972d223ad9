//! Storing many records in one transaction, sealed by several cores; retrieving many.

use super::address::Address;
use super::settings_check::Lease;
use super::{Store, expiry};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::{NewVersion, Operations};
use crate::storage::{self, Head};
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
            let sealed = address.seal(*new, data)?;
            *made = Some((address, sealed));
            Ok::<_, Error>(())
        })?;
        let mut made: Vec<_> = made.into_iter().flatten().collect();
        if self.have_changed(&made)? {
            // Sealing took its time.
            for (address, _) in &mut made {
                *address = self.keys.again(&*self.storage, address)?;
            }
        }
        let outcome = self.create_sealed(&made);
        match outcome {
            Err(Error::AlreadyExists) if records.iter().all(|(.., new)| new.is_callers) => {
                // An earlier attempt stored all of them or none; since then, some may have expired.
                records.iter().try_for_each(|(id, data, new)| {
                    self.repeated(&self.address(id)?, new.key, || Error::AlreadyExists)?.write_all(data)
                })
            }
            outcome => outcome,
        }
    }

    fn create_sealed(&self, made: &[(Address<'_>, Vec<u8>)]) -> Result<(), Error> {
        let sealed: Vec<_> = made.iter().map(|(address, record)| (address.locator, record.as_slice())).collect();
        match self.storage.create_many(&sealed) {
            Err(storage::Error::AlreadyExists)
                if expiry::free(&*self.storage, made.iter().map(|(address, _)| address))? =>
            {
                self.storage.create_many(&sealed)?;
            }
            outcome => outcome?,
        }
        if matches!(self.have_changed(made), Ok(false)) {
            return Ok(());
        }
        let heads = || made.iter().filter_map(|(address, record)| Some((address, Head::of(record)?)));
        let settled = heads().try_for_each(|(address, head)| self.keys.settle(&*self.storage, address, &head));
        if matches!(settled, Err(Error::AlreadyExists | Error::IndexKeyMismatch)) {
            for (address, head) in heads() {
                for locator in [Some(address.locator), address.moves_to].into_iter().flatten() {
                    match self.storage.delete(&locator, Some(&head)) {
                        Ok(_) | Err(storage::Error::Conflict) => {}
                        Err(error) => return Err(Error::Indeterminate(Box::new(error))),
                    }
                }
            }
        }
        settled
    }

    /// As [`has_changed`](super::LocatorKeys::has_changed), for many addresses: the oldest lease decides.
    fn have_changed(&self, made: &[(Address<'_>, Vec<u8>)]) -> Result<bool, Error> {
        let leases = made.iter().map(|(address, _)| address.lease);
        leases.min_by_key(Lease::end).map_or(Ok(false), |oldest| self.keys.has_changed(&*self.storage, oldest))
    }

    /// Opens each record independently.
    pub(super) fn open_all(&self, records: &[(&[u8], &RecordKey)]) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let addresses = records.iter().map(|(id, _)| self.address(id)).collect::<Result<Vec<_>, _>>()?;
        let locators: Vec<_> = addresses.iter().map(|address| address.locator).collect();
        let found = self.storage.get_many(&locators, u64::MAX)?;
        let outcomes = addresses.iter().zip(records).zip(found);
        let open =
            |((address, (id, key)), sealed): ((&Address<'_>, &(&[u8], &RecordKey)), Option<Vec<u8>>)| match sealed {
                Some(sealed) => Ok(address.open(key, &sealed)),
                // It may have moved.
                None if self.keys.has_changed(&*self.storage, address.lease)? => Ok(self.retrieve(id, key)),
                None => Ok(Err(Error::NotFound)),
            };
        outcomes.map(open).collect()
    }
}
