//! The options for opening a store.

mod open;

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "sqlite")]
use crate::error::Error;
#[cfg(feature = "remote")]
use crate::http::Endpoint;
use crate::key::IndexKey;
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
use crate::location::Location;
#[cfg(feature = "sqlite")]
use crate::location::MEMORY;
#[cfg(feature = "object-store")]
use crate::storage::BucketUrl;
#[cfg(feature = "sqlite")]
use crate::storage::Durability;
#[cfg(feature = "postgres")]
use crate::storage::PostgresConfig;
use crate::storage::{Storage, StorageMetrics};
use crate::strongroom::Strongroom;
use crate::util::clock::Clock;

impl Strongroom {
    /// Opens the SQLite database at `path`, and creates it if there is none.
    ///
    /// The index key hides the ids. It is in the file `<path>.index-key`, which is created together with the database.
    /// Back it up separately from the database: without it no record can be found, and an attacker with both can test
    /// guesses of ids. In production, prefer a key from a secret manager: [`Builder::index_key`].
    ///
    /// # Errors
    ///
    /// [`Error::IndexKeyMissing`] if the file with the database's index key is missing, [`Error::IndexKeyMismatch`] if
    /// it belongs to another store; [`Error::InvalidArgument`] if `path` cannot hold a store, [`Error::Unsupported`]
    /// for a store of a newer version, [`Error::Storage`] if the database cannot be read and written.
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().path(path).open()
    }

    /// Opens a store with a chosen index key, durability or storage.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Opens a store with a chosen index key, durability or storage.
///
/// ```
/// use std::sync::Arc;
/// use strongroom::storage::MemoryStorage;
/// use strongroom::{IndexKey, Strongroom};
///
/// let index_key = IndexKey::generate()?; // in production: from your secret manager
/// let store = Strongroom::builder()
///     .storage(Arc::new(MemoryStorage::new()))
///     .index_key(index_key)
///     .open()?;
/// let key = store.store("id", b"data")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until it opens"]
pub struct Builder {
    storage: Option<Arc<dyn Storage>>,
    metrics: Option<StorageMetrics>,
    #[cfg(feature = "remote")]
    endpoint: Option<Endpoint>,
    #[cfg(feature = "postgres")]
    postgres: Option<PostgresConfig>,
    #[cfg(feature = "object-store")]
    bucket: Option<BucketUrl>,
    index_key: Option<IndexKey>,
    previous_index_key: Option<IndexKey>,
    clock: Clock,
    pad: bool,
    #[cfg(feature = "sqlite")]
    path: Option<PathBuf>,
    #[cfg(feature = "sqlite")]
    index_key_file: Option<PathBuf>,
    #[cfg(feature = "sqlite")]
    previous_index_key_file: Option<PathBuf>,
    #[cfg(feature = "sqlite")]
    durability: Option<Durability>,
    must_exist: bool,
    #[cfg(feature = "sqlite")]
    read_only: ReadOnly,
}

/// Whether the database is opened read-only.
#[cfg(feature = "sqlite")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReadOnly {
    #[default]
    Never,
    WhereNotWritable,
    Always,
}

impl Builder {
    /// Uses this storage. It needs an [`index_key`](Self::index_key).
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Counts the operations of the storage in `metrics`.
    pub fn storage_metrics(mut self, metrics: &StorageMetrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Uses the storage service at this endpoint. The service sees only sealed records: ids, keys and data stay in this
    /// process. It needs an [`index_key`](Self::index_key), the same for all clients of the service.
    #[cfg(feature = "remote")]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Uses the tables in this PostgreSQL database. They need an [`index_key`](Self::index_key), the same for all
    /// clients.
    #[cfg(feature = "postgres")]
    pub fn postgres(mut self, config: PostgresConfig) -> Self {
        self.postgres = Some(config);
        self
    }

    /// Uses the storage at this location.
    #[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
    pub fn location(self, location: Location) -> Self {
        match location {
            #[cfg(feature = "sqlite")]
            Location::Memory => self.path(MEMORY),
            #[cfg(feature = "sqlite")]
            Location::Database(path) => self.path(path),
            #[cfg(feature = "postgres")]
            Location::Postgres(config) => self.postgres(config),
            #[cfg(feature = "remote")]
            Location::Service(endpoint) => self.endpoint(endpoint),
            #[cfg(feature = "object-store")]
            Location::Bucket(url) => self.bucket(url),
        }
    }

    /// Uses the bucket at this URL, which holds only sealed records: ids, keys and data stay in this process. It needs
    /// an [`index_key`](Self::index_key), the same for all who use the bucket.
    #[cfg(feature = "object-store")]
    pub fn bucket(mut self, url: BucketUrl) -> Self {
        self.bucket = Some(url);
        self
    }

    /// Uses the SQLite database at this path, and creates it if there is none.
    ///
    /// `:memory:` is a new store in memory, for tests. It ends when it is closed or dropped, has a new index key unless
    /// one is given, and creates no file. [`durability`](Self::durability) has no effect on it, and
    /// [`read_only`](Self::read_only) is an error. The path of a file with that name is `./:memory:`.
    #[cfg(feature = "sqlite")]
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Hides ids under this key, which the caller keeps separately from the database; recommended in production. No key
    /// file is created beside the database.
    pub fn index_key(mut self, index_key: IndexKey) -> Self {
        self.index_key = Some(index_key);
        self
    }

    /// Reads the index key from this file, which must exist and contain the text `srx1...` on a line.
    ///
    /// On Unix, the file is rejected if another user could have changed it: its group or others may write it; its owner
    /// is not this process's user, root, or (for the default file) the database's owner; or its path is a symbolic link
    /// of another user. It is also rejected if its group or others may read it, unless its owner is root, as for the
    /// secrets of containers and service managers. `chmod 600` makes a file safe.
    #[cfg(feature = "sqlite")]
    pub fn index_key_file(mut self, path: impl AsRef<Path>) -> Self {
        self.index_key_file = Some(path.as_ref().to_path_buf());
        self
    }

    /// The previous index key, to rotate it to the new one, which [`index_key`](Self::index_key) or its file gives.
    /// Until [`begin_rotation`](crate::Strongroom::begin_rotation), the store is used under the previous key. From then
    /// until [`finish_rotation`](crate::Strongroom::finish_rotation), opening needs both keys, and each operation on an
    /// id moves its record to the new key. Afterwards, the previous key has no effect.
    ///
    /// Open the store with both keys in all processes before the rotation begins: calls on a handle that has only the
    /// previous key then fail with [`Error::IndexKeyMismatch`]. A handle with both keys notices the beginning, at which
    /// an operation takes a second longer, and opening takes a second during the rotation: until no other handle works
    /// with the previous key alone.
    pub fn previous_index_key(mut self, index_key: IndexKey) -> Self {
        self.previous_index_key = Some(index_key);
        self
    }

    /// As [`previous_index_key`](Self::previous_index_key), from a file as for
    /// [`index_key_file`](Self::index_key_file).
    #[cfg(feature = "sqlite")]
    pub fn previous_index_key_file(mut self, path: impl AsRef<Path>) -> Self {
        self.previous_index_key_file = Some(path.as_ref().to_path_buf());
        self
    }

    /// Uses this clock for expiry times instead of the system's: for tests. Such a handle reads the store's settings
    /// before each operation, and not twice a second, so that a test of a rotation need not wait.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("records.db");
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::time::{Duration, UNIX_EPOCH};
    ///
    /// use strongroom::{Error, Strongroom, WriteOptions};
    ///
    /// let seconds = Arc::new(AtomicU64::new(1_000_000));
    /// let clock = Arc::clone(&seconds);
    /// let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
    /// let store = Strongroom::builder().path(path).clock(now).open()?;
    /// let key = store.store_with("id", b"data", WriteOptions::new().expires_in(Duration::from_secs(60)))?;
    /// seconds.fetch_add(60, Ordering::Relaxed);
    /// assert!(matches!(store.retrieve("id", &key), Err(Error::Expired)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }

    /// Pads all records of the store, as [`WriteOptions::pad`](crate::WriteOptions::pad). The store's settings keep
    /// this: every handle that is opened from now on does the same, with or without this option. Records that are
    /// stored already remain as they are.
    pub fn pad(mut self) -> Self {
        self.pad = true;
        self
    }

    /// Opens the store only if it exists, so that a typo in a path or URL does not create an empty one: else it is
    /// [`Error::InvalidArgument`]. `:memory:` never exists.
    pub fn must_exist(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Opens the database read-only, and creates no file beside it: for example to inspect a backup, also on a
    /// read-only medium. Writes are [`Error::Unsupported`]. The database must exist.
    ///
    /// Other processes may use the database at the same time. If none had it open, and one changes it later, reads are
    /// [`Error::Storage`] until it is opened again.
    #[cfg(feature = "sqlite")]
    pub fn read_only(mut self) -> Self {
        self.read_only = ReadOnly::Always;
        self
    }

    /// Opens the database, which must exist; read-only if this process may not write it or it is on a read-only medium.
    /// Writes are then [`Error::Unsupported`], with the reason.
    #[cfg(feature = "sqlite")]
    pub fn allow_read_only(mut self) -> Self {
        self.read_only = ReadOnly::WhereNotWritable;
        self
    }

    /// The durability of writes, for a store at a path or in PostgreSQL: [`Durability::Full`] by default.
    #[cfg(feature = "sqlite")]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Builder");
        f.field("storage", &self.storage)
            .field("index_key", &self.index_key)
            .field("previous_index_key", &self.previous_index_key)
            .field("pad", &self.pad)
            .field("must_exist", &self.must_exist);
        #[cfg(feature = "remote")]
        f.field("endpoint", &self.endpoint);
        #[cfg(feature = "postgres")]
        f.field("postgres", &self.postgres);
        #[cfg(feature = "object-store")]
        f.field("bucket", &self.bucket);
        #[cfg(feature = "sqlite")]
        f.field("path", &self.path)
            .field("index_key_file", &self.index_key_file)
            .field("durability", &self.durability)
            .field("read_only", &self.read_only);
        f.finish()
    }
}
