//! Stores

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use ::strongroom::storage::Storage;
use ::strongroom::{Builder, Durability, Error, Strongroom};

use crate::boundary::{bytes, input, leave_nothing, optional, outcome, output, owned, path, sized};
use crate::key::strongroom_index_key;
use crate::location::{ServiceMembers, builder_at, connect_to};
use crate::status::{strongroom_error, strongroom_status};

/// A store of encrypted records. All threads of a program can share a handle.
pub struct strongroom(pub(crate) Strongroom, Kind);

enum Kind {
    Store,
    Namespace,
}

impl strongroom {
    pub(crate) fn new(store: Strongroom) -> Self {
        Self(store, Kind::Store)
    }
}

/// In the flags of strongroom_options: open the store only if it exists (STRONGROOM_INVALID_ARGUMENT otherwise), so
/// that a typo in a path or URL does not make a new, empty store.
pub const STRONGROOM_MUST_EXIST: u64 = 1;

/// In the flags of strongroom_options: an acknowledged write costs less, but a power failure (never a crash of the
/// program) may lose it. The store stays consistent.
pub const STRONGROOM_RELAXED_DURABILITY: u64 = 2;

/// In the flags of strongroom_options: open an existing database read-only, and write no file beside it: for backups,
/// also on a read-only medium. Writes are STRONGROOM_UNSUPPORTED.
pub const STRONGROOM_READ_ONLY: u64 = 4;

/// In the flags of strongroom_options: pad all records of the store, as with `pad` of strongroom_write_options. The
/// store keeps this: every handle that is opened from now on pads, with or without this flag. Records that are stored
/// already remain as they are.
pub const STRONGROOM_PAD: u64 = 8;

/// How to open a store. Set all of it to zero, then `size` to sizeof(strongroom_options), then what you choose:
///
///     strongroom_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.index_key_file = "/run/secrets/index-key";
///
/// An unknown flag is STRONGROOM_INVALID_ARGUMENT; a larger struct, of a newer header, is accepted if its new members
/// are zero, and STRONGROOM_UNSUPPORTED otherwise.
#[repr(C)]
pub struct strongroom_options {
    /// sizeof(strongroom_options).
    pub size: usize,
    /// STRONGROOM_PAD, STRONGROOM_MUST_EXIST, and for a database STRONGROOM_RELAXED_DURABILITY and
    /// STRONGROOM_READ_ONLY, combined with |, or 0.
    pub flags: u64,
    /// The index key, kept apart from the database: recommended in production. No key file is then made beside the
    /// database. Or NULL.
    pub index_key: *const strongroom_index_key,
    /// The file with the index key: its text on a line. A missing file is not made; a file that another user, except
    /// root, can change or read is STRONGROOM_INVALID_ARGUMENT; a file of root may be readable by all. Or NULL. Give
    /// the key or the file, not both.
    pub index_key_file: *const c_char,
    /// For a service: the file with the access token, on a line. Or NULL.
    pub token_file: *const c_char,
    /// For a service at https: the certificate authorities to trust, in PEM. NULL for the system's.
    pub authorities_file: *const c_char,
    /// For a service at https: the client's certificate and its intermediate certificates, in PEM. Or NULL.
    pub client_certificate_file: *const c_char,
    /// The private key of the client's certificate, in PEM. Required with `client_certificate_file`; otherwise NULL.
    pub client_key_file: *const c_char,
    /// For a service at https: certificate revocation lists in PEM, one for each authority in the service's chain.
    /// Revoked certificates, and those that no list covers, are refused. A changed file is read again before the next
    /// connection. Or NULL.
    pub revocations_file: *const c_char,
    /// For a service: the milliseconds that a call may take, with all retries, until its answer begins, and the longest
    /// pause within an answer. 0 means 30,000.
    pub timeout: u64,
    /// The previous index key, to rotate it to the new one, which `index_key` or `index_key_file` gives. Or NULL. Until
    /// strongroom_begin_rotation, the store is used under the previous key. From then until strongroom_finish_rotation,
    /// opening needs both keys, and takes a second. Afterwards, the previous key has no effect.
    ///
    /// Open the store with both keys in all processes before the rotation begins: calls on a handle that has only the
    /// previous key then return STRONGROOM_INDEX_KEY_MISMATCH.
    pub previous_index_key: *const strongroom_index_key,
    /// The file with the previous index key, as for `index_key_file`. Or NULL. Give the key or the file, not both.
    pub previous_index_key_file: *const c_char,
}

/// Opens the SQLite database at `path`, and makes it if it is missing or an empty file. `options` may be NULL.
///
/// Without an index key in the options, the key is in the file `<path>.index-key`, made together with the database.
/// Back it up, apart from the database's backups: without it no record can be found, and a person with both can guess
/// ids. While the store is open, `<path>-wal` is a part of it, and `<path>-shm` and `<path>.uploads` lie beside it.
/// Close the store everywhere before you copy or move the file.
///
/// The `path` ":memory:" is a new store in memory, which ends with its handle. It has a new index key, unless the
/// options have one, and writes no file; it does not allow STRONGROOM_MUST_EXIST.
///
/// A `path` that is a URL is a storage service, which sees only sealed records: ids, keys and data stay in this
/// process. The options must have an index key, the same for all clients of the service.
///
///     https://storage.example:8421              TLS 1.3
///     http://127.0.0.1:8421                     on this machine alone
///     unix:/run/strongroom/storage.sock         a Unix socket
///     https://one.example,https://two.example   several services of one store
///     cluster:https://one.example?names=*.example   a cluster: some of its services, and the hosts that are trusted
///
/// A URL that begins with postgres: is PostgreSQL, one with s3:, gs: or az: a bucket, if the library has the feature
/// `postgres` or `object-store`; they need an index key, too.
///
/// STRONGROOM_INDEX_KEY_MISSING if the key's file is missing, STRONGROOM_INVALID_KEY if it has no key,
/// STRONGROOM_INDEX_KEY_MISMATCH if the index key is another store's; STRONGROOM_INVALID_ARGUMENT if `path` cannot be a
/// store, or the options contradict it; STRONGROOM_CORRUPT for a damaged database, STRONGROOM_UNSUPPORTED for one of a
/// newer version; STRONGROOM_STORAGE if it cannot be read and written, or the service cannot be reached.
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
        store.set(Box::into_raw(Box::new(strongroom::new(opened))));
        Ok(())
    })
}

/// Makes a store of the encryption server at `url`, which need not be reachable yet. The server sees ids, keys and data
/// while it processes them. `options` may be NULL; only its members for a service are allowed.
///
///     https://strongroom.example:8420           TLS 1.3
///     http://127.0.0.1:8420                     only on this machine
///     unix:/run/strongroom/server.sock          a Unix socket
///     https://one.example,https://two.example   several servers of one store
///     cluster:https://one.example?names=*.example   a cluster: some of its servers, and the hosts that are trusted
///
/// All functions on stores work as after strongroom_open, with these differences: a wrong key is STRONGROOM_NOT_FOUND,
/// like a missing record; a call without an answer is repeated if that is safe; a write with an unknown outcome is
/// STRONGROOM_INDETERMINATE; strongroom_maintain, strongroom_compact, strongroom_verify, strongroom_repair_from and the
/// functions that rotate the index key are STRONGROOM_UNSUPPORTED.
///
/// STRONGROOM_INVALID_ARGUMENT if `url` is not one of these, or the options have other members; STRONGROOM_STORAGE if a
/// file cannot be read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_connect(
    url: *const c_char,
    options: *const strongroom_options,
    store: *mut *mut strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (url, store, options) = unsafe { (path(url, "url")?, output(store, "store")?, read(options)?) };
        let members = options.map_or(Ok(ServiceMembers::default()), Options::service_alone)?;
        let url = url.to_str().ok_or(Error::InvalidArgument("url is not UTF-8".into()))?;
        let connected = connect_to(url, members.endpoint_options()).inspect_err(|_| leave_nothing())?;
        store.set(Box::into_raw(Box::new(strongroom::new(connected))));
        Ok(())
    })
}

/// Gives a handle of the same store with the ids of a namespace: through it, records of other namespaces cannot be
/// found, even under the same id. A name is any 0 to 255 bytes; the empty one is the namespace of a new store.
/// Namespaces exist without being created, and are not nested. strongroom_purge, strongroom_maintain,
/// strongroom_compact and strongroom_get_stats concern the whole store on each handle.
///
/// Free the handle with strongroom_close, which leaves the store open. Closing the store closes it for all of its
/// handles: their calls then return STRONGROOM_CLOSED.
///
/// STRONGROOM_INVALID_ARGUMENT if the name is longer.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_namespace(
    store: *const strongroom,
    name: *const c_void,
    name_len: usize,
    handle: *mut *mut strongroom,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, name, handle) =
            unsafe { (input(store, "store")?, bytes(name, name_len, "name")?, output(handle, "handle")?) };
        handle.set(Box::into_raw(Box::new(strongroom(store.0.namespace(name)?, Kind::Namespace))));
        Ok(())
    })
}

/// Closes the store and frees the handle, even if it returns a failure, such as STRONGROOM_FORKED; a handle of
/// strongroom_namespace is only freed. The handle must not be used afterwards, nor closed again. Remaining readers,
/// writers and other handles must still be freed. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_close(store: *mut strongroom, error: *mut strongroom_error) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let store = unsafe { owned(store) };
        let outcome = match &store {
            Some(store) if matches!(store.1, Kind::Store) => store.0.close(),
            _ => Ok(()),
        };
        drop(store);
        leave_nothing();
        outcome
    })
}

/// Removes the remains of interrupted writes, unless a large record is being written, and reuses their space, as
/// opening a store does. Then moves the content of the database's log into the database. Until then, both may have the
/// ciphertext of deleted records. STRONGROOM_BUSY if other handles read all the time.
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

/// Removes at most `limit` expired records, and gives their number, which is less than `limit` if none is left. Expired
/// records are unreadable in any case; this frees their space. It removes them in short steps, so that other writers
/// wait little.
///
/// After a failure, some records may have been removed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_purge(
    store: *const strongroom,
    limit: u64,
    purged: *mut u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, purged) = unsafe { (input(store, "store")?, output(purged, "purged")?) };
        purged.set(store.0.purge(usize::try_from(limit).unwrap_or(usize::MAX))? as u64);
        Ok(())
    })
}

/// Returns at most `limit` bytes of free space to the operating system, and gives the number of these bytes, less than
/// `limit` if none is left. The database's file becomes shorter. It works in short steps, and others may read and write
/// at the same time. Call strongroom_maintain before, which frees the space of what was removed last. A store other
/// than an SQLite database, or a storage service on one, is STRONGROOM_UNSUPPORTED.
///
/// After a failure, some space may have been returned.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_compact(
    store: *const strongroom,
    limit: u64,
    compacted: *mut u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, compacted) = unsafe { (input(store, "store")?, output(compacted, "compacted")?) };
        compacted.set(store.0.compact(limit)?);
        Ok(())
    })
}

/// The number and size of a store's records.
#[repr(C)]
pub struct strongroom_stats {
    /// The number of records.
    pub records: u64,
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    pub bytes: u64,
    /// The number of expired records among them, which strongroom_purge removes.
    pub expired: u64,
    /// The bytes of removed records that the storage keeps for later ones, and that strongroom_compact returns to the
    /// operating system; 0 from a storage that leaves this to its engine.
    pub free: u64,
}

/// Gives the number and size of the store's records, in time proportional to their number.
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
        stats.set(strongroom_stats {
            records: found.records,
            bytes: found.bytes,
            expired: found.expired,
            free: found.free,
        });
        Ok(())
    })
}

/// The options, with references instead of pointers.
struct Options<'a> {
    flags: u64,
    index_key: Option<&'a strongroom_index_key>,
    index_key_file: Option<&'a Path>,
    previous_index_key: Option<&'a strongroom_index_key>,
    previous_index_key_file: Option<&'a Path>,
    service: ServiceMembers<'a>,
}

impl<'a> Options<'a> {
    /// The members for a service, if no other is set.
    fn service_alone(self) -> Result<ServiceMembers<'a>, Error> {
        let has_key = self.index_key.is_some() || self.previous_index_key.is_some();
        let has_file = self.index_key_file.is_some() || self.previous_index_key_file.is_some();
        if self.flags != 0 || has_key || has_file {
            let text = "an encryption server has its own index key and flags, and a copy needs none: leave those members of options 0";
            return Err(Error::InvalidArgument(text.into()));
        }
        Ok(self.service)
    }

    fn builder(self, path: &Path) -> Result<Builder, Error> {
        let builder = builder_at(path, self.service)?;
        self.apply(builder)
    }

    fn apply(self, mut builder: Builder) -> Result<Builder, Error> {
        let known = STRONGROOM_MUST_EXIST | STRONGROOM_RELAXED_DURABILITY | STRONGROOM_READ_ONLY | STRONGROOM_PAD;
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
        if self.flags & STRONGROOM_PAD != 0 {
            builder = builder.pad();
        }
        if let Some(key) = self.index_key {
            builder = builder.index_key(key.get()?);
        }
        if let Some(file) = self.index_key_file {
            builder = builder.index_key_file(file);
        }
        if let Some(key) = self.previous_index_key {
            builder = builder.previous_index_key(key.get()?);
        }
        if let Some(file) = self.previous_index_key_file {
            builder = builder.previous_index_key_file(file);
        }
        Ok(builder)
    }
}

/// Opens the store in `storage`.
///
/// # Safety
///
/// As [`read`].
pub(crate) unsafe fn open_on(
    storage: Arc<impl Storage>,
    options: *const strongroom_options,
) -> Result<strongroom, Error> {
    let builder = Strongroom::builder().storage(storage);
    // SAFETY: by the caller.
    let builder = match unsafe { read(options)? } {
        Some(options) if options.service != ServiceMembers::default() => {
            let text = "a storage of your own is no service: leave the members of options for a service 0";
            return Err(Error::InvalidArgument(text.into()));
        }
        Some(options) => options.apply(builder)?,
        None => builder,
    };
    builder.open().map(strongroom::new)
}

/// The members for a service of the options at `options`, if any.
///
/// # Safety
///
/// As [`read`].
pub(crate) unsafe fn service_members<'a>(
    options: *const strongroom_options,
) -> Result<Option<ServiceMembers<'a>>, Error> {
    // SAFETY: by the caller.
    unsafe { read(options)? }.map(Options::service_alone).transpose()
}

/// The options at `options`, if any. Fails if the caller uses members that this version does not have.
///
/// # Safety
///
/// If it is not NULL, it points to as many bytes as its member `size` says, and its pointers are NULL or valid, for
/// `'a`.
unsafe fn read<'a>(options: *const strongroom_options) -> Result<Option<Options<'a>>, Error> {
    // SAFETY: by the caller.
    let Some(options) = (unsafe { sized(options, "options")? }) else { return Ok(None) };
    // SAFETY: by the caller.
    let file = |file, name| optional(file, |file| unsafe { path(file, name) });
    // SAFETY: by the caller.
    let key = |key, name| optional(key, |key| unsafe { input(key, name) });
    Ok(Some(Options {
        flags: options.flags,
        index_key: key(options.index_key, "options.index_key")?,
        index_key_file: file(options.index_key_file, "options.index_key_file")?,
        previous_index_key: key(options.previous_index_key, "options.previous_index_key")?,
        previous_index_key_file: file(options.previous_index_key_file, "options.previous_index_key_file")?,
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
