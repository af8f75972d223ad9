//! The index key in a file: the text `srx1...` on a line, readable only by the file's owner.
//!
//! A new file is written under a temporary name, `.index-key-<16 hex digits>`, and renamed. Its creator holds a lock on
//! it until then, which distinguishes it from the leftover of a killed process.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use zeroize::Zeroizing;

use crate::key::{IndexKey, InvalidKey};
use crate::util::files::{folder_of, give_owner_of, is_no_room, sync_folder_of};
use crate::util::random::{self, RandomError};

/// Why an index key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// The message describes the problem and its solution.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("there is no room for the index key's file")]
    NoRoom,
    #[error("cannot use the index key's file {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The maximum length of a file with a key.
const MAX_LEN: usize = 256;

const TEMPORARY: &str = ".index-key-";

/// The default file of the index key of the database at `path`: `<path>.index-key`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".index-key");
    name.into()
}

/// Reads the index key from `path`, if no other user could have changed or read the file. Its owner may also be the
/// owner of the file `database`.
pub(crate) fn read(path: &Path, database: Option<&Path>) -> Result<IndexKey, KeyFileError> {
    if path.as_os_str().is_empty() {
        return Err(KeyFileError::Refused("the path of the index key's file is empty".into()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeyFileError::Missing(path.to_path_buf()),
        _ => failed(path, error),
    })?;
    #[cfg(unix)]
    access::check("the index key's file", path, &file, database).map_err(|error| match error {
        access::Refused::Unsafe(text) => KeyFileError::Refused(text),
        access::Refused::Io(error) => failed(path, error),
    })?;
    #[cfg(not(unix))]
    let _ = database;
    file.take(MAX_LEN as u64).read_to_end(&mut text).map_err(|error| failed(path, error))?;
    Ok(IndexKey::from_text(str::from_utf8(&text).map_err(|_| InvalidKey::Text)?.trim())?)
}

/// Reads the text of the secret `what`, such as "the cluster key's file", from the file at `path`, with the checks of
/// index keys' files.
///
/// # Errors
///
/// [`ErrorKind::PermissionDenied`] with a message that says what to do, if another user could have changed or read the
/// file, and those of the operating system.
pub fn read_secret(what: &str, path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    #[cfg(unix)]
    access::check(what, path, &file, None).map_err(|error| match error {
        access::Refused::Unsafe(text) => io::Error::new(ErrorKind::PermissionDenied, text),
        access::Refused::Io(error) => error,
    })?;
    #[cfg(not(unix))]
    let _ = what;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN));
    file.take(MAX_LEN as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads the index key from `path`, or creates a new one there, for the owner of `database`. The key is durable when
/// this returns. If several processes call this at the same time, one creates the key and all get the same.
pub(crate) fn read_or_create(path: &Path, database: &Path) -> Result<IndexKey, KeyFileError> {
    let key = match read(path, Some(database)) {
        Err(KeyFileError::Missing(_)) => {
            let key = IndexKey::generate()?;
            match create(path, &key, database) {
                Ok(()) => key,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path, Some(database))?,
                Err(error) => return Err(failed(path, error)),
            }
        }
        found => found?,
    };
    // The file's name must be durable, too, even if another process has created the file.
    sync_folder_of(path).map_err(|error| failed(path, error))?;
    remove_abandoned(folder_of(path));
    Ok(key)
}

/// Writes under a temporary name first, so that a file with the real name is complete, and is never overwritten.
fn create(path: &Path, key: &IndexKey, database: &Path) -> io::Result<()> {
    let mut file = temporary_file(folder_of(path))?;
    give_owner_of(database, file.as_file())?;
    file.write_all(key.to_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new, locked file in `folder`, accessible only to its owner, with a random name.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let mut name = [0; 8];
        random::fill(&mut name).map_err(io::Error::other)?;
        let path = folder.join(format!("{TEMPORARY}{:016x}", u64::from_le_bytes(name)));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        // On a file system without locks, no process treats the file as abandoned, either.
        let _ = file.lock();
        if path.try_exists()? {
            return Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(path)?));
        }
        // Another process removed the file as abandoned before it was locked.
    }
}

/// Removes the files of processes that were killed before the rename, as far as that is permitted.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(TEMPORARY);
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The permissions of users other than the owner.
#[cfg(unix)]
mod access {
    use std::fs::{self, File};
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::Path;

    /// Why a file is not used.
    pub(super) enum Refused {
        /// Another user could have changed or read it. The text says what to do.
        Unsafe(String),
        Io(io::Error),
    }

    /// Rejects a file that other users may change, replace or read, as ssh does for its keys.
    ///
    /// Root does not count as another user: it can read any file. A file of root may be readable by all users, because
    /// containers and service managers provide secrets in this way.
    pub(super) fn check(what: &str, path: &Path, file: &File, database: Option<&Path>) -> Result<(), Refused> {
        let us = rustix::process::geteuid().as_raw();
        let database_owner = database.and_then(|database| fs::metadata(database).ok()).map(|database| database.uid());
        let is_trusted = |owner| owner == 0 || owner == us || Some(owner) == database_owner;
        let refuse = |why: String, remedy: String| {
            let path = path.display();
            Err(Refused::Unsafe(format!("{what} {path} is not safe: {why}. {remedy} {path}")))
        };
        let link = fs::symlink_metadata(path).map_err(Refused::Io)?;
        if link.is_symlink() && !is_trusted(link.uid()) {
            let why = format!("it is a symbolic link made by user {}, who can exchange the key", link.uid());
            return refuse(why, "Name the file itself, or remove the link:".into());
        }
        let found = file.metadata().map_err(Refused::Io)?;
        // Other users cannot prepare the contents of a terminal.
        let mode = if found.file_type().is_char_device() { 0 } else { found.mode() & 0o777 };
        let owner = found.uid();
        if !is_trusted(owner) {
            let why = format!("it belongs to user {owner}, and this process runs as user {us}");
            return refuse(why, format!("Make sure that the key is yours, then: chown {us}"));
        }
        if mode & 0o022 != 0 {
            let why = format!("others can change it (mode {mode:04o})");
            return refuse(why, "Make sure that the key is still yours, then: chmod 600".into());
        }
        if owner != 0 && mode & 0o044 != 0 {
            return refuse(format!("others can read it (mode {mode:04o})"), "Run: chmod 600".into());
        }
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> KeyFileError {
    if is_no_room(&source) { KeyFileError::NoRoom } else { KeyFileError::Io { path: path.to_path_buf(), source } }
}
