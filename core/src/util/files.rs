//! Durable file names, and the owners of files.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Makes the name of the new file `path` durable.
///
/// A folder that does not support sync (not readable, or on CIFS or FUSE) is not an error: the file exists.
///
/// # Errors
///
/// Another failure to open or to sync the folder.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    OpenFolder::of(path)?.sync()
}

/// The open folder of a file; `None` if it does not support sync. If it is opened before the file gets its name, only
/// the sync itself can fail afterwards.
pub(crate) struct OpenFolder(Option<File>);

impl OpenFolder {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        if !cfg!(unix) {
            return Ok(Self(None));
        }
        if_supported(File::open(folder_of(path))).map(Self)
    }

    /// As [`sync_folder_of`].
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |folder| if_supported(folder.sync_all()).map(drop))
    }
}

/// `None` if the folder does not support sync.
fn if_supported<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if cannot_be_synced(&error) => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn cannot_be_synced(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Whether the error means that there is no space.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// The folder of the file.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with the suffix after its last name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// The files of a database: its own, those of SQLite, and that of the lock of uploads.
#[cfg(feature = "sqlite")]
#[must_use]
pub fn database_files(database: &Path) -> [PathBuf; 5] {
    ["", "-wal", "-shm", "-journal", ".uploads"].map(|suffix| with_suffix(database, suffix))
}

/// The default file of the index key of a database: `<database>.index-key`.
#[cfg(feature = "sqlite")]
#[must_use]
pub fn index_key_file(database: &Path) -> PathBuf {
    with_suffix(database, ".index-key")
}

/// Whether both paths lead to the same file, under any name.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().map(|found| (found.dev(), found.ino())).ok()
    };
    #[cfg(not(unix))]
    let identity = |path: &Path| path.canonicalize().ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether both paths lead to the same file, under any name, or would if one wrote it.
#[cfg(feature = "sqlite")]
#[must_use]
pub fn will_be_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Err(_), Err(_)) => one.file_name() == other.file_name() && is_same_file(folder_of(one), folder_of(other)),
        _ => is_same_file(one, other),
    }
}

/// Options that open no symbolic link: it could lead root to another user's file.
pub(crate) fn without_links() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Fails unless this is a regular file with one name: another name could be that of a foreign file.
pub(crate) fn check_single_name(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    #[cfg(unix)]
    let names = std::os::unix::fs::MetadataExt::nlink(&found);
    #[cfg(not(unix))]
    let names = 1;
    if found.is_file() && names == 1 {
        return Ok(());
    }
    Err(io::Error::other("it is not a regular file with a single name: remove it"))
}

/// Gives `file` the owner and group of the file `model`. Only root can do this, and only root needs to: any other user
/// is the owner already.
#[cfg(unix)]
pub(crate) fn give_owner_of(model: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (wanted, is) = (std::fs::metadata(model)?, file.metadata()?);
    if (wanted.uid(), wanted.gid()) != (is.uid(), is.gid()) {
        fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn give_owner_of(_model: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_without_fsync_is_ignored() {
        for kind in [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported] {
            assert!(cannot_be_synced(&kind.into()), "{kind}");
        }
        for kind in [ErrorKind::NotFound, ErrorKind::StorageFull, ErrorKind::Other] {
            assert!(!cannot_be_synced(&kind.into()), "{kind}");
        }
        assert!(sync_folder_of(Path::new("/nowhere/file")).is_err());
        sync_folder_of(Path::new("file")).unwrap();
    }

    #[test]
    fn one_file_has_many_names() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::write(&other, "").unwrap();
        std::fs::hard_link(&file, &link).unwrap();
        assert!(is_same_file(&file, &link) && is_same_file(&file, &folder.path().join("./file")));
        assert!(!is_same_file(&file, &other) && !is_same_file(&file, &folder.path().join("none")));
        let [none, same, another] = ["none", "./none", "another"].map(|name| folder.path().join(name));
        assert!(will_be_same_file(&file, &link) && will_be_same_file(&none, &same));
        assert!(!will_be_same_file(&none, &another) && !will_be_same_file(&file, &none));
    }

    /// EINVAL from a real file system: `/proc` cannot sync.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_without_fsync_is_no_error() {
        let sync = File::open("/proc/self").unwrap().sync_all();
        assert_eq!(sync.unwrap_err().kind(), ErrorKind::InvalidInput);
        sync_folder_of(Path::new("/proc/self/status")).unwrap();
    }
}
