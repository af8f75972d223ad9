//! The files, folders and links in a folder.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use rustix::fs::OFlags;

use super::TreeIds;
use super::manifest::{Entry, Kind, Modified, PERMISSIONS};
use super::problems::Problems;
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::input::Input;

/// Changes within this time may have the same time of modification.
const TIME_STEP_SECONDS: i64 = 2;

/// The contents of `folder`, by path. Links are not followed, except `folder` itself.
pub(super) fn walk(
    folder: &Path,
    ids: &TreeIds,
    in_use: &InUse,
    problems: &mut Problems,
) -> Result<BTreeMap<Vec<u8>, Entry>, Failure> {
    let (bar, used) = (ProgressBar::hidden(), in_use.identities());
    let mut found = BTreeMap::new();
    let mut folders = vec![Vec::new()];
    fs::read_dir(folder).map_err(Failure::io("cannot read the folder"))?;
    while let Some(path) = folders.pop() {
        let names = match fs::read_dir(at(folder, &path)) {
            Ok(names) => names,
            Err(source) => {
                problems.add(&path, Failure::io("cannot read the folder")(source), &bar);
                continue;
            }
        };
        for name in names {
            let found_in_folder = name.and_then(|name| {
                let path = join(&path, name.file_name().as_bytes());
                let metadata = name.metadata()?;
                let target = if metadata.is_symlink() { Some(fs::read_link(name.path())?) } else { None };
                Ok((path, metadata, target))
            });
            let (path, metadata, target) = match found_in_folder {
                Ok(found) => found,
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile
                Err(source) => {
                    problems.add(&path, Failure::io("cannot read the folder")(source), &bar);
                    continue;
                }
            };
            let kind = match target {
                Some(target) => Kind::Link { target: target.into_os_string().into_vec() },
                None if metadata.is_dir() => Kind::Folder,
                None if !metadata.is_file() => {
                    problems.skip(&path, "it is a device, a socket or a pipe");
                    continue;
                }
                None if used.contains(&(metadata.dev(), metadata.ino())) => {
                    problems.skip(&path, "this command uses the file, as the store or a key");
                    continue;
                }
                None => Kind::File { size: metadata.len(), is_recent: false },
            };
            if !ids.fits(&path) {
                problems.add(&path, Failure::argument("its path is too long for an id"), &bar);
                continue;
            }
            if kind == Kind::Folder {
                folders.push(path.clone());
            }
            found.insert(path, Entry { kind, ..of_metadata(&metadata) });
        }
    }
    Ok(found)
}

/// A file that was found, to be read now. Its entry is that of the open file.
pub(super) fn open(folder: &Path, path: &[u8]) -> Result<(Entry, Input), Failure> {
    let now = SystemTime::now();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = flags.try_into().map_err(|_| Failure::argument("cannot open the file"))?;
    let file = File::options().read(true).custom_flags(flags).open(at(folder, path));
    let file = file.map_err(Failure::io("cannot open the file"))?;
    let metadata = file.metadata().map_err(Failure::io("cannot read the file"))?;
    if !metadata.is_file() {
        return Err(Failure::argument("it is no longer a regular file"));
    }
    let now = now.duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX);
    let is_recent = metadata.mtime().saturating_add(TIME_STEP_SECONDS) > now;
    let kind = Kind::File { size: metadata.len(), is_recent };
    Ok((Entry { kind, ..of_metadata(&metadata) }, Input::of_file(file, &metadata)))
}

/// The entry of a folder with this metadata.
fn of_metadata(metadata: &Metadata) -> Entry {
    let modified = Modified(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0));
    Entry { kind: Kind::Folder, mode: metadata.mode() & PERMISSIONS, modified }
}

fn at(folder: &Path, path: &[u8]) -> std::path::PathBuf {
    if path.is_empty() { folder.into() } else { folder.join(std::ffi::OsStr::from_bytes(path)) }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}
