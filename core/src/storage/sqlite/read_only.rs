//! Read-only stores: backups, read-only media, full disks.
//!
//! SQLite reads a database with a write-ahead log only together with the log's index, which it creates beside it. If it
//! cannot or must not create the index, it can open the file as immutable: it then takes no locks, and ignores changes
//! and the log. A database that no other process has open is immutable. If a process opens it later, a checkpoint may
//! change the file, so each read checks afterwards whether the file is still the same.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::Outcome;
use super::path::{failed, why_not_writable};
use crate::storage::Error;
use crate::util::files::with_suffix;

/// The reason why a store is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadOnly {
    Chosen,
    NotWritable(String),
    Full,
}

impl ReadOnly {
    /// The error of a write.
    pub(super) fn refusal(&self) -> Error {
        match self {
            Self::Chosen => Error::Unsupported("the store is open read-only: open it for writing".into()),
            Self::NotWritable(why) => Error::Unsupported(format!("the store is open read-only: {why}").into()),
            Self::Full => Error::Full,
        }
    }
}

/// The number of bytes by which SQLite extends a log's index.
const INDEX_REGION: u64 = 32 << 10;

/// How connections use the files.
#[derive(Clone, Debug)]
pub(super) enum Access {
    Write,
    /// Reads with the writers' log and its index.
    Read,
    /// Reads a file that no other process has open.
    Immutable(Unchanged),
}

impl Access {
    /// The access to the database at `path` that creates no file.
    pub(super) fn to_read(path: &Path) -> Outcome<Self> {
        let len = |suffix| fs::metadata(with_suffix(path, suffix)).ok().map(|file| file.len());
        let needs = |file: &str| {
            let text = format!(
                "{} has a {file} beside it with changes that the database itself lacks, and it cannot be used where it \
                 lies: copy all of the store's files to a folder that can be written, and open it there",
                path.display()
            );
            Err(Error::InvalidArgument(text.into()).into())
        };
        // An index that was ever in use has a whole region; a shorter one was begun on a full disk.
        let index = len("-shm").filter(|len| *len >= INDEX_REGION);
        match (len("-wal"), index, len("-journal")) {
            (Some(_), Some(_), _) => Ok(Self::Read),
            (Some(1..), None, _) if why_not_writable(path).is_none() => Ok(Self::Read),
            (Some(1..), None, _) => needs("write-ahead log (-wal)"),
            (.., Some(1..)) => needs("rollback journal (-journal)"),
            _ => Ok(Self::Immutable(Unchanged::new(path)?)),
        }
    }

    /// Fails if a read may have mixed two states of the file.
    pub(super) fn check_unchanged(&self) -> Outcome<()> {
        match self {
            Self::Immutable(unchanged) => unchanged.check(),
            _ => Ok(()),
        }
    }
}

/// The state in which a file was found.
#[derive(Clone, Debug)]
pub(super) struct Unchanged {
    path: PathBuf,
    state: State,
}

type State = (u64, Option<SystemTime>);

impl Unchanged {
    fn new(path: &Path) -> Outcome<Self> {
        let found = fs::metadata(path).map_err(|error| failed(path, error))?;
        Ok(Self { path: path.to_path_buf(), state: state(&found) })
    }

    fn check(&self) -> Outcome<()> {
        if fs::metadata(&self.path).is_ok_and(|found| state(&found) == self.state) {
            return Ok(());
        }
        let source = "the database was changed while it was open read-only: open it again";
        Err(failed(&self.path, source).into())
    }
}

fn state(file: &Metadata) -> State {
    (file.len(), file.modified().ok())
}

/// The URI of the file as an immutable database.
pub(super) fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b':' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*byte)),
            byte => uri += &format!("%{byte:02x}"),
        }
    }
    uri + "?immutable=1"
}
