//! Which store is used, and when it is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use strongroom::client::Client;
#[cfg(feature = "server")]
use strongroom::storage::{Durability, MemoryStorage, SqliteStorage};
use strongroom::{Builder, Endpoint, Error, Strongroom};

use crate::args::{Options, Remote};
use crate::failure::Failure;
use crate::new_file::create_folders;
use crate::store::Store;

/// Opens the store, which must be there: a typo in a path must not make a new store, in which nothing is found.
pub(crate) fn existing(options: &Options) -> Result<Store, Failure> {
    if let Some(elsewhere) = elsewhere(options)? {
        return Ok(elsewhere);
    }
    let path = match &options.store {
        Some(path) => path.clone(),
        None => default_path()?,
    };
    if is_memory(&path) {
        return or_create(options);
    }
    if let Ok(false) = path.try_exists() {
        return Err(Failure::argument(
            "there is no store there yet: check --store; `strongroom store` makes a new one",
        ));
    }
    let builder = with_index_key(options, Strongroom::builder().path(path));
    Ok(Store::Here(builder.must_exist().allow_read_only().open()?))
}

/// Opens the store, and makes it where there is none. Of the folders, only the default one is made.
pub(crate) fn or_create(options: &Options) -> Result<Store, Failure> {
    match elsewhere(options)? {
        Some(elsewhere) => Ok(elsewhere),
        None => Ok(Store::Here(with_index_key(options, Strongroom::builder().path(path_to_make(options)?)).open()?)),
    }
}

/// Whether the store is an address.
pub(crate) fn is_url(store: &Path) -> bool {
    store.to_str().is_some_and(Endpoint::is_url)
}

/// Whether the store ends with the program.
pub(crate) fn is_memory(store: &Path) -> bool {
    store == Path::new(":memory:")
}

/// The store behind an encryption server, or over a storage service, if that is what is named.
fn elsewhere(options: &Options) -> Result<Option<Store>, Failure> {
    if let Some(url) = &options.server {
        return Ok(Some(Store::Elsewhere(Client::open(&endpoint(url, &options.remote)?)?)));
    }
    let Some(url) = options.store.as_deref().filter(|store| is_url(store)).and_then(Path::to_str) else {
        return Ok(None);
    };
    if options.index_key_file.is_none() {
        return Err(Failure::argument(
            "a storage service needs --index-key-file, the same for all who share it: `strongroom key new --index` makes one",
        ));
    }
    let builder = Strongroom::builder().endpoint(endpoint(url, &options.remote)?);
    Ok(Some(Store::Here(with_index_key(options, builder).open()?)))
}

fn endpoint(url: &str, remote: &Remote) -> Result<Endpoint, Failure> {
    let mut endpoint = Endpoint::new(url).map_err(Error::from)?;
    if let Some(path) = &remote.token_file {
        endpoint = endpoint.token_file(path);
    }
    if let Some(path) = &remote.authorities {
        endpoint = endpoint.authorities(path);
    }
    match (&remote.client_certificate, &remote.client_key) {
        (Some(certificate), Some(key)) => endpoint = endpoint.client_certificate(certificate, key),
        (None, None) => {}
        _ => return Err(Failure::argument("a client's certificate needs --client-certificate and --client-key")),
    }
    if let Some(path) = &remote.revocations {
        endpoint = endpoint.revocations(path);
    }
    if let Some(seconds) = remote.timeout {
        endpoint = endpoint.timeout(Duration::from_secs(seconds));
    }
    Ok(endpoint)
}

/// Opens the storage alone, which needs no index key, and makes it where there is none.
#[cfg(feature = "server")]
pub(crate) fn storage(options: &Options) -> Result<std::sync::Arc<dyn strongroom::storage::Storage>, Failure> {
    let path = path_to_make(options)?;
    if is_memory(&path) {
        return Ok(std::sync::Arc::new(MemoryStorage::new()));
    }
    if is_url(&path) {
        return Err(Failure::argument("a storage service keeps the records itself: --store is a path here"));
    }
    let storage = SqliteStorage::open(path, Durability::Full).map_err(Error::from)?;
    Ok(std::sync::Arc::new(storage))
}

fn path_to_make(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(path) = &options.store {
        return Ok(path.clone());
    }
    let path = default_path()?;
    if let (Ok(false), Some(folder)) = (path.try_exists(), path.parent()) {
        create_folders(folder).map_err(Failure::io("cannot make the default store's folder"))?;
    }
    Ok(path)
}

pub(crate) fn default_path() -> Result<PathBuf, Failure> {
    let strategy = etcetera::base_strategy::choose_native_strategy()
        .map_err(|_| Failure::argument("your home folder is not known: name the store by --store"))?;
    Ok(strategy.data_dir().join("strongroom").join("strongroom.db"))
}

fn with_index_key(options: &Options, builder: Builder) -> Builder {
    match &options.index_key_file {
        Some(file) => builder.index_key_file(file),
        None => builder,
    }
}
