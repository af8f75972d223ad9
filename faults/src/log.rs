//! The log of a disk: each change of its files, in the order in which the system made them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;

/// A file, under any name: two files that have the same name one after the other are two.
pub(crate) type FileId = u32;

/// An entry of a [`Log`].
#[derive(Clone, Debug)]
pub enum Event {
    /// Names of the folder that changed together: a new file, a removed one (`None`), or both for a rename.
    Names(Vec<(String, Option<FileId>)>),
    /// The content of a file changed.
    Changed(FileId, Change),
    /// The file is durable.
    Synced(FileId, FileKind),
    /// The folder's names are durable.
    FolderSynced,
    /// The test begins an operation. The number is the test's.
    Begun(usize),
    /// An operation has succeeded.
    Acknowledged(usize),
    /// An operation has failed, and has changed nothing.
    Refused(usize),
}

/// A change of a file's content.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset.
    Written(usize, Vec<u8>),
    /// A new length.
    Truncated(usize),
}

/// The purpose of a file, from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// SQLite's database.
    Database,
    /// SQLite's write-ahead log, `-wal`.
    WriteAheadLog,
    /// SQLite's rollback journal, `-journal`, of a database that is being created.
    Journal,
    /// A key's file, under its own or a temporary name.
    Key,
}

impl FileKind {
    fn of(name: &str) -> Self {
        let is = |part| name.contains(part);
        match () {
            () if is("-wal") => Self::WriteAheadLog,
            () if is("-journal") => Self::Journal,
            () if is("index-key") || is("unfinished-file") => Self::Key,
            () => Self::Database,
        }
    }
}

/// All changes since [`Disk::record`](crate::Disk::record), and the files before.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The content of each file at the beginning, which is durable.
    pub(crate) files: BTreeMap<FileId, Vec<u8>>,
    /// The names at the beginning, which are durable.
    pub(crate) names: BTreeMap<String, FileId>,
    /// The changes.
    pub events: Vec<Event>,
}

/// The log that is being written.
#[derive(Default)]
pub(crate) struct Recorder {
    log: Log,
    names: BTreeMap<String, FileId>,
    /// The files that have names, by their inodes.
    inodes: BTreeMap<u64, FileId>,
    next: FileId,
}

impl Recorder {
    /// Begins with the files that are in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut recorder = Self::default();
        recorder.find_names(folder);
        for (name, id) in &recorder.names {
            recorder.log.files.insert(*id, fs::read(folder.join(name)).unwrap_or_default());
        }
        recorder.log.names = recorder.names.clone();
        recorder.log.events.clear();
        recorder
    }

    pub(crate) fn into_log(self) -> Log {
        self.log
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.log.events.push(event);
    }

    pub(crate) fn push_change(&mut self, inode: u64, change: Change) {
        if let Some(id) = self.inodes.get(&inode) {
            self.log.events.push(Event::Changed(*id, change));
        }
    }

    pub(crate) fn push_sync(&mut self, inode: u64) {
        if let Some(id) = self.inodes.get(&inode) {
            let name = self.names.iter().find(|(_, named)| *named == id).map_or("", |(name, _)| name);
            self.log.events.push(Event::Synced(*id, FileKind::of(name)));
        }
    }

    /// Records the names that have changed.
    pub(crate) fn find_names(&mut self, folder: &Path) {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with("-shm") {
                found.insert(name, entry.ino());
            }
        }
        let mut changes = Vec::new();
        for (name, inode) in &found {
            let id = *self.inodes.entry(*inode).or_insert_with(|| {
                self.next += 1;
                self.next
            });
            if self.names.get(name) != Some(&id) {
                changes.push((name.clone(), Some(id)));
            }
        }
        changes.extend(self.names.keys().filter(|name| !found.contains_key(*name)).map(|name| (name.clone(), None)));
        // A later file may get the inode of a removed one.
        self.inodes.retain(|inode, _| found.values().any(|named| named == inode));
        if !changes.is_empty() {
            self.names =
                found.into_iter().filter_map(|(name, inode)| Some((name, *self.inodes.get(&inode)?))).collect();
            self.log.events.push(Event::Names(changes));
        }
    }
}
