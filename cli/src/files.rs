//! Data on its way in and out: files, stdin and stdout. A value passes through piece by piece.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::interrupt;

const CANNOT_READ: &str = "cannot read the data";
const CANNOT_WRITE: &str = "cannot write the file of --output";

/// What is more than this is not shown on a terminal.
const MOST_SHOWN: usize = 1 << 20;

/// Whether the argument means stdin or stdout.
pub(crate) fn is_stream(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

/// Where data comes from.
pub(crate) struct Input {
    reader: Box<dyn Read>,
    /// How much there is to read, where that is known.
    pub(crate) len: Option<u64>,
}

impl Input {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            Some(path) if !is_stream(Some(path)) => {
                let file = File::open(path).map_err(Failure::io("cannot open FILE"))?;
                let metadata = file.metadata().map_err(Failure::io(CANNOT_READ))?;
                if metadata.is_dir() {
                    return Err(Failure::argument("FILE is a folder"));
                }
                Ok(Self { reader: Box::new(file), len: metadata.is_file().then_some(metadata.len()) })
            }
            _ => Ok(Self { reader: Box::new(stdin().map_err(Failure::io(CANNOT_READ))?), len: None }),
        }
    }

    /// Reads some bytes; none at the end.
    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.read(buffer).map_err(Failure::io(CANNOT_READ))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

/// Where data goes.
pub(crate) enum Output {
    Stdout(Box<dyn Write>),
    /// Gathered, and shown when it is whole and plain text.
    Terminal(Zeroizing<Vec<u8>>),
    /// Under a temporary name in the same folder, until it is whole.
    File {
        temporary: NamedTempFile,
        path: PathBuf,
    },
}

impl Output {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !is_stream(Some(path))) else {
            return if io::stdout().is_terminal() {
                // Room for all, so that no copy is left behind by growth.
                Ok(Self::Terminal(Zeroizing::new(Vec::with_capacity(MOST_SHOWN))))
            } else {
                Ok(Self::Stdout(Box::new(stdout().map_err(Failure::stdout)?)))
            };
        };
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => return Err(Failure::argument("--output is a folder: name a file in it")),
            // To replace a device or a link by a file is never meant.
            Ok(found) if !found.is_file() => return Err(Failure::argument("--output is no regular file: use stdout")),
            _ => {}
        }
        let temporary = tempfile::Builder::new().prefix(".strongroom-").tempfile_in(folder_of(path)); // mode 0600
        // Without the temporary name that the library's words hold.
        let temporary = temporary.map_err(|error| Failure::io(CANNOT_WRITE)(error.kind().into()))?;
        interrupt::remove_at_signal(temporary.path()).map_err(Failure::io(CANNOT_WRITE))?;
        Ok(Self::File { temporary, path: path.to_path_buf() })
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(data).map_err(Failure::stdout),
            Self::Terminal(gathered) if gathered.len() + data.len() > MOST_SHOWN => {
                Err(Failure::argument("the data is too long to be shown on a terminal: use --output"))
            }
            Self::Terminal(gathered) => {
                gathered.extend_from_slice(data);
                Ok(())
            }
            Self::File { temporary, .. } => temporary.write_all(data).map_err(Failure::io(CANNOT_WRITE)),
        }
    }

    /// The data is whole: a file gets its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush().map_err(Failure::stdout),
            Self::Terminal(gathered) if !is_plain_text(&gathered) => {
                Err(Failure::argument("the data is not plain text, and not shown on a terminal: use --output"))
            }
            Self::Terminal(gathered) => print(&gathered).map_err(Failure::stdout),
            Self::File { temporary, path } => {
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
    fn what_controls_a_terminal_is_no_plain_text() {
        assert!(is_plain_text("Grüße\r\n\tein Text".as_bytes()));
        assert!(is_plain_text(b""));
        assert!(!is_plain_text(b"\x1b[2J"));
        assert!(!is_plain_text("\u{9b}2J".as_bytes()));
        assert!(!is_plain_text(b"\0"));
        assert!(!is_plain_text(b"\xff"));
    }
}
