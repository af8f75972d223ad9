//! The folder that a tree is stored from or restored to. Every path is followed name by name, and never through a link:
//! nothing is read or written outside of the folder. A restored file gets its name when it is complete.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_os = "linux")]
use rustix::fs::chmodat;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, flock, fstat,
    futimens, linkat, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::manifest::{Entry, Kind, Modified, PERMISSIONS, split};
use crate::interrupt::defer_signals;
use crate::new_file::{numbered_temporary_name, path_of_nameless};

/// The folder of a tree.
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens the folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, FOLDER, Mode::empty())?))
    }

    /// Opens the folder, and makes it if it does not exist.
    pub(super) fn open_or_create(path: &Path) -> io::Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// Opens a folder of the tree.
    pub(super) fn folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut folder = self.0.try_clone()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(folder)
    }

    /// Opens a file of the tree to read it. A pipe in its place does not block.
    pub(super) fn file(&self, path: &[u8]) -> io::Result<File> {
        let (folder, name) = split(path);
        Ok(openat(self.folder(folder)?, name, READ_FILE, Mode::empty())?.into())
    }

    /// Opens or makes a folder of the tree, in a folder that exists. It is accessible for this user alone until it gets
    /// its mode.
    pub(super) fn make_folder(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let parent = self.folder(parent)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let mode = |folder: &OwnedFd| Ok::<_, Errno>(Mode::from_raw_mode(fstat(folder)?.st_mode));
        match openat(&parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(folder) if mode(&folder)?.contains(Mode::RWXU) => Ok(()),
            Ok(folder) => Ok(fchmod(&folder, mode(&folder)? | Mode::RWXU)?),
            #[cfg(target_os = "linux")]
            Err(Errno::ACCESS) => {
                // Such a descriptor needs no right to read the folder, but `fchmod` refuses it.
                let folder = openat(&parent, name, FOLDER | OFlags::NOFOLLOW | OFlags::PATH, Mode::empty())?;
                Ok(chmodat(&folder, ".", mode(&folder)? | Mode::RWXU, AtFlags::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a folder its mode and its time.
    pub(super) fn finish_folder(&self, path: &[u8], entry: &Entry) -> io::Result<()> {
        finish(&self.folder(path)?, entry.mode, Some(entry.modified))
    }

    /// Writes all files to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.0)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);
const READ_FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// The object at the place of a file or a link.
pub(super) enum Present {
    Nothing,
    /// The same as in the tree: its device and inode.
    Same((u64, u64)),
    /// One of the same kind.
    Other((u64, u64)),
}

/// Compares the tree's entry with what is in its place: a file's size and time, a link's target.
///
/// # Errors
///
/// `AlreadyExists` if it is of another kind.
pub(super) fn present(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> io::Result<Present> {
    let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Present::Nothing),
        Err(error) => return Err(error.into()),
    };
    let is_same = match (&entry.kind, FileType::from_raw_mode(found.st_mode)) {
        (Kind::File { size, .. }, FileType::RegularFile) => {
            u64::try_from(found.st_size) == Ok(*size) && modified(&found) == entry.modified
        }
        (Kind::Link { target }, FileType::Symlink) => {
            readlinkat(folder, name, Vec::new())?.as_bytes() == target.as_slice()
        }
        _ => return Err(io::Error::new(ErrorKind::AlreadyExists, "there is something else in its place")),
    };
    Ok(if is_same { Present::Same(identity(&found)) } else { Present::Other(identity(&found)) })
}

/// Gives a file that is the same its mode.
pub(super) fn set_mode(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> io::Result<()> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if found.st_mode & PERMISSIONS == entry.mode {
        return Ok(());
    }
    Ok(fchmod(openat(folder, name, READ_FILE, Mode::empty())?, Mode::from_raw_mode(entry.mode))?)
}

/// A file without a name, or with a temporary one.
pub(super) struct NewFile<'f> {
    folder: BorrowedFd<'f>,
    pub(super) file: File,
    temporary: Option<String>,
}

impl<'f> NewFile<'f> {
    pub(super) fn create(folder: BorrowedFd<'f>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(file) = openat(folder, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, PRIVATE)
            && let file = File::from(file)
            && crate::new_file::can_be_linked(&file)
        {
            return Ok(Self { folder, file, temporary: None });
        }
        loop {
            let for_cleanup = folder.try_clone_to_owned()?;
            let signals = defer_signals()?;
            let (file, name) = with_temporary_name(|name| {
                openat(folder, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC, PRIVATE)
            })?;
            signals.remove_in_at_signal(for_cleanup, &name);
            lock(&file);
            if statat(folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Ok(Self { folder, file: file.into(), temporary: Some(name) });
            }
            keep_at_signal(&name); // another program has removed it before the lock
        }
    }

    /// Gives the file its mode, its time and its name. A file with this name is replaced.
    pub(super) fn finish(mut self, name: &[u8], mode: u32, modified: Option<Modified>) -> io::Result<()> {
        // If the program is killed here, the next one must be able to open the file to remove it.
        let removable = mode | PRIVATE.as_raw_mode();
        finish(&self.file, removable, modified)?;
        self.name(name)?;
        if removable == mode { Ok(()) } else { Ok(fchmod(&self.file, Mode::from_raw_mode(mode))?) }
    }

    fn name(&mut self, name: &[u8]) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            renameat(self.folder, temporary.as_str(), self.folder, name)?;
            keep_at_signal(temporary);
            self.temporary = None;
            return Ok(());
        }
        let path = path_of_nameless(&self.file);
        let link = |name: &[u8]| linkat(CWD, path.as_path(), self.folder, name, AtFlags::SYMLINK_FOLLOW);
        match link(name) {
            Err(Errno::EXIST) => {
                lock(&self.file);
                replace(self.folder, name, |name| link(name.as_bytes()))
            }
            outcome => Ok(outcome?),
        }
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(self.folder, temporary.as_str(), AtFlags::empty());
            keep_at_signal(temporary);
        }
    }
}

/// From now on, a signal does not remove this temporary name.
fn keep_at_signal(temporary: &str) {
    if let Ok(signals) = defer_signals() {
        signals.keep_at_signal(temporary.as_ref());
    }
}

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes a link, which replaces another one.
pub(super) fn make_link(folder: BorrowedFd<'_>, name: &[u8], target: &[u8], modified: Modified) -> io::Result<()> {
    match symlinkat(target, folder, name) {
        Err(Errno::EXIST) => replace(folder, name, |name| symlinkat(target, folder, name))?,
        outcome => outcome?,
    }
    Ok(utimensat(folder, name, &times(Some(modified)), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Replaces `name` with what `make` makes under a temporary name.
fn replace(
    folder: BorrowedFd<'_>,
    name: &[u8],
    mut make: impl FnMut(&str) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let _signals = defer_signals().ok(); // one between the two names would leave the temporary one
    loop {
        let ((), temporary) = with_temporary_name(&mut make)?;
        match renameat(folder, temporary.as_str(), folder, name) {
            Err(Errno::NOENT) => {} // another program has removed it, as that of a killed one
            Err(error) => {
                let _ = unlinkat(folder, temporary.as_str(), AtFlags::empty());
                return Err(error.into());
            }
            Ok(()) => return Ok(()),
        }
    }
}

/// Keeps the file from the programs that remove the temporary files of killed ones.
fn lock(file: impl AsFd) {
    let _ = flock(file, FlockOperation::LockExclusive);
}

/// Calls `make` with new names until one is free.
fn with_temporary_name<T>(mut make: impl FnMut(&str) -> rustix::io::Result<T>) -> io::Result<(T, String)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);

    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = numbered_temporary_name(number);
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?, name)),
        }
    }
}

fn finish(file: impl AsFd, mode: u32, modified: Option<Modified>) -> io::Result<()> {
    fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(futimens(&file, &times(modified))?)
}

fn times(modified: Option<Modified>) -> Timestamps {
    let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = modified.map_or(unchanged, |time| Timespec { tv_sec: time.0, tv_nsec: time.1.into() });
    Timestamps { last_access: unchanged, last_modification: modified }
}

pub(super) fn modified(found: &Stat) -> Modified {
    Modified(found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or(0))
}

pub(super) fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// The next command can open the file of a killed one only if its owner may write it.
    #[test]
    fn a_file_without_its_name_stays_removable() {
        let world = tempfile::tempdir().unwrap();
        fs::create_dir_all(world.path().join("folder/inner")).unwrap();
        let folder = File::open(world.path()).unwrap();
        let mode_of = |file: fs::Metadata| file.mode() & 0o7777;
        for mode in [0o444, 0o400, 0o200, 0o000, 0o555, 0o640, 0o755] {
            for has_temporary_name in [false, true] {
                let make = || {
                    if !has_temporary_name {
                        return NewFile::create(folder.as_fd()).unwrap();
                    }
                    let file = File::create_new(world.path().join("temporary")).unwrap();
                    NewFile { folder: folder.as_fd(), file, temporary: Some("temporary".into()) }
                };
                let new = make();
                let unnamed = new.file.try_clone().unwrap();
                new.finish(b"folder", mode, None).unwrap_err(); // a folder has this name
                assert_eq!(mode_of(unnamed.metadata().unwrap()), mode | 0o600);
                for _ in ["new", "replaced"] {
                    make().finish(b"file", mode, None).unwrap();
                    assert_eq!(mode_of(fs::metadata(world.path().join("file")).unwrap()), mode);
                }
                fs::remove_file(world.path().join("file")).unwrap();
            }
            assert_eq!(fs::read_dir(world.path()).unwrap().count(), 1);
        }
    }
}
