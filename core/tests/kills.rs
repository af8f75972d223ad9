//! Processes killed while they write: acknowledged records exist, others do not, and their space is reused.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use strongroom::{RecordKey, Strongroom, WriteOptions};
use support::pattern;
use support::rounds::rounds;
use support::wait::{DEADLINE, WaitWithin};

/// The database and the run number of the processes that the test starts.
const STORE: &str = "STRONGROOM_TEST_STORE";
const RUN: &str = "STRONGROOM_TEST_RUN";

/// Starts this program again to run only `test` until it is killed, and waits until it has opened the store.
fn start(test: &str, path: &Path, run: u64) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(STORE, path)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"));
    (child, lines)
}

/// In the process that is killed: prints an acknowledged write, with a single system call.
fn acknowledge(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Uploads, replaces and deletes records of 5 MiB until it is killed, and prints the acknowledged writes.
fn upload_until_killed(path: &Path, run: &str) {
    let store = Strongroom::open(path).unwrap();
    acknowledge("open");
    for n in 0.. {
        let id = format!("record-{run}-{n}");
        let mut writer = store.create_record(&id).unwrap();
        for _ in 0..50 {
            writer.write_all(&pattern(100_000)).unwrap();
        }
        let key = writer.finish().unwrap();
        acknowledge(&format!("stored={id}={}", *key.to_text()));
        let key = store.replace_reader(&id, &key, &*pattern(3_000_000)).unwrap();
        acknowledge(&format!("replaced={id}={}", *key.to_text()));
        acknowledge(&format!("deleting={id}="));
        store.delete(&id, &key).unwrap();
        acknowledge(&format!("deleted={id}="));
    }
}

#[test]
fn killed_uploads_leave_nothing() {
    if let (Some(path), Ok(run)) = (env::var_os(STORE), env::var(RUN)) {
        return upload_until_killed(path.as_ref(), &run);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let witness = store.store("witness", pattern(2_000_000)).unwrap();
    let of_witness = segments(&path);
    store.close().unwrap();

    let mut killed_half_way = 0;
    let runs = rounds(30, 100);
    for run in 0..runs {
        let (mut child, lines) = start("killed_uploads_leave_nothing", &path, run);
        // Spread evenly over the time that a few uploads take.
        thread::sleep(Duration::from_micros(run * 7919 % 100_000));
        child.kill().unwrap();
        child.wait_within(DEADLINE);

        // All records before the last one are deleted; its last line applies.
        let events: Vec<_> = lines.collect();
        let last = events.iter().rev().find_map(|line| {
            let [event, id, key] = line.split('=').collect::<Vec<_>>()[..] else { return None };
            Some((event.to_string(), id.to_string(), key.to_string()))
        });

        killed_half_way += u64::from(pending(&path) > 0);
        let store = Strongroom::open(&path).unwrap();
        assert!(store.retrieve("witness", &witness).unwrap() == pattern(2_000_000));
        let records = store.stats().unwrap().records - 1;
        match last {
            // It was stored, and may have been replaced by a version whose key was not printed.
            Some((event, id, key)) if event == "stored" || event == "replaced" => {
                let key = RecordKey::from_text(&key).unwrap();
                let whole = if event == "stored" { pattern(100_000).repeat(50) } else { pattern(3_000_000) };
                match store.retrieve(&id, &key) {
                    Ok(data) => assert!(data == whole),
                    Err(error) => assert!(event == "stored" && error.name() == "WrongKey", "{event}: {error:?}"),
                }
                assert_eq!(records, 1);
            }
            Some((event, id, _)) if event == "deleting" => assert_eq!(records == 1, store.contains(&id).unwrap()),
            // No record yet, or the last one is deleted; the next may have been committed just before the kill.
            _ => assert!(records <= 1),
        }
        for n in 0..=events.len() {
            store.erase(format!("record-{run}-{n}")).unwrap();
        }
        store.close().unwrap();
        assert_eq!(pending(&path), 0, "opening swept what was left");
        assert_eq!(segments(&path), of_witness, "the witness's own");
    }
    assert!(killed_half_way > runs / 10, "hardly any kill met an upload: {killed_half_way}");
    // The space of some uploads, which is reused.
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 30_000_000, "the file has grown to {size} bytes");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

const WRITERS: usize = 8;

/// The key of a record whose id is short.
fn key_of(id: &str) -> RecordKey {
    let mut bytes = [0x5a; 32];
    bytes[..id.len()].copy_from_slice(id.as_bytes());
    RecordKey::from_bytes(&bytes).unwrap()
}

/// Stores with several threads until it is killed, and prints the acknowledged writes.
fn store_until_killed(path: &Path, run: &str) {
    let store = Strongroom::open(path).unwrap();
    acknowledge("open");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{run}-{writer}-{n}");
                    store.store_with(&id, pattern(1000), WriteOptions::new().key(&key_of(&id))).unwrap();
                    acknowledge(&format!("stored={id}"));
                }
            });
        }
    });
}

/// Threads that share a commit are acknowledged only after it is on the disk.
#[test]
fn acknowledged_writes_survive_a_kill() {
    if let (Some(path), Ok(run)) = (env::var_os(STORE), env::var(RUN)) {
        return store_until_killed(path.as_ref(), &run);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let (mut acknowledged, mut before) = (0, 0);
    let runs = rounds(50, 200);
    for run in 0..runs {
        let (mut child, lines) = start("acknowledged_writes_survive_a_kill", &path, run);
        thread::sleep(Duration::from_micros(run * 7919 % 50_000));
        child.kill().unwrap();
        child.wait_within(DEADLINE);

        let store = Strongroom::open(&path).unwrap();
        let reported: Vec<_> = lines.filter_map(|line| line.strip_prefix("stored=").map(str::to_string)).collect();
        for id in &reported {
            assert!(store.retrieve(id, &key_of(id)).unwrap() == pattern(1000), "{id}");
        }
        let records = store.stats().unwrap().records;
        let unreported = records - before - reported.len() as u64;
        assert!(unreported <= WRITERS as u64, "{unreported} records that no writer reported");
        (acknowledged, before) = (acknowledged + reported.len() as u64, records);
        store.close().unwrap();
    }
    assert!(acknowledged > 10 * runs, "hardly any store met a kill: {acknowledged}");
}

fn pending(path: &Path) -> i64 {
    count(path, "SELECT count(*) FROM pending")
}

fn segments(path: &Path) -> i64 {
    count(path, "SELECT count(*) FROM segment")
}

fn count(path: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(path).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
}
