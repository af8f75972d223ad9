//! The standard streams: checks that they are open, and blocking reads and writes, also on non-blocking streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::failure::Failure;
#[cfg(unix)]
pub(crate) use unix::{Stream, stderr, stdin, stdout};

/// Whether the argument means stdin or stdout.
pub(crate) fn is_stream(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

/// Whether the argument means stdin, by any of its names.
pub(crate) fn is_stdin(path: Option<&Path>) -> bool {
    const NAMES: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    is_stream(path) || cfg!(unix) && NAMES.map(Path::new).map(Some).contains(&path)
}

/// Opens the file of an option, or stdin.
pub(crate) fn open(path: &Path, option: &str) -> Result<Box<dyn Read>, Failure> {
    let failed = |what: String| move |source| Failure::Io { what: what.into(), source };
    if is_stdin(Some(path)) {
        return Ok(Box::new(stdin().map_err(failed(format!("{option} reads stdin, which is closed")))?));
    }
    Ok(Box::new(File::open(path).map_err(failed(format!("cannot read the file of {option}")))?))
}

/// Prints to stdout.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = stdout()?;
    stdout.write_all(bytes)?;
    stdout.flush()
}

#[cfg(unix)]
mod unix {
    use std::fs::{File, Metadata};
    use std::io::{self, ErrorKind, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::atomic::{AtomicU8, Ordering};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::{Errno, fcntl_getfd};

    /// A bit for each standard stream that was closed at the start of the program.
    static CLOSED: AtomicU8 = AtomicU8::new(0);

    // Before `main`, because the standard library replaces closed streams with /dev/null, which appears to be empty and
    // accepts all output.
    ctor::declarative::ctor! {
        #[ctor(unsafe)]
        fn record_closed_streams() {
            let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
            for (n, stream) in streams.into_iter().enumerate() {
                if fcntl_getfd(stream) == Err(Errno::BADF) {
                    CLOSED.fetch_or(1 << n, Ordering::Relaxed);
                }
            }
        }
    }

    fn open(n: u8, stream: BorrowedFd<'_>) -> io::Result<Stream> {
        if CLOSED.load(Ordering::Relaxed) & 1 << n != 0 {
            return Err(Errno::BADF.into());
        }
        Ok(Stream(File::from(stream.try_clone_to_owned()?)))
    }

    /// Stdin without the standard library's buffer, which is never wiped.
    pub(crate) fn stdin() -> io::Result<Stream> {
        open(0, rustix::stdio::stdin())
    }

    pub(crate) fn stdout() -> io::Result<Stream> {
        open(1, rustix::stdio::stdout())
    }

    pub(crate) fn stderr() -> io::Result<Stream> {
        open(2, rustix::stdio::stderr())
    }

    /// A stream whose reads and writes block, even if another program has made it non-blocking.
    pub(crate) struct Stream(File);

    impl Stream {
        pub(crate) fn metadata(&self) -> io::Result<Metadata> {
            self.0.metadata()
        }

        pub(crate) fn into_file(self) -> File {
            self.0
        }
    }

    impl Read for Stream {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            waiting(&self.0, PollFlags::IN, |mut file| file.read(buffer))
        }
    }

    impl Write for Stream {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            waiting(&self.0, PollFlags::OUT, |mut file| file.write(data))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `work`, and repeats it once the stream is ready.
    fn waiting<'s, S: AsFd>(
        stream: &'s S,
        event: PollFlags,
        mut work: impl FnMut(&'s S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match work(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(stream, event)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn stdin() -> io::Result<impl Read> {
    Ok(io::stdin())
}

#[cfg(not(unix))]
pub(crate) fn stdout() -> io::Result<impl Write> {
    Ok(io::stdout())
}

#[cfg(not(unix))]
pub(crate) fn stderr() -> io::Result<impl Write> {
    Ok(io::stderr())
}
