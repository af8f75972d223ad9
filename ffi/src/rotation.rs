//! The rotation of the index key
//!
//! A new index key takes the place of one that may be known to others; no record key is needed, and records keep their
//! keys. Open the store with the new key and with the previous one in strongroom_options. Each operation on an id then
//! moves its record to the new key, for example strongroom_contains for every known id of every namespace. When no
//! record remains, strongroom_finish_rotation ends the rotation. It may be interrupted at any time; other handles with
//! both keys continue to work.

use ::strongroom::Error;

use crate::boundary::{input, outcome, output};
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// Gives the number of records that remain under the previous index key, in all namespaces: at most `limit`, in time
/// proportional to the result. Those whose id nobody knows are removed with the program, Rust or Python.
///
/// STRONGROOM_INVALID_ARGUMENT if the store was opened without a previous index key, or after the rotation had ended;
/// STRONGROOM_UNSUPPORTED on an encryption server.
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
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rotation =
            store.0.rotation(limit)?.ok_or(Error::InvalidArgument("the index key is not being rotated".into()))?;
        count.set(rotation.remaining.len() as u64);
        Ok(())
    })
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
