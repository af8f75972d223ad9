//! Outcomes

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;

use ::strongroom::Error;

use crate::c_text::c_chars;

/// The outcome of a function. The numbers are the same in every language and never change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum strongroom_status {
    /// Success.
    STRONGROOM_OK = 0,
    /// No record has this id: it was never stored, or it was removed.
    STRONGROOM_NOT_FOUND = 1,
    /// A record has this id.
    STRONGROOM_ALREADY_EXISTS = 2,
    /// The record was sealed with another key, or its first 68 bytes were altered: without the key, the two cannot be
    /// distinguished.
    STRONGROOM_WRONG_KEY = 3,
    /// The record, or the database that holds it, was altered or damaged.
    STRONGROOM_CORRUPT = 4,
    /// The bytes or the text are not a key.
    STRONGROOM_INVALID_KEY = 5,
    /// An id has 1 to 4,096 bytes.
    STRONGROOM_INVALID_ID = 6,
    /// A newer version is required, or the storage does not support the operation.
    STRONGROOM_UNSUPPORTED = 7,
    /// The data does not fit in a record (4 PiB), this storage, the given buffer, or memory.
    STRONGROOM_TOO_LARGE = 8,
    /// The store was made with another index key.
    STRONGROOM_INDEX_KEY_MISMATCH = 9,
    /// The file with the store's index key is missing.
    STRONGROOM_INDEX_KEY_MISSING = 10,
    /// The record was replaced or removed concurrently.
    STRONGROOM_CONFLICT = 11,
    /// A lock was not released in time, or a service did not answer in time: try again. Nothing was changed, unless the
    /// function says otherwise.
    STRONGROOM_BUSY = 12,
    /// No space is left. Everything stored before is unchanged.
    STRONGROOM_STORAGE_FULL = 13,
    /// Input or output of the storage, or the caller's own callback, failed. Nothing was changed. After a failed write,
    /// the handle may be STRONGROOM_POISONED.
    STRONGROOM_STORAGE = 14,
    /// The outcome of the write is unknown: a commit failed, or an answer was lost. Check the record, or repeat the
    /// write under the same key.
    STRONGROOM_INDETERMINATE = 15,
    /// An earlier write or commit failed halfway, so this handle refuses all writes. It still reads, unless the
    /// database's files were moved. Open the store again.
    STRONGROOM_POISONED = 16,
    /// A handle was open when this process was forked.
    STRONGROOM_FORKED = 17,
    /// The store is closed.
    STRONGROOM_CLOSED = 18,
    /// An argument, or a combination of arguments, is invalid.
    STRONGROOM_INVALID_ARGUMENT = 19,
    /// The record has expired. Its id is free for a new record.
    STRONGROOM_EXPIRED = 20,
    /// A service or a storage denies access: a token, a client certificate, a password or a right is missing or wrong.
    /// Nothing was changed.
    STRONGROOM_ACCESS_DENIED = 21,
    /// An internal error, not caused by the caller.
    STRONGROOM_INTERNAL = 99,
}

use strongroom_status::*;

/// Each status with its name and its text.
const STATUSES: [(strongroom_status, &CStr, &CStr); 23] = [
    (STRONGROOM_OK, c"Ok", c"success"),
    (STRONGROOM_NOT_FOUND, c"NotFound", c"there is no record under this id"),
    (
        STRONGROOM_ALREADY_EXISTS,
        c"AlreadyExists",
        c"there is a record under this id already: replace it, or choose another id",
    ),
    (STRONGROOM_WRONG_KEY, c"WrongKey", c"the key does not open this record"),
    (STRONGROOM_CORRUPT, c"Corrupt", c"the stored data was altered or damaged: restore it from a backup"),
    (STRONGROOM_INVALID_KEY, c"InvalidKey", c"the bytes or the text are not a key"),
    (STRONGROOM_INVALID_ID, c"InvalidId", c"an id must have 1 to 4096 bytes"),
    (STRONGROOM_UNSUPPORTED, c"Unsupported", c"not supported by this version or this storage"),
    (
        STRONGROOM_TOO_LARGE,
        c"TooLarge",
        c"the data is too large for a record, for this storage, or for the given buffer",
    ),
    (
        STRONGROOM_INDEX_KEY_MISMATCH,
        c"IndexKeyMismatch",
        c"the store has another index key: give its own, or both keys while it is being rotated",
    ),
    (
        STRONGROOM_INDEX_KEY_MISSING,
        c"IndexKeyMissing",
        c"the index key is missing: restore its file, or pass the index key itself",
    ),
    (STRONGROOM_CONFLICT, c"Conflict", c"the record was changed concurrently: retrieve it and try again"),
    (STRONGROOM_BUSY, c"Busy", c"the storage is busy, or the service did not answer in time: try again"),
    (STRONGROOM_STORAGE_FULL, c"StorageFull", c"the storage is full: make room and try again"),
    (STRONGROOM_STORAGE, c"Storage", c"input or output failed"),
    (
        STRONGROOM_INDETERMINATE,
        c"Indeterminate",
        c"the outcome of the write is unknown: check the record, or repeat the write under the same key",
    ),
    (STRONGROOM_POISONED, c"Poisoned", c"an earlier write failed half way: open the store again"),
    (
        STRONGROOM_FORKED,
        c"Forked",
        c"a store was open when this process was forked: fork before opening it, or start a new program",
    ),
    (STRONGROOM_CLOSED, c"Closed", c"the store is closed"),
    (STRONGROOM_INVALID_ARGUMENT, c"InvalidArgument", c"an argument, or a combination of arguments, is invalid"),
    (STRONGROOM_EXPIRED, c"Expired", c"the record has expired"),
    (STRONGROOM_ACCESS_DENIED, c"AccessDenied", c"access is denied: use valid credentials with the right to do this"),
    (STRONGROOM_INTERNAL, c"Internal", c"internal error: please report it"),
];

impl strongroom_status {
    pub(crate) fn of(error: &Error) -> Self {
        Self::from_number(c_int::from(error.code())).unwrap_or(STRONGROOM_INTERNAL)
    }

    pub(crate) fn from_number(number: c_int) -> Option<Self> {
        row(number).map(|row| row.0)
    }
}

/// The name of a status, such as "NotFound": the same in every language. "Unknown" for any other number.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn strongroom_status_name(status: c_int) -> *const c_char {
    row(status).map_or(c"Unknown", |row| row.1).as_ptr()
}

/// The meaning of a status and, where something helps, what to do, in English; "unknown status" for any other number.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn strongroom_status_message(status: c_int) -> *const c_char {
    row(status).map_or(c"unknown status", |row| row.2).as_ptr()
}

fn row(status: c_int) -> Option<&'static (strongroom_status, &'static CStr, &'static CStr)> {
    STATUSES.iter().find(|row| row.0 as c_int == status)
}

/// The bytes of a strongroom_error's message.
pub const STRONGROOM_ERROR_MESSAGE_SIZE: usize = 1020;

/// The details of an outcome. The caller owns the struct, and the function fills it. It needs no initialisation and
/// holds no memory. It never shows an id, a key or data; it may show a path.
#[repr(C)]
pub struct strongroom_error {
    /// What the function returned.
    pub status: strongroom_status,
    /// The cause and, where there is one, the remedy, with the system's own message, such as "input or output
    /// failed: disk I/O error". Ends with a NUL byte; empty after a success.
    pub message: [c_char; STRONGROOM_ERROR_MESSAGE_SIZE],
}

impl strongroom_error {
    /// Fills `place` only up to the end of the message: filling all of it would cost more than some functions.
    pub(crate) fn set(place: &mut MaybeUninit<Self>, error: Option<&Error>) {
        let place = place.as_mut_ptr();
        // SAFETY: they lie in `place`, which is borrowed for the same time, and `MaybeUninit` requires no value.
        let (status, message) = unsafe {
            let message = (&raw mut (*place).message).cast::<[MaybeUninit<c_char>; STRONGROOM_ERROR_MESSAGE_SIZE]>();
            (&mut *(&raw mut (*place).status).cast::<MaybeUninit<strongroom_status>>(), &mut *message)
        };
        status.write(error.map_or(STRONGROOM_OK, strongroom_status::of));
        // It has no NUL byte and no other control character.
        let text = error.map(Error::full_message).unwrap_or_default();
        let mut end = text.len().min(STRONGROOM_ERROR_MESSAGE_SIZE - 1);
        while !text.is_char_boundary(end) {
            end -= 1; // 0 is always a boundary
        }
        let chars = c_chars(&text).take(end).chain([0]);
        message.iter_mut().zip(chars).for_each(|(to, from)| {
            to.write(from);
        });
    }
}
