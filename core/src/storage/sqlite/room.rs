//! Room on the disk for the pages in the log.
//!
//! A checkpoint writes them to the database file, which may have to grow. If it cannot, the log grows until the disk is
//! full, and then no page can be changed any more, not even to remove a record. So work that fills the log without
//! checkpoints stops before.

use std::path::Path;

use super::connection_settings::Commit;
use super::garbage::SEGMENTS_AT_ONCE;
use super::rows::SEGMENT_LEN;

/// A segment in the log or in the database file, with what its pages contain beside it.
const SEGMENT: u64 = SEGMENT_LEN as u64 * 17 / 16;
/// Segments for which there is room beside those in the log and the ones that a transaction removes: the next one, and
/// other writes.
const RESERVE: u64 = 4;
/// Ample room for a log of 256 MiB, at which commits of many records are checkpointed, and for a long commit after it.
const MANY: u64 = 1 << 30;

/// Whether there is room for one more staged segment, for a checkpoint of all, and to remove them.
pub(super) fn has_room_for_segment(log: &Path, staged: u64) -> bool {
    let removed = staged.min(SEGMENTS_AT_ONCE as u64);
    has(log, (staged + removed + RESERVE) * SEGMENT)
}

/// The checkpoint after commits of many records is early if the disk is nearly full.
pub(super) fn commit_with_room(log: &Path, commit: Commit) -> Commit {
    if commit == Commit::Many && !has(log, MANY) { Commit::Durable } else { commit }
}

/// `true` also if it is unknown how much room there is.
fn has(path: &Path, wanted: u64) -> bool {
    available(path).is_none_or(|available| available >= wanted)
}

/// The number of bytes that this process can add to the file system of `path`.
#[cfg(unix)]
fn available(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok().filter(|found| found.f_blocks > 0)?;
    let is_root = rustix::process::geteuid().is_root();
    found.f_frsize.checked_mul(if is_root { found.f_bfree } else { found.f_bavail })
}

#[cfg(not(unix))]
fn available(_path: &Path) -> Option<u64> {
    None
}
