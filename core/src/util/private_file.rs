//! The creation of secret files: atomic, and for their owner alone.
//!
//! A new file has a temporary name until it is complete. Its creator holds a lock on it until then, which distinguishes
//! it from the leftover of a killed process.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::Path;

use tempfile::TempPath;

use crate::util::files::without_links;
use crate::util::locked_file::LockedFile;
use crate::util::random;

/// The start of the temporary names of the library and the program.
pub(crate) const UNFINISHED: &str = ".strongroom-unfinished-";
/// The temporary names here: this prefix and 16 hex digits. The program's have no further `-`.
const TEMPORARY: &str = ".strongroom-unfinished-file-";

/// Rejects a path whose name could be a temporary one: its file could be removed as abandoned.
pub(crate) fn check_name(path: &Path) -> Result<(), String> {
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())) {
        let path = path.display();
        return Err(format!("the name {path} is that of an unfinished file, which may be removed: use another name"));
    }
    Ok(())
}

/// A new, locked file in `folder`, accessible only to its owner, with a temporary name.
pub(crate) fn temporary_file(folder: &Path) -> io::Result<(LockedFile, TempPath)> {
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
        while file.lock().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {} // by a signal
        let file = LockedFile::new(file);
        if path.try_exists()? {
            return Ok((file, TempPath::try_from_path(path)?));
        }
        // Another process removed the file as abandoned before it was locked.
    }
}

/// Removes the files of this user's processes that were killed before the rename, as far as that is permitted.
pub(crate) fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name())
            && entry.metadata().is_ok_and(|found| found.is_file() && is_own(&found))
            && let Ok(file) = without_links().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _locked = LockedFile::new(file); // its creator may just have given it its name
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_temporary(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(unix)]
fn is_own(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(file) == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_own(_file: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, temporary) = temporary_file(folder.path()).unwrap();
        let name = |end: &str| folder.path().join(format!("{TEMPORARY}{end}"));
        let others = ["0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", ""].map(name);
        let of_program = folder.path().join(format!("{UNFINISHED}0123456789abcdef"));
        let kept = [&others[..], &[of_program]].concat();
        let folder_with_name = name("fedcba9876543210");
        fs::create_dir(&folder_with_name).unwrap();
        kept.iter().chain([&name("0123456789abcdef")]).for_each(|path| fs::write(path, "").unwrap());
        remove_abandoned(folder.path());
        assert!(!name("0123456789abcdef").exists());
        assert!(kept.iter().chain([&folder_with_name]).all(|path| path.exists()));
        assert!(temporary.exists());
        drop(alive);
        remove_abandoned(folder.path());
        assert!(!temporary.exists());
    }

    /// The lock must not stay on a file that has its name.
    #[test]
    fn the_lock_ends_although_a_child_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        let (file, temporary) = temporary_file(folder.path()).unwrap();
        let inherited = file.try_clone().unwrap();
        temporary.persist(&path).unwrap();
        drop(file);
        File::open(&path).unwrap().try_lock().unwrap();
        drop(inherited);
    }

    #[test]
    fn names_of_unfinished_files_are_refused() {
        for refused in [".strongroom-unfinished-0123456789abcdef", "a/.strongroom-unfinished-file-0123456789abcdef"] {
            check_name(Path::new(refused)).unwrap_err();
        }
        for name in ["keys", ".strongroom-unfinished", ".strongroom-unfinished-/keys", ""] {
            check_name(Path::new(name)).unwrap();
        }
    }
}
