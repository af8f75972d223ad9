//! Data on its way in and out: files, stdin and stdout. A value passes through memory as a whole, here and nowhere else.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::failure::Failure;

const CANNOT_READ: &str = "cannot read the data";
const CANNOT_WRITE: &str = "cannot write the file of --output";

/// Whether the argument means stdin or stdout.
pub(crate) fn is_stream(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

/// Where data comes from.
pub(crate) struct Input {
    reader: Box<dyn Read>,
    /// What there seems to be to read.
    len: u64,
}

impl Input {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            Some(path) if !is_stream(Some(path)) => {
                let file = File::open(path).map_err(Failure::io("cannot open FILE"))?;
                let len = file.metadata().map_err(Failure::io(CANNOT_READ))?.len();
                Ok(Self { reader: Box::new(file), len })
            }
            _ => Ok(Self { reader: Box::new(stdin().map_err(Failure::io(CANNOT_READ))?), len: 0 }),
        }
    }

    pub(crate) fn read(self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        read_all(self.reader, self.len).map_err(Failure::io(CANNOT_READ))
    }
}

/// Reads to the end. A buffer that has become too small is wiped, which growing it in place would not do.
fn read_all(mut reader: impl Read, len: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // One more, so that the end is seen without growing.
    let capacity = usize::try_from(len).unwrap_or_default().saturating_add(1).max(1 << 16);
    let mut data = Zeroizing::new(Vec::new());
    data.try_reserve_exact(capacity)?;
    loop {
        let room = data.capacity() - data.len();
        if room == 0 {
            let mut larger = Zeroizing::new(Vec::new());
            larger.try_reserve_exact(data.len().saturating_mul(2))?;
            larger.extend_from_slice(&data);
            data = larger;
        } else if reader.by_ref().take(room as u64).read_to_end(&mut data)? < room {
            return Ok(data);
        }
    }
}

/// Where data goes.
pub(crate) enum Output {
    Stdout,
    /// Under a temporary name in the same folder, until it is whole.
    File {
        temporary: NamedTempFile,
        path: PathBuf,
    },
}

impl Output {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !is_stream(Some(path))) else { return Ok(Self::Stdout) };
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => return Err(Failure::argument("--output is a folder: name a file in it")),
            // To replace a device or a link by a file is never meant.
            Ok(found) if !found.is_file() => return Err(Failure::argument("--output is no regular file: use stdout")),
            _ => {}
        }
        let temporary = tempfile::Builder::new().prefix(".strongroom-").tempfile_in(folder_of(path)); // mode 0600
        // Without the temporary name that the library's words hold.
        let temporary = temporary.map_err(|error| Failure::io(CANNOT_WRITE)(error.kind().into()))?;
        Ok(Self::File { temporary, path: path.to_path_buf() })
    }

    /// Writes `data`, all of it or, to a file, nothing.
    pub(crate) fn write(self, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout if io::stdout().is_terminal() && !is_plain_text(data) => {
                Err(Failure::argument("the data is not plain text, and not shown on a terminal: use --output"))
            }
            Self::Stdout => print(data).map_err(Failure::stdout),
            Self::File { mut temporary, path } => {
                temporary.write_all(data).map_err(Failure::io(CANNOT_WRITE))?;
                temporary.as_file().sync_all().map_err(Failure::io(CANNOT_WRITE))?;
                temporary.persist(&path).map_err(|error| Failure::io(CANNOT_WRITE)(error.error))?;
                sync_folder_of(&path).map_err(Failure::io(CANNOT_WRITE))
            }
        }
    }
}

/// Whether a terminal shows it and is not controlled by it.
fn is_plain_text(data: &[u8]) -> bool {
    str::from_utf8(data).is_ok_and(|text| !text.chars().any(|char| char.is_control() && !"\n\r\t".contains(char)))
}

/// Asks on the terminal.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask for a confirmation on: pass --yes".into()));
    }
    let mut answer = String::new();
    let mut stderr = io::stderr();
    stderr
        .write_all(question.as_bytes())
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(Failure::io("cannot ask on the terminal"))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::argument("not confirmed, so nothing was done")),
    }
}

pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = stdout()?;
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Without the standard library's buffer, which is never wiped.
#[cfg(unix)]
pub(crate) fn stdin() -> io::Result<impl Read> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(unix)]
fn stdout() -> io::Result<impl Write> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
pub(crate) fn stdin() -> io::Result<impl Read> {
    Ok(io::stdin())
}

#[cfg(not(unix))]
fn stdout() -> io::Result<impl Write> {
    Ok(io::stdout())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new name durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_whatever_length_was_foretold() {
        let data: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        for foretold in [0, 1, 299_999, 300_000, 300_001] {
            assert!(*read_all(&data[..], foretold).unwrap() == data, "{foretold}");
        }
        assert!(read_all(io::empty(), 0).unwrap().is_empty());
        assert_eq!(read_all(io::empty(), u64::MAX).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn what_controls_a_terminal_is_no_plain_text() {
        assert!(is_plain_text("Grüße\r\n\tein Text".as_bytes()));
        assert!(is_plain_text(b""));
        assert!(!is_plain_text(b"\x1b[2J"));
        assert!(!is_plain_text("\u{9b}2J".as_bytes()));
        assert!(!is_plain_text(b"\0"));
        assert!(!is_plain_text(b"\xff"));
    }
}
