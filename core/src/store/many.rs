//! Storing many records in one transaction, sealed by several cores; retrieving many.

use super::address::Address;
use super::reader::ATTEMPTS;
use super::rotation::Access;
use super::settings_check::Lease;
use super::{Store, expiry};
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::{Call, NewVersion, Operations};
use crate::storage::{self, Head};
use crate::util::interrupt::is_interrupted;
use crate::util::parallel;

/// The cost of the derivation of a record's keys, in bytes whose encryption takes as long.
const KEY_SCHEDULE_COST: usize = 8 << 10;

/// The most bytes of records that are read before their keys are proved.
const MOST_UNPROVED: u64 = 4 << 20;

/// A record to retrieve.
type Wanted<'a> = (&'a Address<'a>, &'a RecordKey);

type Outcome = Result<Vec<u8>, Error>;

impl Store {
    /// Creates all records in one transaction. Several cores seal them.
    pub(super) fn create_all(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<(), Error> {
        let cost = records.iter().map(|(_, data, _)| data.len().saturating_add(KEY_SCHEDULE_COST));
        let threads = parallel::for_bytes(cost.fold(0, usize::saturating_add), parallel::WORTH_SHARING);
        let mut made: Vec<_> = records.iter().map(|_| None).collect();
        parallel::for_each(threads, records.iter().zip(&mut made), |((id, data, new), made)| {
            let address = self.address(id, Access::Write(None))?;
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
                    self.repeated(&self.address(id, Access::Write(None))?, new.key, || Error::AlreadyExists)?
                        .write_all(data)
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
        let heads = || made.iter().filter_map(|(address, record)| Some((address, Head::of(record)?))).enumerate();
        let failure = heads().find_map(|(n, (address, head))| {
            let error = self.keys.settle(&*self.storage, address, &head).err()?;
            Some((n, error))
        });
        match failure {
            None => Ok(()),
            Some((refused, mut error @ (Error::AlreadyExists | Error::IndexKeyMismatch))) => {
                let unknown = |error: storage::Error| Error::Indeterminate(Box::new(error));
                // `settle` has removed the refused one.
                for (_, (address, head)) in heads().filter(|(n, _)| *n != refused) {
                    match self.withdraw(address, &head) {
                        Ok(()) => {}
                        Err(gone @ storage::Error::Conflict) => error = unknown(gone),
                        // The others would fail, too, each after its time limit.
                        Err(error) => return Err(unknown(error)),
                    }
                }
                Err(error)
            }
            Some((_, error)) => Err(error),
        }
    }

    /// Removes a record of a batch that fails. [`Conflict`](storage::Error::Conflict) if it is gone: another handle has
    /// moved it to a locator that this one cannot compute, or has used it. Then the outcome of the batch is unknown.
    fn withdraw(&self, address: &Address<'_>, head: &Head) -> Result<(), storage::Error> {
        for locator in [Some(address.locator), address.moves_to].into_iter().flatten() {
            match self.storage.delete(&locator, Some(head)) {
                Ok(true) => return Ok(()),
                Ok(false) | Err(storage::Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(storage::Error::Conflict)
    }

    /// As [`has_changed`](super::LocatorKeys::has_changed), for many addresses: the oldest lease decides.
    fn have_changed(&self, made: &[(Address<'_>, Vec<u8>)]) -> Result<bool, Error> {
        let leases = made.iter().map(|(address, _)| address.lease);
        leases.min_by_key(Lease::end).map_or(Ok(false), |oldest| self.keys.has_changed(&*self.storage, oldest))
    }

    /// Opens each record independently.
    pub(super) fn open_all(&self, records: &[(&[u8], &RecordKey)]) -> Result<Vec<Outcome>, Error> {
        let addresses = records.iter().map(|(id, key)| self.address(id, Access::Read(key)));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let wanted: Vec<_> = addresses.iter().zip(records).map(|(address, (_, key))| (address, *key)).collect();
        let outcomes = match self.get_all(wanted.iter(), MOST_UNPROVED) {
            Err(Error::TooLarge) => self.open_all_proved(&wanted)?,
            outcomes => outcomes?,
        };
        let settled = outcomes.into_iter().zip(&addresses).zip(records).map(|((outcome, address), (id, key))| {
            let may_have_moved = matches!(outcome, Err(Error::NotFound | Error::Conflict))
                && (address.may_move() || self.keys.has_changed(&*self.storage, address.lease)?);
            if may_have_moved { of_record(self.retrieve(id, key).and_then(Call::wait)) } else { Ok(outcome) }
        });
        settled.collect()
    }

    /// The same for long records. Each key is proved by the record's head first, so that a wrong one costs no more than
    /// a missing record.
    fn open_all_proved(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Outcome>, Error> {
        for _ in 0..ATTEMPTS {
            let proofs = self.prove_all(wanted)?;
            let proved = wanted.iter().zip(&proofs).filter_map(|(wanted, proof)| proof.is_ok().then_some(wanted));
            let mut opened = match self.get_all(proved, u64::MAX) {
                // More than one request to a service can return.
                Err(Error::TooLarge) => break,
                opened => opened?.into_iter(),
            };
            // All outcomes must be of one moment: a record whose key was wrong before must not open now.
            let unproved = wanted.iter().zip(&proofs).filter(|(_, proof)| proof.is_err());
            if unproved.clone().all(|((address, key), _)| self.prove_unexpired(address, key).is_err()) {
                let outcome = |proof: Result<(), Error>| proof.and_then(|()| opened.next().ok_or(Error::Conflict)?);
                return Ok(proofs.into_iter().map(outcome).collect());
            }
        }
        wanted.iter().map(|(address, key)| of_record(self.retrieve_at(address, key))).collect()
    }

    /// Whether each key is right.
    fn prove_all(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut proofs: Vec<_> = wanted.iter().map(|_| Err(Error::NotFound)).collect();
        let threads = self.storage.limits().parallel_parts;
        parallel::for_each(threads, wanted.iter().zip(&mut proofs), |((address, key), proof)| {
            if is_interrupted() {
                return Err(Error::Busy);
            }
            *proof = of_record(self.prove_unexpired(address, key).map(drop))?;
            Ok::<_, Error>(())
        })?;
        Ok(proofs)
    }

    /// Reads records of at most `max_len` bytes in total from one snapshot, and opens them.
    fn get_all<'w>(
        &self,
        wanted: impl Iterator<Item = &'w Wanted<'w>> + Clone,
        max_len: u64,
    ) -> Result<Vec<Outcome>, Error> {
        let locators: Vec<_> = wanted.clone().map(|(address, _)| address.locator).collect();
        let found = storage::get_many(&*self.storage, &locators, max_len)?;
        let open = |((address, key), sealed): (&Wanted<'_>, Option<Vec<u8>>)| {
            address.open(key, &sealed.ok_or(Error::NotFound)?)
        };
        Ok(wanted.zip(found).map(open).collect())
    }
}

/// The outcome of one record; fails if the error concerns all.
fn of_record<T>(outcome: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match outcome {
        Err(
            error @ (Error::NotFound
            | Error::WrongKey
            | Error::Corrupt
            | Error::Conflict
            | Error::Expired
            | Error::TooLarge
            | Error::Unsupported(_)),
        ) => Ok(Err(error)),
        outcome => outcome.map(Ok),
    }
}
