//! Detection of open files that were removed, renamed or replaced.
//!
//! Writes to such a file are lost, and no call fails. This applies to the database, its log and the log's index.

#[cfg(unix)]
use std::fs::File;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

#[cfg(unix)]
use super::error::Outcome;
use super::lock;
#[cfg(unix)]
use crate::storage::Error;
#[cfg(unix)]
use crate::util::files::{folder_of, with_suffix};

/// The interval of the checks by reads, and by commits while the folder is unchanged.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The age of a folder's state after which the next change certainly results in another state: the clocks of file
/// systems advance in ticks of at most 10 ms, or of 2 s if they have no fractions of a second.
#[cfg(unix)]
const TIMESTAMP_GRANULARITY: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(2500)];

/// A file of the store was removed, renamed or replaced.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} was removed, renamed or replaced while the store was open: put it back or restore a backup, then open the \
     store again"
)]
pub(super) struct Moved(String);

pub(super) struct FileIdentityGuard {
    #[cfg(unix)]
    files: Vec<(PathBuf, Option<FileId>)>,
    #[cfg(unix)]
    folder: Folder,
    #[cfg(unix)]
    verified: Mutex<Option<VerifiedState>>,
    opened: Instant,
    /// The time of the next check by reads, in milliseconds after `opened`.
    next: AtomicU64,
}

#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
struct Folder {
    path: PathBuf,
    /// A query of this handle is three times faster than one by name, but does not detect the renaming of a folder
    /// above.
    open: Option<File>,
}

/// A folder, and its modification and change times: seconds and nanoseconds.
#[cfg(unix)]
#[derive(Clone, Copy, PartialEq)]
struct FolderState {
    id: FileId,
    names: (i64, i64),
    own: (i64, i64),
}

/// A state of the folder in which all files had their names.
#[cfg(unix)]
struct VerifiedState {
    state: FolderState,
    since: Instant,
    /// Whether every later change results in another state.
    is_final: bool,
}

/// The identity of a file, without its times: after a query of the times, the next write would set new ones (Linux 6.13
/// and later), and each sync would write them, which costs half as much again.
#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO) {
            Err(rustix::io::Errno::NOSYS) => {}
            found => return found.ok().map(|file| (makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino)),
        }
    }
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(unix)]
impl Folder {
    fn new(path: &Path) -> Self {
        use rustix::fs::{Mode, OFlags, open};
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH; // needs no read permission
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY;
        let folder = open(path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Self { path: path.to_path_buf(), open: folder.ok().map(File::from) }
    }

    fn state(&self) -> Option<FolderState> {
        use std::os::unix::fs::MetadataExt;
        let found = self.open.as_ref().map_or_else(|| std::fs::metadata(&self.path), File::metadata).ok()?;
        Some(FolderState {
            id: (found.dev(), found.ino()),
            names: (found.mtime(), found.mtime_nsec()),
            own: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(unix)]
impl FolderState {
    fn timestamp_granularity(&self) -> Duration {
        let [fine, coarse] = TIMESTAMP_GRANULARITY;
        if self.names.1 == 0 { coarse } else { fine }
    }
}

impl FileIdentityGuard {
    /// Guards a database that `connection` has open, and the files with these suffixes. The files that have these names
    /// now must be the database's own.
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
        let folder = Folder::new(folder_of(path));
        Ok(Self { files, folder, verified: Mutex::new(None), opened: Instant::now(), next: AtomicU64::new(0) })
    }

    /// As [`check`](Self::check), but with only one system call while no name in the folder changes. The renaming of a
    /// folder above it is detected a little later.
    #[cfg(unix)]
    pub(super) fn check_at_commit(&self) -> Outcome<()> {
        let (asked, state) = (Instant::now(), self.folder.state());
        let mut verified = lock(&self.verified);
        let before = verified.take_if(|verified| Some(verified.state) != state || !verified.is_final);
        if verified.is_some() {
            return self.check_at_interval();
        }
        self.check()?;
        *verified = state.map(|state| match before.filter(|before| before.state == state) {
            Some(before) => VerifiedState {
                is_final: asked.duration_since(before.since) >= state.timestamp_granularity(),
                ..before
            },
            None => VerifiedState { state, since: Instant::now(), is_final: false },
        });
        Ok(())
    }

    /// Fails with [`Moved`] if one of the files was removed, renamed or replaced. Like `SQLITE_FCNTL_HAS_MOVED`, it
    /// makes one system call for each file, but needs no connection: a connection that was opened too late has the
    /// wrong file.
    #[cfg(unix)]
    pub(super) fn check(&self) -> Outcome<()> {
        let mut files = self.files.iter();
        match files.find(|(path, id)| id.is_some() && file_id(path) != *id) {
            None => Ok(()),
            Some((path, _)) => Err(Error::Backend(Moved(path.display().to_string()).into()).into()),
        }
    }

    /// Open files cannot be removed on these systems.
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

    /// As [`check`](Self::check), at most once in each interval.
    pub(super) fn check_at_interval(&self) -> Outcome<()> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.opened.elapsed());
        if now < self.next.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next.store(now.saturating_add(millis(CHECK_INTERVAL)), Ordering::Relaxed);
        self.check()
    }
}
