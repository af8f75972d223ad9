//! Detection of a second copy of SQLite in this process, such as one of another language's binding, that has the same
//! database open.
//!
//! A process loses all its locks on a file when any part of it closes the file. A copy of SQLite takes this into
//! account for itself; but two copies drop each other's locks, and truncate the log's index (`-shm`) while the other
//! uses it. Each copy maps the index into memory, and Linux lists the mappings, so a copy is detected there after it
//! has read the database. Opening the file to check would itself drop the locks.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fork_guard::OpenHandle;
use crate::storage::Error;

/// The databases that this copy has open, with one entry for each claim.
static CLAIMED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A database that this copy of SQLite has open, or is about to open. Drop it after the last connection.
pub(super) struct Claim {
    path: PathBuf,
    fork_guard: OpenHandle,
}

impl Claim {
    /// Claims the database at a resolved path, unless another copy has it open.
    pub(super) fn new(path: &Path, fork_guard: OpenHandle) -> Result<Self, Error> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = usize::from(claimed.iter().any(|other| other == path));
        if mapped(path) > ours {
            let text = format!(
                "another copy of SQLite in this process has {} open, and two copies can damage it: close it there first, \
                 or use another process",
                path.display()
            );
            return Err(Error::InvalidArgument(text.into()));
        }
        claimed.push(path.to_path_buf());
        Ok(Self { path: path.to_path_buf(), fork_guard })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // In a forked child the lock may be held forever, and no database can be opened anyway.
        if self.fork_guard.is_here() {
            let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = claimed.iter().position(|path| *path == self.path) {
                claimed.swap_remove(index);
                claimed.shrink_to_fit(); // no memory is left for leak checkers to report when all are closed
            }
        }
    }
}

/// How many copies have the index of the database's log mapped.
#[cfg(target_os = "linux")]
fn mapped(database: &Path) -> usize {
    use std::os::unix::ffi::OsStrExt;
    let index = crate::util::files::with_suffix(database, "-shm");
    std::fs::read("/proc/self/maps").map_or(0, |maps| count(&maps, index.as_os_str().as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn mapped(_database: &Path) -> usize {
    0
}

/// How often the start of `file` is mapped. A line of `maps` has the fields `addresses rights offset device inode
/// path`.
#[cfg(target_os = "linux")]
fn count(maps: &[u8], file: &[u8]) -> usize {
    let is_start = |line: &&[u8]| {
        let Some(rest) = line.strip_suffix(file) else { return false };
        let mut fields = rest.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let offset = fields.nth(2);
        // Only device and inode remain, because `file` is the whole path.
        offset.is_some_and(|offset| offset.iter().all(|digit| *digit == b'0')) && fields.count() == 2
    };
    maps.split(|byte| *byte == b'\n').filter(is_start).count()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::tests::storage;
    use super::*;
    use crate::storage::Storage;

    fn claims(path: &Path) -> usize {
        let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.iter().filter(|claimed| *claimed == path).count()
    }

    #[test]
    fn an_open_database_is_mapped_and_claimed_once() {
        let (_folder, storage) = storage();
        let found = || (mapped(storage.path()), claims(storage.path()));
        assert_eq!(found(), (1, 1));
        storage.close().unwrap();
        assert_eq!(found(), (0, 0));
    }

    #[test]
    fn the_start_of_the_file_is_counted() {
        let maps = b"\
7f0000000000-7f0000008000 rw-s 00000000 fe:01 131 /data/a b/records.db-shm
7f0000008000-7f0000010000 rw-s 00008000 fe:01 131 /data/a b/records.db-shm
7f0000010000-7f0000018000 rw-s 00000000 fe:01 131                        /data/a b/records.db-shm
7f0000018000-7f0000020000 rw-s 00000000 fe:01 132 /data/a b/records.db-shm (deleted)
7f0000020000-7f0000028000 rw-s 00000000 fe:01 133 /other/data/a b/records.db-shm
7f0000028000-7f0000030000 r--p 00000000 fe:01 134 /data/a b/records.db
7f0000030000-7f0000038000 rw-p 00000000 00:00 0
";
        assert_eq!(count(maps, b"/data/a b/records.db-shm"), 2);
        assert_eq!(count(maps, b"/other/data/a b/records.db-shm"), 1);
        assert_eq!(count(maps, b"b/records.db-shm"), 0);
        assert_eq!(count(maps, b"/data/other.db-shm"), 0);
    }

    #[test]
    fn claims_are_counted() {
        let path = Path::new("/nowhere/claims_are_counted");
        let claim = || Claim::new(path, OpenHandle::enter().unwrap()).unwrap();
        let (one, two) = (claim(), claim());
        assert_eq!(claims(path), 2);
        drop(one);
        assert_eq!(claims(path), 1);
        drop(two);
        assert_eq!(claims(path), 0);
    }
}
