//! Reading a record piece by piece, from any position
//!
//! In constant memory, for data of any length.

use std::ffi::c_void;
use std::io::{Read, Seek, SeekFrom};

use ::strongroom::{Error, RecordReader};

use crate::boundary::{buffer, bytes, exclusive, input, io_error, outcome, output, owned, quietly};
use crate::key::strongroom_record_key;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::strongroom;

/// An open record. Each 16 KiB chunk is authenticated before a byte of it is returned. A reader stays at the version
/// that it opened: once that is replaced or removed, parts that were not fetched yet are STRONGROOM_CONFLICT; versions
/// are never mixed. Once it has expired, chunks that were not opened yet are STRONGROOM_EXPIRED.
pub struct strongroom_reader(RecordReader);

/// Opens a record for reading. Free the reader with strongroom_reader_free.
///
/// As strongroom_retrieve, for the record's first 68 bytes; the rest is checked as it is read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_open_record(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    reader: *mut *mut strongroom_reader,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, reader) = unsafe {
            (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?, output(reader, "reader")?)
        };
        reader.set(Box::into_raw(Box::new(strongroom_reader(store.0.open_record(id, &key.get()?)?))));
        Ok(())
    })
}

/// As strongroom_take, for data of any length: afterwards only the reader can read the record, and
/// strongroom_reader_free removes it. On an encryption server it is read from start to end, elsewhere from any
/// position.
///
/// If the process ends before, nobody can read the record, and the first strongroom_purge or strongroom_maintain after
/// a day removes it.
///
/// As strongroom_take, for the record's first 68 bytes and its final chunk; the rest is checked as it is read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_take_record(
    store: *const strongroom,
    id: *const c_void,
    id_len: usize,
    key: *const strongroom_record_key,
    reader: *mut *mut strongroom_reader,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, id, key, reader) = unsafe {
            (input(store, "store")?, bytes(id, id_len, "id")?, input(key, "key")?, output(reader, "reader")?)
        };
        reader.set(Box::into_raw(Box::new(strongroom_reader(store.0.take_record(id, &key.get()?)?))));
        Ok(())
    })
}

/// Reads `size` bytes at the position, advances it, and gives their number: fewer at the end of the record, and 0 at
/// its end and after it. A caller that reached the end without a failure has read the whole record.
///
/// A read stops before an altered chunk and gives fewer bytes; a read that begins in the chunk returns
/// STRONGROOM_CORRUPT, each time. After a failure, the content of `data` is undefined.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_reader_read(
    reader: *mut strongroom_reader,
    data: *mut c_void,
    size: usize,
    len: *mut usize,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (reader, data, len) =
            unsafe { (exclusive(reader, "reader")?, buffer(data, size, "data")?, output(len, "len")?) };
        len.set(fill(&mut reader.0, data)?);
        Ok(())
    })
}

/// Reads until `buffer` is full or the record ends. A failure after the first bytes is not returned: the next call
/// encounters it again.
fn fill(reader: &mut RecordReader, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(_) if filled > 0 => break,
            Err(error) => return Err(io_error(error)),
        }
    }
    Ok(filled)
}

/// Sets the position, in bytes from the start. A position after the end is allowed: reading there gives 0 bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_reader_seek(
    reader: *mut strongroom_reader,
    position: u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let reader = unsafe { exclusive(reader, "reader")? };
        reader.0.seek(SeekFrom::Start(position)).map(drop).map_err(io_error)
    })
}

/// Gives the length of the data, authenticated by opening the final chunk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_reader_len(
    reader: *mut strongroom_reader,
    len: *mut u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (reader, len) = unsafe { (exclusive(reader, "reader")?, output(len, "len")?) };
        len.set(reader.0.len()?);
        Ok(())
    })
}

/// Frees the reader. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_reader_free(reader: *mut strongroom_reader) {
    // SAFETY: by the header's conventions.
    quietly(|| drop(unsafe { owned(reader) }));
}
