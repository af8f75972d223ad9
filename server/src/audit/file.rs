//! The file of the audit log: a regular file, which may be rotated, or a pipe.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use strongroom::{Readers, check_file};
use zeroize::Zeroizing;

/// The time between two attempts to open a pipe that has no reader.
const PIPE_INTERVAL: Duration = Duration::from_millis(100);

/// Fails if a file has other content than a log: lines at its end could make it useless.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let mut start = Zeroizing::new([0; 4096]); // possibly of a secret
    // All other files that a service reads are readable.
    let len = match fs::metadata(path) {
        Ok(found) if found.is_file() => File::open(path).and_then(|mut file| file.read(&mut *start)).unwrap_or(0),
        _ => 0,
    };
    // A file that was emptied may begin with the end of a line, and a crash may leave zeros.
    let first = start.iter().take(len).find(|byte| !matches!(byte, b'\n' | b'\0'));
    if first.is_some_and(|byte| *byte != b'{') {
        let text = "it holds something else than lines of an audit log: give it a path of its own";
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    Ok(())
}

/// As [`append`]. Waits for the reader of a pipe.
pub(super) fn append_or_wait(path: &Path) -> io::Result<File> {
    let mut is_logged = false;
    loop {
        match append(path) {
            Err(error) if has_no_reader(path, &error) => {
                if !is_logged {
                    tracing::warn!(target: "strongroom", "the audit log is a pipe: the start waits for its reader");
                    is_logged = true;
                }
                thread::sleep(PIPE_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

/// A file that only its owner can read, unless it exists. Fails if it is a pipe without a reader, or if other users
/// could change the lines.
pub(super) fn append(path: &Path) -> io::Result<File> {
    check(path)?;
    let file = open(path)?;
    check_file("the file", path, &file, Readers::All)?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        use std::os::unix::fs::OpenOptionsExt;

        let file = options.mode(0o600).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?; // writes wait
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Whether `error` is that of opening a pipe that nobody reads.
#[cfg(unix)]
pub(super) fn has_no_reader(path: &Path, error: &io::Error) -> bool {
    use std::os::unix::fs::FileTypeExt;

    error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32)
        && fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(not(unix))]
pub(super) fn has_no_reader(_path: &Path, _error: &io::Error) -> bool {
    false
}
