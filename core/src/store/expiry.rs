//! Writes at an id whose record may have expired. An expired record counts as none: the id is free.

use super::address::Address;
use crate::error::Error;
use crate::storage::{self, PutMode, Storage};

/// The most attempts of a write that others, or a purge, overtake.
const ATTEMPTS: usize = 5;

/// Writes a new record. It replaces an expired one by compare and swap, so that of several writers one succeeds.
pub(super) fn put_new(storage: &dyn Storage, address: &Address<'_>, record: &[u8]) -> Result<(), Error> {
    let mut mode = PutMode::Create;
    for _ in 0..ATTEMPTS {
        match storage.put(&address.locator, record, mode) {
            Err(storage::Error::AlreadyExists | storage::Error::Conflict) => mode = mode_of_new(storage, address)?,
            outcome => return Ok(outcome?),
        }
    }
    Err(Error::Busy)
}

/// How to write a new record. Fails if there is one that has not expired.
fn mode_of_new(storage: &dyn Storage, address: &Address<'_>) -> Result<PutMode, Error> {
    match storage.info(&address.locator)? {
        None => Ok(PutMode::Create),
        Some(info) if address.clock.has_passed(info.head.expires_at()) => Ok(PutMode::ReplaceIf(info.head)),
        Some(_) => Err(Error::AlreadyExists),
    }
}

/// Removes the records at `addresses`, unless one of them is alive, for a write that cannot replace them: a long one,
/// during which a purge may remove the record, or a batch. Returns whether all addresses are free.
pub(super) fn free<'a, 'i: 'a>(
    storage: &dyn Storage,
    addresses: impl IntoIterator<Item = &'a Address<'i>>,
) -> Result<bool, Error> {
    let mut expired = Vec::new();
    for address in addresses {
        match mode_of_new(storage, address) {
            Ok(PutMode::ReplaceIf(head)) => expired.push((address.locator, head)),
            Err(Error::AlreadyExists) => return Ok(false),
            mode => _ = mode?,
        }
    }
    for (locator, head) in expired {
        match storage.delete(&locator, Some(&head)) {
            Err(storage::Error::Conflict) => return Ok(false), // another write was faster
            outcome => _ = outcome?,
        }
    }
    Ok(true)
}
