//! The rotation of the index key
//!
//! A new index key takes the place of one that may be known to others; no record key is needed, and records keep their
//! keys. Open the store with the new key and with the previous one in strongroom_options, in all processes, and begin
//! the rotation in one of them. Each operation on an id then moves its record to the new key. Call strongroom_contains
//! for every known id of every namespace: it fails if the record cannot be moved, for example on a full disk. A read of
//! data succeeds even then, and may leave the record under the previous key. A read-only handle, and a call with a
//! wrong record key, moves nothing. When no record remains, strongroom_finish_rotation ends the rotation. It may be
//! interrupted at any time; other handles with both keys continue to work.

use std::ffi::c_void;

use ::strongroom::Error;
use ::strongroom::storage::{LOCATOR_LEN, Locator};

use crate::boundary::{bytes, input, outcome, output};
use crate::records::strongroom_buffer;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// Begins the rotation: the new key takes the place of the previous one. It takes a second. Without effect if the new
/// key is the store's already. A record that is being replaced in pieces meanwhile may be STRONGROOM_CONFLICT.
///
/// STRONGROOM_BUSY if the store's settings are changed at the same time; STRONGROOM_UNSUPPORTED on an encryption
/// server, or read-only.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_begin_rotation(
    store: *const strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { input(store, "store")? };
        store.0.begin_rotation()
    })
}

/// Gives the number of records that remain under the previous index key, in all namespaces: at most `limit`, in time
/// proportional to the result.
///
/// STRONGROOM_INVALID_ARGUMENT if the store was opened without a previous index key, before the rotation has begun, or
/// after it had ended; STRONGROOM_UNSUPPORTED on an encryption server.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_get_unrotated_count(
    store: *const strongroom,
    limit: u64,
    count: *mut u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, count) = unsafe { (input(store, "store")?, output(count, "count")?) };
        count.set(unrotated(store, limit)?.len() as u64);
        Ok(())
    })
}

/// Gives the locators of records that remain under the previous index key, in all namespaces, 32 bytes each: at most
/// `limit`, in time proportional to the result. Free `locators` with strongroom_buffer_free.
///
/// As strongroom_get_unrotated_count.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_list_unrotated(
    store: *const strongroom,
    limit: u64,
    locators: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, locators) = unsafe { (input(store, "store")?, output(locators, "locators")?) };
        let found = unrotated(store, limit)?;
        locators.set(strongroom_buffer::new(found.iter().flat_map(|locator| *locator.as_bytes()).collect())?);
        Ok(())
    })
}

/// Removes a record that remains under the previous index key, because nobody knows its id. `locator` is 32 bytes of
/// those that strongroom_list_unrotated gives; `erased` says whether there was a record.
///
/// STRONGROOM_INVALID_ARGUMENT if the locator is not one under the previous key, or there is no rotation;
/// STRONGROOM_UNSUPPORTED on an encryption server.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_erase_unrotated(
    store: *const strongroom,
    locator: *const c_void,
    erased: *mut bool,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, locator, erased) =
            unsafe { (input(store, "store")?, bytes(locator, LOCATOR_LEN, "locator")?, output(erased, "erased")?) };
        let locator = locator.first_chunk().ok_or(Error::InvalidArgument("locator is too short".into()))?;
        erased.set(store.0.erase_unrotated(&Locator::from_bytes(*locator))?);
        Ok(())
    })
}

/// At most `limit` locators under the previous key.
fn unrotated(store: &strongroom, limit: u64) -> Result<Vec<Locator>, Error> {
    let rotation = store.0.rotation(usize::try_from(limit).unwrap_or(usize::MAX))?;
    Ok(rotation.ok_or(Error::InvalidArgument("the index key is not being rotated".into()))?.remaining)
}

/// Ends the rotation of the index key: from then on, the store is opened with the new key alone.
///
/// STRONGROOM_INVALID_ARGUMENT if records remain under the previous key, or as for strongroom_get_unrotated_count;
/// STRONGROOM_CONFLICT if the store's settings are changed at the same time; STRONGROOM_UNSUPPORTED on an encryption
/// server.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_finish_rotation(
    store: *const strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { input(store, "store")? };
        store.0.finish_rotation()
    })
}
