//! Reading keys from a file, a pipe or a prompt, and writing them to stdout or a new file.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::atomic::Ordering;

use strongroom::{Error, InvalidKey, RecordKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::in_use::InUse;
use crate::interrupt;
#[cfg(unix)]
use crate::interrupt::DEFAULT_ACTION;
use crate::new_file::NewFile;
use crate::streams::{self, is_stream};

/// The most bytes that are read: a key's text and some white space around it.
const MAX_LEN: usize = 1024;

/// The key from `path` ("-" is stdin) or, without one, from a prompt.
pub(crate) fn get(path: Option<&Path>) -> Result<RecordKey, Failure> {
    match path {
        Some(path) => read(path),
        None => ask(),
    }
}

pub(crate) fn read(path: &Path) -> Result<RecordKey, Failure> {
    let reader = streams::open(path, "--key-file")?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
    reader
        .take(MAX_LEN as u64 + 1)
        .read_to_end(&mut text)
        .map_err(Failure::io("cannot read the file of --key-file"))?;
    match str::from_utf8(&text) {
        Ok(key) if text.len() <= MAX_LEN => Ok(RecordKey::from_text(key)?),
        _ => Err(InvalidKey::Text.into()),
    }
}

fn ask() -> Result<RecordKey, Failure> {
    let text = prompt("Key (not shown): ").map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::Interrupted => Failure::argument("no key was entered"),
        _ => Failure::Usage("there is no terminal to ask for the key: pass --key-file".into()),
    })?;
    Ok(RecordKey::from_text(&text)?)
}

/// A passphrase, typed on the terminal; `options` are those that a user without a terminal needs.
pub(crate) fn ask_passphrase(text: &str, options: &str) -> Result<Zeroizing<String>, Failure> {
    prompt(text).map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::Interrupted => Failure::argument("no passphrase was entered"),
        _ => Failure::Usage(format!("there is no terminal to ask for the passphrase: pass {options}").into()),
    })
}

/// Ctrl-C and other signals end the program after the terminal's echo is restored; otherwise the echo would stay off.
#[cfg(unix)]
fn prompt(text: &str) -> io::Result<String> {
    let saved_terminal = interrupt::restore_terminal_at_signal()?;
    let typed = rpassword::prompt_password(text);
    drop(saved_terminal);
    if typed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        DEFAULT_ACTION.store(true, Ordering::SeqCst);
        signal_hook::low_level::raise(signal_hook::consts::SIGINT)?;
    }
    typed
}

#[cfg(not(unix))]
fn prompt(text: &str) -> io::Result<String> {
    rpassword::prompt_password(text)
}

/// A new file for a new key. It gets its name just before the record is written, and is removed if that fails.
pub(crate) struct NewKeyFile {
    file: NewFile,
    /// The option that names the file.
    option: &'static str,
    path: PathBuf,
}

/// A key file with its name. Signals are deferred until it is dropped.
#[must_use = "it is removed again unless it is kept"]
pub(crate) struct NamedKeyFile {
    path: PathBuf,
    kept: bool,
    _signals: interrupt::DeferredSignals,
}

impl NewKeyFile {
    /// Creates the file and writes the key, if a path is given ("-" is stdout). Fails if the file exists.
    pub(crate) fn create(
        option: &'static str,
        path: Option<&Path>,
        in_use: &InUse,
        key: &str,
    ) -> Result<Option<Self>, Failure> {
        let Some(path) = path.filter(|path| !is_stream(Some(path))) else { return Ok(None) };
        if path.symlink_metadata().is_ok() {
            return Err(exists(option));
        }
        in_use.refuse(path)?;
        let create = || {
            let mut file = NewFile::create_beside(path)?;
            file.write_all(key.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync()?;
            Ok(file)
        };
        let file = create().map_err(cannot_write(option, path))?;
        Ok(Some(Self { file, option, path: path.to_path_buf() }))
    }

    /// Gives the file its name, durably.
    pub(crate) fn name(self) -> Result<NamedKeyFile, Failure> {
        let Self { file, option, path } = self;
        let signals = interrupt::defer_signals().map_err(cannot_write(option, &path))?;
        file.name(&path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(option),
            _ => cannot_write(option, &path)(error),
        })?;
        Ok(NamedKeyFile { path, kept: false, _signals: signals })
    }
}

fn exists(option: &str) -> Failure {
    Error::InvalidArgument(format!("the file of {option} exists: a file with a secret is never overwritten").into())
        .into()
}

fn cannot_write(option: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    Failure::io_at(format!("cannot write the file of {option}"), path)
}

impl NamedKeyFile {
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for NamedKeyFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
