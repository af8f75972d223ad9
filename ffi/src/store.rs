//! Stores

use std::ffi::c_char;
use std::path::Path;

use ::strongroom::{Builder, Durability, Error, Strongroom};

use crate::boundary::{bytes, input, optional, outcome, output, owned, path};
use crate::key::strongroom_index_key;
use crate::status::{strongroom_error, strongroom_status};

/// A store of encrypted records. One handle is for all threads of a program.
pub struct strongroom(pub(crate) Strongroom);

/// In the flags of strongroom_options: open the store only if it is there, so that a typo in a path does not make a new
/// one, in which nothing is found.
pub const STRONGROOM_MUST_EXIST: u64 = 1;

/// In the flags of strongroom_options: a write that returned may be lost when the power fails (never when the program
/// does), and costs less. The store stays whole.
pub const STRONGROOM_RELAXED_DURABILITY: u64 = 2;

/// How to open a store. Set all of it to zero, then `size` to sizeof(strongroom_options), then what you choose:
///
///     strongroom_options options = {0};
///     options.size = sizeof options;
///     options.index_key_file = "/run/secrets/index-key";
#[repr(C)]
pub struct strongroom_options {
    /// sizeof(strongroom_options): what the caller knows of this struct.
    pub size: usize,
    /// STRONGROOM_MUST_EXIST, STRONGROOM_RELAXED_DURABILITY, both added, or 0.
    pub flags: u64,
    /// Hides the ids, kept apart from the database: the right choice for production. No file is made beside the
    /// database then. Or NULL.
    pub index_key: *const strongroom_index_key,
    /// The file to read the index key from: its text on a line. Or NULL; not both.
    pub index_key_file: *const c_char,
}

/// The largest struct of options that is looked at, to tell a wrong size from one of a later version.
const MAX_OPTIONS_SIZE: usize = 4096;

/// Opens the SQLite database at `path`, and makes it where there is none. `options` may be NULL.
///
/// Without an index key in the options, it is in the file `<path>.index-key`, made together with the database. Back it
/// up, and keep it apart from the database's backups: without it no record is found again, and whoever has both can try
/// out ids.
///
/// STRONGROOM_INDEX_KEY_MISSING where a database has lost that file, STRONGROOM_INDEX_KEY_MISMATCH where the index key is
/// another's, STRONGROOM_INVALID_ARGUMENT where `path` is no place for a store, STRONGROOM_UNSUPPORTED for a store or
/// options of a newer version, STRONGROOM_STORAGE where it cannot be read and written.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_open(
    path: *const c_char,
    options: *const strongroom_options,
    store: *mut *mut strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (path, store, options) =
            unsafe { (crate::boundary::path(path, "path")?, output(store, "store")?, read(options)?) };
        let opened = match options {
            Some(options) => options.apply(Strongroom::builder().path(path))?.open()?,
            None => Strongroom::open(path)?,
        };
        store.set(Box::into_raw(Box::new(strongroom(opened))));
        Ok(())
    })
}

/// Closes the store and frees the handle, also where it returns a failure. Readers and writers that are still there
/// are to be freed all the same; what needs the store answers STRONGROOM_CLOSED. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_close(store: *mut strongroom, error: *mut strongroom_error) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { owned(store) };
        store.map_or(Ok(()), |store| store.0.close())
    })
}

/// Removes what interrupted writes left, if nobody is writing a large record at the time, and gives its room to later
/// records. Opening a store does the same.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_maintain(
    store: *const strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { input(store, "store")? };
        store.0.maintain()
    })
}

/// How much a store holds.
#[repr(C)]
pub struct strongroom_stats {
    /// The number of records.
    pub records: u64,
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    pub bytes: u64,
}

/// How much the store holds. It takes time in proportion to the number of records.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_get_stats(
    store: *const strongroom,
    stats: *mut strongroom_stats,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, stats) = unsafe { (input(store, "store")?, output(stats, "stats")?) };
        let found = store.0.stats()?;
        stats.set(strongroom_stats { records: found.records, bytes: found.bytes });
        Ok(())
    })
}

/// Options, with references in place of pointers.
struct Options<'a> {
    flags: u64,
    index_key: Option<&'a strongroom_index_key>,
    index_key_file: Option<&'a Path>,
}

impl Options<'_> {
    fn apply(self, mut builder: Builder) -> Result<Builder, Error> {
        if self.flags & !(STRONGROOM_MUST_EXIST | STRONGROOM_RELAXED_DURABILITY) != 0 {
            return Err(Error::InvalidArgument("options.flags has a flag that this version does not know".into()));
        }
        if self.flags & STRONGROOM_MUST_EXIST != 0 {
            builder = builder.must_exist();
        }
        if self.flags & STRONGROOM_RELAXED_DURABILITY != 0 {
            builder = builder.durability(Durability::Relaxed);
        }
        if let Some(key) = self.index_key {
            builder = builder.index_key(key.get()?);
        }
        if let Some(file) = self.index_key_file {
            builder = builder.index_key_file(file);
        }
        Ok(builder)
    }
}

/// The options at `options`, if any: of a caller who knows no more of the struct than this version, or uses no more.
///
/// # Safety
///
/// Where it is not NULL, it points to as many bytes as its member `size` says, and its pointers are NULL or valid, as long
/// as `'a`.
unsafe fn read<'a>(options: *const strongroom_options) -> Result<Option<Options<'a>>, Error> {
    const KNOWN: usize = size_of::<strongroom_options>();
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: every version of the struct starts with its size.
    let size = *unsafe { input(options.cast::<usize>(), "options")? };
    if !(KNOWN..=MAX_OPTIONS_SIZE).contains(&size) {
        return Err(Error::InvalidArgument("options.size is not sizeof(strongroom_options)".into()));
    }
    // SAFETY: there are `size` bytes.
    let bytes = unsafe { bytes(options.cast(), size, "options")? };
    if bytes.iter().skip(KNOWN).any(|byte| *byte != 0) {
        return Err(Error::Unsupported("the options are of a newer version of the library".into()));
    }
    // SAFETY: there are enough bytes, and any are valid members.
    let options = unsafe { input(options, "options")? };
    // SAFETY: by the caller.
    let (index_key, index_key_file) = unsafe {
        (
            optional(options.index_key, |key| input(key, "options.index_key"))?,
            optional(options.index_key_file, |file| path(file, "options.index_key_file"))?,
        )
    };
    Ok(Some(Options { flags: options.flags, index_key, index_key_file }))
}
