//! Keys

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

use ::strongroom::{Error, IndexKey, RecordKey};
use zeroize::Zeroize;

use crate::boundary::{buffer, bytes, input, outcome, output, room};
use crate::c_text::c_chars;
use crate::status::{strongroom_error, strongroom_status};

/// The bytes of a key.
pub const STRONGROOM_KEY_SIZE: usize = 32;

/// The characters of a key's text, with the NUL byte at its end.
pub const STRONGROOM_KEY_TEXT_SIZE: usize = 63;

/// The only key that opens one record. It belongs to the caller; no storage keeps it. All zeros are
/// STRONGROOM_INVALID_KEY.
#[repr(C)]
pub struct strongroom_record_key {
    /// The secret bytes.
    pub bytes: [u8; STRONGROOM_KEY_SIZE],
}

/// The key that hides the ids of a store. It belongs to the operator, and is never stored in the database. Without it,
/// no record can be found.
#[repr(C)]
pub struct strongroom_index_key {
    /// The secret bytes.
    pub bytes: [u8; STRONGROOM_KEY_SIZE],
}

impl strongroom_record_key {
    pub(crate) fn new(key: &RecordKey) -> Self {
        Self { bytes: *key.expose_bytes() }
    }

    pub(crate) fn get(&self) -> Result<RecordKey, Error> {
        Ok(RecordKey::from_bytes(&self.bytes)?)
    }
}

impl strongroom_index_key {
    fn new(key: &IndexKey) -> Self {
        Self { bytes: *key.expose_bytes() }
    }

    pub(crate) fn get(&self) -> Result<IndexKey, Error> {
        Ok(IndexKey::from_bytes(&self.bytes)?)
    }
}

/// Makes a new record key from the operating system's random numbers, which a caller can write down before it stores
/// data under it with strongroom_write_options.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_record_key_generate(
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_record_key::new(&RecordKey::generate()?));
        Ok(())
    })
}

/// Makes a record key of `len` bytes, which must be STRONGROOM_KEY_SIZE and not all zeros: STRONGROOM_INVALID_KEY
/// otherwise. `data` may lie in `key`. The member `bytes` has the bytes of a key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_record_key_from_bytes(
    data: *const c_void,
    len: usize,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let data = unsafe { bytes(data, len, "data")? };
        let made = RecordKey::from_bytes(data); // read before the output is written, which may overlap
        // SAFETY: as before.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_record_key::new(&made?));
        Ok(())
    })
}

/// Reads a record key from its text, "srk1" and 58 more characters, in lower or upper case but not mixed; `len`
/// excludes a NUL byte. A leading byte order mark and surrounding white space are ignored, so that the content of a key
/// file is valid as it is. `text` may lie in `key`. Any other text is STRONGROOM_INVALID_KEY; the error's message says
/// whether it is a typo, an index key or something else.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_record_key_from_text(
    text: *const c_char,
    len: usize,
    key: *mut strongroom_record_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let text = unsafe { bytes(text.cast(), len, "text")? };
        let made = RecordKey::from_text(utf8(text)); // read before the output is written, which may overlap
        // SAFETY: as before.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_record_key::new(&made?));
        Ok(())
    })
}

/// Writes the key's text to `text`, which has room for STRONGROOM_KEY_TEXT_SIZE characters, and ends it with a NUL
/// byte. Keep it where only the data's owner can read it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_record_key_to_text(
    key: *const strongroom_record_key,
    text: *mut c_char,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (key, room) = unsafe { (input(key, "key")?, room(text, STRONGROOM_KEY_TEXT_SIZE, "text")?) };
        write_text(&key.get()?.to_text(), room);
        Ok(())
    })
}

/// Whether two record keys are the same, in constant time. NULL and all zeros equal nothing, not even each other.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_record_key_equal(
    a: *const strongroom_record_key,
    b: *const strongroom_record_key,
) -> bool {
    // SAFETY: by the header's conventions.
    let keys = unsafe { (input(a, "a"), input(b, "b")) };
    let (Ok(a), Ok(b)) = keys else { return false };
    matches!((a.get(), b.get()), (Ok(a), Ok(b)) if a.ct_eq(&b))
}

/// Makes a new index key from the operating system's random numbers.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_index_key_generate(
    key: *mut strongroom_index_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_index_key::new(&IndexKey::generate()?));
        Ok(())
    })
}

/// As strongroom_record_key_from_bytes, for an index key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_index_key_from_bytes(
    data: *const c_void,
    len: usize,
    key: *mut strongroom_index_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let data = unsafe { bytes(data, len, "data")? };
        let made = IndexKey::from_bytes(data); // read before the output is written, which may overlap
        // SAFETY: as before.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_index_key::new(&made?));
        Ok(())
    })
}

/// As strongroom_record_key_from_text, for an index key, "srx1" and 58 more characters.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_index_key_from_text(
    text: *const c_char,
    len: usize,
    key: *mut strongroom_index_key,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let text = unsafe { bytes(text.cast(), len, "text")? };
        let made = IndexKey::from_text(utf8(text)); // read before the output is written, which may overlap
        // SAFETY: as before.
        let key = unsafe { output(key, "key")? };
        key.set(strongroom_index_key::new(&made?));
        Ok(())
    })
}

/// As strongroom_record_key_to_text, for an index key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_index_key_to_text(
    key: *const strongroom_index_key,
    text: *mut c_char,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (key, room) = unsafe { (input(key, "key")?, room(text, STRONGROOM_KEY_TEXT_SIZE, "text")?) };
        write_text(&key.get()?.to_text(), room);
        Ok(())
    })
}

/// As strongroom_record_key_equal, for index keys.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_index_key_equal(
    a: *const strongroom_index_key,
    b: *const strongroom_index_key,
) -> bool {
    // SAFETY: by the header's conventions.
    let keys = unsafe { (input(a, "a"), input(b, "b")) };
    let (Ok(a), Ok(b)) = keys else { return false };
    matches!((a.get(), b.get()), (Ok(a), Ok(b)) if a.ct_eq(&b))
}

/// Overwrites `len` bytes with zeros; the compiler does not remove the call. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_wipe(data: *mut c_void, len: usize) {
    // SAFETY: by the header's conventions.
    if let Ok(data) = unsafe { buffer(data, len, "data") } {
        data.zeroize();
    }
}

/// The text, if it can be a key's.
fn utf8(text: &[u8]) -> &str {
    str::from_utf8(text).unwrap_or_default()
}

fn write_text(text: &str, room: &mut [MaybeUninit<c_char>]) {
    room.iter_mut().zip(c_chars(text).chain([0])).for_each(|(to, from)| {
        to.write(from);
    });
}
