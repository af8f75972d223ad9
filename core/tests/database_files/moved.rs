//! Files that disappear while the store is open: no write is acknowledged that would be lost.

use std::thread;
use std::time::{Duration, Instant};

use super::*;

type Event = fn(&Path);

/// Each removes, renames or replaces the files of the store at a path.
const EVENTS: [(&str, &str, Event); 7] = [
    ("removed", "records.db ", |path| fs::remove_file(path).unwrap()),
    ("all removed", "records.db ", |path| {
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(beside(path, suffix)).unwrap();
        }
    }),
    ("renamed", "records.db ", |path| fs::rename(path, beside(path, ".old")).unwrap()),
    ("replaced", "records.db ", |path| {
        fs::copy(path, beside(path, ".new")).unwrap();
        fs::rename(beside(path, ".new"), path).unwrap();
    }),
    ("without its log", "records.db-wal ", |path| fs::remove_file(beside(path, "-wal")).unwrap()),
    ("without its index", "records.db-shm ", |path| fs::remove_file(beside(path, "-shm")).unwrap()),
    ("in a folder that was renamed", "records.db ", |path| {
        let folder = path.parent().unwrap();
        fs::rename(folder, folder.with_extension("old")).unwrap();
    }),
];

fn store() -> (tempfile::TempDir, PathBuf, Strongroom, strongroom::RecordKey) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/records.db");
    fs::create_dir(folder.path().join("data")).unwrap();
    let store = open(&path).unwrap();
    let key = store.store("id", "data").unwrap();
    (folder, path, store, key)
}

#[test]
fn a_write_to_replaced_files_is_not_acknowledged() {
    type Write = fn(&Strongroom) -> Result<(), Error>;
    let writes: [(&str, Write); 4] = [
        ("short", |store| store.store("new", "data").map(drop)),
        ("long", |store| store.store("new", vec![7; 1 << 20]).map(drop)),
        ("many", |store| store.store_many(&[("new", "data")]).map(drop)),
        ("erase", |store| store.erase("id").map(drop)),
    ];
    for (what, named, event) in EVENTS {
        for (write_name, write) in writes {
            let (_folder, path, store, _) = store();
            event(&path);
            let error = write(&store).unwrap_err();
            let text = error.full_message();
            assert_eq!(error.name(), "Storage", "{what}, {write_name}: {text}");
            assert!(text.contains(&format!("{named}was removed, renamed or replaced")), "{what}: {text}");
            assert_error(write(&store), "Poisoned", "");
            assert_error(store.contains("id"), "Poisoned", "");
        }
    }
}

/// The readiness of a service.
#[test]
fn the_health_of_a_store_shows_replaced_files() {
    for (_, _, event) in EVENTS {
        let (_folder, path, store, _) = store();
        store.health().unwrap();
        event(&path);
        assert_error(store.health(), "Storage", "was removed, renamed or replaced");
        assert_error(store.contains("id"), "Poisoned", "");
        assert_error(store.health(), "Poisoned", "");
    }
    let (_folder, _, store, _) = store();
    store.close().unwrap();
    assert_error(store.health(), "Closed", "");
}

#[test]
fn reads_detect_replaced_files() {
    for (what, _, event) in EVENTS {
        let (_folder, path, store, key) = store();
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
        event(&path);
        let deadline = Instant::now() + Duration::from_secs(60);
        let error = loop {
            match store.contains("id") {
                Err(error) => break error,
                Ok(_) => assert!(Instant::now() < deadline, "{what}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert!(error.full_message().contains("was removed, renamed or replaced"), "{what}: {}", error.full_message());
    }
}

/// Closing removes the log by its name, which now belongs to another store.
#[test]
fn closing_does_not_touch_the_replacing_store() {
    let (_folder, path, old, _) = store();
    for suffix in ["", "-wal", "-shm"] {
        fs::rename(beside(&path, suffix), beside(&path, &format!(".old{suffix}"))).unwrap();
    }
    let new = open(&path).unwrap();
    let key = new.store("new", "data").unwrap();
    assert_error(old.close(), "Storage", "was removed, renamed or replaced");
    assert!(beside(&path, "-wal").exists());
    assert_eq!(new.retrieve("new", &key).unwrap(), b"data");
    new.close().unwrap();
    assert_eq!(open(&path).unwrap().retrieve("new", &key).unwrap(), b"data");
}

/// While no name in the folder changes, a commit checks only the folder.
#[test]
fn a_change_after_a_long_quiet_time_is_detected() {
    for (what, _, event) in EVENTS {
        let (_folder, path, store, _) = store();
        thread::sleep(Duration::from_millis(60));
        store.store("looks", "data").unwrap();
        store.store("looks at the folder alone", "data").unwrap();
        event(&path);
        assert_error(store.store(what, "data"), "Storage", "was removed, renamed or replaced");
    }
}
