//! Read-only stores: on read-only media, in backups, and beside a writing service.

use super::*;

#[test]
fn a_read_only_store_refuses_writes_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b%20c?.db");
    let key = store_with_a_record(&path);
    let before = listing(folder.path());
    let store = open_to_read(&path).unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    assert!(store.contains("id").unwrap() && !store.contains("other").unwrap());
    assert_eq!(store.stats().unwrap().records, 1);
    let refusal = "the store is open read-only";
    assert_error(store.store("new", "data"), "Unsupported", refusal);
    assert_error(store.store("new", vec![7; 1 << 20]), "Unsupported", refusal);
    assert_error(store.store_many(&[("new", "data")]), "Unsupported", refusal);
    assert_error(store.replace("id", &key, "data"), "Unsupported", refusal);
    assert_error(store.delete("id", &key), "Unsupported", refusal);
    assert_error(store.erase("id"), "Unsupported", refusal);
    assert_error(store.create_record("new").and_then(|writer| writer.finish()).map(drop), "Unsupported", refusal);
    assert_error(store.maintain(), "Unsupported", refusal);
    store.close().unwrap();
    assert_error(store.contains("id"), "Closed", "");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn other_files_do_not_open_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    assert_error(open_to_read(&path), "InvalidArgument", "there is no store at");
    fs::write(&path, "").unwrap();
    assert_error(open_to_read(&path), "InvalidArgument", "there is no store at");
    fs::write(&path, vec![7; 10_000]).unwrap();
    assert_error(open_to_read(&path), "InvalidArgument", "is not a Strongroom database");
    assert_eq!(listing(folder.path()).len(), 1);
}

/// While another process writes, its log is read, too.
#[test]
fn a_read_only_store_sees_the_writes_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let writer = open(&path).unwrap();
    let key = writer.store("first", "data").unwrap();
    let reader = open_to_read(&path).unwrap();
    assert_eq!(reader.retrieve("first", &key).unwrap(), b"data");
    let key = writer.store("second", "data").unwrap();
    assert_eq!(reader.retrieve("second", &key).unwrap(), b"data");
    writer.close().unwrap();
    assert_eq!(reader.retrieve("second", &key).unwrap(), b"data");
}

/// Such a reader is not notified of a later writer, so it checks the file.
#[test]
fn a_concurrent_change_of_the_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let key = store_with_a_record(&path);
    let reader = open_to_read(&path).unwrap();
    assert_eq!(reader.retrieve("id", &key).unwrap(), b"data");
    let writer = open(&path).unwrap();
    writer.erase("id").unwrap();
    writer.store("new", vec![7; 100_000]).unwrap();
    assert_eq!(reader.retrieve("id", &key).unwrap(), b"data", "the state of its opening");
    writer.close().unwrap();
    assert_error(reader.retrieve("id", &key), "Storage", "open it again");
    assert_error(open_to_read(&path).unwrap().retrieve("id", &key), "NotFound", "");
}

/// The log of a crashed process has records that the file lacks.
#[test]
fn an_orphaned_log_is_read_or_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    let key = store.store("id", "data").unwrap();
    for (name, suffixes) in [("without", vec!["", "-wal"]), ("with", vec!["", "-wal", "-shm"])] {
        let copy = folder.path().join(name);
        fs::create_dir(&copy).unwrap();
        for suffix in suffixes {
            fs::copy(beside(&path, suffix), beside(&copy.join("records.db"), suffix)).unwrap();
        }
    }
    let copy = folder.path().join("without/records.db");
    assert_eq!(open_to_read(&copy).unwrap().retrieve("id", &key).unwrap(), b"data");
    let copy = folder.path().join("with/records.db");
    assert_eq!(open_to_read(&copy).unwrap().retrieve("id", &key).unwrap(), b"data");
    assert_eq!(open(&copy).unwrap().retrieve("id", &key).unwrap(), b"data");
}

/// Its pages belong into the file, and would be missing.
#[test]
fn an_orphaned_rollback_journal_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let _ = store_with_a_record(&path);
    fs::write(beside(&path, "-journal"), "").unwrap();
    open_to_read(&path).unwrap();
    fs::write(beside(&path, "-journal"), "pages").unwrap();
    assert_error(open_to_read(&path), "InvalidArgument", "has a rollback journal (-journal) beside it");
}

#[test]
fn a_read_only_medium_is_read() {
    // A closed store; one with its log and the log's index; one with only its log.
    let script = r#"mkdir "$F/medium"; mount -t tmpfs none "$F/medium"; mkdir "$F/medium/"{closed,crashed,log};
        cp "$F"/closed.db "$F/medium/closed/records.db";
        for suffix in "" -wal -shm; do cp "$F/open.db$suffix" "$F/medium/crashed/records.db$suffix"; done
        for suffix in "" -wal; do cp "$F/open.db$suffix" "$F/medium/log/records.db$suffix"; done
        mount -o remount,ro "$F/medium""#;
    let key = strongroom::RecordKey::from_bytes(&[7; 32]).unwrap();
    let (name, test) = ("read_only::a_read_only_medium_is_read", |folder: &Path| {
        let medium = folder.join("medium");
        for (name, records) in [("closed", 1), ("crashed", 1)] {
            let path = medium.join(name).join("records.db");
            assert_error(open(&path), "Storage", "is on a read-only file system");
            let by_itself = Strongroom::builder().path(&path).index_key(support::index_key()).allow_read_only();
            for store in [open_to_read(&path).unwrap(), by_itself.open().unwrap()] {
                assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
                assert_eq!(store.stats().unwrap().records, records);
                assert_error(store.erase("id"), "Unsupported", "the store is open read-only");
            }
        }
        assert_error(open(&medium.join("new.db")), "Storage", "Read-only file system");
        let path = medium.join("log/records.db");
        assert_error(open_to_read(&path), "InvalidArgument", "copy all of the store's files to a folder");
    });
    if env::var_os(FOLDER).is_some() {
        return with_mounts(name, script, test);
    }
    // The databases are made in the child's folder.
    let made = tempfile::tempdir().unwrap();
    let closed = made.path().join("closed.db");
    let store = open(&closed).unwrap();
    store.store_with("id", "data", WriteOptions::new().key(&key)).unwrap();
    store.close().unwrap();
    let store = open(&made.path().join("open.db")).unwrap();
    store.store_with("id", "data", WriteOptions::new().key(&key)).unwrap();
    let script = format!(r#"cp {}/* "$F"; {script}"#, made.path().display());
    with_mounts(name, &script, test);
}

#[test]
fn allow_read_only_writes_to_a_writable_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let builder = || Strongroom::builder().path(&path).index_key(support::index_key()).allow_read_only();
    assert_error(builder().open(), "InvalidArgument", "there is no store at");
    assert!(!path.exists());
    let key = store_with_a_record(&path);
    builder().open().unwrap().delete("id", &key).unwrap();
}
