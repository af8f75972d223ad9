//! Many records at once

use std::ffi::c_void;
use std::mem::MaybeUninit;

use ::strongroom::{Error, RecordKey};

use crate::boundary::{array, bytes, input, outcome, room};
use crate::key::strongroom_record_key;
use crate::options::{Options, strongroom_write_options};
use crate::records::strongroom_buffer;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// An id and the data to store under it.
#[repr(C)]
pub struct strongroom_item {
    /// The id.
    pub id: *const c_void,
    /// Its bytes.
    pub id_len: usize,
    /// The data.
    pub data: *const c_void,
    /// Its bytes.
    pub data_len: usize,
}

/// Stores `count` items in one transaction, all or none, and gives their keys in the same order: `keys` has room for
/// `count`.
///
/// As strongroom_store; STRONGROOM_ALREADY_EXISTS also if two items have the same id; STRONGROOM_TOO_LARGE above 64 MiB
/// in a storage service or PostgreSQL, and in an encryption server above 64 MiB of JSON (about 48 MiB of data) or
/// 32,768 items; STRONGROOM_UNSUPPORTED by an object store.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store_many(
    store: *const strongroom,
    items: *const strongroom_item,
    count: usize,
    keys: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, items, keys) =
            unsafe { (input(store, "store")?, array(items, count, "items")?, room(keys, count, "keys")?) };
        // SAFETY: by the header's conventions.
        let items = items.iter().map(|item| unsafe { read(item) });
        let made = store.0.store_many(&items.collect::<Result<Vec<_>, Error>>()?)?;
        give_all(&made, keys);
        Ok(())
    })
}

/// As strongroom_store_many, with options for each item: an array of `count` pointers, each of which may be NULL.
/// `keys` may be NULL if all of the options have a key.
///
/// STRONGROOM_ALREADY_EXISTS if an id has another record.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store_many_with(
    store: *const strongroom,
    items: *const strongroom_item,
    count: usize,
    options: *const *const strongroom_write_options,
    keys: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, items, options) =
            unsafe { (input(store, "store")?, array(items, count, "items")?, array(options, count, "options")?) };
        // SAFETY: by the header's conventions.
        let options = options.iter().map(|options| unsafe { Options::read(*options) });
        let options = options.collect::<Result<Vec<_>, Error>>()?;
        let keys = if keys.is_null() && options.iter().all(Options::has_key) {
            &mut []
        } else {
            // SAFETY: by the header's conventions.
            unsafe { room(keys, count, "keys")? }
        };
        let items = items.iter().zip(&options).map(|(item, options)| {
            // SAFETY: by the header's conventions.
            let (id, data) = unsafe { read(item)? };
            Ok((id, data, options.get()))
        });
        let made = store.0.store_many_with(&items.collect::<Result<Vec<_>, Error>>()?)?;
        give_all(&made, keys);
        Ok(())
    })
}

/// The id and the data of an item.
///
/// # Safety
///
/// As [`bytes`], for both.
unsafe fn read(item: &strongroom_item) -> Result<(&[u8], &[u8]), Error> {
    // SAFETY: by the caller.
    unsafe { Ok((bytes(item.id, item.id_len, "id")?, bytes(item.data, item.data_len, "data")?)) }
}

fn give_all(made: &[RecordKey], keys: &mut [MaybeUninit<strongroom_record_key>]) {
    keys.iter_mut().zip(made).for_each(|(to, key)| {
        to.write(strongroom_record_key::new(key));
    });
}

/// An id and the key of its record.
#[repr(C)]
pub struct strongroom_request {
    /// The id.
    pub id: *const c_void,
    /// Its bytes.
    pub id_len: usize,
    /// The record's key.
    pub key: *const strongroom_record_key,
}

/// The outcome of a strongroom_request.
#[repr(C)]
pub struct strongroom_result {
    /// The status, as of strongroom_retrieve.
    pub status: strongroom_status,
    /// The data after a success, to be freed with strongroom_buffer_free; otherwise {NULL, 0}.
    pub data: strongroom_buffer,
}

/// Retrieves `count` records, each with its own outcome, in the same order: `results` has room for `count`. A storage
/// with transactions reads them in one; more than 64 MiB from a service is read in several steps. If a record cannot be
/// retrieved, its result has the status, and the call succeeds. If the call fails, as for an invalid id, no result is
/// written.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_retrieve_many(
    store: *const strongroom,
    requests: *const strongroom_request,
    count: usize,
    results: *mut strongroom_result,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, requests, results) =
            unsafe { (input(store, "store")?, array(requests, count, "requests")?, room(results, count, "results")?) };
        let requests = requests.iter().map(|request| {
            // SAFETY: by the header's conventions.
            let (id, key) = unsafe { (bytes(request.id, request.id_len, "id")?, input(request.key, "key")?) };
            Ok((id, key.get()?))
        });
        let requests = requests.collect::<Result<Vec<_>, Error>>()?;
        let requests: Vec<_> = requests.iter().map(|(id, key)| (id, key)).collect();
        let found = store.0.retrieve_many(&requests)?;
        results.iter_mut().zip(found).for_each(|(to, outcome)| {
            to.write(match outcome.and_then(strongroom_buffer::new) {
                Ok(data) => strongroom_result { status: strongroom_status::STRONGROOM_OK, data },
                Err(error) => {
                    strongroom_result { status: strongroom_status::of(&error), data: strongroom_buffer::NONE }
                }
            });
        });
        Ok(())
    })
}
