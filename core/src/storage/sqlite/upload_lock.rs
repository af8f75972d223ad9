//! The file `<database>.uploads`, whose lock shows that an upload is running: each upload holds the lock shared, and
//! the system releases it when the process ends. The file is empty. It has the database's owner and mode, so that all
//! users of the database can lock it.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::path::cannot_make;
use crate::storage::Error;
use crate::util::files::{check_single_name, give_owner_of, with_suffix, without_links};
use crate::util::locked_file::LockedFile;

/// Opens the file, and creates it if there is none.
fn open(database: &Path) -> Result<File, Error> {
    let path = with_suffix(database, ".uploads");
    let open_or_create = || {
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is not a regular file: remove it"));
        }
        let mut options = without_links();
        options.read(true).write(true); // NFS needs the first for shared locks, and the second for exclusive ones
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600); // until it has the database's
        let file = match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(&path)?,
            made => {
                let file = made?;
                file.set_permissions(fs::metadata(database)?.permissions())?;
                file
            }
        };
        check_single_name(&file)?;
        give_owner_of(database, &file)?;
        Ok(file)
    };
    open_or_create().map_err(|error| cannot_make(&path, error))
}

/// Takes the lock shared. Waits at most for the first step of a sweep.
pub(super) fn share(database: &Path) -> Result<LockedFile, Error> {
    let file = open(database)?;
    loop {
        match file.lock_shared() {
            Ok(()) => return Ok(LockedFile::new(file)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal
            Err(error) => return Err(Error::Backend(error.into())),
        }
    }
}

/// Takes the lock exclusively; `None` if an upload is running.
pub(super) fn try_exclusive(database: &Path) -> Result<Option<LockedFile>, Error> {
    let file = open(database)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(LockedFile::new(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::Backend(error.into())),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// With the lock, another user could block all uploads.
    #[test]
    fn the_file_is_its_owners_alone_until_it_has_the_databases_mode() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("records.db");
        let mode = || fs::metadata(with_suffix(&database, ".uploads")).unwrap().permissions().mode() & 0o777;
        assert!(share(&database).is_err(), "there is no database");
        assert_eq!(mode(), 0o600);
        fs::remove_file(with_suffix(&database, ".uploads")).unwrap();
        fs::write(&database, "").unwrap();
        fs::set_permissions(&database, fs::Permissions::from_mode(0o660)).unwrap();
        share(&database).unwrap();
        assert_eq!(mode(), 0o660);
    }
}
