//! Writing a record piece by piece
//!
//! In constant memory, for data of any length.

use std::ffi::c_void;
use std::io::Write;
use std::mem;
use std::ptr::null;

use ::strongroom::{Error, RecordWriter};

use crate::boundary::{bytes, exclusive, input, io_error, optional, outcome, output, owned, quietly};
use crate::key::strongroom_record_key;
use crate::options::{Options, strongroom_write_options};
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// A record that is being written. A writer that is freed before it is finished stores nothing.
pub struct strongroom_writer {
    /// Or the reason why it cannot be used any more. In a box, so that moving it leaves no copies of keys.
    writer: Result<Box<RecordWriter>, &'static str>,
}

impl strongroom_writer {
    fn new(writer: RecordWriter) -> *mut Self {
        Box::into_raw(Box::new(Self { writer: Ok(Box::new(writer)) }))
    }
}

const FINISHED: &str = "the writer is finished already";
const FAILED: &str = "an earlier write of this record failed: start it again";

fn spent(why: &'static str) -> Error {
    Error::InvalidArgument(why.into())
}

/// Starts to store a record under a new id. The record becomes visible with strongroom_writer_finish, which gives its
/// key. Free the writer with strongroom_writer_free.
///
/// As strongroom_store.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_create_record(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    writer: *mut *mut strongroom_writer,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_create_record_with(store, id, id_len, null(), writer, error) }
}

/// As strongroom_create_record, with options.
///
/// STRONGROOM_ALREADY_EXISTS, here or from the writer, if the id has another record. STRONGROOM_BUSY from
/// strongroom_writer_finish if the same write ran concurrently: repeat it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_create_record_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    options: *const strongroom_write_options,
    writer: *mut *mut strongroom_writer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, options, writer) = unsafe {
            (input(store, "store")?, bytes(id, id_len, "id")?, Options::read(options)?, output(writer, "writer")?)
        };
        writer.set(strongroom_writer::new(store.0.create_record_with(id, options.get())?));
        Ok(())
    })
}

/// Starts to replace the record that `old_key` opens. The old version remains until strongroom_writer_finish succeeds.
///
/// As strongroom_replace.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace_record(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    writer: *mut *mut strongroom_writer,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_replace_record_with(store, id, id_len, old_key, null(), writer, error) }
}

/// As strongroom_replace_record, with options.
///
/// As strongroom_replace_with, and STRONGROOM_BUSY as with strongroom_create_record_with.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace_record_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    options: *const strongroom_write_options,
    writer: *mut *mut strongroom_writer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, old_key, options, writer) = unsafe {
            (
                input(store, "store")?,
                bytes(id, id_len, "id")?,
                input(old_key, "old_key")?,
                Options::read(options)?,
                output(writer, "writer")?,
            )
        };
        let record = store.0.replace_record_with(id, &old_key.get()?, options.get())?;
        writer.set(strongroom_writer::new(record));
        Ok(())
    })
}

/// Writes all of the data. A failed write is final: later writes and strongroom_writer_finish are
/// STRONGROOM_INVALID_ARGUMENT. Data is buffered: the failure of the storage, or the closing of the store, may be
/// reported by a later call.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_writer_write(
    writer: *mut strongroom_writer,
    data: *const c_void,
    len: usize,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (writer, data) = unsafe { (exclusive(writer, "writer")?, bytes(data, len, "data")) };
        // Taken out during the write, so that a failure or a panic leaves none.
        let mut open = mem::replace(&mut writer.writer, Err(FAILED)).map_err(|why| {
            writer.writer = Err(why);
            spent(why)
        })?;
        open.write_all(data?).map_err(io_error)?;
        writer.writer = Ok(open);
        Ok(())
    })
}

/// Gives the key of the record, so that it can be written down before the record is finished: a crash then loses
/// nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_writer_key(
    writer: *const strongroom_writer,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (writer, key) = unsafe { (input(writer, "writer")?, output(key, "key")?) };
        let writer = writer.writer.as_ref().map_err(|why| spent(why))?;
        key.set(strongroom_record_key::new(writer.key()));
        Ok(())
    })
}

/// Finishes the record, which is complete and durable on return, and gives its key; `key` may be NULL if the caller has
/// it. The writer cannot be used afterwards, not even after a failure, and must still be freed.
///
/// STRONGROOM_ALREADY_EXISTS or STRONGROOM_CONFLICT if another writer was faster.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_writer_finish(
    writer: *mut strongroom_writer,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (writer, key) =
            unsafe { (exclusive(writer, "writer")?, optional(key, |key| output(key.cast_mut(), "key"))?) };
        let open = mem::replace(&mut writer.writer, Err(FINISHED));
        let made = open.map_err(spent)?.finish()?;
        if let Some(key) = key {
            key.set(strongroom_record_key::new(&made));
        }
        Ok(())
    })
}

/// Frees the writer; an unfinished record is dropped. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_writer_free(writer: *mut strongroom_writer) {
    // SAFETY: by the header's conventions.
    quietly(|| drop(unsafe { owned(writer) }));
}
