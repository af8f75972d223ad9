//! Writes that fail halfway: typed errors, a poisoned handle, and no lost data.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use strongroom::{Error, RecordKey, Strongroom, WriteOptions};
use support::{pattern, wait};

/// The database of a process that a test starts.
const STORE: &str = "STRONGROOM_TEST_STORE";

/// Runs the test `name` again, in a process with a file size limit of `kib` KiB, and returns its output.
fn run_without_room(name: &str, kib: u32, path: &Path) -> String {
    // The signal is ignored, so that the write fails instead.
    run_in_shell(name, &format!(r#"trap "" XFSZ; ulimit -f {kib}"#), path)
}

/// Runs the test `name` again, in a process whose syncs fail from the `n`th on.
fn run_without_sync(name: &str, n: u32, path: &Path) -> String {
    let library = path.with_extension("so");
    let source = format!(
        "#include <errno.h>
        static int syncs;
        int fdatasync(int file) {{
            if (__atomic_add_fetch(&syncs, 1, __ATOMIC_SEQ_CST) < {n}) return 0;
            errno = EIO;
            return -1;
        }}
        int fsync(int file) {{ return fdatasync(file); }}"
    );
    fs::write(path.with_extension("c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(path.with_extension("c"));
    assert!(compiler.status().unwrap().success());
    run_in_shell(name, &format!("export LD_PRELOAD={}", library.display()), path)
}

fn run_in_shell(name: &str, script: &str, path: &Path) -> String {
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!(r#"{script}; exec "$0" "$@""#)])
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(STORE, path);
    String::from_utf8(wait::output(&mut command).stdout).unwrap()
}

/// The rest of each line that starts with `name`.
fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name)).collect()
}

/// Each thread stores until a store fails; then one prints the outcomes of later calls. Each line has an id and its
/// key, or an error's name.
fn store_until_it_fails(path: &Path, threads: usize, len: usize) {
    let store = Strongroom::open(path).unwrap();
    let stored = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..threads {
            let (store, stored) = (&store, &stored);
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("record {n} of {thread}");
                    match store.store(&id, pattern(len)) {
                        Ok(key) => {
                            println!("\nack={id}={}", *key.to_text());
                            stored.lock().unwrap().push((id, key));
                        }
                        Err(error) => return println!("\nfailure={}", error.name()),
                    }
                }
            });
        }
    });
    let (id, key) = &stored.lock().unwrap()[0];
    // Larger than the writes that failed together, because there may be space for one of them.
    println!("\nwrite={}", store.store("another", pattern(2 * threads * len)).unwrap_err().name());
    println!("\nread={}", store.retrieve(id, key).map_or_else(|error| error.name(), |_| "the data"));
}

/// A sync of the log fails inside a commit, so that its outcome is unknown.
fn a_failed_commit_poisons_and_loses_nothing(name: &str, threads: usize, len: usize) {
    if let Some(path) = env::var_os(STORE) {
        return store_until_it_fails(path.as_ref(), threads, len);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    Strongroom::open(&path).unwrap().close().unwrap();
    let text = run_without_sync(name, 20, &path);
    let failures = lines(&text, "failure=");
    assert_eq!(failures.len(), threads, "{text}");
    // The writers that shared the commit get `Indeterminate`; later ones find a poisoned handle.
    assert!(failures.contains(&"Indeterminate"), "{text}");
    assert!(failures.iter().all(|failure| ["Indeterminate", "Poisoned"].contains(failure)), "{text}");
    assert_eq!((lines(&text, "write="), lines(&text, "read=")), (vec!["Poisoned"], vec!["the data"]), "{text}");

    let store = Strongroom::open(&path).unwrap();
    let acknowledged: Vec<_> = lines(&text, "ack=").iter().filter_map(|line| line.split_once('=')).collect();
    assert!(acknowledged.len() > 3);
    for (id, key) in &acknowledged {
        let key = RecordKey::from_text(key).unwrap();
        assert!(store.retrieve(id, &key).unwrap() == pattern(len), "{id}");
    }
    // Each write with an unknown outcome may have succeeded; no other failed write has.
    let unknown = failures.iter().filter(|failure| **failure == "Indeterminate").count();
    let records = usize::try_from(store.stats().unwrap().records).unwrap();
    assert!((acknowledged.len()..=acknowledged.len() + unknown).contains(&records), "{records}, {text}");
    store.store("another", "data").unwrap();
}

#[test]
fn a_failed_commit_poisons_the_handle_and_loses_nothing() {
    a_failed_commit_poisons_and_loses_nothing("a_failed_commit_poisons_the_handle_and_loses_nothing", 1, 100_000);
}

#[test]
fn a_failed_group_commit_fails_every_member() {
    a_failed_commit_poisons_and_loses_nothing("a_failed_group_commit_fails_every_member", 4, 10_000);
}

/// The system limits the size of the log (EFBIG): existing records can be read, and no outcome is unknown.
#[test]
fn a_file_size_limit_is_storage_full() {
    let name = "a_file_size_limit_is_storage_full";
    if let Some(path) = env::var_os(STORE) {
        return store_until_it_fails(path.as_ref(), 4, 10_000);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    Strongroom::open(&path).unwrap().close().unwrap();
    let text = run_without_room(name, 1000, &path);
    assert_eq!(lines(&text, "failure="), ["StorageFull"; 4], "{text}");
    assert_eq!((lines(&text, "write="), lines(&text, "read=")), (vec!["StorageFull"], vec!["the data"]), "{text}");
    let store = Strongroom::open(&path).unwrap();
    let acknowledged = lines(&text, "ack=");
    assert_eq!(store.stats().unwrap().records, acknowledged.len() as u64, "what failed is not there");
    for (id, key) in acknowledged.iter().filter_map(|line| line.split_once('=')) {
        assert!(store.retrieve(id, &RecordKey::from_text(key).unwrap()).unwrap() == pattern(10_000), "{id}");
    }
}

/// The leftovers of another process cannot be removed for lack of space: the store opens, and can be read.
#[test]
fn a_full_store_can_be_read() {
    let key = RecordKey::from_bytes(&[7; 32]).unwrap();
    if let Some(path) = env::var_os(STORE) {
        let store = Strongroom::open(path).unwrap();
        println!("\nread={}", store.retrieve("id", &key).map_or_else(|error| error.name(), |_| "the data"));
        println!("\nwrite={}", store.store("another", pattern(100_000)).unwrap_err().name());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    store.store_with("id", "data", WriteOptions::new().key(&key)).unwrap();
    store.store("long", pattern(2_000_000)).unwrap();
    store.close().unwrap();
    let left = "INSERT INTO pending SELECT DISTINCT object, 1 FROM segment; DELETE FROM record WHERE len > 1000000";
    rusqlite::Connection::open(&path).unwrap().execute_batch(left).unwrap();
    // The log's index has 32 KiB, and 32 KiB of the log hold three pages.
    let text = run_without_room("a_full_store_can_be_read", 32, &path);
    assert_eq!(lines(&text, "read="), ["the data"], "{text}");
    assert_eq!(lines(&text, "write="), ["StorageFull"], "{text}");

    let store = Strongroom::open(&path).unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    let pending = || -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row("SELECT count(*) FROM pending", (), |row| row.get(0)).unwrap()
    };
    drop(store);
    assert_eq!(pending(), 0, "with room, it is tidied up");
    assert!(matches!(Strongroom::open(&path).unwrap().retrieve("long", &key), Err(Error::NotFound)));
}
