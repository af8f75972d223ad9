//! Opening a store: the index key, and files that are not a store and must not be changed.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;

use crate::support::wait::{DEADLINE, Join, wait_for};
use crate::support::{hide_records, index_key};
use rusqlite::Connection;
use strongroom::storage::{MemoryStorage, SqliteStorage, Storage};
use strongroom::{Durability, Error, IndexKey, Strongroom, store_identity};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    (folder, path)
}

fn sidecar(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.index-key", path.display()))
}

/// Readable only by its owner, as required.
fn write_index_key(path: &Path) {
    fs::write(path, &*index_key().to_text()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// The error with all its sources, as a program shows it.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[track_caller]
fn assert_error<T>(outcome: Result<T, Error>, name: &str, says: &str) {
    let error = outcome.err().unwrap();
    assert_eq!(error.name(), name, "{}", text(&error));
    assert!(text(&error).contains(says), "{}", text(&error));
}

fn with_key(path: &Path, index_key: IndexKey) -> Result<Strongroom, Error> {
    Strongroom::builder().path(path).index_key(index_key).open()
}

#[test]
fn the_index_key_is_made_once_beside_the_database() {
    let (_folder, path) = folder();
    let key = Strongroom::open(&path).unwrap().store("id", "data").unwrap();
    let text = fs::read_to_string(sidecar(&path)).unwrap();
    assert!(text.starts_with("srx1") && text.ends_with('\n'));
    assert_eq!(Strongroom::open(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
    assert_eq!(fs::read_to_string(sidecar(&path)).unwrap(), text);
    // The file's key, passed explicitly, is the same.
    let index_key = IndexKey::from_text(text.trim()).unwrap();
    assert_eq!(with_key(&path, index_key).unwrap().retrieve("id", &key).unwrap(), b"data");
    let by_file = Strongroom::builder().path(&path).index_key_file(sidecar(&path)).open().unwrap();
    assert_eq!(by_file.retrieve("id", &key).unwrap(), b"data");
}

#[cfg(unix)]
#[test]
fn the_index_keys_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    assert_eq!(fs::metadata(sidecar(&path)).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["records.db", "records.db.index-key"], "nothing else is left behind");
}

#[test]
fn a_database_without_its_index_key_is_an_error_and_makes_no_new_one() {
    let (_folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    fs::remove_file(sidecar(&path)).unwrap();
    let before = fs::read(&path).unwrap();
    let name = sidecar(&path.canonicalize().unwrap());
    assert_error(Strongroom::open(&path), "IndexKeyMissing", &format!("there is no file {}", name.display()));
    assert!(!sidecar(&path).exists());
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_index_key_is_a_mismatch() {
    let (_folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    assert_error(with_key(&path, index_key()), "IndexKeyMismatch", "");
    write_index_key(&sidecar(&path));
    assert_error(Strongroom::open(&path), "IndexKeyMismatch", "");
}

#[test]
fn a_copied_database_opens_with_the_explicit_key() {
    let (folder, path) = folder();
    let store = with_key(&path, index_key()).unwrap();
    let key = store.store("id", "data").unwrap();
    store.close().unwrap();
    assert!(!sidecar(&path).exists(), "an explicit key makes no file");
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert_error(Strongroom::open(&copy), "IndexKeyMissing", "copy.db.index-key");
    assert_eq!(with_key(&copy, index_key()).unwrap().retrieve("id", &key).unwrap(), b"data");
}

#[test]
fn a_damaged_index_key_file_is_an_error() {
    let (_folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    let text = fs::read_to_string(sidecar(&path)).unwrap();
    let mut typo = text.clone().into_bytes();
    typo[10] = if typo[10] == b'q' { b'p' } else { b'q' };
    fs::write(sidecar(&path), typo).unwrap();
    assert_error(Strongroom::open(&path), "InvalidKey", "has a typo");
    fs::write(sidecar(&path), "").unwrap();
    assert_error(Strongroom::open(&path), "InvalidKey", "");
    fs::write(sidecar(&path), [0xff; 3]).unwrap();
    assert_error(Strongroom::open(&path), "InvalidKey", "not a key");
    fs::write(sidecar(&path), vec![b'q'; 1 << 20]).unwrap();
    assert_error(Strongroom::open(&path), "InvalidKey", "");
    fs::write(sidecar(&path), text).unwrap();
    Strongroom::open(&path).unwrap();
}

#[test]
fn a_named_index_key_file_must_be_there() {
    let (folder, path) = folder();
    let elsewhere = folder.path().join("elsewhere");
    let open = || Strongroom::builder().path(&path).index_key_file(&elsewhere).open();
    assert_error(open(), "IndexKeyMissing", "elsewhere");
    assert!(!path.exists(), "no database is made for a key that is not there");
    let unnamed = Strongroom::builder().path(&path).index_key_file("").open();
    let unfinished = folder.path().join(".strongroom-unfinished-file-0123456789abcdef"); // would be removed
    fs::write(&unfinished, &*index_key().to_text()).unwrap();
    assert_error(Strongroom::builder().path(&path).index_key_file(&unfinished).open(), "InvalidArgument", "unfinished");
    let secret = index_key().to_text().to_string();
    for builder in [
        Strongroom::builder().path(&path).index_key_file(&secret),
        Strongroom::builder().path(&path).index_key(index_key()).previous_index_key_file(&secret),
        Strongroom::builder().path(folder.path().join(&secret)),
    ] {
        let error = builder.open().unwrap_err();
        assert_eq!(error.name(), "InvalidArgument");
        assert!(!error.to_string().contains(&secret) && !format!("{error:?}").contains(&secret));
    }
    assert_error(unnamed, "InvalidArgument", "the path of the index key's file is empty");
    write_index_key(&elsewhere);
    open().unwrap();
    assert!(!sidecar(&path).exists());
}

/// Concurrent opens of a new store result in one store with one index key.
#[test]
fn many_may_open_a_new_store_at_once() {
    for _ in 0..30 {
        let (_folder, path) = folder();
        let start = Barrier::new(8);
        let keys: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (path, start) = (&path, &start);
                    scope.spawn(move || {
                        start.wait();
                        let store = Strongroom::open(path).unwrap();
                        (n, store.store(format!("id {n}"), format!("data {n}")).unwrap())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join_within(DEADLINE)).collect()
        });
        let store = Strongroom::open(&path).unwrap();
        for (n, key) in keys {
            assert_eq!(store.retrieve(format!("id {n}"), &key).unwrap(), format!("data {n}").as_bytes());
        }
    }
}

/// The key exists, but not yet its database, as after a crash between the two.
#[test]
fn an_index_key_without_a_database_is_used() {
    let (_folder, path) = folder();
    write_index_key(&sidecar(&path));
    Strongroom::open(&path).unwrap().close().unwrap();
    with_key(&path, index_key()).unwrap();
}

#[test]
fn contradicting_choices_are_refused() {
    let (_folder, path) = folder();
    let memory = || Arc::new(MemoryStorage::new());
    let builder = Strongroom::builder;
    assert_error(builder().open(), "InvalidArgument", "give exactly one of a path, a storage");
    assert_error(
        builder().path(&path).storage(memory()).open(),
        "InvalidArgument",
        "give exactly one of a path, a storage",
    );
    assert_error(builder().storage(memory()).open(), "InvalidArgument", "give an index key");
    let both = builder().path(&path).index_key(index_key()).index_key_file(&path);
    assert_error(both.open(), "InvalidArgument", "not both");
    let durable = builder().storage(memory()).index_key(index_key()).durability(Durability::Full);
    assert_error(durable.open(), "InvalidArgument", "durability");
    assert!(!path.exists());
}

/// Each of these files is rejected with a helpful message, and is unchanged.
#[test]
fn a_file_that_is_no_store_is_left_as_it_is() {
    let make_database = |path: &Path, sql: &str| {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    type Case<'c> = (&'static str, &'static str, &'c dyn Fn(&Path));
    let cases: [Case<'_>; 7] = [
        ("InvalidArgument", "not a Strongroom database", &|path| fs::write(path, "notes of mine").unwrap()),
        ("InvalidArgument", "not a Strongroom database", &|path| fs::write(path, vec![7; 100_000]).unwrap()),
        ("InvalidArgument", "not a Strongroom database", &|path| make_database(path, "CREATE TABLE t (x)")),
        ("InvalidArgument", "not a Strongroom database", &|path| {
            make_database(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)");
        }),
        ("InvalidArgument", "not a Strongroom database", &|path| {
            make_database(path, "PRAGMA application_id = 7; CREATE TABLE t (x)");
        }),
        ("InvalidArgument", "not a Strongroom database", &|path| {
            make_database(path, "PRAGMA user_version = 1; CREATE TABLE t (x)");
        }),
        ("Unsupported", "use a newer Strongroom", &|path| {
            Strongroom::open(path).unwrap().close().unwrap();
            make_database(path, "PRAGMA user_version = 2");
        }),
    ];
    for (name, says, make) in cases {
        let (_folder, path) = folder();
        make(&path);
        let before = fs::read(&path).unwrap();
        assert_error(Strongroom::open(&path), name, says);
        assert_error(with_key(&path, index_key()), name, says);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

/// A truncated or altered store is reported as damaged, not treated as new, and not changed.
#[test]
fn a_damaged_store_is_an_error_and_unchanged() {
    let (_folder, path) = folder();
    let store = with_key(&path, index_key()).unwrap();
    for n in 0..100 {
        store.store(format!("id {n}"), [7; 1000]).unwrap();
    }
    store.close().unwrap();
    let whole = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cut = |len: usize| ("Corrupt", "damaged", whole[..len].to_vec());
    let unknown = |bytes| ("InvalidArgument", "or is damaged", bytes);
    let mut cases = vec![cut(whole.len() / 2), cut(whole.len() - 8192), cut(40_000), cut(8192), cut(4096), cut(512)];
    cases.extend([1, 2, 16, 30, 43, 50, 99, 100, 511].map(|len| unknown(whole[..len].to_vec())));
    cases.extend([0, 15, 21].map(|at| unknown(flipped(at))));
    for (name, says, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        assert_error(with_key(&path, index_key()), name, says);
        assert_error(Strongroom::builder().path(&path).must_exist().open(), name, says);
        assert!(fs::read(&path).unwrap() == bytes);
    }
    // The control: the undamaged store opens.
    fs::write(&path, &whole).unwrap();
    assert_eq!(with_key(&path, index_key()).unwrap().stats().unwrap().records, 100);
}

/// Another program's write-ahead log with content is not removed.
#[test]
fn a_foreign_write_ahead_log_is_left_as_it_is() {
    let (folder, path) = folder();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    // A copy of both files has the state after a crash of that program.
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    fs::copy(folder.path().join("records.db-wal"), folder.path().join("copy.db-wal")).unwrap();
    let read = || (fs::read(&copy).unwrap(), fs::read(folder.path().join("copy.db-wal")).unwrap());
    let before = read();
    assert_error(Strongroom::open(&copy), "InvalidArgument", "not a Strongroom database");
    assert!(read() == before);
}

#[test]
fn an_invalid_path_is_an_error() {
    let (folder, _) = folder();
    assert_error(Strongroom::open(folder.path()), "InvalidArgument", "is a folder");
    assert_error(Strongroom::open(""), "InvalidArgument", "names no file");
    assert_error(Strongroom::open("/"), "InvalidArgument", "names no file");
    assert_error(Strongroom::open(folder.path().join("none/records.db")), "Storage", "cannot open");
    // The message has the path and the reason only once.
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let message = Strongroom::open(&socket).unwrap_err().full_message();
    assert!(message.contains("is a socket, not a regular file"), "{message}");
    assert_eq!(message.matches("/socket").count(), 1, "{message}");
    assert!(!folder.path().join("none").exists());
}

/// Names that are special to SQLite are ordinary file names here.
#[test]
fn every_name_is_a_file() {
    let (folder, _) = folder();
    for name in [":memory:", "file:x?mode=memory", "a b%20c", "\u{e9}"] {
        let path = folder.path().join(name);
        let key = Strongroom::open(&path).unwrap().store("id", "data").unwrap();
        assert!(path.is_file() && sidecar(&path).is_file(), "{name}");
        assert_eq!(Strongroom::open(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
    }
}

#[test]
fn a_store_in_memory_leaves_no_file() {
    let key = {
        let store = Strongroom::open(":memory:").unwrap();
        let key = store.store("id", "data").unwrap();
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
        assert!(!Strongroom::open(":memory:").unwrap().contains("id").unwrap(), "each is a store of its own");
        key
    };
    // An index key and a durability are accepted, as for a database.
    let (_folder, path) = folder();
    fs::write(&path, &*index_key().to_text()).unwrap();
    let builder = || Strongroom::builder().path(":memory:").durability(Durability::Relaxed);
    for builder in [builder().index_key(index_key()), builder().index_key_file(&path)] {
        assert_error(builder.open().unwrap().retrieve("id", &key).map(|_| unreachable!()), "NotFound", "");
    }
    assert_error(builder().index_key_file(sidecar(&path)).open(), "IndexKeyMissing", "");
    for builder in [builder().must_exist(), builder().read_only()] {
        assert_error(builder.open(), "InvalidArgument", "always new");
    }
    for name in [":memory:", ":memory:.index-key", ":memory:-wal", ":memory:.uploads"] {
        assert!(!Path::new(name).exists(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_the_databases_place_is_refused() {
    let (folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let says = format!("name the file itself, {}", path.canonicalize().unwrap().display());
    assert_error(Strongroom::open(&link), "InvalidArgument", &says);
    // A link in the folder's path is permitted.
    let folder_link = folder.path().join("folder");
    std::os::unix::fs::symlink(folder.path(), &folder_link).unwrap();
    Strongroom::open(folder_link.join("records.db")).unwrap();
}

#[test]
fn a_store_that_must_exist_is_not_made() {
    let (_folder, path) = folder();
    let open = || Strongroom::builder().path(&path).must_exist().open();
    assert_error(open(), "InvalidArgument", "there is no store at");
    assert!(!path.exists() && !sidecar(&path).exists());
    fs::write(&path, "").unwrap();
    assert_error(open(), "InvalidArgument", "there is no store at");
    assert_eq!(fs::read(&path).unwrap(), b"");
    let key = Strongroom::open(&path).unwrap().store("id", "data").unwrap();
    assert_eq!(open().unwrap().retrieve("id", &key).unwrap(), b"data");

    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let open = || Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key());
    assert_error(open().must_exist().open(), "InvalidArgument", "does not exist");
    assert_eq!(storage.settings().unwrap(), None);
    drop(open().open().unwrap());
    drop(open().must_exist().open().unwrap());
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_folder, path) = folder();
    fs::write(&path, "").unwrap();
    let key = Strongroom::open(&path).unwrap().store("id", "data").unwrap();
    assert_eq!(Strongroom::open(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
}

/// The settings on which durability and secrecy depend, as seen by another program.
#[test]
fn the_database_is_what_the_format_says() {
    let (_folder, path) = folder();
    Strongroom::open(&path).unwrap().close().unwrap();
    let connection = Connection::open(&path).unwrap();
    let pragma = |name| connection.pragma_query_value::<i64, _>(None, name, |row| row.get(0)).unwrap();
    assert_eq!(pragma("application_id"), 0x5352_4f4d);
    assert_eq!(pragma("user_version"), 1);
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    // SQLite 3.51.3 fixed a corruption of write-ahead logs.
    assert!(rusqlite::version_number() >= 3_051_003);
}

/// The index key of records without settings is unknown: no key is accepted, and none is created.
#[test]
fn a_store_that_has_lost_its_settings_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    with_key(&path, index_key()).unwrap().store("id", "data").unwrap();
    let execute = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    execute("DELETE FROM settings");
    assert_error(with_key(&path, index_key()), "Corrupt", "");
    assert!(Strongroom::open(&path).is_err());
    assert!(!sidecar(&path).exists(), "a key was made");
    execute("DELETE FROM record");
    with_key(&path, index_key()).unwrap();
}

/// So it is if a damaged index hides the records: the storage is not a new one.
#[test]
fn a_store_that_has_lost_its_settings_and_its_lists_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = with_key(&path, index_key()).unwrap();
    store.store("id", "data").unwrap();
    store.close().unwrap();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM settings").unwrap();
    hide_records(&path, 1, 0);
    assert_error(with_key(&path, index_key()), "Corrupt", "");
    assert!(Strongroom::open(&path).is_err());
    assert!(!sidecar(&path).exists(), "a key was made");
    let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
    assert_error(store_identity(&storage), "Corrupt", "");
    assert_eq!(storage.list(None, 1).unwrap(), []);
    assert_eq!(storage.settings().unwrap(), None);
}

/// As when an empty storage takes the place of an open one.
#[test]
fn a_storage_without_its_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = with_key(&path, index_key()).unwrap();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM settings").unwrap();
    // An open handle reads the settings again after some time.
    let outcome = wait_for(|| Some(store.contains("id")).filter(Result::is_err));
    assert_error(outcome, "Storage", "the storage has no store any more");
}
