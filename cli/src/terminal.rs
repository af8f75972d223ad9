//! A command's requirements of the terminal: a stdout for its result, and a confirmation.

use std::io::{self, IsTerminal, Read, Write};

use crate::failure::Failure;
use crate::streams::{stderr, stdin, stdout};

/// Fails if the program was started without a stdout, because its output would be lost.
pub(crate) fn require_stdout() -> Result<(), Failure> {
    stdout().map(drop).map_err(Failure::io("stdout is closed: connect it to a file, a pipe or /dev/null"))
}

/// Asks for confirmation on the terminal.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask for confirmation: pass --yes".into()));
    }
    let answer =
        stderr().and_then(|mut stderr| stderr.write_all(question.as_bytes())).and_then(|()| read_line(stdin()?));
    match answer.map_err(Failure::io("cannot ask on the terminal"))?.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::argument("not confirmed, so nothing was done")),
    }
}

fn read_line(mut stdin: impl Read) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < 1024 && stdin.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
