//! Files that are used only if no other user could have changed them or, if they are secret, read them: keys, tokens,
//! passwords, certificates.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The maximum length of a file with one secret.
const MAX_SECRET_LEN: usize = 4096;

/// The users who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner, and root.
    Owner,
    /// Everybody: certificates, revocation lists, hashes.
    All,
}

/// Why a file is not used.
pub(crate) enum Refused {
    /// Another user could have changed or read it. The text says what to do.
    Unsafe(String),
    Io(io::Error),
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unsafe(text) => Self::new(ErrorKind::PermissionDenied, text),
            Refused::Io(error) => error,
        }
    }
}

/// Reads the text of the secret `what`, such as "the cluster key's file", from the file at `path`, with the checks of
/// [`check_file`].
///
/// # Errors
///
/// Those of [`check_file`]; [`ErrorKind::InvalidData`] if it is not text of at most 4,096 bytes.
pub fn read_secret(what: &str, path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_checked(what, path, File::open(path)?, None, MAX_SECRET_LEN + 1)?;
    if bytes.len() > MAX_SECRET_LEN {
        return Err(io::Error::new(ErrorKind::InvalidData, "it has more than 4096 bytes"));
    }
    let text = str::from_utf8(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Rejects `file`, which is open at `path`, if other users may change it, or read what only its owner should.
///
/// # Errors
///
/// [`ErrorKind::PermissionDenied`] with a message that says what to do; those of the operating system.
pub fn check_file(what: &str, path: &Path, file: &File, readers: Readers) -> io::Result<()> {
    Ok(check(what, path, file, None, readers)?)
}

/// Reads at most `max_len` bytes of `file`, which is open at `path`, if no other user could have changed or read it.
/// Its owner may also be the owner of the file `database`.
pub(crate) fn read_checked(
    what: &str,
    path: &Path,
    file: File,
    database: Option<&Path>,
    max_len: usize,
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    check(what, path, &file, database, Readers::Owner)?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len));
    file.take(max_len as u64).read_to_end(&mut bytes).map_err(Refused::Io)?;
    Ok(bytes)
}

/// The most bytes of other files.
const MAX_LEN: u64 = 16 << 20;

/// The content of an open file of at most 16 MiB.
///
/// # Errors
///
/// [`ErrorKind::FileTooLarge`], because the end of a longer one would be missing; those of the operating system.
pub fn read_all(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Full capacity from the start: growth would leave a copy in memory.
    let len = file.metadata()?.len().min(MAX_LEN) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default()));
    file.take(MAX_LEN + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_LEN {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it has more than 16 MiB"));
    }
    Ok(content)
}

/// Reads a file in PEM.
#[cfg(any(feature = "postgres", feature = "remote"))]
pub(crate) fn read_pem(what: &str, path: &Path, readers: Readers) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    check_file(what, path, &file, readers)?;
    read_all(&file)
}

/// Rejects a file that other users may change, replace or read, as ssh does for its keys. Its owner may also be the
/// owner of the file `database`.
///
/// Root does not count as another user: it can read any file. A file of root may be readable by all users, because
/// containers and service managers provide secrets in this way.
#[cfg(unix)]
pub(crate) fn check(
    what: &str,
    path: &Path,
    file: &File,
    database: Option<&Path>,
    readers: Readers,
) -> Result<(), Refused> {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let us = rustix::process::geteuid().as_raw();
    let database_owner = database.and_then(|database| fs::metadata(database).ok()).map(|database| database.uid());
    let is_trusted = |owner| owner == 0 || owner == us || Some(owner) == database_owner;
    let refuse = |why: String, remedy: String| {
        let path = path.display();
        Err(Refused::Unsafe(format!("{what} {path} is not safe: {why}. {remedy} {path}")))
    };
    let link = fs::symlink_metadata(path).map_err(Refused::Io)?;
    if link.is_symlink() && !is_trusted(link.uid()) {
        let why = format!("it is a symbolic link made by user {}, who can exchange the file", link.uid());
        return refuse(why, "Name the file itself, or remove the link:".into());
    }
    let found = file.metadata().map_err(Refused::Io)?;
    // Other users cannot prepare the contents of a terminal.
    let mode = if found.file_type().is_char_device() { 0 } else { found.mode() & 0o777 };
    let owner = found.uid();
    if !is_trusted(owner) {
        let why = format!("it belongs to user {owner}, and this process runs as user {us}");
        return refuse(why, format!("Make sure that its content is yours, then: chown {us}"));
    }
    if mode & 0o022 != 0 {
        let why = format!("others can change it (mode {mode:04o})");
        let chmod = if readers == Readers::Owner { "chmod 600" } else { "chmod go-w" };
        return refuse(why, format!("Make sure that its content is still yours, then: {chmod}"));
    }
    if readers == Readers::Owner && owner != 0 && mode & 0o044 != 0 {
        return refuse(format!("others can read it (mode {mode:04o})"), "Run: chmod 600".into());
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check(
    _what: &str,
    _path: &Path,
    _file: &File,
    _database: Option<&Path>,
    _readers: Readers,
) -> Result<(), Refused> {
    Ok(())
}
