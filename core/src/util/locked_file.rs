//! Locked files, whose locks end with their owners. A forked child inherits the open file, and with it a share of the
//! lock, so that closing the file in the parent does not release it.

use std::fs::File;
use std::ops::Deref;

use crate::util::fork_check::OwnerProcess;

/// A file that this process has locked, until it is dropped.
#[derive(Debug)]
pub(crate) struct LockedFile {
    file: File,
    owner: OwnerProcess,
}

impl LockedFile {
    /// For a file whose lock this process has just taken.
    pub(crate) fn new(file: File) -> Self {
        Self { file, owner: OwnerProcess::current() }
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

/// Releases the lock for all processes that inherited it. A forked child must not: the lock is the parent's.
impl Drop for LockedFile {
    fn drop(&mut self) {
        if self.owner.is_current() {
            let _ = self.file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_ends_with_its_owner() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let own = open();
        own.try_lock().unwrap();
        let inherited = own.try_clone().unwrap(); // shares the lock, as after a fork
        let own = LockedFile::new(own);
        let of_child = LockedFile { file: inherited.try_clone().unwrap(), owner: own.owner.forked() };
        drop(of_child);
        assert!(open().try_lock().is_err(), "a child released its parent's lock");
        drop(own);
        open().try_lock().expect("a child keeps its parent's lock");
        drop(inherited);
    }
}
