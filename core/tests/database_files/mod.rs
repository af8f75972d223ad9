//! The database's file and those beside it: accepted paths, owners, and removal while the store is open.

#![cfg(unix)]

use crate::support;
mod closing;
mod deleted;
mod full;
mod index_key;
mod moved;
mod paths;
mod read_only;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use strongroom::{Error, Strongroom, WriteOptions};

use crate::support::mounts::{self, FOLDER, run};

/// A user without privileges, and another one.
const NOBODY: u32 = 65534;
const STRANGER: u32 = 1;

#[track_caller]
fn assert_error<T>(outcome: Result<T, Error>, name: &str, says: &str) {
    let Err(error) = outcome else { panic!("no {name}: {says}") };
    assert_eq!(error.name(), name, "{}", error.full_message());
    assert!(error.full_message().contains(says), "{}", error.full_message());
}

fn open(path: &Path) -> Result<Strongroom, Error> {
    Strongroom::builder().path(path).index_key(support::index_key()).open()
}

fn open_to_read(path: &Path) -> Result<Strongroom, Error> {
    Strongroom::builder().path(path).index_key(support::index_key()).read_only().open()
}

/// A closed store with one record, and the record's key.
fn store_with_a_record(path: &Path) -> strongroom::RecordKey {
    let store = open(path).unwrap();
    let key = store.store("id", "data").unwrap();
    store.close().unwrap();
    key
}

/// The content of a folder: names, and the properties that can change without the name.
fn listing(folder: &Path) -> BTreeSet<(OsString, u32, u32, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let line = |entry: fs::DirEntry| {
        let found = fs::symlink_metadata(entry.path()).unwrap();
        (entry.file_name(), found.mode(), found.uid(), found.len())
    };
    entries.map(line).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn is_root() -> bool {
    tempfile::tempdir().unwrap().path().metadata().unwrap().uid() == 0
}

/// Runs `work` in a process of another user than root, after `prepare` has filled the folder, which belongs to that
/// user. `name` is that of the calling test.
fn as_nobody(name: &str, prepare: impl FnOnce(&Path), work: impl FnOnce(&Path)) {
    if let Some(folder) = env::var_os(FOLDER) {
        return work(folder.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    if !is_root() {
        return work(folder.path());
    }
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if entry.metadata().unwrap().uid() == 0 && !entry.file_name().to_str().unwrap().starts_with("root") {
            std::os::unix::fs::lchown(entry.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    // Linux's link leads to this program also below folders that the other user may not enter.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe().unwrap() };
    let mut child = Command::new(program);
    child
        .args([&format!("database_files::{name}"), "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .uid(NOBODY)
        .gid(NOBODY);
    run(child);
}

/// Runs `work` with its own file systems, as [`mounts::with_mounts`] does.
fn with_mounts(name: &str, script: &str, work: impl FnOnce(&Path)) {
    mounts::with_mounts(&format!("database_files::{name}"), script, work);
}
