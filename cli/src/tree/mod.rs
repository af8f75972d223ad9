//! Trees: a folder in records. Each file is a record under the prefix and its path; one more record, the manifest, has
//! the folders, the links, the times and the modes. A keyring has the keys of all.

mod files;
mod folders;
mod manifest;
mod problems;
mod restore;
mod store;
mod walk;
mod workers;

use strongroom::{Error, Strongroom};

use crate::failure::Failure;
use crate::kept_keys::{KeptKeys, with_each};
use crate::tree_args::TreeOptions;
use manifest::Manifest;

pub(crate) use restore::restore;
pub(crate) use store::store;

/// How many files or batches are processed at the same time by default.
const WORKERS: u8 = 4;

/// Up to this length, a file is processed in a batch with others.
const SMALL: u64 = 256 << 10;
/// The maximum number of files in a batch, and of their bytes.
const BATCH_FILES: usize = 1024;
const BATCH_BYTES: u64 = 4 << 20;

const PROGRESS: &str = "{wide_bar} {human_pos}/{human_len} files, {eta} left";

/// The ids of a tree.
struct TreeIds {
    /// It ends with a slash.
    prefix: Vec<u8>,
}

impl TreeIds {
    /// The longest id.
    const MAX_LEN: usize = 4096;

    fn new(options: &TreeOptions) -> Result<Self, Failure> {
        let prefix = options.id_prefix.as_ref().map(AsRef::<[u8]>::as_ref).unwrap_or_default();
        let mut prefix = prefix.to_vec();
        if prefix.is_empty() {
            return Err(Failure::argument("the prefix of the ids is empty"));
        }
        if prefix.last() != Some(&b'/') {
            prefix.push(b'/');
        }
        if prefix.len() > Self::MAX_LEN {
            return Err(Error::InvalidId.into());
        }
        Ok(Self { prefix })
    }

    /// The id of the manifest: no file has an empty path.
    fn manifest(&self) -> &[u8] {
        &self.prefix
    }

    fn file(&self, path: &[u8]) -> Vec<u8> {
        [&self.prefix, path].concat()
    }

    /// The path of a file's id.
    fn path<'i>(&self, id: &'i [u8]) -> Option<&'i [u8]> {
        id.strip_prefix(self.prefix.as_slice()).filter(|path| !path.is_empty())
    }

    /// The ids under the prefix of which the keyring has keys, but for the manifest's.
    fn files<'k>(&self, kept: &'k KeptKeys) -> impl Iterator<Item = &'k [u8]> {
        let of_namespace = kept.entries().iter().filter(|(namespace, ..)| *namespace == kept.namespace());
        of_namespace.map(|(_, id, _)| id).filter(|id| self.path(id).is_some())
    }

    fn fits(&self, path: &[u8]) -> bool {
        self.prefix.len() + path.len() <= Self::MAX_LEN
    }
}

/// The tree's manifest; `None` if the keyring has no key for one, or its record does not exist.
fn stored_manifest(store: &Strongroom, kept: &KeptKeys, ids: &TreeIds) -> Result<Option<Manifest>, Failure> {
    let keys = kept.newest_first(ids.manifest());
    match with_each(&keys, |key| store.open_record(ids.manifest(), key)) {
        Ok((mut reader, _)) => Ok(Some(Manifest::read(&mut reader)?)),
        Err(Failure::Strongroom(Error::NotFound)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn worker_count(options: &TreeOptions) -> usize {
    usize::from(options.workers.unwrap_or(WORKERS))
}

/// Joins files into batches of limited size; a long file is alone.
fn batches<T>(files: impl Iterator<Item = T>, len: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for file in files {
        let file_len = len(&file);
        if file_len > SMALL {
            batches.push(vec![file]);
            continue;
        }
        if batch.len() >= BATCH_FILES || bytes + file_len > BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(file);
        bytes += file_len;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_limited_in_files_and_bytes() {
        let lens = |files: &[u64]| batches(files.iter().copied(), |len| *len);
        assert_eq!(lens(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(lens(&[1, SMALL + 1, 2]), [vec![SMALL + 1], vec![1, 2]]);
        let many = lens(&vec![0; BATCH_FILES + 1]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [BATCH_FILES, 1]);
        let large = lens(&[SMALL; 40]);
        assert!(large.len() > 2 && large.iter().all(|batch| batch.iter().sum::<u64>() <= BATCH_BYTES));
        assert_eq!(large.concat().len(), 40);
    }
}
