//! Reading the files of a configuration, and checking the kind of their contents.

use std::fs::File;
use std::io;
use std::path::Path;

use strongroom::protocol::secret_text;
use strongroom::{check_file, read_all};
use zeroize::Zeroizing;

use super::kind::FileKind;
use crate::start_error::StartError;
use crate::tokens::hashes::TokenHashes;

/// Fails if the content is not of the kind that `name` needs.
pub(crate) fn check(content: &[u8], name: &'static str, expected: FileKind) -> Result<(), StartError> {
    if expected.is_in(content) {
        return Ok(());
    }
    match FileKind::of(content) {
        Some(found) if found != expected => {
            Err(StartError::WrongFile { name, found: found.name(), expected: expected.name() })
        }
        // The parser's error is more precise: it has the line, or says that a checksum does not match.
        _ if expected == FileKind::TokenHashes => {
            TokenHashes::parse(str::from_utf8(content).unwrap_or("?\n"))?;
            Ok(())
        }
        _ => Err(StartError::WrongFile { name, found: "other or incomplete content", expected: expected.name() }),
    }
}

/// The content of a file of the configuration, if no other user could have changed it or, if it is secret, read it.
pub(crate) fn read(path: &Path, name: &'static str, kind: FileKind) -> Result<Zeroizing<Vec<u8>>, StartError> {
    if secret_text::is_in_path(path) {
        return Err(StartError::SecretAsPath { name });
    }
    let read = || {
        let file = File::open(path)?;
        if let Some(readers) = kind.readers() {
            check_file("the file", path, &file, readers)?;
        }
        read_all(&file)
    };
    read().map_err(StartError::file(name, path))
}

/// Reads files on a thread that may block: a pipe may have no writer.
pub(crate) async fn read_on_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(read).await.map_err(|error| strongroom::Error::Internal(error.into()))?
}

/// Whether the file can be read a second time.
pub(crate) fn is_regular(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let file = File::create(&path).unwrap();
        let read = || read(&path, "tokens", FileKind::TokenHashes);
        file.set_len(16 << 20).unwrap();
        assert_eq!(read().unwrap().len(), 16 << 20);
        file.set_len((16 << 20) + 1).unwrap();
        let error = read().unwrap_err();
        assert!(matches!(error, StartError::File { name: "tokens", .. }));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it has more than 16 MiB");
    }
}
