//! The files that a command uses. None of them may be its output, under any name.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom::{database_files, index_key_file, will_be_same_file};

use crate::failure::Failure;
use crate::open;
use crate::options::Options;
use crate::streams::{self, is_stdin};

pub(crate) struct InUse {
    /// Files that SQLite has open. Closing one of them elsewhere in this process releases SQLite's locks.
    database: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

impl InUse {
    /// The files of the options, and the command's inputs.
    pub(crate) fn new(options: &Options, inputs: &[&Path]) -> Self {
        let remote = &options.remote;
        let named = [
            &options.index_key_file,
            &options.previous_index_key_file,
            &remote.token_file,
            &remote.authorities,
            &remote.client_certificate,
            &remote.client_key,
            &remote.revocations,
            &options.keyring.keyring,
            &options.keyring.identity,
            &options.keyring.passphrase_file,
        ];
        let mut others: Vec<_> = named.into_iter().flatten().cloned().collect();
        let store = open::database(options);
        let database = store.iter().flat_map(|store| database_files(store)).collect();
        others.extend(inputs.iter().filter(|path| !is_stdin(Some(path))).map(|path| path.to_path_buf()));
        others.extend(store.iter().map(|store| index_key_file(store)));
        Self { database, others }
    }

    /// Rejects an input that SQLite has open, and a stdout that is one of the files.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut inputs: Vec<_> = self.others.iter().filter_map(|file| identity(file)).collect();
        inputs.extend(streams::stdin().ok().and_then(|stdin| stream_identity(&stdin)));
        if self.database.iter().filter_map(|file| identity(file)).any(|file| inputs.contains(&file)) {
            return Err(Failure::argument(
                "a file of the open store cannot be read as data or as a key: copy it first",
            ));
        }
        let stdout = streams::stdout().ok().and_then(|stdout| stream_identity(&stdout));
        if stdout.is_some_and(|stdout| self.all().any(|file| identity(file).as_ref() == Some(&stdout))) {
            return Err(Failure::argument("stdout is a file that this command uses: choose another file"));
        }
        Ok(())
    }

    /// Rejects an output that is one of the files, or one that does not exist yet.
    pub(crate) fn refuse(&self, output: &Path) -> Result<(), Failure> {
        if self.all().any(|file| will_be_same_file(file, output)) {
            return Err(Failure::argument(
                "the output is a file that this command uses, such as the store or a key: choose another name",
            ));
        }
        Ok(())
    }

    /// The device and inode of each of the files that exist.
    #[cfg(unix)]
    pub(crate) fn identities(&self) -> Vec<(u64, u64)> {
        self.all().filter_map(|file| identity(file)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.database.iter().chain(&self.others)
    }
}

/// A file's device and inode, which are the same for all of its names.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    Some(identity_of(&fs::metadata(path).ok()?))
}

#[cfg(unix)]
fn identity_of(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// The identity of a stream that is a file.
#[cfg(unix)]
fn stream_identity(stream: &streams::Stream) -> Option<(u64, u64)> {
    stream.metadata().ok().filter(fs::Metadata::is_file).map(|file| identity_of(&file))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

#[cfg(not(unix))]
fn stream_identity<S>(_stream: &S) -> Option<PathBuf> {
    None
}
