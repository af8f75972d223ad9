//! The index key in a file: the text `srx1...` on a line, readable by its owner alone.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::key::{IndexKey, InvalidKey};
use crate::random;

/// More than a key's text is no key, and need not be read.
const MAX_LEN: usize = 256;

/// Where the index key of the database at `path` lies by default: `<path>.index-key`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".index-key");
    name.into()
}

/// Reads the index key from `path`.
pub(crate) fn read(path: &Path) -> Result<IndexKey, Error> {
    if path.as_os_str().is_empty() {
        return Err(Error::InvalidArgument("the index key's file has no name".into()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::IndexKeyMissing { path: path.to_path_buf() },
        _ => failed(path, error),
    })?;
    file.take(MAX_LEN as u64).read_to_end(&mut text).map_err(|error| failed(path, error))?;
    Ok(IndexKey::from_text(str::from_utf8(&text).map_err(|_| InvalidKey::Text)?.trim())?)
}

/// Reads the index key from `path`, or makes a new one there. It is on the disk when this returns. Of several processes
/// at once, one makes it and all get the same.
pub(crate) fn read_or_create(path: &Path) -> Result<IndexKey, Error> {
    let key = match read(path) {
        Err(Error::IndexKeyMissing { .. }) => {
            let key = IndexKey::generate()?;
            match create(path, &key) {
                Ok(()) => key,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path)?,
                Err(error) => return Err(failed(path, error)),
            }
        }
        found => found?,
    };
    if cfg!(unix) {
        // Whoever made it: its name is on the disk, too.
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(|error| failed(path, error))?;
    }
    Ok(key)
}

/// Under a temporary name first: a file by the real name is whole, and none is ever overwritten.
fn create(path: &Path, key: &IndexKey) -> io::Result<()> {
    let mut file = temporary_file(folder_of(path))?;
    file.write_all(key.to_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new file in `folder`, for its owner alone. Its name is of the system's random numbers.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut name = [0; 8];
    random::fill(&mut name).map_err(io::Error::other)?;
    let path = folder.join(format!(".index-key-{:016x}", u64::from_le_bytes(name)));
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
    Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(path)?))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn failed(path: &Path, source: io::Error) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot use the index key's file {}", path.display())]
    struct CannotUse {
        path: PathBuf,
        source: io::Error,
    }
    Error::Storage(Box::new(CannotUse { path: path.to_path_buf(), source }))
}
