//! The creation of secret files: atomic, and for their owner alone.
//!
//! A new file has a temporary name, the prefix and 16 hex digits, until it is complete. Its creator holds a lock on it
//! until then, which distinguishes it from the leftover of a killed process.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use crate::util::random;

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
