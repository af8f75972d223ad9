//! The index key in a file, created atomically: the text `srx1...` on a line, readable only by the file's owner.
//!
//! A new file is written under a temporary name, and renamed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::key::{IndexKey, InvalidKey};
use crate::util::files::{folder_of, give_owner_of, is_no_room, sync_folder_of};
use crate::util::private_file::{check_name, remove_abandoned, temporary_file};
use crate::util::random::RandomError;
use crate::util::trusted_file::{Refused, read_checked};

/// Why an index key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// The message describes the problem and its solution.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("there is no room for the index key's file")]
    NoRoom,
    #[error("cannot use the index key's file {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The maximum length of a file with a key.
const MAX_LEN: usize = 256;

/// Reads the index key from `path`, if no other user could have changed or read the file. Its owner may also be the
/// owner of the file `database`.
pub(crate) fn read(path: &Path, database: Option<&Path>) -> Result<IndexKey, KeyFileError> {
    if path.as_os_str().is_empty() {
        return Err(KeyFileError::Refused("the path of the index key's file is empty".into()));
    }
    check_name(path).map_err(KeyFileError::Refused)?;
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeyFileError::Missing(path.to_path_buf()),
        _ => failed(path, error),
    })?;
    let text = read_checked("the index key's file", path, file, database, MAX_LEN).map_err(|error| match error {
        Refused::Unsafe(text) => KeyFileError::Refused(text),
        Refused::Io(error) => failed(path, error),
    })?;
    Ok(IndexKey::from_text(str::from_utf8(&text).map_err(|_| InvalidKey::Text)?)?)
}

/// Reads the index key from `path`, or creates a new one there, for the owner of `database`. The key is durable when
/// this returns. If several processes call this at the same time, one creates the key and all get the same.
pub(crate) fn read_or_create(path: &Path, database: &Path) -> Result<IndexKey, KeyFileError> {
    let key = match read(path, Some(database)) {
        Err(KeyFileError::Missing(_)) => {
            let key = IndexKey::generate()?;
            match create(path, &key, database) {
                Ok(()) => key,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path, Some(database))?,
                Err(error) => return Err(failed(path, error)),
            }
        }
        found => found?,
    };
    // The file's name must be durable, too, even if another process has created the file.
    sync_folder_of(path).map_err(|error| failed(path, error))?;
    remove_abandoned(folder_of(path));
    Ok(key)
}

/// Writes under a temporary name first, so that a file with the real name is complete, and is never overwritten.
fn create(path: &Path, key: &IndexKey, database: &Path) -> io::Result<()> {
    let (file, temporary) = temporary_file(folder_of(path))?;
    give_owner_of(database, &file)?;
    (&*file).write_all(key.to_text().as_bytes())?;
    (&*file).write_all(b"\n")?;
    file.sync_all()?;
    Ok(temporary.persist_noclobber(path)?)
}

fn failed(path: &Path, source: io::Error) -> KeyFileError {
    if is_no_room(&source) { KeyFileError::NoRoom } else { KeyFileError::Io { path: path.to_path_buf(), source } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_made_is_not_called_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no folder").join("index-key");
        let refused = read_or_create(&path, &path).map(drop).unwrap_err();
        assert!(matches!(refused, KeyFileError::Io { .. }), "{refused:?}");
    }
}
