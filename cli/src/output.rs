//! Output of data: to a file, stdout or a terminal.

use std::ascii::escape_default;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use strongroom::Wiped;
use zeroize::Zeroizing;

use crate::failure::{Failure, printable};
use crate::in_use::InUse;
use crate::new_file::NewFile;
use crate::streams::{is_stream, print, stdout};

const CANNOT_WRITE: &str = "cannot write the file of --output";

/// The most bytes that are shown on a terminal.
const MAX_TERMINAL_BYTES: usize = 1 << 20;

/// The destination of data.
pub(crate) enum Output {
    Stdout(Box<dyn Write>),
    /// Collected, and shown only if it is plain text.
    Terminal(Wiped),
    /// Shown at once, with escapes for everything but plain text, because the record is gone. It has the first bytes of
    /// a character whose others are yet to come.
    EscapingTerminal(Zeroizing<Vec<u8>>),
    /// It gets its name when it is complete.
    File {
        file: NewFile,
        path: PathBuf,
    },
}

impl Output {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path.filter(|path| !is_stream(Some(path))) {
            let file = NewFile::create_beside(path).map_err(Failure::io_at(CANNOT_WRITE, path))?;
            return Ok(Self::File { file, path: path.to_path_buf() });
        }
        if io::stdout().is_terminal() {
            // Full capacity from the start: growth would leave a copy in memory.
            return Ok(Self::Terminal(Wiped::with_capacity(MAX_TERMINAL_BYTES)));
        }
        Ok(Self::Stdout(Box::new(stdout().map_err(Failure::stdout)?)))
    }

    /// As [`open`](Self::open), for data that cannot be retrieved again; [`finish_once`](Self::finish_once) ends it.
    pub(crate) fn open_once(path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path.filter(|path| !is_stream(Some(path))) {
            let file = NewFile::create_named_beside(path).map_err(Failure::io_at(CANNOT_WRITE, path))?;
            return Ok(Self::File { file, path: path.to_path_buf() });
        }
        Ok(match Self::open(None)? {
            Self::Terminal(_) => Self::EscapingTerminal(Zeroizing::default()),
            other => other,
        })
    }

    /// From now on, a signal leaves the file of an output that was opened with [`open_once`](Self::open_once).
    pub(crate) fn keep_at_signal(&self) {
        if let Self::File { file, .. } = self {
            file.keep_at_signal();
        }
    }

    /// Rejects a path at which no file can be created.
    pub(crate) fn check(path: &Path, in_use: &InUse) -> Result<(), Failure> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => Err(Failure::argument("the output is a folder: name a file in it")),
            // Replacing a device or a link with a file would be a mistake.
            Ok(found) if !found.is_file() => Err(Failure::argument("the output is not a regular file: use stdout")),
            _ => in_use.refuse(path),
        }
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(data).map_err(Failure::stdout),
            Self::Terminal(gathered) if gathered.len() + data.len() > MAX_TERMINAL_BYTES => {
                Err(Failure::argument("the data is too long for a terminal: use --output"))
            }
            Self::Terminal(gathered) => {
                gathered.extend_from_slice(data);
                Ok(())
            }
            Self::EscapingTerminal(start) => {
                let data = Zeroizing::new([&**start, data].concat());
                let (text, rest) = escape(&data);
                *start = Zeroizing::new(rest.to_vec());
                print(text.as_bytes()).map_err(Failure::stdout)
            }
            Self::File { file, path } => file.write_all(data).map_err(Failure::io_at(CANNOT_WRITE, path)),
        }
    }

    /// Completes the output: gives a file its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush().map_err(Failure::stdout),
            Self::EscapingTerminal(start) => {
                print(start.escape_ascii().to_string().as_bytes()).map_err(Failure::stdout)
            }
            Self::Terminal(gathered) if !is_plain_text(&gathered) => {
                Err(Failure::argument("the data is not plain text, so it is not shown on a terminal: use --output"))
            }
            Self::Terminal(gathered) => print(&gathered).map_err(Failure::stdout),
            Self::File { file, path } => file.replace(&path).map_err(Failure::io_at(CANNOT_WRITE, &path)),
        }
    }

    /// As [`finish`](Self::finish), of an output that was opened with [`open_once`](Self::open_once), after `written`
    /// bytes. If that fails, or has failed before, the file remains, and the error names it; it begins with `removed`.
    pub(crate) fn finish_once(self, written: Result<u64, Failure>, removed: &'static str) -> Result<u64, Failure> {
        match (self, written) {
            (Self::File { file, path }, Ok(written)) => match file.replace_or_keep(&path) {
                Ok(()) => Ok(written),
                Err((error, kept)) => {
                    let place = kept.map_or("lost".into(), |kept| format!("in {}", printable(&kept)));
                    let what = format!("{removed}, and its data is {place}");
                    Err(Failure::after_change(what)(Failure::io_at(CANNOT_WRITE, &path)(error)))
                }
            },
            (Self::File { file, .. }, Err(failure)) => {
                let what = match file.keep() {
                    Some(kept) => format!("{removed}, and the data that was written is in {}", printable(&kept)),
                    None => format!("{removed}, and no data was written"),
                };
                Err(Failure::after_change(what)(failure))
            }
            (output, written) => {
                let finished = output.finish();
                written.and_then(|written| finished.map(|()| written)).map_err(Failure::after_change(removed))
            }
        }
    }
}

/// Whether the data is text without control characters.
fn is_plain_text(data: &[u8]) -> bool {
    str::from_utf8(data).is_ok_and(|text| text.chars().all(is_plain))
}

fn is_plain(char: char) -> bool {
    !char.is_control() || "\n\r\t".contains(char)
}

/// The data as text, with escapes for all bytes that are not plain text; and the incomplete character at its end.
fn escape(data: &[u8]) -> (Zeroizing<String>, &[u8]) {
    // Full capacity from the start: growth would leave a copy in memory.
    let (mut text, mut rest) = (Zeroizing::new(String::with_capacity(4 * data.len())), data);
    for chunk in data.utf8_chunks() {
        for char in chunk.valid().chars() {
            match is_plain(char) {
                true => text.push(char),
                false => text.extend(char.encode_utf8(&mut [0; 4]).bytes().flat_map(escape_default).map(char::from)),
            }
        }
        rest = rest.get(chunk.valid().len()..).unwrap_or_default();
        if str::from_utf8(rest).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none()) {
            break; // the character may continue in the next piece
        }
        text.extend(chunk.invalid().iter().copied().flat_map(escape_default).map(char::from));
        rest = rest.get(chunk.invalid().len()..).unwrap_or_default();
    }
    (text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_not_plain_text() {
        assert!(is_plain_text("Grüße\r\n\tein Text".as_bytes()));
        assert!(is_plain_text(b""));
        assert!(!is_plain_text(b"\x1b[2J"));
        assert!(!is_plain_text("\u{9b}2J".as_bytes()));
        assert!(!is_plain_text(b"\0"));
        assert!(!is_plain_text(b"\xff"));
    }

    #[test]
    fn only_bytes_that_are_not_plain_text_are_escaped() {
        for (data, text, rest) in [
            (&b"C:\\new\r\n"[..], "C:\\new\r\n", &b""[..]),
            ("ü–\u{1b}[2J\0\u{9b}é".as_bytes(), "ü–\\x1b[2J\\x00\\xc2\\x9bé", b""),
            (b"a\xffb\xe2\x82c\xc3", "a\\xffb\\xe2\\x82c", b"\xc3"),
            (b"\xf0\x9f\x98", "", b"\xf0\x9f\x98"),
            (b"", "", b""),
        ] {
            let (shown, incomplete) = escape(data);
            assert_eq!((shown.as_str(), incomplete), (text, rest), "{data:?}");
        }
    }
}
