//! Restoring a folder: its files, with their times and modes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde_json::json;
use strongroom::{RecordKey, Strongroom};

use super::folders::{NewFile, Present, Root, make_link, present, set_mode};
use super::manifest::{Entry, KeyCheck, Kind, split};
use super::problems::Problems;
use super::{PROGRESS, TreeIds, batches, stored_manifest, worker_count, workers};
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::kept_keys::{KeptKeys, with_each};
use crate::new_file::remove_dead_in;
use crate::open;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::reply;
use crate::tree_args::TreeOptions;

/// A file or a link of the tree.
type Item<'m> = (&'m [u8], &'m Entry);

/// The outcome for an item: the bytes that were written, `None` if it was there.
type Outcome = Result<Option<u64>, Failure>;

pub(crate) fn restore(options: &Options, tree: &TreeOptions, to: &Path, in_use: &InUse) -> Result<(), Failure> {
    let ids = TreeIds::new(tree)?;
    let kept = KeptKeys::required(options)?;
    let store = open::existing(options)?;
    let manifest = stored_manifest(&store, &kept, &ids)?;
    let manifest = manifest.ok_or_else(|| {
        Failure::argument("the store has no tree under this prefix, or the keyring does not have its key")
    })?;
    let root = Root::open_or_create(to).map_err(Failure::io("cannot make or open the folder of --output"))?;
    let mut problems = Problems::new(options.json);
    let folders = manifest.entries.iter().filter(|(_, entry)| entry.kind == Kind::Folder);
    let files = manifest.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
    let links = manifest.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Link { .. }));
    let files: Vec<Item<'_>> = files.map(|(path, entry)| (path.as_slice(), entry)).collect();
    let bar = progress_bar(Some(files.len() as u64), PROGRESS);

    let mut made = Vec::new();
    for (path, entry) in folders {
        match root.make_folder(path).map_err(Failure::io("cannot make the folder")) {
            Ok(()) => made.push((path, entry)),
            Err(failure) => problems.add(path, failure, &bar),
        }
    }
    // Before the workers make temporary files.
    for path in std::iter::once(&[][..]).chain(made.iter().map(|(path, _)| path.as_slice())) {
        if let Ok(folder) = root.folder(path) {
            remove_dead_in(folder.as_fd());
        }
    }
    let used = in_use.identities();
    let restoring = Restoring { ids: &ids, kept: &kept, store: &store, root: &root, used: &used };
    let (mut restored, mut unchanged, mut bytes) = (0, 0, 0);
    let mut count = |path: &[u8], outcome: Outcome| match outcome {
        Ok(Some(len)) => {
            restored += 1;
            bytes += len;
        }
        Ok(None) => unchanged += 1,
        Err(failure) => problems.add(path, failure, &bar),
    };
    let batches = batches(files.into_iter(), |(_, entry)| entry.size());
    workers::for_each(
        worker_count(tree),
        batches,
        |batch| restoring.files(batch),
        |outcomes| {
            for (path, outcome) in outcomes {
                count(path, outcome);
                bar.inc(1);
            }
            Ok(())
        },
    )?;
    for (path, entry) in links {
        count(path, restoring.link(path, entry));
    }
    // A folder's time changes with each name in it.
    for (path, entry) in made.into_iter().rev() {
        let finished = root.finish_folder(path, entry).map_err(Failure::io("cannot set the folder's mode and time"));
        finished.unwrap_or_else(|failure| problems.add(path, failure, &bar));
    }
    bar.finish_and_clear();
    root.sync().map_err(Failure::io("cannot write the files to the disk"))?;
    let failed = problems.failed();
    let text = format!("restored: {restored}\nunchanged: {unchanged}\nfailed: {failed}\nbytes: {bytes}");
    let object = json!({"restored": restored, "unchanged": unchanged, "failed": failed, "bytes": bytes});
    reply(options, &object, &text)?;
    problems.outcome("restored")
}

/// Whether the file's record is certainly short, so that it may be read into memory: its length is that of the manifest
/// only if it is under the manifest's key.
fn is_small(entry: &Entry, keys: &[RecordKey]) -> bool {
    matches!(keys, [key] if entry.key == Some(KeyCheck::of(key))) && entry.size() <= super::SMALL
}

#[derive(Clone, Copy)]
struct Restoring<'r> {
    ids: &'r TreeIds,
    kept: &'r KeptKeys,
    store: &'r Strongroom,
    root: &'r Root,
    /// The files that the command uses.
    used: &'r [(u64, u64)],
}

impl Restoring<'_> {
    /// Restores the files of a batch that are not there.
    fn files<'m>(&self, batch: Vec<Item<'m>>) -> Result<Vec<(&'m [u8], Outcome)>, Failure> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut folder = LastFolder::default();
        let mut wanted = Vec::with_capacity(batch.len());
        for (path, entry) in batch {
            match self.is_wanted(&mut folder, path, entry) {
                Ok(true) => {
                    let keys = self.kept.newest_first(&self.ids.file(path));
                    wanted.push((path, entry, keys));
                }
                Ok(false) => outcomes.push((path, Ok(None))),
                Err(failure) => outcomes.push((path, Err(failure))),
            }
        }
        let (together, alone): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(_, entry, keys)| is_small(entry, keys));
        let ids: Vec<_> = together.iter().map(|(path, ..)| self.ids.file(path)).collect();
        let records: Vec<_> =
            ids.iter().zip(&together).filter_map(|(id, (.., keys))| Some((id, keys.first()?))).collect();
        let found = self.store.retrieve_many(&records)?;
        for (((path, entry, _), (_, key)), data) in together.iter().zip(&records).zip(found) {
            let outcome = data.map_err(Failure::from).and_then(|data| {
                self.write(&mut folder, path, entry, key, |file| {
                    io::Write::write_all(file, &data).map(|()| data.len() as u64)
                })
            });
            outcomes.push((path, outcome.map(Some)));
        }
        for (path, entry, keys) in alone {
            outcomes.push((path, self.stream(&mut folder, path, entry, &keys).map(Some)));
        }
        Ok(outcomes)
    }

    fn is_wanted(&self, folder: &mut LastFolder, path: &[u8], entry: &Entry) -> Result<bool, Failure> {
        let failed = || Failure::io("cannot replace it");
        let (folder, name) = folder.of(self.root, path)?;
        match present(folder.as_fd(), name, entry).map_err(failed())? {
            Present::Nothing => Ok(true),
            // A file whose mode cannot be set, because it cannot be opened, is restored again.
            Present::Same(_) if self.is_of_manifest(path, entry)? && set_mode(folder.as_fd(), name, entry).is_ok() => {
                Ok(false)
            }
            Present::Same(identity) | Present::Other(identity) if self.used.contains(&identity) => {
                Err(Failure::argument("this command uses the file in its place, such as the store or a key"))
            }
            Present::Same(_) | Present::Other(_) => Ok(true),
        }
    }

    /// Whether the record is known to be the version of the manifest, whose size and time tell that a file is the same.
    fn is_of_manifest(&self, path: &[u8], entry: &Entry) -> Result<bool, Failure> {
        match entry.kind {
            Kind::File { is_recent: true, .. } => return Ok(false),
            Kind::File { .. } => {}
            _ => return Ok(true),
        }
        let id = self.ids.file(path);
        match self.kept.newest_first(&id).as_slice() {
            [] => Ok(false),
            [key] => Ok(entry.is_under(key)),
            keys => with_each(keys, |key| self.store.open_record(&id, key)).map(|(_, key)| entry.is_under(key)),
        }
    }

    /// Reads a record of any length in constant memory.
    fn stream(&self, folder: &mut LastFolder, path: &[u8], entry: &Entry, keys: &[RecordKey]) -> Result<u64, Failure> {
        if keys.is_empty() {
            return Err(Failure::argument("the keyring has no key for this file"));
        }
        let id = self.ids.file(path);
        let (mut reader, key) = with_each(keys, |key| self.store.open_record(&id, key))?;
        reader.len()?; // authenticated before a byte is written
        self.write(folder, path, entry, key, |file| io::copy(&mut reader, file))
    }

    /// Writes a file, whose record is under `key`.
    fn write(
        &self,
        folder: &mut LastFolder,
        path: &[u8],
        entry: &Entry,
        key: &RecordKey,
        write: impl FnOnce(&mut std::fs::File) -> io::Result<u64>,
    ) -> Result<u64, Failure> {
        let failed = Failure::stream("cannot write the file");
        let (folder, name) = folder.of(self.root, path)?;
        let mut new = NewFile::create(folder.as_fd()).map_err(&failed)?;
        let written = write(&mut new.file).map_err(&failed)?;
        // Another key or length is that of a later version, whose time is unknown.
        let modified = (written == entry.size() && entry.is_under(key)).then_some(entry.modified);
        new.finish(name, entry.mode, modified).map_err(&failed)?;
        Ok(written)
    }

    fn link(&self, path: &[u8], entry: &Entry) -> Outcome {
        let Kind::Link { target } = &entry.kind else { return Ok(None) };
        let mut folder = LastFolder::default();
        if !self.is_wanted(&mut folder, path, entry)? {
            return Ok(None);
        }
        let (folder, name) = folder.of(self.root, path)?;
        make_link(folder.as_fd(), name, target, entry.modified).map_err(Failure::io("cannot make the link"))?;
        Ok(Some(0))
    }
}

/// The folder of the last file, which is that of the next one in most cases.
#[derive(Default)]
struct LastFolder(Option<(Vec<u8>, OwnedFd)>);

impl LastFolder {
    /// The folder of `path`, and its name there.
    fn of<'p>(&mut self, root: &Root, path: &'p [u8]) -> Result<(&OwnedFd, &'p [u8]), Failure> {
        let (folder, name) = split(path);
        let opened = match self.0.take() {
            Some((last, opened)) if last == folder => opened,
            _ => root.folder(folder).map_err(Failure::io("cannot open its folder"))?,
        };
        let (_, opened) = self.0.insert((folder.to_vec(), opened));
        Ok((opened, name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SMALL;
    use super::super::manifest::Modified;
    use super::*;

    #[test]
    fn a_record_of_unknown_length_is_not_read_into_memory() {
        let [key, other] = [[1; 32], [2; 32]].map(|bytes| RecordKey::from_bytes(&bytes).unwrap());
        let entry = |size, key| {
            let kind = Kind::File { size, is_recent: false };
            Entry { kind, mode: 0o644, modified: Modified(0, 0), key }
        };
        let check = Some(KeyCheck::of(&key));
        let key = std::slice::from_ref(&key);
        assert!(is_small(&entry(0, check), key) && is_small(&entry(SMALL, check), key));
        assert!(!is_small(&entry(SMALL + 1, check), key));
        assert!(!is_small(&entry(1, Some(KeyCheck::of(&other))), key));
        assert!(!is_small(&entry(1, None), key));
        assert!(!is_small(&entry(1, check), &[]));
        assert!(!is_small(&entry(1, check), &[key[0].duplicate(), other]));
    }
}
