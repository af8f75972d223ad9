//! Secrets that another program prints: a password manager, a key management service, the system's keyring.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// The most bytes of a secret.
const MAX_LEN: usize = 4096;

/// How long a command may take: long enough for a person who unlocks a password manager.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Messages about a command that failed, one for each secret.
pub(crate) const INDEX_KEY: &str = "the command for the index key failed";
pub(crate) const TOKEN: &str = "the command for the token failed";
pub(crate) const PASSPHRASE: &str = "the command for the passphrase failed";

/// Runs a command, without a shell, and returns what it prints. Its words are split as a shell does, with quotes and
/// backslashes; its stderr is that of this program, and its stdin is empty. A failure begins with the message `failed`.
pub(crate) fn run(failed: &'static str, line: &str) -> Result<Zeroizing<String>, Failure> {
    run_within(line, TIME_LIMIT).map_err(Failure::io(failed))
}

fn run_within(line: &str, limit: Duration) -> io::Result<Zeroizing<String>> {
    let words = shlex::split(line).ok_or_else(|| invalid("a quote in it is not closed"))?;
    let (program, args) = words.split_first().ok_or_else(|| invalid("it is empty"))?;
    let start = Instant::now();
    let mut command = Command::new(program);
    let mut child = Running(command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let stdout = child.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    // A thread of its own, because a program started by the command may keep the pipe open.
    thread::Builder::new().name("secret command".into()).spawn(move || sender.send(read(stdout)))?;
    let too_slow = || io::Error::new(io::ErrorKind::TimedOut, format!("it took more than {} seconds", limit.as_secs()));
    let bytes = receiver.recv_timeout(limit).map_err(|_| too_slow())??;
    if bytes.len() > MAX_LEN {
        return Err(invalid("it printed more than 4096 bytes"));
    }
    loop {
        match child.0.try_wait()? {
            Some(status) if status.success() => return to_text(&bytes),
            Some(status) => return Err(io::Error::other(status.to_string())),
            None if start.elapsed() > limit => return Err(too_slow()),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn read(stdout: ChildStdout) -> io::Result<Zeroizing<Vec<u8>>> {
    // Full capacity from the start: growth would leave a copy in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
    stdout.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn to_text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    match str::from_utf8(bytes) {
        Ok("") => Err(invalid("it printed nothing")),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(invalid("it printed something that is not text")),
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A command, killed if it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<String, String> {
        let printed = run_within(line, Duration::from_secs(30));
        printed.map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_split_without_a_shell() {
        assert_eq!(
            run("echo one 'two  $HOME' \"three four\" five\\ six").unwrap(),
            "one two  $HOME three four five six\n"
        );
        assert_eq!(run("sh -c 'echo $((1 + 1))'").unwrap(), "2\n");
        assert_eq!(run("echo a; echo b").unwrap(), "a; echo b\n");
    }

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(run("sh -c 'echo secret; exit 3'").unwrap_err(), "exit status: 3");
        assert_eq!(run("true").unwrap_err(), "it printed nothing");
        assert_eq!(run("").unwrap_err(), "it is empty");
        assert_eq!(run("echo 'one").unwrap_err(), "a quote in it is not closed");
        assert_eq!(run("head -c 4097 /dev/zero").unwrap_err(), "it printed more than 4096 bytes");
        assert_eq!(run("printf '\\377'").unwrap_err(), "it printed something that is not text");
        assert_eq!(run("head -c 4096 /dev/zero").unwrap().len(), 4096);
        assert_eq!(run_within("/nowhere/command", TIME_LIMIT).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_time_is_limited() {
        for slow in ["sleep 1000", "sh -c 'echo secret; exec >&-; exec sleep 1000'"] {
            let error = run_within(slow, Duration::from_millis(300)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{slow}");
        }
    }
}
