//! Whether the files that are open are still those under their names.
//!
//! An open file goes on without its name: what is written to it after it was removed, renamed or replaced is lost, and
//! nothing fails. The database's log and its index are as much a part of the store as the database.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::error::Outcome;
#[cfg(unix)]
use super::lock;
#[cfg(unix)]
use super::path::with_suffix;
#[cfg(unix)]
use crate::storage::Error;
#[cfg(unix)]
use crate::util::files::folder_of;

/// How often reads ask.
const EVERY: Duration = Duration::from_millis(100);

/// The store's file is gone from its place.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} was removed, renamed or replaced while the store was open: put it back or restore a backup, then open the \
     store again"
)]
pub(super) struct Moved(String);

pub(super) struct InPlace {
    #[cfg(unix)]
    files: Vec<(PathBuf, Option<FileId>)>,
    #[cfg(unix)]
    folder: PathBuf,
    /// In this state of the folder all files were in their places.
    #[cfg(unix)]
    good: Mutex<Option<FolderState>>,
    opened: Instant,
    /// Milliseconds after `opened` at which reads ask next.
    next: AtomicU64,
}

#[cfg(unix)]
type FileId = (u64, u64);

/// A folder, and when a name in it came or went last: seconds and nanoseconds.
#[cfg(unix)]
type FolderState = (FileId, i64, i64);

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(unix)]
fn folder_state(folder: &Path) -> Option<FolderState> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(folder).ok()?;
    Some(((found.dev(), found.ino()), found.mtime(), found.mtime_nsec()))
}

/// Whether the last change was long ago.
#[cfg(unix)]
fn is_settled((_, seconds, _): &FolderState) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u64::try_from(*seconds).is_ok_and(|seconds| seconds.saturating_add(2) < now)
}

impl InPlace {
    /// For a database that `connection` has open, and the files with these suffixes: what lies under their names now is its
    /// own.
    #[cfg(unix)]
    pub(super) fn new(path: &Path, suffixes: &[&str], connection: &Connection) -> Outcome<Self> {
        let with_id = |path: PathBuf| {
            let id = file_id(&path);
            (path, id)
        };
        let files = suffixes.iter().map(|suffix| with_id(with_suffix(path, suffix))).collect();
        let mut moved = 0;
        connection.file_control(Some(rusqlite::MAIN_DB), rusqlite::FileControl::HasMoved(&mut moved))?;
        if moved != 0 {
            return Err(Error::Backend(Moved(path.display().to_string()).into()).into());
        }
        let folder = folder_of(path).to_path_buf();
        Ok(Self { files, folder, good: Mutex::new(None), opened: Instant::now(), next: AtomicU64::new(0) })
    }

    /// As [`check`](Self::check), but asks the system once, as long as no name in the folder changes.
    #[cfg(unix)]
    pub(super) fn check_at_commit(&self) -> Outcome<()> {
        let state = folder_state(&self.folder);
        let mut good = lock(&self.good);
        if state.is_none() || *good != state {
            self.check()?;
            // File systems have coarse clocks: the next change may have the time of one that has just been.
            *good = state.filter(is_settled);
        }
        Ok(())
    }

    /// Fails with [`Moved`] where one of the files is not in its place. As `SQLITE_FCNTL_HAS_MOVED` does, it asks the system
    /// once for each, but needs no connection: one that is opened too late has the wrong file.
    #[cfg(unix)]
    pub(super) fn check(&self) -> Outcome<()> {
        let mut files = self.files.iter();
        match files.find(|(path, id)| id.is_some() && file_id(path) != *id) {
            None => Ok(()),
            Some((path, _)) => Err(Error::Backend(Moved(path.display().to_string()).into()).into()),
        }
    }

    /// Open files cannot be removed there.
    #[cfg(not(unix))]
    pub(super) fn new(_path: &Path, _suffixes: &[&str], _connection: &Connection) -> Outcome<Self> {
        Ok(Self { opened: Instant::now(), next: AtomicU64::new(0) })
    }

    #[cfg(not(unix))]
    pub(super) fn check(&self) -> Outcome<()> {
        Ok(())
    }

    #[cfg(not(unix))]
    pub(super) fn check_at_commit(&self) -> Outcome<()> {
        Ok(())
    }

    /// The same, if the last time was a while ago.
    pub(super) fn check_now_and_then(&self) -> Outcome<()> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.opened.elapsed());
        if now < self.next.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next.store(now.saturating_add(millis(EVERY)), Ordering::Relaxed);
        self.check()
    }
}
