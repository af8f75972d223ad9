//! The files, folders and links in a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::TreeIds;
use super::folders::{Root, identity, modified};
use super::manifest::{Entry, Kind, Modified, PERMISSIONS, split};
use super::problems::Problems;
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::input::Input;
use crate::new_file::is_unfinished;

/// Changes within this time may have the same time of modification.
const TIME_STEP_SECONDS: i64 = 2;

/// The contents of a folder.
#[derive(Default)]
pub(super) struct Found {
    /// By path.
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// The paths that are left out on purpose.
    pub(super) skipped: BTreeSet<Vec<u8>>,
}

impl Found {
    pub(super) fn is_file(&self, path: &[u8]) -> bool {
        matches!(self.entries.get(path), Some(Entry { kind: Kind::File { .. }, .. }))
    }

    /// Whether the path, or a folder of it, is left out.
    pub(super) fn is_skipped(&self, mut path: &[u8]) -> bool {
        while !path.is_empty() {
            if self.skipped.contains(path) {
                return true;
            }
            (path, _) = split(path);
        }
        false
    }
}

/// Finds what is in the folder. Links are not followed.
pub(super) fn walk(root: &Root, ids: &TreeIds, in_use: &InUse, problems: &mut Problems) -> Found {
    let (bar, used) = (ProgressBar::hidden(), in_use.identities());
    let mut found = Found::default();
    let mut folders = vec![Vec::new()];
    while let Some(path) = folders.pop() {
        let opened = root.folder(&path).and_then(|folder| Ok((Dir::read_from(&folder)?, folder)));
        let (names, folder) = match opened {
            Ok(opened) => opened,
            Err(source) => {
                problems.add(&path, Failure::io("cannot read the folder")(source), &bar);
                continue;
            }
        };
        let is_name = |name: &Result<DirEntry, Errno>| {
            !name.as_ref().is_ok_and(|name| matches!(name.file_name().to_bytes(), b"." | b".."))
        };
        for name in names.filter(is_name) {
            let described = name.map_err(io::Error::from).and_then(|name| {
                let name = name.file_name().to_bytes();
                Ok((join(&path, name), describe(folder.as_fd(), name)?))
            });
            let (path, (state, target)) = match described {
                Ok(described) => described,
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile
                Err(source) => {
                    problems.add(&path, Failure::io("cannot read the folder")(source), &bar);
                    continue;
                }
            };
            let kind = match (FileType::from_raw_mode(state.st_mode), target) {
                (FileType::Directory, _) => Kind::Folder,
                // It is no user's file: a later command that writes to the folder removes it.
                _ if is_unfinished(split(&path).1) => {
                    problems.skip(&path, "it is an unfinished file of a command that was interrupted or still runs");
                    found.skipped.insert(path);
                    continue;
                }
                (_, Some(target)) => Kind::Link { target },
                (FileType::RegularFile, _) if used.contains(&identity(&state)) => {
                    problems.skip(&path, "this command uses the file, as the store or a key");
                    found.skipped.insert(path);
                    continue;
                }
                (FileType::RegularFile, _) => {
                    Kind::File { size: u64::try_from(state.st_size).unwrap_or(0), is_recent: false }
                }
                _ => {
                    problems.skip(&path, "it is a device, a socket or a pipe");
                    found.skipped.insert(path);
                    continue;
                }
            };
            if !ids.fits(&path) {
                problems.add(&path, Failure::argument("its path is too long for an id"), &bar);
                continue;
            }
            if kind == Kind::Folder {
                folders.push(path.clone());
            }
            let entry = Entry { kind, mode: state.st_mode & PERMISSIONS, modified: modified(&state), key: None };
            found.entries.insert(path, entry);
        }
    }
    found
}

/// The state of a name in the folder, and the target of a link.
fn describe(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<(Stat, Option<Vec<u8>>)> {
    let state = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = match FileType::from_raw_mode(state.st_mode) {
        FileType::Symlink => Some(readlinkat(folder, name, Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok((state, target))
}

/// A file that was found, to be read now. Its entry is that of the open file.
pub(super) fn open(root: &Root, path: &[u8]) -> Result<(Entry, Input), Failure> {
    let now = SystemTime::now();
    let file = root.file(path).map_err(Failure::io("cannot open the file"))?;
    let metadata = file.metadata().map_err(Failure::io("cannot read the file"))?;
    if !metadata.is_file() {
        return Err(Failure::argument("it is no longer a regular file"));
    }
    let now = now.duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX);
    let is_recent = metadata.mtime().saturating_add(TIME_STEP_SECONDS) > now;
    let kind = Kind::File { size: metadata.len(), is_recent };
    let modified = Modified(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0));
    let entry = Entry { kind, mode: metadata.mode() & PERMISSIONS, modified, key: None };
    Ok((entry, Input::of_file(file, &metadata)))
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_takes_the_place_of_a_folder_or_a_file_is_not_followed() {
        let world = tempfile::tempdir().unwrap();
        let at = |path: &str| world.path().join(path);
        for folder in ["elsewhere/inner", "tree/folder/inner"] {
            fs::create_dir_all(at(folder)).unwrap();
            fs::write(at(folder).join("file"), folder).unwrap();
        }
        let root = Root::open(&at("tree")).unwrap();
        open(&root, b"folder/inner/file").unwrap();
        root.folder(b"folder/inner").unwrap();
        fs::rename(at("tree/folder"), at("moved")).unwrap();
        symlink("../elsewhere", at("tree/folder")).unwrap();
        assert!(open(&root, b"folder/inner/file").is_err());
        assert!(root.folder(b"folder/inner").is_err() && root.folder(b"folder").is_err());
        symlink("../elsewhere/inner/file", at("tree/file")).unwrap();
        assert!(open(&root, b"file").is_err());
    }

    #[test]
    fn what_is_in_a_skipped_folder_is_skipped() {
        let found = Found { skipped: BTreeSet::from([b"a/b".to_vec()]), ..Found::default() };
        for (path, is_skipped) in [("a", false), ("a/b", true), ("a/b/c/d", true), ("a/bc", false), ("b", false)] {
            assert_eq!(found.is_skipped(path.as_bytes()), is_skipped, "{path}");
        }
    }
}
