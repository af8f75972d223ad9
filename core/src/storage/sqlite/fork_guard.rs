//! Detection of handles that were open when this process was forked: their use is an error in the child.
//!
//! SQLite keeps its table of file locks in the memory of the process, and a forked child inherits it. If the child
//! opens the database, SQLite therefore assumes that it already has the locks; the parent, on closing, assumes that it
//! is the last user, and removes the log that the child uses. Such a child must not open a database at all.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Error;
use crate::util::fork_check::OwnerProcess;

/// The number of open handles in the low 32 bits, and the id of the process that opened them in the high ones.
static HANDLES: AtomicU64 = AtomicU64::new(0);

const COUNT: u64 = 0xffff_ffff;

/// The count of an open handle. It must be dropped after the last connection. Only a drop in the process that made it
/// decreases the count.
pub(super) struct OpenHandle {
    owner: OwnerProcess,
}

impl OpenHandle {
    pub(super) fn enter() -> Result<Self, Error> {
        let process = std::process::id();
        let entered = HANDLES.fetch_update(Ordering::AcqRel, Ordering::Acquire, |handles| entered(handles, process));
        entered.map(|_| Self { owner: OwnerProcess::current() }).map_err(|_| Error::Forked)
    }

    /// Whether this is the process that made the handle.
    pub(super) fn is_here(&self) -> bool {
        self.owner.is_current()
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        if self.is_here() {
            HANDLES.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// `handles` with one more of `process`; `None` if handles of a parent were open at the fork.
fn entered(handles: u64, process: u32) -> Option<u64> {
    let owner = u64::from(process) << 32;
    match (handles & COUNT, handles & !COUNT) {
        (0, _) => Some(owner | 1),
        (_, other) if other != owner => None,
        (COUNT, _) => None,
        _ => Some(handles + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_opens_nothing_while_it_has_inherited_handles() {
        let one = entered(0, 7).unwrap();
        let two = entered(one, 7).unwrap();
        assert_eq!(two & COUNT, 2);
        assert_eq!(entered(two, 8), None);
        assert_eq!(entered(one, 8), None);
        assert!(entered(one - 1, 8).is_some(), "all were closed before the fork");
        assert_eq!(entered(one | COUNT, 7), None, "as many as can be counted");
    }
}
