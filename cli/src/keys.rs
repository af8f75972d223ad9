//! Keys on their way in and out: from a file, a pipe or a prompt, to stdout or a new file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::{Arc, atomic::Ordering};

use strongroom::{InvalidKey, RecordKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::{is_stream, stdin, sync_folder_of};
#[cfg(unix)]
use crate::interrupt::ENDS_AT_ONCE;

/// More than a key's text and some space around it need not be read.
const MAX_LEN: usize = 1024;

const CANNOT_READ: &str = "cannot read the file of --key-file";
const CANNOT_WRITE: &str = "cannot write the file of --key-out";

/// The key from `path` ("-" is stdin) or, without one, from a prompt.
pub(crate) fn get(path: Option<&Path>) -> Result<RecordKey, Failure> {
    match path {
        Some(path) => read(path),
        None => ask(),
    }
}

pub(crate) fn read(path: &Path) -> Result<RecordKey, Failure> {
    let reader: Box<dyn Read> = if is_stream(Some(path)) {
        Box::new(stdin().map_err(Failure::io(CANNOT_READ))?)
    } else {
        Box::new(File::open(path).map_err(Failure::io(CANNOT_READ))?)
    };
    // Room for all, so that no copy is left behind by growth.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
    reader.take(MAX_LEN as u64 + 1).read_to_end(&mut text).map_err(Failure::io(CANNOT_READ))?;
    match str::from_utf8(&text) {
        Ok(key) if text.len() <= MAX_LEN => Ok(RecordKey::from_text(key.trim())?),
        _ => Err(InvalidKey::Text.into()),
    }
}

fn ask() -> Result<RecordKey, Failure> {
    let text = prompt("Key (not shown): ").map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::Interrupted => Failure::argument("no key was typed"),
        _ => Failure::Usage("there is no terminal to ask for the key on: give it with --key-file".into()),
    })?;
    Ok(RecordKey::from_text(text.trim())?)
}

/// Ctrl-C has to wait until the terminal's echo is on again, or it would stay off.
#[cfg(unix)]
fn prompt(text: &str) -> io::Result<String> {
    use signal_hook::{consts::SIGINT, flag, low_level};

    flag::register_conditional_default(SIGINT, Arc::clone(&ENDS_AT_ONCE))?;
    let typed = rpassword::prompt_password(text);
    ENDS_AT_ONCE.store(true, Ordering::SeqCst);
    if typed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        low_level::raise(SIGINT)?;
    }
    typed
}

#[cfg(not(unix))]
fn prompt(text: &str) -> io::Result<String> {
    rpassword::prompt_password(text)
}

/// A new file for a new key, removed again unless it is kept.
pub(crate) struct NewKeyFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl NewKeyFile {
    /// Makes the file, if one is asked for ("-" is stdout), and there is none.
    pub(crate) fn create(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path.filter(|path| !is_stream(Some(path))) else { return Ok(None) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::argument("the file of --key-out exists: a key file is never overwritten")
            }
            _ => Failure::io(CANNOT_WRITE)(error),
        })?;
        Ok(Some(Self { path: path.to_path_buf(), file, kept: false }))
    }

    /// Writes the key; it is on the disk when this returns.
    pub(crate) fn write(&mut self, key: &str) -> Result<(), Failure> {
        let mut write = || {
            self.file.write_all(key.as_bytes())?;
            self.file.write_all(b"\n")?;
            self.file.sync_all()?;
            sync_folder_of(&self.path)
        };
        write().map_err(Failure::io(CANNOT_WRITE))
    }

    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewKeyFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
