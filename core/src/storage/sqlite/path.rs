//! The database's path, checked before SQLite opens it.
//!
//! SQLite opens any path: it would overwrite a disk, and leave files beside a database that it cannot use. It finds the
//! log by the database's name, so a file with two names would have two logs with different records.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Outcome;
use crate::storage::Error;
use crate::util::files::{is_no_room, sync_folder_of, with_suffix};

/// The files that SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The path of the database for SQLite: absolute, so that no name has a special meaning (`:memory:`, `file:`), and with
/// its folder resolved, so that only the file itself must not be a link.
pub(super) fn resolve(path: &Path) -> Outcome<PathBuf> {
    let argument = |what: &str| Error::InvalidArgument(format!("{what}: {}", path.display()).into());
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(argument("the store's path has a NUL byte").into());
    }
    let name = path.file_name().ok_or_else(|| argument("the store's path names no file"))?;
    let absolute = std::path::absolute(path).map_err(|error| failed(path, error))?;
    if absolute.is_dir() {
        return Err(argument("the store's path is a folder; name a file in it").into());
    }
    // With a separator at the end, the names of the files beside the store would be in a folder with its name.
    if !path.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes()) {
        return Err(argument("the store's path must end in the name of a file, without a separator behind it").into());
    }
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let folder = folder.canonicalize().map_err(|error| failed(folder, error))?;
    Ok(folder.join(name))
}

/// The metadata of the database's file, if it exists. It must be a regular file.
pub(super) fn find(path: &Path) -> Outcome<Option<Metadata>> {
    let _creating = creating();
    look(path)
}

fn look(path: &Path) -> Outcome<Option<Metadata>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|error| failed(path, error))?,
    };
    if found.is_symlink() {
        let remedy = match fs::canonicalize(path) {
            Ok(target) => format!("name the file itself, {}", target.display()),
            Err(_) => "its target does not exist; remove it, or name another file".into(),
        };
        return refuse(path, &format!("is a symbolic link: {remedy}"));
    }
    if !found.is_file() {
        return refuse(path, &format!("is {}, not a regular file: choose another path", kind(&found)));
    }
    for companion in COMPANIONS.map(|suffix| with_suffix(path, suffix)) {
        if fs::symlink_metadata(&companion).is_ok_and(|found| !found.is_file()) {
            return refuse(&companion, "is in the way of a file of the store: remove it, or choose another path");
        }
    }
    Ok(Some(found))
}

/// Rejects a database that must not be written, because it belongs to another user or has several names.
pub(super) fn check_owner_and_names(path: &Path, found: &Metadata) -> Outcome<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let us = rustix::process::geteuid();
        if found.uid() != us.as_raw() && found.uid() != 0 && !us.is_root() {
            let (owner, us) = (found.uid(), us.as_raw());
            let text = format!(
                "belongs to user {owner}, and this process runs as user {us}: run it as {owner}, or change the owner \
                 of the file and of those beside it (chown {us})"
            );
            return refuse(path, &text);
        }
        if found.nlink() > 1 {
            let text = format!(
                "has {} hard links, and records written under one name would be missing under the others: remove the \
                 other links, or use a copy (cp)",
                found.nlink()
            );
            return refuse(path, &text);
        }
        if is_mount_point(path) {
            let text = "is a mount point, so that its log would be on another file system and be lost: mount \
                 its folder instead";
            return refuse(path, text);
        }
    }
    let _ = (path, found);
    Ok(())
}

/// The reason why the database cannot be written, according to its file, its folder and the files beside it.
pub(super) fn why_not_writable(path: &Path) -> Option<String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let companions = COMPANIONS.map(|suffix| with_suffix(path, suffix));
    let mut files = std::iter::once(path).chain([folder]).chain(companions.iter().map(PathBuf::as_path));
    files.find_map(|file| {
        let error = access(file).err()?;
        let text = match error.kind() {
            ErrorKind::NotFound => return None,
            ErrorKind::ReadOnlyFilesystem => format!("{} is on a read-only file system", file.display()),
            _ => format!("this process may not write {}: check its owner and its mode", file.display()),
        };
        Some(text)
    })
}

#[cfg(unix)]
fn access(file: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    match accessat(CWD, file, Access::WRITE_OK, AtFlags::EACCESS) {
        Err(rustix::io::Errno::NOSYS) => Ok(()), // SQLite will detect it
        outcome => Ok(outcome?),
    }
}

#[cfg(not(unix))]
fn access(file: &Path) -> io::Result<()> {
    let found = fs::metadata(file)?;
    // A folder's attribute does not apply to the files in it.
    if found.is_file() && found.permissions().readonly() { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

/// Rejects the path of a new database beside the log of an earlier one: SQLite would write the old log's pages into the
/// new database, or delete the log, which may have the last records of a database that was moved away.
pub(super) fn refuse_leftovers(path: &Path) -> Outcome<()> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    match COMPANIONS.map(|suffix| with_suffix(path, suffix)).iter().find(|companion| is_there(companion)) {
        // Looked at last: another process may have made the database, and then its log.
        Some(companion) if !is_there(path) => refuse(
            companion,
            "belongs to a database that is missing: put that database back beside it, or move this file away with it, \
             and then try again",
        ),
        _ => Ok(()),
    }
}

/// Rejects an empty file beside a log that is not empty: SQLite would delete the log, which may have the last records
/// of a database that was moved away or cut off. A rollback journal may be there, because the tables are created with
/// one.
pub(super) fn refuse_empty_beside_log(path: &Path) -> Outcome<()> {
    let len = |path: &Path| fs::symlink_metadata(path).map_or(0, |found| found.len());
    let log = with_suffix(path, "-wal");
    // The file's length last: another process may have created the tables, and then its log. SQLite takes a file of one
    // byte for an empty one.
    if len(&log) > 0 && len(path) <= 1 {
        return refuse(
            &log,
            "belongs to a database, and the file beside it is empty: put that database in the place of the empty file, \
             or move both files away, and then try again",
        );
    }
    Ok(())
}

/// Creates the database's file, empty and accessible only to its owner, if it does not exist. SQLite gives the files
/// beside it the same mode. Users who want another mode create an empty file first.
pub(super) fn find_or_create(path: &Path) -> Outcome<Option<Metadata>> {
    let _creating = creating();
    if let Some(found) = look(path)? {
        return Ok(Some(found));
    }
    refuse_leftovers(path)?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => sync_folder_of(path).map_err(|error| cannot_make(path, error))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // another process was faster
        Err(error) => return Err(cannot_make(path, error).into()),
    }
    look(path)
}

/// Held while a file is created. A process loses all its locks on a file when any part of it closes the file, so no
/// other thread may open a new file before its creator has closed it.
fn creating() -> MutexGuard<'static, ()> {
    static CREATING: Mutex<()> = Mutex::new(());
    CREATING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the file itself is a mount point.
#[cfg(unix)]
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // The fifth field; space, tab, newline and backslash are written as octal numbers.
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            byte => escaped.push(*byte),
        }
    }
    // Only Linux has this list.
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mounts.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&escaped))
}

fn kind(found: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        } else if kind.is_fifo() {
            return "a named pipe";
        } else if kind.is_socket() {
            return "a socket";
        }
    }
    if found.is_dir() { "a folder" } else { "something else" }
}

fn refuse<T>(path: &Path, why: &str) -> Outcome<T> {
    Err(Error::InvalidArgument(format!("{} {why}", path.display()).into()).into())
}

/// The error of a file that could not be created.
pub(super) fn cannot_make(path: &Path, error: io::Error) -> Error {
    if is_no_room(&error) { Error::Full } else { failed(path, error) }
}

pub(super) fn failed(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {}", path.display())]
    struct CannotOpen {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    }
    Error::Backend(Box::new(CannotOpen { path: path.to_path_buf(), source: source.into() }))
}
