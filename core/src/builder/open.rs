//! Opening a store with the builder's options.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

use super::Builder;
#[cfg(feature = "sqlite")]
use super::ReadOnly;
use crate::error::Error;
#[cfg(feature = "sqlite")]
use crate::key::IndexKey;
#[cfg(feature = "sqlite")]
use crate::key::file as index_key_file;
#[cfg(any(feature = "object-store", feature = "postgres", feature = "remote"))]
use crate::location::Location;
#[cfg(feature = "sqlite")]
use crate::location::MEMORY;
#[cfg(feature = "sqlite")]
use crate::open_store::has_index_key;
use crate::open_store::{IndexKeys, check_previous, open};
#[cfg(feature = "postgres")]
use crate::storage::PostgresConfig;
#[cfg(feature = "sqlite")]
use crate::storage::{MemoryStorage, SqliteStorage};
use crate::storage::{Storage, StorageMetrics, require_store};
use crate::strongroom::Strongroom;
#[cfg(feature = "sqlite")]
use crate::util::files;
#[cfg(feature = "sqlite")]
use crate::util::secret_text;
#[cfg(feature = "sqlite")]
use crate::util::url::is_url;

impl Builder {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// As [`Strongroom::open`]; [`Error::InvalidArgument`] if the options contradict each other or one is missing.
    #[cfg(feature = "sqlite")]
    pub fn open(mut self) -> Result<Strongroom, Error> {
        let paths = [&self.path, &self.index_key_file, &self.previous_index_key_file];
        if paths.into_iter().flatten().any(|path| secret_text::is_in_path(path)) {
            let text = "a key or a token is given in place of a path: write it to a file";
            return Err(Error::InvalidArgument(text.into()));
        }
        let storage = self.take_storage()?;
        let metrics = self.metrics.take();
        let open = |storage: Arc<dyn Storage>, keys: &IndexKeys, clock, pad| {
            open(measured(metrics.as_ref(), storage), keys, clock, pad)
        };
        let given = key_or_file(self.index_key, self.index_key_file, "an index key")?;
        let previous = key_or_file(self.previous_index_key, self.previous_index_key_file, "a previous index key")?;
        if previous.is_some() && given.is_none() {
            return Err(Error::InvalidArgument("give the new index key together with the previous one".into()));
        }
        check_previous(given.as_ref(), previous.as_ref())?;
        match (self.path, storage) {
            (Some(path), None) if path.to_str().is_some_and(is_url) => {
                Err(Error::InvalidArgument("a URL is not a path: open it as a location or an endpoint".into()))
            }
            (Some(path), None) if path.as_os_str() == MEMORY => {
                if self.must_exist || self.read_only == ReadOnly::Always {
                    let text = "a store in memory is always new: open `:memory:` without must_exist and read_only";
                    return Err(Error::InvalidArgument(text.into()));
                }
                let index_key = given.map_or_else(IndexKey::generate, Ok)?;
                open(Arc::new(MemoryStorage::new()), &IndexKeys { current: index_key, previous }, self.clock, self.pad)
            }
            (Some(path), None) => {
                let durability = self.durability.unwrap_or_default();
                let storage = match self.read_only {
                    ReadOnly::Always => SqliteStorage::open_read_only(path)?,
                    ReadOnly::WhereNotWritable => SqliteStorage::open_as_permitted(&path, durability)?,
                    ReadOnly::Never if self.must_exist => SqliteStorage::open_existing(path, durability)?,
                    ReadOnly::Never => SqliteStorage::open(path, durability)?,
                };
                let beside = files::index_key_file(storage.path());
                let index_key = match given {
                    Some(key) => key,
                    // A store with an index key may have records, so the key must not be replaced by a new one.
                    None if self.read_only != ReadOnly::Never || has_index_key(&storage)? => {
                        index_key_file::read(&beside, Some(storage.path()))?
                    }
                    None => index_key_file::read_or_create(&beside, storage.path())?,
                };
                open(Arc::new(storage), &IndexKeys { current: index_key, previous }, self.clock, self.pad)
            }
            (None, Some(_)) if self.durability.is_some() || self.read_only != ReadOnly::Never => {
                Err(Error::InvalidArgument("durability and read_only are not for this kind of store".into()))
            }
            (None, Some(storage)) => {
                let keys = IndexKeys { current: given.ok_or_else(needs_index_key)?, previous };
                open(storage, &keys, self.clock, self.pad)
            }
            _ => Err(Error::InvalidArgument("give exactly one of a path, a storage, an endpoint and a bucket".into())),
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Error::IndexKeyMismatch`] if the storage was made with another index key, [`Error::InvalidArgument`] if the
    /// storage or the index key is missing, and those of the storage.
    #[cfg(not(feature = "sqlite"))]
    pub fn open(mut self) -> Result<Strongroom, Error> {
        check_previous(self.index_key.as_ref(), self.previous_index_key.as_ref())?;
        let storage = self.take_storage()?.ok_or(Error::InvalidArgument("give a storage".into()))?;
        let storage = measured(self.metrics.as_ref(), storage);
        let keys =
            IndexKeys { current: self.index_key.ok_or_else(needs_index_key)?, previous: self.previous_index_key };
        open(storage, &keys, self.clock, self.pad)
    }

    /// The given storage, or that of the endpoint, the database server or the bucket.
    fn take_storage(&mut self) -> Result<Option<Arc<dyn Storage>>, Error> {
        let storage = self.storage.take();
        if let Some(storage) = storage.as_deref().filter(|_| self.must_exist) {
            require_store(storage)?;
        }
        #[cfg(feature = "postgres")]
        let storage = match (self.postgres.take(), storage) {
            (Some(_), Some(_)) => {
                return Err(Error::InvalidArgument("give a storage or a PostgreSQL database, not both".into()));
            }
            (Some(config), None) => Some(self.open_postgres(config)?),
            (None, storage) => storage,
        };
        #[cfg(feature = "remote")]
        if let Some(endpoint) = self.endpoint.take() {
            if storage.is_some() {
                return Err(Error::InvalidArgument("give a storage or an endpoint, not both".into()));
            }
            return self.open_at(&Location::Service(endpoint)).map(Some);
        }
        #[cfg(feature = "object-store")]
        if let Some(url) = self.bucket.take() {
            if storage.is_some() {
                return Err(Error::InvalidArgument("give a storage or a bucket, not both".into()));
            }
            return self.open_at(&Location::Bucket(url)).map(Some);
        }
        Ok(storage)
    }
}

impl Builder {
    #[cfg(feature = "postgres")]
    fn open_postgres(&mut self, config: PostgresConfig) -> Result<Arc<dyn Storage>, Error> {
        if self.index_key.is_none() && !self.has_index_key_file() {
            return Err(needs_index_key()); // before tables are created
        }
        #[cfg(feature = "sqlite")]
        let config = match self.durability.take() {
            Some(durability) => config.durability(durability),
            None => config,
        };
        self.open_at(&Location::Postgres(config))
    }

    #[cfg(any(feature = "object-store", feature = "postgres", feature = "remote"))]
    fn open_at(&self, location: &Location) -> Result<Arc<dyn Storage>, Error> {
        if self.must_exist { location.open_existing_storage() } else { location.open_storage() }
    }

    #[cfg(feature = "postgres")]
    fn has_index_key_file(&self) -> bool {
        #[cfg(feature = "sqlite")]
        return self.index_key_file.is_some();
        #[cfg(not(feature = "sqlite"))]
        false
    }
}

/// The given key, or that of the given file; `name` is for the error if both are given.
#[cfg(feature = "sqlite")]
fn key_or_file(key: Option<IndexKey>, file: Option<PathBuf>, name: &str) -> Result<Option<IndexKey>, Error> {
    match (key, file) {
        (Some(_), Some(_)) => Err(Error::InvalidArgument(format!("give {name} or its file, not both").into())),
        (None, Some(path)) => Ok(Some(index_key_file::read(&path, None)?)),
        (key, None) => Ok(key),
    }
}

fn measured(metrics: Option<&StorageMetrics>, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    match metrics {
        Some(metrics) => metrics.measure(storage),
        None => storage,
    }
}

fn needs_index_key() -> Error {
    Error::InvalidArgument("give an index key: only a database at a path has one beside it".into())
}
