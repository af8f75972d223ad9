//! Writes that fail half way: typed errors, a handle that says it is poisoned, and nothing lost.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::env;
use std::path::Path;
use std::process::Command;

use strongroom::{RecordKey, Strongroom};
use support::pattern;

/// Set in the process that the test starts: its database.
const STORE: &str = "STRONGROOM_TEST_STORE";
const SIZE: usize = 100_000;

/// Stores until that fails, then tells what later calls say. Each line is an id and its key, or an error's name.
fn store_until_it_fails(path: &Path) {
    let store = Strongroom::open(path).unwrap();
    let mut stored = Vec::new();
    let failure = loop {
        let id = format!("record {}", stored.len());
        match store.store(&id, pattern(SIZE)) {
            Ok(key) => {
                println!("\nack={id}={}", *key.to_text());
                stored.push((id, key));
            }
            Err(error) => break error,
        }
    };
    println!("\nfailure={}", failure.name());
    println!("write={}", store.store("another", "data").unwrap_err().name());
    println!("read={}", store.retrieve(&stored[0].0, &stored[0].1).unwrap_err().name());
}

/// The system refuses to let the log grow beyond a size: a write inside a commit fails.
#[test]
fn a_failed_commit_poisons_the_handle_and_loses_nothing() {
    if let Some(path) = env::var_os(STORE) {
        return store_until_it_fails(path.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    Strongroom::open(&path).unwrap().close().unwrap();
    // `ulimit -f` counts blocks of 1,024 bytes; the signal is ignored, so that the write fails instead.
    let output = Command::new("bash")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 1000; exec "$0" "$@""#])
        .arg(env::current_exe().unwrap())
        .args(["a_failed_commit_poisons_the_handle_and_loses_nothing", "--exact", "--nocapture"])
        .env(STORE, &path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    assert_eq!(line("failure="), "Indeterminate", "{text}");
    assert_eq!(line("write="), "Poisoned");
    assert_eq!(line("read="), "Poisoned");

    let store = Strongroom::open(&path).unwrap();
    let acknowledged: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("ack=")?.split_once('=')).collect();
    assert!(acknowledged.len() > 5);
    for (id, key) in &acknowledged {
        let key = RecordKey::from_text(key).unwrap();
        assert!(store.retrieve(id, &key).unwrap() == pattern(SIZE), "{id}");
    }
    // The write whose outcome was not known took place or did not; nothing else did.
    let records = store.stats().unwrap().records;
    assert!(records == acknowledged.len() as u64 || records == acknowledged.len() as u64 + 1);
    store.store("another", "data").unwrap();
}
