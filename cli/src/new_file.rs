//! New files, which get their names when they are complete. Until then they have no name, if the system supports that,
//! so that no signal and no crash leaves an incomplete file. Otherwise they have a temporary name, which is removed by
//! any signal or, after a crash, by the next command that writes to the folder. A file with the only copy of its data
//! has a temporary name that no command removes.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use strongroom::{folder_of, sync_folder_of};
use tempfile::TempPath;

use crate::interrupt;

/// Temporary names: this prefix and 16 random letters and digits.
const TEMPORARY: &str = ".strongroom-unfinished-";
/// The same of a file with the only copy of its data. No command removes it, and the user sees it.
const ONLY_COPY: &str = "strongroom-taken-";
const RANDOM_LEN: usize = 16;
/// The temporary names of the library: this prefix and 16 hex digits.
#[cfg(unix)]
const TEMPORARY_OF_LIBRARY: &str = ".strongroom-unfinished-file-";

/// A new file, readable only by its owner, in the folder of its future name.
pub(crate) struct NewFile {
    file: File,
    /// Its temporary name, if it has one.
    temporary: Option<TempPath>,
}

impl NewFile {
    pub(crate) fn create_beside(path: &Path) -> io::Result<Self> {
        let folder = prepare(path)?;
        match nameless(folder) {
            Some(file) => Ok(Self { file, temporary: None }),
            None => Self::create_named(folder, TEMPORARY),
        }
    }

    /// Always with a temporary name, which it keeps if it cannot get its own: a rename to a third name could fail, too.
    pub(crate) fn create_named_beside(path: &Path) -> io::Result<Self> {
        Self::create_named(prepare(path)?, ONLY_COPY)
    }

    fn create_named(folder: &Path, prefix: &'static str) -> io::Result<Self> {
        loop {
            let signals = interrupt::defer_signals()?;
            // Only the error's kind: the library's message contains the temporary name.
            let named = temporary_builder(prefix).tempfile_in(folder).map_err(|error| error.kind())?;
            let (file, temporary) = named.into_parts();
            signals.remove_at_signal(&temporary);
            if mark_as_alive(&file, &temporary) {
                return Ok(Self { file, temporary: Some(temporary) });
            }
        }
    }

    /// Writes the data to the disk (fsync).
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name; `AlreadyExists` if the name is taken.
    pub(crate) fn name(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        match self.temporary {
            None => link(&self.file, path)?,
            Some(temporary) => temporary.persist_noclobber(path).map_err(|error| error.error)?,
        }
        sync_folder_of(path).inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// Gives the file its name, and replaces the file that had it.
    pub(crate) fn replace(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        let _signals = interrupt::defer_signals().ok(); // one between two names would leave the file
        let temporary = match self.temporary {
            Some(temporary) => temporary,
            None => match link(&self.file, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => temporary_name(&self.file, folder_of(path))?,
                linked => return linked.and_then(|()| sync_folder_of(path)),
            },
        };
        temporary.persist(path).map_err(|error| error.error)?;
        sync_folder_of(path)
    }

    /// From now on, a signal does not remove the file.
    pub(crate) fn keep_at_signal(&self) {
        if let (Some(temporary), Ok(signals)) = (&self.temporary, interrupt::defer_signals()) {
            signals.keep_at_signal(temporary);
        }
    }

    /// As [`replace`](Self::replace), of a file with a temporary name. If it cannot get its name, it keeps the
    /// temporary one, which is returned with the error.
    pub(crate) fn replace_or_keep(self, path: &Path) -> Result<(), (io::Error, Option<PathBuf>)> {
        let Some(temporary) = self.temporary else { return Err((ErrorKind::Unsupported.into(), None)) };
        let failed = match self.file.sync_all() {
            Ok(()) => temporary.persist(path).err().map(|failed| (failed.error, failed.path)),
            Err(error) => {
                let text = format!("the data may be incomplete: {error}");
                Some((io::Error::new(error.kind(), text), temporary))
            }
        };
        let Some((error, temporary)) = failed else {
            return sync_folder_of(path).map_err(|error| (error, Some(path.to_path_buf())));
        };
        let kept = temporary.keep().ok();
        let _ = sync_folder_of(path);
        Err((error, kept))
    }

    /// Keeps an incomplete file under its temporary name, which is returned. An empty one is removed.
    pub(crate) fn keep(self) -> Option<PathBuf> {
        let is_empty = self.file.metadata().is_ok_and(|found| found.len() == 0);
        let kept = self.temporary.filter(|_| !is_empty)?.keep().ok()?;
        let _ = self.file.sync_all().and_then(|()| sync_folder_of(&kept));
        Some(kept)
    }
}

/// The folder of a new file with this name, which can be a file's.
fn prepare(path: &Path) -> io::Result<&Path> {
    if path.as_os_str().as_encoded_bytes().ends_with(std::path::MAIN_SEPARATOR_STR.as_bytes()) {
        return Err(ErrorKind::IsADirectory.into());
    }
    let folder = folder_of(path);
    folder.metadata()?; // with the system's error
    if let Err(error) = path.symlink_metadata()
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error); // such as a name that is too long
    }
    remove_dead(folder);
    Ok(folder)
}

impl Write for NewFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn temporary_builder(prefix: &'static str) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).rand_bytes(RANDOM_LEN);
    builder
}

/// A temporary name for the file with this number of this process.
#[cfg(unix)]
pub(crate) fn numbered_temporary_name(number: u64) -> String {
    // The number has eight digits in a process that makes fewer than four billion files.
    format!("{TEMPORARY}{:08x}{:08x}", std::process::id(), number & u64::from(u32::MAX))
}

#[cfg(unix)]
fn is_temporary_name(name: &[u8]) -> bool {
    let random = name.strip_prefix(TEMPORARY.as_bytes());
    random.is_some_and(|random| random.len() == RANDOM_LEN && random.iter().all(u8::is_ascii_alphanumeric))
}

/// Whether this is a temporary name of the program, or of the library's key files and keyrings, which the library
/// removes.
#[cfg(unix)]
pub(crate) fn is_unfinished(name: &[u8]) -> bool {
    let of_library = name.strip_prefix(TEMPORARY_OF_LIBRARY.as_bytes());
    is_temporary_name(name)
        || of_library.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// A nameless file that can get a name; `None` if the system does not support it, or the folder is not writable.
#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = rustix::fs::OFlags::TMPFILE.bits();
    let file = File::options().write(true).custom_flags(flags.try_into().ok()?).mode(0o600).open(folder).ok()?;
    can_be_linked(&file).then_some(file)
}

#[cfg(not(target_os = "linux"))]
fn nameless(_folder: &Path) -> Option<File> {
    None
}

/// The path of a nameless file.
#[cfg(unix)]
pub(crate) fn path_of_nameless(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)).into()
}

/// Whether a nameless file can get a name: `/proc` is not mounted in each container.
#[cfg(target_os = "linux")]
pub(crate) fn can_be_linked(file: &File) -> bool {
    is_at(file, &path_of_nameless(file))
}

#[cfg(target_os = "linux")]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    let file = file.metadata().map(identity);
    file.is_ok_and(|file| path.metadata().is_ok_and(|found| identity(found) == file))
}

/// Gives a nameless file this name, if the name is free.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};

    Ok(linkat(CWD, path_of_nameless(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _path: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Gives a nameless file a temporary name.
fn temporary_name(file: &File, folder: &Path) -> io::Result<TempPath> {
    lock(file);
    Ok(temporary_builder(TEMPORARY).make_in(folder, |path| link(file, path))?.into_temp_path())
}

/// Removes the temporary files of killed programs.
#[cfg(unix)]
fn remove_dead(folder: &Path) {
    use rustix::fs::{CWD, Mode, OFlags, openat};

    if let Ok(folder) = openat(CWD, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        remove_dead_in(std::os::fd::AsFd::as_fd(&folder));
    }
}

/// Removes the temporary files and links of killed programs. A link has no lock: its program, if it is alive, makes
/// another one.
#[cfg(unix)]
pub(crate) fn remove_dead_in(folder: std::os::fd::BorrowedFd<'_>) {
    use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
    use rustix::fs::{flock, fstat, openat, statat, unlinkat};

    let user = rustix::process::geteuid().as_raw();
    let is_own = |found: rustix::io::Result<Stat>, kind| {
        found.is_ok_and(|found| found.st_uid == user && FileType::from_raw_mode(found.st_mode) == kind)
    };
    let Ok(entries) = Dir::read_from(folder) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary_name(entry.file_name().to_bytes())) {
        let name = entry.file_name();
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty());
        let is_dead = match &file {
            Ok(file) => {
                is_own(fstat(file), FileType::RegularFile)
                    && flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
            }
            Err(_) => is_own(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW), FileType::Symlink),
        };
        if is_dead {
            let _ = unlinkat(folder, name, AtFlags::empty()); // while it is locked
        }
    }
}

/// Locks a new file for the lifetime of this process, so that [`remove_dead`] keeps it. Returns `false` if it was
/// removed before.
#[cfg(unix)]
fn mark_as_alive(file: &File, path: &Path) -> bool {
    lock(file);
    path.exists()
}

/// Fails on a file system without locks; [`remove_dead`] then also fails to lock, and removes nothing.
#[cfg(unix)]
fn lock(file: &File) {
    let _ = rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive);
}

#[cfg(not(unix))]
fn remove_dead(_folder: &Path) {}

#[cfg(not(unix))]
fn mark_as_alive(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(not(unix))]
fn lock(_file: &File) {}

/// Creates a folder and its missing parents, accessible only to their owner, and makes their names durable.
pub(crate) fn create_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    folder.ancestors().filter(|folder| folder.parent().is_some()).try_for_each(sync_folder_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `/proc`, or with that of another process.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_nameless_file_is_only_at_its_own_path() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        let file = tempfile::tempfile_in(folder.path()).unwrap();
        assert!(can_be_linked(&file) && is_at(&file, &path_of_nameless(&file)));
        assert!(!is_at(&file, &other));
        assert!(!is_at(&file, &folder.path().join("proc/self/fd/3")));
    }

    #[test]
    fn kept_files_remain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        let mut kept = Vec::new();
        for data in ["first", "second", "third"] {
            let mut file = NewFile::create_named_beside(&path).unwrap();
            file.write_all(data.as_bytes()).unwrap();
            let (_, name) = file.replace_or_keep(&path).unwrap_err();
            kept.push((name.unwrap(), data));
        }
        remove_dead(folder.path());
        for (name, data) in kept {
            assert_eq!(fs::read_to_string(name).unwrap(), data);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_synced_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let mut file = NewFile::create_named_beside(&path).unwrap();
        file.file = File::options().write(true).open("/dev/null").unwrap(); // which refuses fsync
        let (error, name) = file.replace_or_keep(&path).unwrap_err();
        assert!(error.to_string().starts_with("the data may be incomplete: "), "{error}");
        assert!(name.unwrap().exists() && !path.exists());
    }
}
