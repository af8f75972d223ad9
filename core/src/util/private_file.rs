//! Files for their owner alone: secrets that are read, and new files.
//!
//! A new file has a temporary name, the prefix and 16 hex digits, until it is complete. Its creator holds a lock on it
//! until then, which distinguishes it from the leftover of a killed process.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};
use zeroize::Zeroizing;

use crate::util::random;

/// The maximum length of a file with one secret.
#[cfg(feature = "sqlite")]
const MAX_SECRET_LEN: usize = 4096;

/// Why a file is not used.
pub(crate) enum Refused {
    /// Another user could have changed or read it. The text says what to do.
    Unsafe(String),
    Io(io::Error),
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unsafe(text) => Self::new(ErrorKind::PermissionDenied, text),
            Refused::Io(error) => error,
        }
    }
}

/// Reads the text of the secret `what`, such as "the cluster key's file", from the file at `path`, with the checks of
/// index keys' files.
///
/// # Errors
///
/// [`ErrorKind::PermissionDenied`] with a message that says what to do, if another user could have changed or read the
/// file; [`ErrorKind::InvalidData`] if it is not text of at most 4,096 bytes; those of the operating system.
#[cfg(feature = "sqlite")]
pub fn read_secret(what: &str, path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_checked(what, path, File::open(path)?, None, MAX_SECRET_LEN + 1)?;
    if bytes.len() > MAX_SECRET_LEN {
        return Err(io::Error::new(ErrorKind::InvalidData, "it has more than 4096 bytes"));
    }
    let text = str::from_utf8(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads at most `max_len` bytes of `file`, which is open at `path`, if no other user could have changed or read it. Its
/// owner may also be the owner of the file `database`.
pub(crate) fn read_checked(
    what: &str,
    path: &Path,
    file: File,
    database: Option<&Path>,
    max_len: usize,
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    check(what, path, &file, database)?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len));
    file.take(max_len as u64).read_to_end(&mut bytes).map_err(Refused::Io)?;
    Ok(bytes)
}

/// A new, locked file in `folder`, accessible only to its owner, with a random name.
pub(crate) fn temporary_file(prefix: &str, folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let mut name = [0; 8];
        random::fill(&mut name).map_err(io::Error::other)?;
        let path = folder.join(format!("{prefix}{:016x}", u64::from_le_bytes(name)));
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
pub(crate) fn remove_abandoned(prefix: &str, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| is_temporary(prefix, name))
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_temporary(prefix: &str, name: &str) -> bool {
    let digits = name.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Rejects a file that other users may change, replace or read, as ssh does for its keys.
///
/// Root does not count as another user: it can read any file. A file of root may be readable by all users, because
/// containers and service managers provide secrets in this way.
#[cfg(unix)]
pub(crate) fn check(what: &str, path: &Path, file: &File, database: Option<&Path>) -> Result<(), Refused> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

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

#[cfg(not(unix))]
pub(crate) fn check(_what: &str, _path: &Path, _file: &File, _database: Option<&Path>) -> Result<(), Refused> {
    Ok(())
}
