//! Writes of one record, which wait in a queue ([`commit_queue`](super::commit_queue)) and are committed together.

use std::borrow::Cow;

use super::{Head, Locator, PutMode};

/// The most bytes of an operation in the queue, which has a copy that another thread can apply.
pub(super) const MAX_SHARED_BYTES: usize = 64 << 10;

/// A write of one record.
#[derive(Clone)]
pub(super) enum Operation<'r> {
    Put { locator: Locator, record: Cow<'r, [u8]>, mode: PutMode },
    Delete { locator: Locator, expected: Option<Head> },
}

impl Operation<'_> {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put { record, .. } => record.len(),
            Self::Delete { .. } => 0,
        }
    }

    /// A copy that owns its memory, and its size.
    pub(super) fn to_job(&self) -> (Operation<'static>, usize) {
        let job = match self {
            Self::Put { locator, record, mode } => {
                Operation::Put { locator: *locator, record: Cow::Owned(record.to_vec()), mode: *mode }
            }
            Self::Delete { locator, expected } => Operation::Delete { locator: *locator, expected: *expected },
        };
        (job, self.size())
    }
}
