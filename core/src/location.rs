//! The location of a store, with the same text form in every interface.

use std::path::Path;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

use crate::endpoint_options::EndpointOptions;
use crate::error::Error;
#[cfg(feature = "remote")]
use crate::http::Endpoint;
#[cfg(feature = "remote")]
use crate::storage::RemoteStorage;
use crate::storage::Storage;
#[cfg(feature = "object-store")]
use crate::storage::{BucketUrl, ObjectStorage};
#[cfg(feature = "sqlite")]
use crate::storage::{Durability, MemoryStorage, SqliteStorage};
#[cfg(feature = "postgres")]
use crate::storage::{PostgresConfig, PostgresStorage};
#[cfg(feature = "sqlite")]
use crate::util::files::is_same_file;
use crate::util::url::{is_bucket_url, is_service_url, is_url};

/// The text of [`Location::Memory`].
#[cfg(feature = "sqlite")]
pub(crate) const MEMORY: &str = ":memory:";

/// The location of a store.
///
/// ```
/// use strongroom::{Location, Strongroom};
///
/// let location = Location::parse(":memory:")?;
/// let store = Strongroom::builder().location(location).open()?;
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Location {
    /// `:memory:`: a new store in memory, which ends when it is closed.
    #[cfg(feature = "sqlite")]
    Memory,
    /// `records.db`: the SQLite database at this path.
    #[cfg(feature = "sqlite")]
    Database(PathBuf),
    /// `postgres://USER@HOST/DATABASE`: tables in a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(PostgresConfig),
    /// `https://HOST:PORT`, `http://LOOPBACK:PORT` or `unix:PATH`: a storage service; or several ones, or
    /// a cluster, as [`Endpoint`] describes.
    #[cfg(feature = "remote")]
    Service(Endpoint),
    /// `s3://BUCKET/PREFIX`, `gs://...` or `az://...`: a bucket of an object store.
    #[cfg(feature = "object-store")]
    Bucket(BucketUrl),
}

impl Location {
    /// Parses `:memory:`, the URL of a service, of a PostgreSQL database or of a bucket, or else a path. For a file
    /// whose name looks like one of these, use a
    /// path such as `./:memory:`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the URL is invalid or of another kind, [`Error::Unsupported`] if this build
    /// does not have the storage.
    pub fn parse(text: impl AsRef<Path>) -> Result<Self, Error> {
        let path = text.as_ref();
        match path.to_str() {
            None if is_url(&path.to_string_lossy()) => {
                Err(Error::InvalidArgument("the store is a URL with bytes that are not UTF-8".into()))
            }
            Some(text) if is_service_url(text) => service(text),
            Some(text) if is_postgres(text) => postgres(text),
            Some(text) if is_bucket_url(text) => bucket(text),
            Some(text) if is_url(text) => Err(Error::InvalidArgument(
                "the store is a URL of an unknown scheme: use https://HOST:PORT, http://LOOPBACK:PORT, unix:PATH, \
                 postgres://USER@HOST/DATABASE, s3://BUCKET/PREFIX, gs://, az://, or a path"
                    .into(),
            )),
            _ => local(path),
        }
    }

    /// The location with these options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the options contradict each other, or if there are options that the location does
    /// not have: a database file has none, and PostgreSQL no tokens.
    pub fn with_options(self, options: EndpointOptions) -> Result<Self, Error> {
        match self {
            #[cfg(feature = "remote")]
            Self::Service(endpoint) => Ok(Self::Service(endpoint.with_options(options)?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Ok(Self::Postgres(config.with_options(options)?)),
            #[cfg(feature = "object-store")]
            Self::Bucket(url) => Ok(Self::Bucket(url.with_options(options)?)),
            #[cfg(feature = "sqlite")]
            Self::Memory | Self::Database(_) if !options.is_empty() => {
                Err(Error::InvalidArgument("options for a service need the URL of a service as the store".into()))
            }
            #[cfg(feature = "sqlite")]
            other => Ok(other),
        }
    }
}

impl Location {
    /// Opens the storage at this location, which needs no index key. A missing database is created.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn open_storage(&self) -> Result<Arc<dyn Storage>, Error> {
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Self::Memory => Arc::new(MemoryStorage::new()),
            #[cfg(feature = "sqlite")]
            Self::Database(path) => Arc::new(SqliteStorage::open(path, Durability::Full)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Arc::new(PostgresStorage::open(config)?),
            #[cfg(feature = "remote")]
            Self::Service(endpoint) => Arc::new(RemoteStorage::open(endpoint)?),
            #[cfg(feature = "object-store")]
            Self::Bucket(url) => Arc::new(ObjectStorage::open(url)?),
        })
    }

    /// As [`open_storage`](Self::open_storage), but there must be a store, and no tables are created. A database is
    /// opened read-only if this process may not write it.
    ///
    /// # Errors
    ///
    /// Those of the storage; [`Error::InvalidArgument`] if there is no store, and for [`Location::Memory`], which is
    /// always new.
    pub fn open_existing_storage(&self) -> Result<Arc<dyn Storage>, Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Memory => Err(Error::InvalidArgument(
                "an existing store needs a path or a URL: a store in memory ends with its handle".into(),
            )),
            #[cfg(feature = "sqlite")]
            Self::Database(path) => Ok(Arc::new(SqliteStorage::open_as_permitted(path, Durability::Full)?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Ok(Arc::new(PostgresStorage::open_existing(config)?)),
            #[cfg(feature = "remote")]
            Self::Service(endpoint) => {
                let storage = RemoteStorage::open(endpoint)?;
                crate::storage::require_store(&storage)?;
                Ok(Arc::new(storage))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(url) => Ok(Arc::new(ObjectStorage::open_existing(url)?)),
        }
    }

    pub(crate) fn is_memory(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Memory => true,
            #[allow(unreachable_patterns, reason = "without the feature `remote`, only databases are left")]
            _ => false,
        }
    }

    /// Whether both are the same file, or have a service in common.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "sqlite")]
            (Self::Database(one), Self::Database(other)) => is_same_file(one, other),
            #[cfg(feature = "postgres")]
            (Self::Postgres(one), Self::Postgres(other)) => one.to_string() == other.to_string(),
            #[cfg(feature = "remote")]
            (Self::Service(one), Self::Service(other)) => one.shares_service(other),
            #[cfg(feature = "object-store")]
            (Self::Bucket(one), Self::Bucket(other)) => one.to_string() == other.to_string(),
            #[allow(unreachable_patterns, reason = "without one of the features, only one kind is left")]
            _ => false,
        }
    }
}

#[cfg(feature = "remote")]
fn service(url: &str) -> Result<Location, Error> {
    Ok(Location::Service(Endpoint::new(url)?))
}

#[cfg(not(feature = "remote"))]
fn service(_: &str) -> Result<Location, Error> {
    Err(Error::Unsupported("this build has no client for services: it needs the feature `remote`".into()))
}

fn is_postgres(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, Some("postgres" | "postgresql"))
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Result<Location, Error> {
    Ok(Location::Postgres(PostgresConfig::new(url)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<Location, Error> {
    Err(Error::Unsupported("this build has no client for PostgreSQL: it needs the feature `postgres`".into()))
}

#[cfg(feature = "object-store")]
fn bucket(url: &str) -> Result<Location, Error> {
    Ok(Location::Bucket(url.parse()?))
}

#[cfg(not(feature = "object-store"))]
fn bucket(_: &str) -> Result<Location, Error> {
    Err(Error::Unsupported("this build has no object stores: it needs the feature `object-store`".into()))
}

#[cfg(feature = "sqlite")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn local(path: &Path) -> Result<Location, Error> {
    Ok(if path.as_os_str() == MEMORY { Location::Memory } else { Location::Database(path.to_path_buf()) })
}

#[cfg(not(feature = "sqlite"))]
fn local(_: &Path) -> Result<Location, Error> {
    Err(Error::Unsupported("this build has no databases: it needs the feature `sqlite`".into()))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_text_names_one_kind() {
        for path in ["records.db", "./:memory:", "./https://a", "/unix:/s", "", "C:\\records.db"] {
            assert!(
                matches!(Location::parse(path), Ok(Location::Database(found)) if found == Path::new(path)),
                "{path}"
            );
        }
        assert!(matches!(Location::parse(":memory:"), Ok(Location::Memory)));
        assert!(matches!(Location::Memory.open_existing_storage(), Err(Error::InvalidArgument(_))));
        for url in ["ftp://a.example", "http+x://a"] {
            assert!(matches!(Location::parse(url), Err(Error::InvalidArgument(_))), "{url}");
        }
        for url in ["postgres://a/b", "postgresql://a/b"] {
            let found = Location::parse(url);
            #[cfg(feature = "postgres")]
            assert!(matches!(found, Ok(Location::Postgres(_))), "{url}");
            #[cfg(not(feature = "postgres"))]
            assert!(matches!(found, Err(Error::Unsupported(_))), "{url}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let parse = |bytes| Location::parse(Path::new(std::ffi::OsStr::from_bytes(bytes)));
            for path in [&b"\xff"[..], b"./https://\xff", b"\xff://a"] {
                assert!(matches!(parse(path), Ok(Location::Database(_))), "{path:?}");
            }
            for url in [
                &b"https://a.example/\xff"[..],
                b"unix:/\xff",
                b"cluster:https://\xff",
                b"postgres://a/\xff",
                b"s3://bucket/\xff",
                b"ftp://\xff",
            ] {
                assert!(matches!(parse(url), Err(Error::InvalidArgument(_))), "{url:?}");
            }
        }
    }

    #[test]
    fn options_are_for_services() {
        let mut options = EndpointOptions::default();
        assert!(Location::Memory.with_options(options.clone()).is_ok());
        options.timeout = Some(Duration::from_secs(1));
        for local in [Location::Memory, Location::Database("records.db".into())] {
            assert!(matches!(local.with_options(options.clone()), Err(Error::InvalidArgument(_))));
        }
    }

    #[test]
    fn a_bucket_is_known_or_unsupported() {
        for url in ["s3://bucket", "gs://bucket/p", "AZ://bucket"] {
            match Location::parse(url) {
                #[cfg(feature = "object-store")]
                Ok(Location::Bucket(_)) => {}
                #[cfg(not(feature = "object-store"))]
                Err(Error::Unsupported(_)) => {}
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[cfg(feature = "remote")]
    #[test]
    fn a_url_is_a_service_and_checked() {
        for url in ["https://a.example:1", "HTTP://127.0.0.1", "unix:/s", "cluster:https://a.example"] {
            assert!(matches!(Location::parse(url), Ok(Location::Service(_))), "{url}");
        }
        for url in ["https://", "http://a.example", "unix:"] {
            assert!(matches!(Location::parse(url), Err(Error::InvalidArgument(_))), "{url}");
        }
        let refused = |change: fn(&mut EndpointOptions)| {
            let mut options = EndpointOptions::default();
            change(&mut options);
            Location::parse("https://a.example").unwrap().with_options(options).unwrap_err().to_string()
        };
        let both = refused(|options| {
            options.token = Some("srt1".to_owned().into());
            options.token_file = Some("token".into());
        });
        assert!(both.contains("not both"), "{both}");
        for half in [
            refused(|options| options.client_certificate = Some("c".into())),
            refused(|options| options.client_key = Some("k".into())),
        ] {
            assert!(half.contains("its private key"), "{half}");
        }
        let timeout = refused(|options| options.timeout = Some(Duration::ZERO));
        assert!(timeout.contains("above 0"), "{timeout}");
    }
}
