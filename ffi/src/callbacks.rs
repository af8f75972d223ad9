//! Records through callbacks
//!
//! In constant memory, for data of any length. The callbacks run in the calling thread, before the call returns.

use std::ffi::{c_int, c_void};
use std::io::{self, BufRead, Read};
use std::ptr::null;

use ::strongroom::Error;

use crate::boundary::{bytes, input, io_error, outcome};
use crate::key::strongroom_record_key;
use crate::options::{Options, give, strongroom_write_options};
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// Writes up to `size` bytes to `data`, and returns their number, 0 at the end, or a negative number (or one above
/// `size`) to stop with an error. `context` is the caller's, or NULL.
pub type strongroom_read_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, data: *mut c_void, size: usize) -> isize>;

/// Takes `len` bytes at `data`, and returns 0, or any other number to stop with an error. `context` is the caller's, or
/// NULL.
pub type strongroom_write_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, data: *const c_void, len: usize) -> c_int>;

/// Stores all data of `read` under a new id, and gives the key.
///
/// As strongroom_store; STRONGROOM_STORAGE if `read` stops with an error: nothing is stored.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store_stream(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    read: strongroom_read_fn,
    context: *mut c_void,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_store_stream_with(store, id, id_len, read, context, null(), key, error) }
}

/// As strongroom_store_stream, with options. `key` may be NULL if the options have the key.
///
/// STRONGROOM_BUSY if the same write ran concurrently: repeat it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_store_stream_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    read: strongroom_read_fn,
    context: *mut c_void,
    options: *const strongroom_write_options,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        let source = CallbackReader::new(read, context)?;
        // SAFETY: by the header's conventions.
        let (store, id, options) =
            unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, Options::read(options)?) };
        // SAFETY: by the header's conventions.
        let key = unsafe { options.key_output(key, "key")? };
        give(&store.0.store_reader_with(id, source, options.get())?, key);
        Ok(())
    })
}

/// Replaces the data of the record that `old_key` opens with all data of `read`, and gives the new key.
///
/// As strongroom_replace; STRONGROOM_STORAGE if `read` stops with an error: the record is unchanged.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace_stream(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    read: strongroom_read_fn,
    context: *mut c_void,
    new_key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    // SAFETY: by the header's conventions, which are the same.
    unsafe { strongroom_replace_stream_with(store, id, id_len, old_key, read, context, null(), new_key, error) }
}

/// As strongroom_replace_stream, with options. `new_key` may be NULL if the options have the new key.
///
/// As strongroom_replace_with, and STRONGROOM_BUSY if the same write ran concurrently: repeat it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_replace_stream_with(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    old_key: *const strongroom_record_key,
    read: strongroom_read_fn,
    context: *mut c_void,
    options: *const strongroom_write_options,
    new_key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        let source = CallbackReader::new(read, context)?;
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
        give(&store.0.replace_reader_with(id, &old_key, source, options.get())?, new_key);
        Ok(())
    })
}

/// Passes the data stored under an id to `write`, in authenticated pieces.
///
/// As strongroom_retrieve; STRONGROOM_STORAGE if `write` stops with an error. After a failure, `write` has received
/// only the beginning of the data.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_retrieve_stream(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    write: strongroom_write_fn,
    context: *mut c_void,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        let write = write.ok_or_else(|| Error::InvalidArgument("write is NULL".into()))?;
        // SAFETY: by the header's conventions.
        let (store, id, key) = unsafe { (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?) };
        let mut reader = store.0.open_record(id, &key.get()?)?;
        loop {
            let data = reader.fill_buf().map_err(io_error)?;
            if data.is_empty() {
                return Ok(());
            }
            let len = data.len();
            // SAFETY: by the header's conventions, the function accepts these arguments.
            match unsafe { write(context, data.as_ptr().cast(), len) } {
                0 => reader.consume(len),
                answer => return Err(Error::Storage(format!("the write function returned {answer}").into())),
            }
        }
    })
}

/// A reader of the data of a callback.
struct CallbackReader {
    read: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> isize,
    context: *mut c_void,
}

impl CallbackReader {
    fn new(read: strongroom_read_fn, context: *mut c_void) -> Result<Self, Error> {
        let read = read.ok_or_else(|| Error::InvalidArgument("read is NULL".into()))?;
        Ok(Self { read, context })
    }
}

impl Read for CallbackReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: by the header's conventions, the function accepts these arguments.
        let answer = unsafe { (self.read)(self.context, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(answer) {
            Ok(len) if len <= buffer.len() => Ok(len),
            _ => Err(io::Error::other(format!("the read function returned {answer}"))),
        }
    }
}
