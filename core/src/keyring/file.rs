//! The keyring's file: locked while it is changed, replaced as a whole, readable only by its owner.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::util::files::{OpenFolder, folder_of, give_owner_of, is_no_room};
use crate::util::interrupt;
use crate::util::locked_file::LockedFile;
use crate::util::private_file::{check_name, remove_abandoned, temporary_file};
use crate::util::trusted_file::{Readers, Refused, check};

/// The maximum length of the file: 256 MiB.
const MAX_LEN: u64 = 256 << 20;

/// The bytes that differ in each version of the file: the header begins with random bytes.
pub(super) const START_LEN: usize = 128;

/// How long a change waits for others.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// The file's own path, so that a link to it stays a link.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let path = path.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Error::InvalidArgument(format!("there is no keyring {}: make it first", path.display()).into())
        }
        _ => Error::Storage(error.into()),
    })?;
    check_name(&path).map_err(|text| Error::InvalidArgument(text.into()))?;
    Ok(path)
}

/// The contents of the file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_from(&checked(path, File::open(path))?)
}

fn checked(path: &Path, opened: io::Result<File>) -> Result<File, Error> {
    let file = opened.map_err(failed)?;
    // A writer of the file could name recipients of its own.
    check("the keyring", path, &file, None, Readers::Owner).map_err(|error| match error {
        Refused::Unsafe(text) => Error::InvalidArgument(text.into()),
        Refused::Io(error) => failed(error),
    })?;
    Ok(file)
}

fn read_from(file: &File) -> Result<Vec<u8>, Error> {
    let len = file.metadata().map_err(failed)?.len();
    if len > MAX_LEN {
        return Err(Error::TooLarge);
    }
    let mut contents = Vec::with_capacity(usize::try_from(len).map_err(|_| Error::TooLarge)?);
    file.take(MAX_LEN).read_to_end(&mut contents).map_err(failed)?;
    Ok(contents)
}

/// The file, locked for one change until it is dropped.
pub(super) struct Locked {
    file: LockedFile,
    folder: OpenFolder,
}

/// Waits until no other process changes the file.
pub(super) fn lock(path: &Path) -> Result<Locked, Error> {
    let start = Instant::now();
    let folder = OpenFolder::of(path).map_err(failed)?;
    loop {
        let file = checked(path, open_to_lock(path))?;
        match file.try_lock() {
            Ok(()) => {
                let file = LockedFile::new(file);
                // Another process may have replaced the file before it was locked.
                if is_at(&file, path).map_err(failed)? {
                    return Ok(Locked { file, folder });
                }
            }
            Err(fs::TryLockError::WouldBlock) if start.elapsed() > DEADLINE || interrupt::is_interrupted() => {
                return Err(Error::Busy);
            }
            Err(fs::TryLockError::WouldBlock) => interrupt::sleep(PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// NFS locks only a file that is open for writing. Elsewhere the right to write it is not needed.
fn open_to_lock(path: &Path) -> io::Result<File> {
    match File::options().read(true).write(true).open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            File::open(path)
        }
        opened => opened,
    }
}

impl Locked {
    /// The first bytes of the file.
    pub(super) fn start(&mut self) -> Result<Vec<u8>, Error> {
        let mut start = Vec::with_capacity(START_LEN);
        (&*self.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        (&*self.file).take(START_LEN as u64).read_to_end(&mut start).map_err(failed)?;
        Ok(start)
    }

    pub(super) fn read(&mut self) -> Result<Vec<u8>, Error> {
        (&*self.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        read_from(&self.file)
    }

    /// Replaces the file at `path`; [`sync`](Self::sync) makes that durable. After an error, nothing is changed.
    pub(super) fn replace(&self, path: &Path, contents: &[u8]) -> Result<(), Error> {
        if contents.len() as u64 > MAX_LEN {
            return Err(Error::TooLarge);
        }
        let replace = || {
            let (file, temporary) = temporary_file(folder_of(path))?;
            give_owner_of(path, &file)?;
            (&*file).write_all(contents)?;
            file.sync_all()?;
            Ok(temporary.persist(path)?)
        };
        replace().map_err(failed)?;
        remove_abandoned(folder_of(path));
        Ok(())
    }

    /// Makes the last replacement durable, also that of another process.
    pub(super) fn sync(&self) -> Result<(), Error> {
        /// The file is replaced, but a sync of its folder failed.
        #[derive(Debug, thiserror::Error)]
        #[error("the keyring's file is written, but a power cut may undo this")]
        struct NotDurable(#[source] io::Error);

        self.folder.sync().map_err(|error| Error::Indeterminate(NotDurable(error).into()))
    }
}

/// Writes a new file durably. An existing one is an error.
pub(super) fn create(path: &Path, contents: &[u8]) -> Result<(), Error> {
    check_name(path).map_err(|text| Error::InvalidArgument(text.into()))?;
    let create = || {
        let folder = OpenFolder::of(path)?;
        let (file, temporary) = temporary_file(folder_of(path))?;
        (&*file).write_all(contents)?;
        file.sync_all()?;
        temporary.persist_noclobber(path)?;
        // It is still locked, so nobody has added keys.
        folder.sync().inspect_err(|_| drop(fs::remove_file(path)))
    };
    create().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::InvalidArgument("the keyring's file exists: a keyring is never overwritten".into())
        }
        _ => failed(error),
    })
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

fn failed(error: io::Error) -> Error {
    /// The keyring's file could not be read or written.
    #[derive(Debug, thiserror::Error)]
    #[error("the keyring's file cannot be used")]
    struct Failed(#[source] io::Error);

    if is_no_room(&error) { Error::StorageFull } else { Error::Storage(Failed(error).into()) }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn new() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create(&path, b"old").unwrap();
        (folder, path)
    }

    /// A forked child has the file open, too.
    #[test]
    fn the_lock_ends_although_a_child_has_the_file_open() {
        let (_folder, path) = new();
        for is_replaced in [false, true] {
            let locked = lock(&path).unwrap();
            let inherited = locked.file.try_clone().unwrap();
            if is_replaced {
                locked.replace(&path, b"new").unwrap();
            }
            drop(locked);
            assert!(interrupt::interruptible(|| true, || lock(&path)).is_ok(), "replaced: {is_replaced}");
            drop(inherited);
        }
    }

    #[test]
    fn a_locked_file_is_open_for_writing() {
        let (_folder, path) = new();
        let locked = lock(&path).unwrap();
        assert!(rustix::fs::fcntl_getfl(&*locked.file).unwrap().contains(rustix::fs::OFlags::RDWR));
    }
}
