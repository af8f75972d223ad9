//! A disk that turns out to be full only at a sync, at a new length or in the log's index: what failed has changed
//! nothing, reads continue, and so do writes, unless a failed sync leaves it open which earlier data the disk has.

use std::fs;
use std::path::Path;

use strongroom::storage::{Locator, PutMode, SqliteStorage, Storage};
use strongroom::transfer::{Copied, CopyOptions, copy};
use strongroom::{Durability, Error, Location, RecordKey, Strongroom};
use strongroom_faults::{Call, Disk, DiskGuard, Failure, Fault};
use tempfile::TempDir;

use super::check::{DATABASE, scratch};

const NO_ROOM: [i32; 3] = [libc::ENOSPC, libc::EDQUOT, libc::EFBIG];

struct Full {
    folder: TempDir,
    disk: DiskGuard,
    store: Strongroom,
    key: RecordKey,
}

impl Full {
    /// A store with one record.
    fn new() -> Self {
        let folder = scratch();
        let disk = Disk::at(folder.path()).unwrap();
        let store = Strongroom::open(folder.path().join(DATABASE)).unwrap();
        let key = store.store("kept", "data").unwrap();
        Self { folder, disk, store, key }
    }

    /// The same store, opened again after a crash.
    fn after_crash(self) -> Self {
        let folder = self.crashed();
        let disk = Disk::at(folder.path()).unwrap();
        let store = Strongroom::open(folder.path().join(DATABASE)).unwrap();
        Self { folder, disk, store, key: self.key }
    }

    fn fail(&self, call: Call, errno: i32) {
        self.disk.fail(Some(Fault { call, after: 0, persists: true, failure: Failure::Errno(errno) }));
    }

    fn check_read(&self) {
        assert_eq!(self.store.retrieve("kept", &self.key).unwrap(), b"data");
        assert!(self.store.contains("kept").unwrap() && !self.store.contains("none").unwrap());
    }

    /// The number of records after a crash now.
    fn recovered(&self) -> u64 {
        records(self.crashed().path())
    }

    /// The files after a crash now.
    fn crashed(&self) -> TempDir {
        let copy = scratch();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "db-shm") {
                fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        copy
    }
}

fn records(folder: &Path) -> u64 {
    let store = Strongroom::open(folder.join(DATABASE)).unwrap();
    let records = store.stats().unwrap().records;
    store.close().unwrap();
    records
}

type Write = fn(&Full) -> Result<(), Error>;

const WRITES: [(&str, Write); 6] = [
    ("store", |full| full.store.store("new", "data").map(drop)),
    ("store some pages", |full| full.store.store("new", vec![7; 200_000]).map(drop)),
    ("store many", |full| full.store.store_many(&[("new", "data"), ("other", "data")]).map(drop)),
    ("replace", |full| full.store.replace("kept", &full.key, "new").map(drop)),
    ("delete", |full| full.store.delete("kept", &full.key)),
    ("erase", |full| full.store.erase("kept").map(drop)),
];

#[test]
fn a_sync_without_room_changes_nothing() {
    for (name, write) in WRITES {
        for errno in NO_ROOM {
            let full = Full::new();
            full.fail(Call::Sync, errno);
            for _ in 0..2 {
                let error = write(&full).unwrap_err();
                assert!(matches!(error, Error::StorageFull), "{name}, {errno}: {error:?}");
                full.check_read();
            }
            assert_eq!(full.recovered(), 1, "{name}");
            full.store.health().unwrap();
            full.disk.fail(None);
            write(&full).unwrap();
            full.store.store("another", "data").unwrap();
            let records = full.store.stats().unwrap().records;
            assert_eq!(full.recovered(), records, "{name}");
        }
    }
}

/// The pieces of a long record are not synced one by one.
#[test]
fn a_sync_that_may_lose_earlier_pieces_ends_writes() {
    let full = Full::new();
    let key = full.store.store_reader("long", &vec![7; 3_000_000][..]).unwrap(); // creates the lock of uploads
    full.store.delete("long", &key).unwrap();
    full.store.store("other", "data").unwrap(); // begins the log anew, which is synced
    full.fail(Call::Sync, libc::EDQUOT);
    let error = full.store.store_reader("long", &vec![7; 3_000_000][..]).unwrap_err();
    assert!(matches!(error, Error::StorageFull), "{error:?}");
    full.check_read();
    full.disk.fail(None);
    let error = full.store.store("new", "data").unwrap_err();
    assert!(matches!(error, Error::Poisoned), "{error:?}");
    assert!(matches!(full.store.health(), Err(Error::Poisoned)));
    full.check_read();
    assert_eq!(full.recovered(), 2);
    full.store.close().unwrap();
    assert_eq!(records(full.folder.path()), 2);
}

/// Its log may have commits that no sync has made durable.
#[test]
fn a_sync_that_may_lose_commits_of_a_killed_process_ends_writes() {
    for is_empty in [true, false] {
        let full = Full::new();
        if is_empty {
            full.store.maintain().unwrap();
        }
        let full = full.after_crash();
        full.fail(Call::Sync, libc::ENOSPC);
        assert!(matches!(full.store.store("new", "data"), Err(Error::StorageFull)));
        full.disk.fail(None);
        let outcome = full.store.store("new", "data").map(drop);
        assert!(if is_empty { outcome.is_ok() } else { matches!(outcome, Err(Error::Poisoned)) }, "{outcome:?}");
        full.check_read();
    }
}

#[test]
fn after_another_failure_of_a_sync_reads_continue() {
    for (name, write) in WRITES {
        let full = Full::new();
        full.fail(Call::Sync, libc::EIO);
        let error = write(&full).unwrap_err();
        assert!(matches!(error, Error::Indeterminate(_)), "{name}: {error:?}");
        full.disk.fail(None);
        assert!(matches!(write(&full), Err(Error::Poisoned)), "{name}");
        full.check_read();
        assert!(matches!(full.store.health(), Err(Error::Poisoned)));
        let _ = full.store.close();
        let log = fs::metadata(full.folder.path().join(format!("{DATABASE}-wal"))).unwrap();
        assert!(log.len() > 0, "{name}: a checkpoint would make the failed write permanent");
    }
}

#[test]
fn a_log_that_cannot_be_emptied_is_full() {
    for (call, errno) in NO_ROOM.into_iter().flat_map(|errno| [(Call::Truncate, errno), (Call::Sync, errno)]) {
        let full = Full::new();
        full.fail(call, errno);
        assert!(matches!(full.store.maintain(), Err(Error::StorageFull)), "{call:?}");
        full.check_read();
        full.disk.fail(None);
        full.store.store("new", "data").unwrap();
        full.store.maintain().unwrap();
        assert_eq!(full.recovered(), 2);
    }
}

/// The pages that the end of the first copy would move from the log into the new database.
#[test]
fn a_copy_whose_log_cannot_be_emptied_is_full() {
    let (source, folder) = (scratch(), scratch());
    let disk = Disk::at(folder.path()).unwrap();
    let [from, to] = [&source, &folder].map(|folder| folder.path().join(DATABASE));
    Strongroom::open(&from).unwrap().store("id", "data").unwrap();
    // The copy removes this claim of a running operation, so that its log has pages.
    let storage = SqliteStorage::open(&from, Durability::Full).unwrap();
    storage.put(&Locator::from_bytes([0; 32]), &[7; 100], PutMode::Create).unwrap();
    storage.close().unwrap();
    let places = [&from, &to].map(|path| Location::parse(path).unwrap());
    let run = |progress: &mut dyn FnMut(&Copied)| copy(&places[0], &places[1], CopyOptions::new(), progress);
    for errno in NO_ROOM {
        // Once the record is there, only the end is left.
        let outcome = run(&mut |copied| {
            if copied.records > 0 {
                let failure = Failure::Errno(errno);
                disk.fail(Some(Fault { call: Call::Sync, after: 0, persists: true, failure }));
            }
        });
        disk.fail(None);
        assert!(matches!(outcome, Err(Error::StorageFull)), "{outcome:?}");
        assert!(!to.exists());
    }
    assert_eq!(run(&mut |_| ()).unwrap().records, 1);
    assert!(to.exists());
}

/// They may not be durable, and a later sync would not report it.
#[test]
fn a_log_with_commits_of_others_that_cannot_be_synced_ends_writes() {
    for errno in NO_ROOM {
        let full = Full::new();
        let other = Strongroom::open(full.folder.path().join(DATABASE)).unwrap();
        other.store("other", "data").unwrap();
        full.fail(Call::Sync, errno);
        assert!(matches!(full.store.maintain(), Err(Error::StorageFull)));
        full.disk.fail(None);
        assert!(matches!(full.store.store("new", "data"), Err(Error::Poisoned)));
        full.check_read();
        assert_eq!(full.recovered(), 2);
    }
}

/// The index of the log grows after a commit's pages are written and synced.
#[test]
fn an_index_without_room_changes_nothing() {
    /// More pages than the first part of the index has places for.
    const RECORDS: usize = 80;
    let (piece, ids) = (vec![7; 450_000], (0..RECORDS).map(|n| format!("record {n}")).collect::<Vec<_>>());
    let many: Vec<_> = ids.iter().map(|id| (id, &piece)).collect();
    let full = Full::new();
    full.disk.fail(None);
    full.store.store_many(&many).unwrap();
    let writes = full.disk.count(Call::Write);

    let full = Full::new();
    let failure = Failure::Errno(libc::EDQUOT);
    full.disk.fail(Some(Fault { call: Call::Write, after: writes - 3, persists: false, failure }));
    let error = full.store.store_many(&many).unwrap_err();
    assert_eq!(full.disk.failed(), 1);
    assert!(matches!(error, Error::StorageFull), "{error:?}");
    full.check_read();
    assert_eq!(full.recovered(), 1);
    full.store.store("new", "data").unwrap();
    assert_eq!(full.recovered(), 2);
}
