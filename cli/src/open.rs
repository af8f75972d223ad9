//! Which store is used, and when it is made.

use std::fs::DirBuilder;
use std::path::PathBuf;

use etcetera::BaseStrategy;
#[cfg(feature = "server")]
use strongroom::storage::{Durability, SqliteStorage};
use strongroom::{Builder, Strongroom};

use crate::args::Options;
use crate::failure::Failure;

/// Opens the store, which must be there: a typo in a path must not make a new store, in which nothing is found.
pub(crate) fn existing(options: &Options) -> Result<Strongroom, Failure> {
    let path = match &options.store {
        Some(path) => path.clone(),
        None => default_path()?,
    };
    if let Ok(false) = path.try_exists() {
        return Err(Failure::argument(
            "there is no store there yet: check --store; `strongroom store` makes a new one",
        ));
    }
    Ok(builder(options, path).must_exist().open()?)
}

/// Opens the store, and makes it where there is none. Of the folders, only the default one is made.
pub(crate) fn or_create(options: &Options) -> Result<Strongroom, Failure> {
    Ok(builder(options, path_to_make(options)?).open()?)
}

/// Opens the storage alone, which needs no index key, and makes it where there is none.
#[cfg(feature = "server")]
pub(crate) fn storage(options: &Options) -> Result<std::sync::Arc<dyn strongroom::storage::Storage>, Failure> {
    let storage = SqliteStorage::open(path_to_make(options)?, Durability::Full).map_err(strongroom::Error::from)?;
    Ok(std::sync::Arc::new(storage))
}

fn path_to_make(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(path) = &options.store {
        return Ok(path.clone());
    }
    let path = default_path()?;
    if let Some(folder) = path.parent() {
        let mut folders = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
        folders.recursive(true).create(folder).map_err(Failure::io("cannot make the default store's folder"))?;
    }
    Ok(path)
}

fn default_path() -> Result<PathBuf, Failure> {
    let strategy = etcetera::base_strategy::choose_native_strategy()
        .map_err(|_| Failure::argument("your home folder is not known: name the store by --store"))?;
    Ok(strategy.data_dir().join("strongroom").join("strongroom.db"))
}

fn builder(options: &Options, path: PathBuf) -> Builder {
    let builder = Strongroom::builder().path(path);
    match &options.index_key_file {
        Some(file) => builder.index_key_file(file),
        None => builder,
    }
}
