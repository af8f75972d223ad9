//! Input of data from a file, stdin or another program, in pieces. Incomplete data is an error, and no record is
//! written.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::SystemTime;

use strongroom::Error;

use crate::args::Data;
use crate::failure::Failure;
use crate::streams::{is_stdin, stdin};

const CANNOT_READ: &str = "cannot read the data";

/// The source of data.
pub(crate) struct Input {
    source: DataSource,
    /// The number of bytes to read, if it is known.
    pub(crate) len: Option<u64>,
    is_empty: bool,
    may_be_empty: bool,
    /// The cause of a failed read, which [`Read`] cannot carry.
    failure: Option<Failure>,
}

enum DataSource {
    /// A regular file, and its state before it was read.
    File(File, FileState),
    Stream(Box<dyn Read>),
    /// The first read starts it.
    Program(Command),
    Running(Running),
}

/// A file's length, and its modification time.
type FileState = (u64, Option<SystemTime>);

impl Input {
    pub(crate) fn open(data: &Data) -> Result<Self, Failure> {
        let input = match &data.file {
            Some(program) if data.from_command => {
                let mut command = Command::new(program);
                command.args(&data.args).stdout(Stdio::piped());
                Self::new(DataSource::Program(command))
            }
            Some(path) if !is_stdin(Some(path)) => {
                let file = File::open(path).map_err(Failure::io("cannot open FILE"))?;
                let found = file.metadata().map_err(Failure::io(CANNOT_READ))?;
                if found.is_dir() {
                    return Err(Failure::argument("FILE is a folder: name a file"));
                }
                // A named file may be empty on purpose; an empty pipe may be the result of a failure.
                Self { may_be_empty: found.is_file(), ..Self::from_file(file, &found) }
            }
            _ => {
                let stdin = stdin().map_err(Failure::io("stdin is closed: name a FILE, or connect stdin to one"))?;
                Self::from_stdin(stdin).map_err(Failure::io(CANNOT_READ))?
            }
        };
        Ok(Self { may_be_empty: input.may_be_empty || data.allow_empty, ..input })
    }

    /// The rest of an open regular file with this metadata.
    #[cfg(unix)]
    pub(crate) fn of_file(file: File, found: &Metadata) -> Self {
        Self { may_be_empty: true, ..Self::from_file(file, found) }
    }

    fn new(source: DataSource) -> Self {
        Self { source, len: None, is_empty: true, may_be_empty: false, failure: None }
    }

    fn from_file(mut file: File, found: &Metadata) -> Self {
        if !found.is_file() {
            return Self::new(DataSource::Stream(Box::new(file)));
        }
        let place = file.stream_position().unwrap_or(0); // stdin may have been read in part
        let state = state(found);
        Self { len: Some(state.0.saturating_sub(place)), ..Self::new(DataSource::File(file, state)) }
    }

    #[cfg(unix)]
    fn from_stdin(stdin: crate::streams::Stream) -> io::Result<Self> {
        let found = stdin.metadata()?;
        Ok(if found.is_file() {
            Self::from_file(stdin.into_file(), &found)
        } else {
            Self::new(DataSource::Stream(Box::new(stdin)))
        })
    }

    #[cfg(not(unix))]
    fn from_stdin(stdin: impl Read + 'static) -> io::Result<Self> {
        Ok(Self::new(DataSource::Stream(Box::new(stdin))))
    }

    /// Reads some bytes; 0 at the end of complete data.
    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let read = match &mut self.source {
            DataSource::File(file, _) => read(file, buffer),
            DataSource::Stream(stream) => read(stream, buffer),
            DataSource::Running(program) => read(&mut program.stdout, buffer),
            DataSource::Program(command) => {
                self.source = DataSource::Running(Running::start(command)?);
                return self.read_some(buffer);
            }
        };
        let read = read.map_err(Failure::io(CANNOT_READ))?;
        if read == 0 {
            self.check_end()?;
        }
        self.is_empty &= read == 0;
        Ok(read)
    }

    fn check_end(&mut self) -> Result<(), Failure> {
        match &mut self.source {
            DataSource::File(file, before) => {
                let now = file.metadata().map_err(Failure::io(CANNOT_READ))?;
                if state(&now) != *before {
                    let changed = io::Error::other("it changed while it was read: try again, or read a copy");
                    return Err(Failure::io(CANNOT_READ)(changed));
                }
            }
            DataSource::Running(program) => program.check_end()?,
            _ => {}
        }
        if self.is_empty && !self.may_be_empty {
            return Err(Failure::argument("the data is empty: pass --allow-empty to store it"));
        }
        Ok(())
    }

    /// The outcome of an operation that has read the data, with the input's own failure if there is one.
    pub(crate) fn outcome(self, outcome: Result<(), Error>) -> Result<(), Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(outcome?),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("the data is incomplete")
        })
    }
}

fn state(file: &Metadata) -> FileState {
    (file.len(), file.modified().ok())
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// A program that writes the data.
struct Running {
    child: Child,
    stdout: ChildStdout,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        const CANNOT_START: &str = "cannot start the program of --from-command";

        let mut child = command.spawn().map_err(Failure::io(CANNOT_START))?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::io(CANNOT_START)(ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, stdout })
    }

    /// Fails if the program failed, because its data may be incomplete.
    fn check_end(&mut self) -> Result<(), Failure> {
        const FAILED: &str = "the program of --from-command failed, so nothing was written";

        let status = self.child.wait().map_err(Failure::io(FAILED))?;
        if status.success() { Ok(()) } else { Err(Failure::io(FAILED)(io::Error::other(status.to_string()))) }
    }
}

/// Kills the program if its data is no longer needed.
impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            #[cfg(unix)]
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(&self.child),
                rustix::process::Signal::TERM,
            );
            #[cfg(not(unix))]
            let _ = self.child.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file of 100 bytes that `change` alters after the first ten.
    fn read_while(change: impl FnOnce(&File)) -> Result<Vec<u8>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, [b'x'; 100]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap(); // so that any later change is detected
        let data = Data { file: Some(path), args: Vec::new(), from_command: false, allow_empty: false };
        let mut input = Input::open(&data).unwrap();
        assert_eq!(input.len, Some(100));
        let (mut read, mut buffer) = (Vec::new(), [0; 10]);
        let mut change = Some(change);
        loop {
            let len = input.read_some(&mut buffer)?;
            read.extend_from_slice(&buffer[..len]);
            if let Some(change) = change.take() {
                change(&file);
            }
            if len == 0 {
                return Ok(read);
            }
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        use std::io::Write;

        assert_eq!(read_while(|_| {}).unwrap(), [b'x'; 100]);
        let changes: [fn(&File); 5] = [
            |file| file.set_len(50).unwrap(),
            |file| file.set_len(0).unwrap(),
            |file| file.set_len(101).unwrap(),
            |mut file| file.write_all(b"y").unwrap(),
            |file| {
                file.set_len(50).unwrap();
                file.set_len(100).unwrap();
            },
        ];
        for change in changes {
            let message = read_while(change).unwrap_err().to_string();
            assert_eq!(message, "cannot read the data");
        }
    }
}
