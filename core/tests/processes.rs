//! Several processes with several threads use one database concurrently.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use strongroom::{Error, RecordKey, Strongroom};
use support::pattern;
use support::rounds::rounds;
use support::wait::{DEADLINE, WaitWithin};

const PROCESSES: usize = 2;
const THREADS: usize = 4;
/// The database, and the number of a process that the test starts.
const STORE: &str = "STRONGROOM_TEST_STORE";
const PROCESS: &str = "STRONGROOM_TEST_PROCESS";

/// The data of a version, which identifies it, with its own length.
fn data(id: &str, version: usize) -> Vec<u8> {
    let size = if version % 40 == 7 { 1_200_000 } else { version * 37 % 5000 };
    [format!("{id} version {version} ").into_bytes(), pattern(size)].concat()
}

/// The work of a thread: it stores and repeatedly replaces its own records, and competes for shared ids. It prints each
/// acknowledged write: id, version, key.
fn work(store: &Strongroom, process: &str, thread: usize, out: &Mutex<impl Write>) {
    let acknowledge = |id: &str, version: usize, key: &RecordKey| {
        writeln!(out.lock().unwrap(), "ack {id} {version} {}", *key.to_text()).unwrap();
    };
    let end = Instant::now() + Duration::from_secs(rounds(5, 15));
    for round in 0.. {
        let id = format!("own-{process}-{thread}-{round}");
        let mut key = store.store(&id, data(&id, 0)).unwrap();
        acknowledge(&id, 0, &key);
        for version in 1..20 {
            key = store.replace(&id, &key, data(&id, version)).unwrap();
            acknowledge(&id, version, &key);
            assert_eq!(store.retrieve(&id, &key).unwrap(), data(&id, version));
            if Instant::now() > end {
                return;
            }
        }
        let shared = format!("shared-{round}");
        match store.store(&shared, data(&shared, 0)) {
            Ok(key) => acknowledge(&shared, 0, &key),
            Err(error) => assert!(matches!(error, Error::AlreadyExists), "{error:?}"),
        }
    }
}

fn run_process(path: &Path, process: &str) {
    let store = Strongroom::open(path).unwrap();
    let out = Mutex::new(std::io::stdout());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, out) = (&store, &out);
            scope.spawn(move || work(store, process, thread, out));
        }
    });
    writeln!(out.lock().unwrap(), "done").unwrap();
}

#[test]
fn processes_share_a_database() {
    if let (Some(path), Ok(process)) = (env::var_os(STORE), env::var(PROCESS)) {
        return run_process(path.as_ref(), &process);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    // All start at the same time, so that they also race to create the database and its index key.
    let children: Vec<_> = (0..PROCESSES)
        .map(|process| {
            Command::new(env::current_exe().unwrap())
                .args(["processes_share_a_database", "--exact", "--nocapture"])
                .env(STORE, &path)
                .env(PROCESS, process.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();

    let mut versions = HashMap::new();
    let mut acknowledged = 0;
    let mut shared = 0;
    let mut done = 0;
    for child in children {
        let output = child.output_within(DEADLINE);
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let words: Vec<_> = line.split(' ').collect();
            // The test runner writes before the first line.
            match words.iter().position(|word| *word == "ack" || *word == "done") {
                Some(start) if words[start] == "done" => done += 1,
                Some(start) => {
                    let [id, version, key] = words[start + 1..] else { panic!("{line}") };
                    acknowledged += 1;
                    let earlier = versions.insert(id.to_string(), (version.parse::<usize>().unwrap(), key.to_string()));
                    if id.starts_with("shared") {
                        assert!(earlier.is_none(), "two processes were told that they made one record");
                        shared += 1;
                    }
                }
                None => {}
            }
        }
        assert!(output.status.success());
    }
    eprintln!("{acknowledged} writes acknowledged, {} records", versions.len());
    assert_eq!(done, PROCESSES);
    assert!(versions.len() > PROCESSES * THREADS && shared > 0, "hardly anything was done");

    let store = Strongroom::open(&path).unwrap();
    assert_eq!(store.stats().unwrap().records, versions.len() as u64);
    for (id, (version, key)) in &versions {
        let key = RecordKey::from_text(key).unwrap();
        assert!(store.retrieve(id, &key).unwrap() == data(id, *version), "{id} version {version}");
    }
    store.close().unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let orphans: u64 = connection
        .query_row(
            "SELECT count(*) FROM segment WHERE object NOT IN (SELECT object FROM record WHERE object IS NOT NULL)",
            (),
            |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()),
        )
        .unwrap();
    assert_eq!(orphans, 0, "segments without a record");
}
