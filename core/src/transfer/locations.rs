//! Copies between places that are named by a path or a URL.

#[cfg(all(feature = "sqlite", unix))]
use super::new_database;
use super::{Copied, CopyOptions, copy_storage, prepare, same_store};
use crate::error::Error;
use crate::location::Location;
#[cfg(all(feature = "sqlite", unix))]
use crate::storage::SqliteStorage;

/// Copies a store from one place to another, as [`copy_storage`] does: from a database to a backup, from a backup back,
/// to a storage service, a PostgreSQL database or a bucket, or from one.
///
/// The destination's database is created if it is missing, but not its index key's file: the destination opens with the
/// index key of the source. The first copy of a database to a new one first copies its pages, to a file
/// `.strongroom-unfinished-copy-<name>` beside it, which gets its name once it is complete and checked. If it is
/// interrupted, it begins again; and if it is killed, the next copy overwrites that file.
///
/// ```
/// use strongroom::transfer::{CopyOptions, copy};
/// use strongroom::{Location, Strongroom};
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, backup) = (folder.path().join("records.db"), folder.path().join("backup.db"));
/// let key = Strongroom::open(&path)?.store("id", b"data")?;
/// let (from, to) = (Location::parse(&path)?, Location::parse(&backup)?);
/// let copied = copy(&from, &to, CopyOptions::new(), &mut |_| ())?;
/// assert_eq!(copied.records, 1);
///
/// let index_key_file = path.with_file_name("records.db.index-key");
/// let store = Strongroom::builder().path(&backup).index_key_file(index_key_file).open()?;
/// assert_eq!(store.retrieve("id", &key)?, b"data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`copy_storage`]; [`Error::InvalidArgument`] if there is no database at the source, if the destination is
/// missing or empty beside its log, or if a place is in memory or has a name that begins with
/// `.strongroom-unfinished-`; and those of opening the storages.
pub fn copy(
    from: &Location,
    to: &Location,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, Error> {
    if from.is_memory() || to.is_memory() {
        let text = "a copy needs a path or a URL: a store in memory ends with its handle";
        return Err(Error::InvalidArgument(text.into()));
    }
    options.checked_workers()?;
    let source = from.open_existing_storage()?;
    prepare::source(&*source)?; // before a database is created
    if from.is_same(to) {
        return Err(same_store());
    }
    #[cfg(all(feature = "sqlite", unix))]
    if let (Location::Database(from), Location::Database(to)) = (from, to)
        && to.symlink_metadata().is_err()
    {
        SqliteStorage::check_new_path(to)?; // before the work
        if let Some(copied) = new_database::copy(from, to, options, progress)? {
            return Ok(copied);
        }
    }
    let destination = to.open_storage()?;
    let copied = copy_storage(&source, &destination, options, progress);
    let closed = destination.close().and(source.close());
    let copied = copied?;
    closed?;
    // An earlier copy that named the database may have failed, or been killed, before this.
    #[cfg(all(feature = "sqlite", unix))]
    if let Location::Database(to) = to {
        new_database::sync_name(to)?;
    }
    Ok(copied)
}
