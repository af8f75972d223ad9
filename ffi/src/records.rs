//! Records, and the buffers of their data, which the caller frees and the library wipes
//!
//! Every write is durable when it returns, and whole or not at all. A store cannot list ids: it does not know them.

use std::ffi::c_void;
use std::mem;
use std::ptr::{null, null_mut};

use ::strongroom::Error;
use zeroize::Zeroize;

use crate::boundary::{buffer, bytes, input, outcome, output, owned, quietly};
use crate::key::strongroom_record_key;
use crate::options::{Options, give, strongroom_write_options};
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// Data that the library allocated, to be freed with strongroom_buffer_free.
#[repr(C)]
pub struct strongroom_buffer {
    /// The first byte: never NULL after a success, even if `len` is 0.
    pub data: *mut u8,
    /// The number of bytes.
    pub len: usize,
}

impl strongroom_buffer {
    /// No data.
    pub(crate) const NONE: Self = Self { data: null_mut(), len: 0 };

    pub(crate) fn new(mut data: Vec<u8>) -> Result<Self, Error> {
        let len = data.len();
        if data.capacity() != len {
            // Without `into_boxed_slice`, which might move the data and leave a copy that is not wiped.
            let mut copy = Vec::new();
            let room = copy.try_reserve_exact(len);
            if room.is_ok() {
                copy.extend_from_slice(&data);
            }
            data.zeroize();
            room.map_err(|_| Error::TooLarge)?;
            data = copy;
        }
        Ok(Self { data: Box::into_raw(data.into_boxed_slice()).cast(), len })
    }
}

/// Wipes and frees the data, and sets the struct to {NULL, 0}, so that a second call does nothing. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_buffer_free(buffer: *mut strongroom_buffer) {
    quietly(|| {
        // SAFETY: by the header's conventions.
        let Some(buffer) = (unsafe { buffer.as_mut() }) else { return };
        let strongroom_buffer { data, len } = mem::replace(buffer, strongroom_buffer::NONE);
        // SAFETY: both come from one boxed slice that `new` made, or the data is NULL.
        if let Some(mut data) = unsafe { owned(std::ptr::slice_from_raw_parts_mut(data, len)) } {
            (*data).zeroize(); // as a slice, because a boxed one is wiped byte by byte
        }
    });
}

/// Stores data under a new id, and gives the only key that opens it.
///
/// If the process ends before the key is written down, nobody can open the record: use strongroom_write_options to
/// write the key down first.
///
/// STRONGROOM_ALREADY_EXISTS if a record has the id.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    data: *const c_void,
    data_len: usize,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_store_with(store, id, id_len, data, data_len, null(), key, error) }
}

/// As strongroom_store, with options. `key` may be NULL if the options have the key.
///
/// STRONGROOM_ALREADY_EXISTS if the id has another record.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    data: *const c_void,
    data_len: usize,
    options: *const strongroom_write_options,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, data, options) = unsafe {
            (input(store, "store")?, bytes(id, id_len, "id")?, bytes(data, data_len, "data")?, Options::read(options)?)
        };
        // SAFETY: by the header's conventions.
        let key = unsafe { options.key_output(key, "key")? };
        give(&store.0.store_with(id, data, options.get())?, key);
        Ok(())
    })
}

/// Retrieves the data stored under an id into memory of the library: free it with strongroom_buffer_free.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY, also if the record's first 68 bytes were altered; STRONGROOM_CORRUPT if
/// the rest was altered; STRONGROOM_EXPIRED; STRONGROOM_TOO_LARGE if the data does not fit in memory.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_retrieve(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    data: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, data) =
            unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?, output(data, "data")?) };
        data.set(strongroom_buffer::new(store.0.retrieve(id, &key.get()?)?)?);
        Ok(())
    })
}

/// Retrieves the data stored under an id into the caller's memory, of `size` bytes, and gives its length.
///
/// As strongroom_retrieve; STRONGROOM_TOO_LARGE if the data does not fit, with its length in `len`. After a failure
/// `data` has no plaintext; its earlier content may be overwritten with zeros.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_retrieve_into(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    data: *mut c_void,
    size: usize,
    len: *mut usize,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, data, len) = unsafe {
            (
                input(store, "store")?,
                bytes(id, id_len, "id")?,
                input(key, "key")?,
                buffer(data, size, "data")?,
                output(len, "len")?,
            )
        };
        let key = key.get()?;
        match store.0.retrieve_into(id, &key, data) {
            Err(Error::TooLarge) => {
                let needed = store.0.open_record(id, &key)?.len()?;
                len.set(usize::try_from(needed).map_err(|_| Error::TooLarge)?);
                Err(Error::TooLarge)
            }
            outcome => {
                len.set(outcome?);
                Ok(())
            }
        }
    })
}

/// Retrieves up to `len` bytes of the data, from the byte `offset` on; the range is clipped at the end. The length of
/// the data is authenticated: only the 16 KiB chunks of the range and the final chunk are read.
///
/// As strongroom_retrieve; STRONGROOM_CONFLICT if the record is replaced or removed during the call.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_retrieve_range(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    offset: u64,
    len: usize,
    data: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, data) =
            unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?, output(data, "data")?) };
        let range = offset..offset.saturating_add(len as u64);
        data.set(strongroom_buffer::new(store.0.retrieve_range(id, &key.get()?, range)?)?);
        Ok(())
    })
}

/// Retrieves the data stored under an id, and removes the record: of several callers, one gets the data, and the others
/// STRONGROOM_NOT_FOUND. Free the data with strongroom_buffer_free.
///
/// The data is delivered at most once: if the process ends or a connection breaks before the caller has it, it is lost.
/// To lose nothing, use strongroom_retrieve, and then strongroom_delete.
///
/// As strongroom_retrieve: the record is then unchanged. STRONGROOM_INDETERMINATE if the outcome is unknown.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_take(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    data: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, data) =
            unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?, output(data, "data")?) };
        data.set(strongroom_buffer::new(store.0.take(id, &key.get()?)?)?);
        Ok(())
    })
}

/// Replaces the data of the record that `old_key` opens, and gives the new version's key; both may be the same struct.
/// The old key no longer opens anything, and no older version opens under the new key.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_EXPIRED; STRONGROOM_CONFLICT if the record was replaced or
/// removed concurrently. A failure leaves the record unchanged.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    data: *const c_void,
    data_len: usize,
    new_key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_replace_with(store, id, id_len, old_key, data, data_len, null(), new_key, error) }
}

/// As strongroom_replace, with options. `new_key` may be NULL if the options have the new key.
///
/// STRONGROOM_INVALID_ARGUMENT if the new key is the old one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    data: *const c_void,
    data_len: usize,
    options: *const strongroom_write_options,
    new_key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, old_key, data, options) = unsafe {
            (
                input(store, "store")?,
                bytes(id, id_len, "id")?,
                input(old_key, "old_key")?.get()?, // read before the output is written, which may overlap
                bytes(data, data_len, "data")?,
                Options::read(options)?,
            )
        };
        // SAFETY: by the header's conventions.
        let new_key = unsafe { options.key_output(new_key, "new_key")? };
        give(&store.0.replace_with(id, &old_key, data, options.get())?, new_key);
        Ok(())
    })
}

/// Re-encrypts the data of the record that `old_key` opens, in constant memory, and gives its new key; both may be the
/// same struct. Afterwards the old key opens nothing. `options` may be NULL; without an expiry time in them, the
/// record keeps its own. `new_key` may be NULL if the options have the new key.
///
/// As strongroom_replace_with and strongroom_retrieve. A failure leaves the record unchanged.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_rekey(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    options: *const strongroom_write_options,
    new_key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, old_key, options) = unsafe {
            (
                input(store, "store")?,
                bytes(id, id_len, "id")?,
                input(old_key, "old_key")?.get()?, // read before the output is written, which may overlap
                Options::read(options)?,
            )
        };
        // SAFETY: by the header's conventions.
        let new_key = unsafe { options.key_output(new_key, "new_key")? };
        give(&store.0.rekey_with(id, &old_key, options.get())?, new_key);
        Ok(())
    })
}

/// Removes the record that `key` opens, even if it has expired. If the storage's answer is lost, this succeeds also if
/// another caller removes the record meanwhile: only strongroom_take tells that nobody else has read it.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_CONFLICT if the record was replaced or removed concurrently.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_delete(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key) = unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?) };
        store.0.delete(id, &key.get()?)
    })
}

/// Removes the record of an id without its key: the operator's means to fulfil a right to erasure. `erased` says
/// whether there was a record.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_erase(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    erased: *mut bool,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, erased) =
            unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, output(erased, "erased")?) };
        erased.set(store.0.erase(id)?);
        Ok(())
    })
}

/// Tells whether there is an unexpired record under this id. During a rotation of the index key, this moves the record.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_contains(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    found: *mut bool,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, found) = unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, output(found, "found")?) };
        found.set(store.0.contains(id)?);
        Ok(())
    })
}
