//! Lines of a log. A line follows the rest of one whose write failed, for example on a full disk, on a line of its own.

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
}

impl LineOutput<File> {
    /// The lines of `file`, which is open at its end and has this path.
    pub(crate) fn append(file: File, path: &Path) -> Self {
        Self { output: file, is_within_line: ends_within_line(path).unwrap_or(false) }
    }
}

impl<W: Write> LineOutput<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, is_within_line: false }
    }

    /// Writes a line with its end, also to a non-blocking output.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_within_line {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    let (written, rest) = bytes.split_at_checked(len).unwrap_or((bytes, b""));
                    self.is_within_line = !written.ends_with(b"\n");
                    bytes = rest;
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
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            self.room -= len;
            self.written.extend(bytes.iter().take(len));
            if len == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(len) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_after_a_failed_write_is_whole() {
        for room in 0..12 {
            let mut output = LineOutput::new(Full { written: Vec::new(), room });
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
}
