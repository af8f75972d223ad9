//! Stores

use std::ffi::c_char;
use std::path::Path;

use ::strongroom::{Builder, Durability, Error, Strongroom};

use crate::boundary::{input, leave_nothing, optional, outcome, output, owned, path, sized};
use crate::key::strongroom_index_key;
use crate::location::{ServiceMembers, builder_at};
use crate::status::{strongroom_error, strongroom_status};

/// A store of encrypted records. One handle is for all threads of a program.
pub struct strongroom(pub(crate) Strongroom);

/// In the flags of strongroom_options: open the store only if it is there (STRONGROOM_INVALID_ARGUMENT otherwise), so that
/// a typo in a path does not make a new one, in which nothing is found.
pub const STRONGROOM_MUST_EXIST: u64 = 1;

/// In the flags of strongroom_options: a write that returned may be lost when the power fails (never when the program
/// does), and costs less. The store stays whole.
pub const STRONGROOM_RELAXED_DURABILITY: u64 = 2;

/// In the flags of strongroom_options: open the database for reading alone, and leave no trace beside it, to look into a
/// backup, also on a read-only medium. It must be there. Writes are STRONGROOM_UNSUPPORTED.
pub const STRONGROOM_READ_ONLY: u64 = 4;

/// How to open a store. Set all of it to zero, then `size` to sizeof(strongroom_options), then what you choose:
///
///     strongroom_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.index_key_file = "/run/secrets/index-key";
///
/// A flag that the library does not know is STRONGROOM_INVALID_ARGUMENT; a larger struct, of a newer header, is accepted
/// if what is new in it is zero, and STRONGROOM_UNSUPPORTED otherwise.
#[repr(C)]
pub struct strongroom_options {
    /// sizeof(strongroom_options): what the caller knows of this struct.
    pub size: usize,
    /// STRONGROOM_MUST_EXIST, STRONGROOM_RELAXED_DURABILITY, STRONGROOM_READ_ONLY, added up, or 0: for a database.
    pub flags: u64,
    /// Hides the ids, kept apart from the database: the right choice for production. No file with the key is made beside
    /// the database then. Or NULL.
    pub index_key: *const strongroom_index_key,
    /// The file to read the index key from: its text on a line. It is not made where it is missing, and refused where
    /// others than its user and root could have changed or read it (STRONGROOM_INVALID_ARGUMENT). Or NULL; not both.
    pub index_key_file: *const c_char,
    /// For a service: the file with the token to show, on a line. Or NULL.
    pub token_file: *const c_char,
    /// For a service at https: the authorities to trust, in PEM. NULL for those that the system trusts.
    pub authorities_file: *const c_char,
    /// For a service at https: the certificate to show, in PEM, with those between it and the authority. Or NULL.
    pub client_certificate_file: *const c_char,
    /// The certificate's private key, in PEM. Or NULL, as the certificate.
    pub client_key_file: *const c_char,
    /// For a service at https: certificate revocation lists in PEM, one of each authority in the service's chain. Revoked
    /// certificates are refused, and so is one that no list covers. The file is read again before a new connection once it
    /// has changed. Or NULL.
    pub revocations_file: *const c_char,
    /// For a service: how many milliseconds a call may take until its answer begins, with all repetitions, and how many a
    /// long answer may stand still. 0 for 30,000.
    pub timeout: u64,
}

/// Opens the SQLite database at `path`, and makes it where there is none (an empty file is one to be made). `options` may
/// be NULL.
///
/// Without an index key in the options, it is in the file `<path>.index-key`, made together with the database. Back it
/// up, and keep it apart from the database's backups: without it no record is found again, and whoever has both can try
/// out ids. While the store is open, `<path>-wal` is a part of it, and `<path>-shm` and `<path>.uploads` lie beside it. To
/// copy the file or to move it, close the store everywhere first.
///
/// The `path` ":memory:" is a new store in memory, which ends with its handle. It has a fresh index key, unless the options
/// have one, and leaves no file; the flag STRONGROOM_MUST_EXIST does not go with it.
///
/// A `path` that is a URL is a storage service, which sees sealed records alone: ids, keys and data stay in this process.
/// It needs an index key in the options, the same for all who share the service.
///
///     https://storage.example:8421              TLS 1.3
///     http://127.0.0.1:8421                     on this machine alone
///     unix:/run/strongroom/storage.sock         a Unix socket
///
/// STRONGROOM_INDEX_KEY_MISSING where a key's file is not there, STRONGROOM_INVALID_KEY where it has none,
/// STRONGROOM_INDEX_KEY_MISMATCH where the index key is another store's; STRONGROOM_INVALID_ARGUMENT where `path` is no
/// place for a store, or options do not go with it; STRONGROOM_CORRUPT for a damaged database, STRONGROOM_UNSUPPORTED for
/// one of a newer version; STRONGROOM_STORAGE where it cannot be read and written, or the service not be reached.
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
        let builder = match options {
            Some(options) => options.builder(path),
            None => builder_at(path, ServiceMembers::default()),
        };
        let opened = builder.and_then(Builder::open).inspect_err(|_| leave_nothing())?;
        store.set(Box::into_raw(Box::new(strongroom(opened))));
        Ok(())
    })
}

/// Closes the store and frees the handle, also where it returns a failure, such as STRONGROOM_FORKED. Readers and writers
/// that are still there are to be freed all the same. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_close(store: *mut strongroom, error: *mut strongroom_error) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { owned(store) };
        let outcome = store.map_or(Ok(()), |store| store.0.close());
        leave_nothing();
        outcome
    })
}

/// Removes what interrupted writes left, if nobody is writing a large record at the time, and gives its room to later
/// records, as opening a store does. Then empties the database's log, which may have the ciphertext of deleted records:
/// STRONGROOM_BUSY where others read all the time.
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
    service: ServiceMembers<'a>,
}

impl Options<'_> {
    fn builder(self, path: &Path) -> Result<Builder, Error> {
        let mut builder = builder_at(path, self.service)?;
        let known = STRONGROOM_MUST_EXIST | STRONGROOM_RELAXED_DURABILITY | STRONGROOM_READ_ONLY;
        if self.flags & !known != 0 {
            return Err(Error::InvalidArgument("options.flags has an unknown flag".into()));
        }
        if self.flags & STRONGROOM_MUST_EXIST != 0 {
            builder = builder.must_exist();
        }
        if self.flags & STRONGROOM_RELAXED_DURABILITY != 0 {
            builder = builder.durability(Durability::Relaxed);
        }
        if self.flags & STRONGROOM_READ_ONLY != 0 {
            builder = builder.read_only();
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
    // SAFETY: by the caller.
    let Some(options) = (unsafe { sized(options, "options")? }) else { return Ok(None) };
    // SAFETY: by the caller.
    let file = |file, name| optional(file, |file| unsafe { path(file, name) });
    // SAFETY: by the caller.
    let index_key = optional(options.index_key, |key| unsafe { input(key, "options.index_key") })?;
    Ok(Some(Options {
        flags: options.flags,
        index_key,
        index_key_file: file(options.index_key_file, "options.index_key_file")?,
        service: ServiceMembers {
            token_file: file(options.token_file, "options.token_file")?,
            authorities_file: file(options.authorities_file, "options.authorities_file")?,
            client_certificate_file: file(options.client_certificate_file, "options.client_certificate_file")?,
            client_key_file: file(options.client_key_file, "options.client_key_file")?,
            revocations_file: file(options.revocations_file, "options.revocations_file")?,
            timeout: options.timeout,
        },
    }))
}
