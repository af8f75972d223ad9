//! Lines of a log. A line follows the rest of one whose write failed, for example on a full disk, on a line of its own,
//! unless the file was emptied since then.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Where lines are written.
pub(crate) struct LineOutput<W> {
    output: W,
    /// Whether the output ends within a line.
    is_within_line: bool,
    /// Whether the output is empty: other programs, such as logrotate, may empty a file in place.
    is_empty: fn(&W) -> bool,
}

impl LineOutput<File> {
    /// The lines of `file`, which is open at its end and has this path.
    pub(crate) fn append(file: File, path: &Path) -> Self {
        let is_empty = |file: &File| file.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
        Self { output: file, is_within_line: ends_within_line(path).unwrap_or(false), is_empty }
    }
}

impl<W: Write> LineOutput<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, is_within_line: false, is_empty: |_| false }
    }

    /// Writes a line with its end, also to a non-blocking output.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // An emptied file begins with a whole line.
            if self.is_within_line && (self.is_empty)(&self.output) {
                self.is_within_line = false;
                rest = line;
            }
            let ends_earlier_line = self.is_within_line && rest.len() == line.len();
            let bytes = if ends_earlier_line { b"\n" } else { rest };
            match self.output.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    let (written, unwritten) = bytes.split_at_checked(len).unwrap_or((bytes, b""));
                    self.is_within_line = !written.ends_with(b"\n");
                    rest = if ends_earlier_line { line } else { unwritten };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the last write of an earlier process failed. A pipe is not read.
fn ends_within_line(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?; // fails if the file is empty
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output with limited room.
    struct Full {
        written: Vec<u8>,
        room: usize,
        /// Whether it is emptied, and has room again, once it is full.
        is_emptied: bool,
    }

    impl Full {
        fn output(room: usize, is_emptied: bool) -> LineOutput<Self> {
            let output = Self { written: Vec::new(), room, is_emptied };
            LineOutput { output, is_within_line: false, is_empty: |full| full.written.is_empty() }
        }
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            self.room -= len;
            self.written.extend(bytes.iter().take(len));
            if self.room == 0 && self.is_emptied {
                self.written.clear();
                self.room = usize::MAX;
            }
            if len == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(len) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_after_a_failed_write_is_whole() {
        for room in 0..12 {
            let mut output = Full::output(room, false);
            let mut failed = Vec::new();
            for line in ["first\n", "second\n", "third\n"] {
                if output.write(line.as_bytes()).is_err() {
                    failed.push(line);
                }
            }
            output.output.room = usize::MAX;
            output.write(b"last\n").unwrap();
            output.write(b"very last\n").unwrap();
            let text = String::from_utf8(output.output.written).unwrap();
            assert!(text.ends_with("\nlast\nvery last\n") || text == "last\nvery last\n", "{room}: {text:?}");
            assert!(failed.contains(&"first\n") || text.starts_with("first\n"), "{room}: {text:?}");
            assert!(!text.contains("\n\n"), "{room}: {text:?}");
        }
    }

    #[test]
    fn an_emptied_file_begins_with_a_whole_line() {
        for room in 1..12 {
            // Emptied by an operator after a failed write.
            let mut output = Full::output(room, false);
            let _ = output.write(b"first\n").and_then(|()| output.write(b"second\n"));
            output.output.written.clear();
            output.output.room = usize::MAX;
            output.write(b"last\n").unwrap();
            assert_eq!(output.output.written, b"last\n", "{room}");
            // Emptied between two writes of one line.
            let mut output = Full::output(room, true);
            for line in ["first\n", "second\n", "last\n"] {
                output.write(line.as_bytes()).unwrap();
            }
            let text = String::from_utf8(output.output.written).unwrap();
            assert!("first\nsecond\nlast\n".ends_with(&text), "{room}: {text:?}");
            assert!(["first\n", "second\n", "last\n"].iter().any(|line| text.starts_with(line)), "{room}: {text:?}");
        }
    }
}
