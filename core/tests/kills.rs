//! Processes killed while they write: what was acknowledged is there, the rest is not, and its room is used again.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use strongroom::{RecordKey, Strongroom};
use support::pattern;

/// Set in the processes that the test starts: the database, and the number of the run.
const STORE: &str = "STRONGROOM_TEST_STORE";
const RUN: &str = "STRONGROOM_TEST_RUN";
const KILLS: u64 = 100;

/// Uploads records of 5 MiB until somebody kills it, and replaces and deletes them; tells what is acknowledged.
fn upload_until_killed(path: &Path, run: &str) {
    let store = Strongroom::open(path).unwrap();
    let acknowledge = |line: String| {
        let mut out = std::io::stdout();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    acknowledge("\nopen".to_string());
    for n in 0.. {
        let id = format!("record-{run}-{n}");
        let mut writer = store.create_record(&id).unwrap();
        for _ in 0..50 {
            writer.write_all(&pattern(100_000)).unwrap();
        }
        let key = writer.finish().unwrap();
        acknowledge(format!("\nstored={id}={}", *key.to_text()));
        let key = store.replace_reader(&id, &key, &*pattern(3_000_000)).unwrap();
        acknowledge(format!("\nreplaced={id}={}", *key.to_text()));
        acknowledge(format!("\ndeleting={id}="));
        store.delete(&id, &key).unwrap();
        acknowledge(format!("\ndeleted={id}="));
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
    store.close().unwrap();

    let mut killed_half_way = 0;
    for run in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["killed_uploads_leave_nothing", "--exact", "--nocapture"])
            .env(STORE, &path)
            .env(RUN, run.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "open"));
        // Spread evenly over the time that a few uploads take.
        thread::sleep(Duration::from_micros(run * 7919 % 100_000));
        child.kill().unwrap();
        child.wait().unwrap();

        // Of the last record the last words count; all before it are deleted.
        let said: Vec<_> = lines.collect();
        let last = said.iter().rev().find_map(|line| {
            let [event, id, key] = line.split('=').collect::<Vec<_>>()[..] else { return None };
            Some((event.to_string(), id.to_string(), key.to_string()))
        });

        killed_half_way += i32::from(pending(&path) > 0);
        let store = Strongroom::open(&path).unwrap();
        assert!(store.retrieve("witness", &witness).unwrap() == pattern(2_000_000));
        let records = store.stats().unwrap().records - 1;
        match last {
            // It was there, and may have been replaced meanwhile by a version whose key nobody was told.
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
            // Nothing yet, or the last one is deleted; the next may have been committed just before the kill.
            _ => assert!(records <= 1),
        }
        for n in 0..=said.len() {
            store.erase(format!("record-{run}-{n}")).unwrap();
        }
        store.close().unwrap();
        assert_eq!(pending(&path), 0, "opening swept what was left");
        assert_eq!(segments(&path), 1, "the witness's own");
    }
    assert!(killed_half_way > 10, "hardly any kill met an upload: {killed_half_way}");
    // Some uploads' worth of room, used again and again.
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 30_000_000, "the file has grown to {size} bytes");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
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
