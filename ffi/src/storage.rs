//! A storage of your own
//!
//! A store can lie in any storage that keeps records under locators: a table of callbacks tells how.
//! strongroom_check_storage tests them.
//!
//! A storage sees only locators, STRONGROOM_LOCATOR_SIZE bytes each, and opaque records. The first STRONGROOM_HEAD_SIZE
//! bytes of a record are its head: no two writes have the same, so that a head identifies one version of a record.
//!
//! A callback returns a strongroom_status. STRONGROOM_NOT_FOUND, STRONGROOM_ALREADY_EXISTS and STRONGROOM_CONFLICT are
//! allowed only where its description says so; STRONGROOM_INDETERMINATE only from one that writes (`maintain` and
//! `close` too, `upload` and `upload_write` not); a status that concerns keys, ids or expiry never. Any status that it
//! must not return is an error: STRONGROOM_INDETERMINATE from one that writes, STRONGROOM_STORAGE from another. A
//! failed callback must have changed nothing, except after STRONGROOM_INDETERMINATE.
//!
//! The callbacks may be called from any thread, and from several at once, except `close` and `destroy`; never in a
//! forked child. The library passes only valid arguments, which are valid until the callback returns. A callback must
//! not call a function of the library for its own store, nor unwind. A calling thread needs its stack in addition to
//! the library's 64 KiB.
//!
//! A callback that returns data gives it to its strongroom_sink, in the thread in which it was called.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use crate::boundary::{bytes, input, outcome, output};
use crate::callback_storage::{CallbackStorage, give};
use crate::sink::Sink;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::{self, strongroom, strongroom_options, strongroom_stats};

/// The bytes of a locator.
pub const STRONGROOM_LOCATOR_SIZE: usize = 32;

/// The bytes of a record's head. No record is shorter.
pub const STRONGROOM_HEAD_SIZE: usize = 68;

/// The most bytes of the settings document.
pub const STRONGROOM_SETTINGS_SIZE: usize = 4096;

/// How a write treats an existing record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum strongroom_put_mode {
    /// It writes if there is no record; STRONGROOM_ALREADY_EXISTS otherwise.
    STRONGROOM_CREATE = 0,
    /// It writes in any case.
    STRONGROOM_OVERWRITE = 1,
    /// It writes if the record has the given head; STRONGROOM_CONFLICT otherwise, and if there is no record.
    STRONGROOM_REPLACE_IF = 2,
}

/// A record and its locator.
#[repr(C)]
pub struct strongroom_storage_record {
    /// Its locator.
    pub locator: *const u8,
    /// The record.
    pub record: *const c_void,
    /// Its bytes.
    pub record_len: usize,
}

/// Receives the result of one call of a callback.
pub struct strongroom_sink(pub(crate) Sink);

/// A storage. Set all of it to zero, then `size` to sizeof(strongroom_storage_callbacks), then the members. A larger
/// struct, of a newer header, is accepted if its new members are zero, and STRONGROOM_UNSUPPORTED otherwise.
///
/// Each write is atomic: at any time, other callers see the record before it or after it. It is durable when the
/// callback returns, as far as the storage promises that. A read that starts after a write has returned sees it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct strongroom_storage_callbacks {
    /// sizeof(strongroom_storage_callbacks).
    pub size: usize,
    /// The first argument of each callback, or NULL.
    pub context: *mut c_void,

    /// Writes a record. `head` is NULL, except with STRONGROOM_REPLACE_IF. Required.
    pub put: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            locator: *const u8,
            record: *const c_void,
            record_len: usize,
            mode: strongroom_put_mode,
            head: *const u8,
        ) -> c_int,
    >,
    /// Writes `count` new records, all or none: STRONGROOM_ALREADY_EXISTS if one of them exists. Their locators differ.
    /// NULL if the storage has no transactions: strongroom_store_many is then STRONGROOM_UNSUPPORTED.
    pub create_many: Option<
        unsafe extern "C" fn(context: *mut c_void, records: *const strongroom_storage_record, count: usize) -> c_int,
    >,
    /// Gives the record with strongroom_give_bytes if it has at most `max_len` bytes, else its head and length with
    /// strongroom_give_info. STRONGROOM_NOT_FOUND if there is none. Required.
    pub get_up_to: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            locator: *const u8,
            max_len: u64,
            sink: *mut strongroom_sink,
        ) -> c_int,
    >,
    /// Gives the record's head and length with strongroom_give_info. STRONGROOM_NOT_FOUND if there is none. Required.
    pub info:
        Option<unsafe extern "C" fn(context: *mut c_void, locator: *const u8, sink: *mut strongroom_sink) -> c_int>,
    /// Fills `buffer` with the `len` bytes of the record from `offset` on. STRONGROOM_CONFLICT if the record has
    /// another head or is gone, STRONGROOM_INVALID_ARGUMENT if it has fewer than `offset + len` bytes. Required.
    pub read_at: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            locator: *const u8,
            head: *const u8,
            offset: u64,
            buffer: *mut c_void,
            len: usize,
        ) -> c_int,
    >,
    /// Starts to write a record piece by piece, and sets `upload` to a handle of the storage. Checks `mode` and `head`
    /// as `put` does, so that a write fails early. Nothing is visible before `upload_commit`. Required.
    pub upload: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            locator: *const u8,
            mode: strongroom_put_mode,
            head: *const u8,
            upload: *mut *mut c_void,
        ) -> c_int,
    >,
    /// Appends bytes to an upload. Required.
    pub upload_write: Option<
        unsafe extern "C" fn(context: *mut c_void, upload: *mut c_void, data: *const c_void, len: usize) -> c_int,
    >,
    /// Makes the record visible, whole and durable, with the outcomes of `put` in the upload's mode. Only `upload_free`
    /// follows. Required.
    pub upload_commit: Option<unsafe extern "C" fn(context: *mut c_void, upload: *mut c_void) -> c_int>,
    /// Frees an upload, once. If it was not committed, nothing of it remains. It may be called after `close`. Required.
    pub upload_free: Option<unsafe extern "C" fn(context: *mut c_void, upload: *mut c_void)>,
    /// Removes a record: if `head` is not NULL, only the version with this head, and STRONGROOM_CONFLICT for another.
    /// STRONGROOM_NOT_FOUND if there is none. Required.
    pub remove: Option<unsafe extern "C" fn(context: *mut c_void, locator: *const u8, head: *const u8) -> c_int>,
    /// Moves the version of a record that has this head from one locator to another, which may be the same.
    /// STRONGROOM_CONFLICT if the record under `from` has another head or is gone, but success if it is gone and the
    /// one under `to` has this head; STRONGROOM_ALREADY_EXISTS if another record is under `to`. Required.
    pub rename:
        Option<unsafe extern "C" fn(context: *mut c_void, from: *const u8, head: *const u8, to: *const u8) -> c_int>,
    /// Gives at most `limit` records after the locator `after`, or from the first if it is NULL, with
    /// strongroom_give_entry, in the order of memcmp on their locators. An `after` of 32 bytes 255 asks whether lists
    /// are complete: STRONGROOM_CORRUPT if the storage notices that damage hides records from them. Required.
    pub list: Option<
        unsafe extern "C" fn(context: *mut c_void, after: *const u8, limit: usize, sink: *mut strongroom_sink) -> c_int,
    >,
    /// Gives at most `limit` records that expire at or before `now`, the earliest first, with strongroom_give_entry.
    /// Bytes 4 to 11 of a head are the time: Unix time in seconds, little-endian, 0 for never. NULL if the storage has
    /// no index of these times: strongroom_purge is then STRONGROOM_UNSUPPORTED.
    pub list_expired:
        Option<unsafe extern "C" fn(context: *mut c_void, now: u64, limit: usize, sink: *mut strongroom_sink) -> c_int>,
    /// Gives the settings document with strongroom_give_bytes. STRONGROOM_NOT_FOUND if there is none. Required.
    pub settings: Option<unsafe extern "C" fn(context: *mut c_void, sink: *mut strongroom_sink) -> c_int>,
    /// Writes the settings document, of at most STRONGROOM_SETTINGS_SIZE bytes. `expected` is the current document, or
    /// NULL if there must be none: STRONGROOM_CONFLICT if it differs. Required.
    pub swap_settings: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            expected: *const c_void,
            expected_len: usize,
            document: *const c_void,
            document_len: usize,
        ) -> c_int,
    >,
    /// Compares a record with the storage's own checksum: STRONGROOM_CORRUPT if it is damaged, STRONGROOM_NOT_FOUND if
    /// there is none. NULL if the storage has no checksums: strongroom_verify is then STRONGROOM_UNSUPPORTED.
    pub verify_record: Option<unsafe extern "C" fn(context: *mut c_void, locator: *const u8) -> c_int>,
    /// Gives the number and size of the records, and how many expire at or before `now`. Required.
    pub stats: Option<unsafe extern "C" fn(context: *mut c_void, now: u64, stats: *mut strongroom_stats) -> c_int>,
    /// Removes the remains of deleted records and of dead uploads, but no running upload. NULL if nothing ever remains.
    pub maintain: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    /// Closes the storage. It is called once, while no other callback runs; only `upload_free` and `destroy` follow. It
    /// is not called if the store was never closed. NULL if there is nothing to do.
    pub close: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    /// Frees the context, once, when the last handle, reader and writer of the store is freed. NULL if there is nothing
    /// to do.
    pub destroy: Option<unsafe extern "C" fn(context: *mut c_void)>,

    /// The most bytes of a record. 0 for no limit.
    pub max_record_len: u64,
    /// The most bytes of the records of one `create_many`. 0 for no limit.
    pub max_batch_len: u64,
    /// The preferred length of a part of a long record, from 65,536 to 16,777,216 bytes. 0 for the default.
    pub part_len: usize,
    /// How many parts to read in parallel at most. 0 for as many as there are cores.
    pub parallel_parts: usize,
}

/// Opens a store in a storage of your own. The library copies the struct. `options` must have an index key, the same at
/// each opening; STRONGROOM_PAD is the only flag, and the members for a service must not be set.
///
/// From its success on, the store owns the storage, and calls `destroy` in the end. After a failure, the storage still
/// belongs to the caller.
///
/// STRONGROOM_INVALID_ARGUMENT if a required callback is NULL; STRONGROOM_INDEX_KEY_MISMATCH if the index key is
/// another store's; and the statuses of the callbacks.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_open_storage(
    storage: *const strongroom_storage_callbacks,
    options: *const strongroom_options,
    store: *mut *mut strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (storage, store) = unsafe { (CallbackStorage::new(storage, "storage")?, output(store, "store")?) };
        let storage = Arc::new(storage);
        // SAFETY: by the header's conventions.
        let opened = unsafe { store::open_on(Arc::clone(&storage), options)? };
        storage.own();
        store.set(Box::into_raw(Box::new(opened)));
        Ok(())
    })
}

/// Gives all bytes of the record, or of the settings document. Call it once.
///
/// STRONGROOM_INVALID_ARGUMENT if the callback must not give this: the library then refuses its result, whatever it
/// returns. STRONGROOM_TOO_LARGE if there is not enough memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_give_bytes(
    sink: *mut strongroom_sink,
    data: *const c_void,
    len: usize,
) -> strongroom_status {
    // SAFETY: by the header's conventions.
    give(sink, |sink| sink.give_bytes(unsafe { bytes(data, len, "data")? }))
}

/// Gives the head and the length of the record. Call it once.
///
/// As strongroom_give_bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_give_info(
    sink: *mut strongroom_sink,
    head: *const u8,
    record_len: u64,
) -> strongroom_status {
    // SAFETY: by the header's conventions.
    give(sink, |sink| sink.give_info(unsafe { input(head.cast(), "head")? }, record_len))
}

/// Gives one record of a list: its locator, its head and its length.
///
/// As strongroom_give_bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_give_entry(
    sink: *mut strongroom_sink,
    locator: *const u8,
    head: *const u8,
    record_len: u64,
) -> strongroom_status {
    // SAFETY: by the header's conventions.
    give(sink, |sink| unsafe {
        sink.give_entry(input(locator.cast(), "locator")?, input(head.cast(), "head")?, record_len)
    })
}
