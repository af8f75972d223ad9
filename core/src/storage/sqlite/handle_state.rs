//! The state of a handle: it allows everything, only reads (after a failed write or sync), or nothing.

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::is_write_error;
use super::file_identity_guard::Moved;
use crate::storage::Error;

// A state never returns to an earlier one.
const OPEN: u8 = 0;
const READS_ONLY: u8 = 1;
const MOVED: u8 = 2;
const CLOSED: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct HandleState(AtomicU8);

impl HandleState {
    pub(super) fn check_readable(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            OPEN | READS_ONLY => Ok(()),
            MOVED => Err(Error::Poisoned),
            _ => Err(Error::Closed),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            OPEN => Ok(()),
            READS_ONLY | MOVED => Err(Error::Poisoned),
            _ => Err(Error::Closed),
        }
    }

    /// Takes note of the failure of a read, which shows at most that the files were moved.
    pub(super) fn note_read(&self, error: &Error) {
        if matches!(error, Error::Backend(source) if source.is::<Moved>()) {
            self.advance(MOVED);
        }
    }

    /// The same for a write, and for a checkpoint.
    pub(super) fn note_write(&self, error: &Error) {
        self.note_read(error);
        if matches!(error, Error::Indeterminate(_)) || is_write_error(error) {
            self.refuse_writes();
        }
    }

    /// A failed fsync must not be repeated: the system may have dropped the data that it could not write, and the next
    /// fsync would succeed without it. Reads continue, because a read sees no commit that failed, and writes nothing.
    pub(super) fn refuse_writes(&self) {
        self.advance(READS_ONLY);
    }

    /// Returns whether the database was in order until now.
    pub(super) fn close(&self) -> bool {
        self.0.swap(CLOSED, Ordering::AcqRel) == OPEN
    }

    fn advance(&self, state: u8) {
        self.0.fetch_max(state, Ordering::AcqRel);
    }
}
