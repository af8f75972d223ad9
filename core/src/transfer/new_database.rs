//! The first copy of a database to a new one. It begins with a copy of all pages, at the speed of the disks. Then both
//! are compared as in any other copy, and each record of the new database is checked by its checksum.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{check_interrupt, damaged_records};
use super::{Copied, CopyOptions, Mode, copy_with};
use crate::error::Error;
use crate::storage::{Durability, SqliteStorage, Storage};
use crate::util::files::{
    check_single_name, database_files, folder_of, is_no_room, sync_folder_of, with_suffix, without_links,
};
use crate::util::locked_file::LockedFile;
use crate::util::private_file::UNFINISHED;

/// Makes the new database `to` from that at `from`. `None` if the records must be copied one by one: pages are damaged,
/// or another process has made `to`.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Option<Copied>, Error> {
    let source = Arc::new(SqliteStorage::open_as_permitted(from, Durability::Full)?);
    let unfinished = match Unfinished::create(to) {
        Err(Error::Storage(_)) => return Ok(None), // the storage gives the reason
        created => created?,
    };
    let mut state = Copied::default();
    let pages = source.copy_pages(&unfinished.path, &mut |bytes| {
        state.bytes = bytes;
        progress(&state);
    });
    let source: Arc<dyn Storage> = source;
    let copied = pages.map_err(Error::from).and_then(|()| {
        unfinished.file.sync_all().map_err(of_file)?;
        let database = Arc::new(SqliteStorage::open_unfinished(&unfinished.path, Durability::Full)?);
        let new: Arc<dyn Storage> = database.clone();
        remove_claims(&*new)?;
        // The comparison then finds them missing, and copies those that the source can still read.
        for damaged in damaged_records(&*new)? {
            check_interrupt()?;
            new.delete(&damaged, None)?;
        }
        let copied = copy_with(&source, &new, options, Mode { has_pages: true }, progress);
        // Closing does not report that the log's pages did not fit into the file.
        let copied = copied
            .and_then(|copied| Ok(database.check_changed_pages().and_then(|()| new.maintain()).map(|()| copied)?));
        let closed = new.close();
        let copied = copied?;
        closed?;
        Ok(copied)
    });
    match copied {
        Ok(copied) => Ok(unfinished.finish(to)?.then_some(copied)),
        Err(Error::Corrupt | Error::Storage(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the claims of running operations, which the source resolves by itself.
fn remove_claims(new: &dyn Storage) -> Result<(), Error> {
    loop {
        let mut claims = new.list(None, 100)?;
        claims.retain(|entry| entry.locator.as_bytes().first() == Some(&0));
        if claims.is_empty() {
            return Ok(());
        }
        for claim in claims {
            check_interrupt()?;
            new.delete(&claim.locator, None)?;
        }
    }
}

/// A database under another name, until it is complete.
struct Unfinished {
    path: PathBuf,
    /// Locked, so that no other copy uses the same file.
    file: LockedFile,
}

impl Unfinished {
    /// Begins with an empty file: overwrites the rest of a killed copy.
    fn create(to: &Path) -> Result<Self, Error> {
        // No store of a user has such a name.
        let mut name = OsString::from(format!("{UNFINISHED}copy-"));
        name.push(to.file_name().unwrap_or_default());
        let path = folder_of(to).join(name);
        let mut options = without_links();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(of_file)?;
        check_single_name(&file).map_err(of_file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy),
            Err(TryLockError::Error(error)) => return Err(of_file(error)),
        }
        let file = LockedFile::new(file);
        // The process that held the lock may have finished its copy, and given the file its name.
        if !is_file_at(&file, &path) {
            return Err(Error::Busy);
        }
        let unfinished = Self { path, file };
        unfinished.remove_companions().map_err(of_file)?;
        unfinished.file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(of_file)?;
        unfinished.file.set_len(0).map_err(of_file)?;
        Ok(unfinished)
    }

    /// Gives the database its name. `false` if another process has made one with this name.
    fn finish(self, to: &Path) -> Result<bool, Error> {
        if with_suffix(&self.path, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
            return Err(Error::Storage("the new database is not whole without its log: copy again".into()));
        }
        self.remove_companions().map_err(of_file)?;
        SqliteStorage::check_new_path(to)?;
        match rename_new(&self.path, to) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
            renamed => renamed.map_err(of_file)?,
        }
        sync_name(to)?;
        Ok(true)
    }

    fn remove_companions(&self) -> std::io::Result<()> {
        database_files(&self.path)[1..].iter().try_for_each(|file| match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

/// Removes the file, unless it has its name.
impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = self.remove_companions();
        let _ = fs::remove_file(&self.path);
    }
}

fn is_file_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().map(identity) == path.symlink_metadata().ok().map(identity)
}

/// Renames a file, unless there is one with the new name.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {} // the file system cannot do this
            renamed => return Ok(renamed?),
        }
    }
    if fs::exists(to)? {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Makes the name of the database durable.
pub(super) fn sync_name(path: &Path) -> Result<(), Error> {
    sync_folder_of(path).map_err(of_file)
}

fn of_file(error: std::io::Error) -> Error {
    if is_no_room(&error) { Error::StorageFull } else { Error::Storage(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_needs_its_log_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("to.db");
        for (log, is_whole) in [("pages", false), ("", true)] {
            let unfinished = Unfinished::create(&to).unwrap();
            fs::write(with_suffix(&unfinished.path, "-wal"), log).unwrap();
            assert_eq!(unfinished.finish(&to).is_ok_and(|finished| finished), is_whole);
            assert_eq!(to.exists(), is_whole);
        }
    }
}
