//! Processes killed while they write: acknowledged records exist, others do not, and their space is reused.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use strongroom::transfer::{CopyOptions, copy};
use strongroom::{Error, IndexKey, Location, RecordKey, RecordWriter, Strongroom, WriteOptions};
use support::pattern;
use support::rounds::rounds;
use support::wait::{DEADLINE, Join, StopOnDrop, WaitWithin};

/// The database and the run number of the processes that the test starts.
const STORE: &str = "STRONGROOM_TEST_STORE";
const RUN: &str = "STRONGROOM_TEST_RUN";

/// Starts this program again to run only `test`, kills it a little after it has printed `count` lines, and returns all
/// its lines. The count, not a time, chooses the moment: it is the same on a slow machine.
fn lines_until_killed(test: &str, path: &Path, run: u64, count: u64) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(STORE, path)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let all = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = all.skip_while(|line| line != "open").filter(|line| !line.is_empty()).skip(1);
    let mut printed: Vec<_> = lines.by_ref().take(usize::try_from(count).unwrap()).collect();
    thread::sleep(Duration::from_micros(run * 7919 % 3000));
    child.kill().unwrap();
    child.wait_within(DEADLINE);
    printed.extend(lines);
    printed
}

/// In the process that is killed: prints an acknowledged write, with a single system call.
fn acknowledge(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Uploads, replaces and deletes records of 5 MB until it is killed, and prints its progress and the acknowledged
/// writes.
fn upload_until_killed(path: &Path, run: &str) {
    let store = Strongroom::open(path).unwrap();
    acknowledge("open");
    let upload = |mut writer: RecordWriter, pieces| {
        for _ in 0..pieces {
            writer.write_all(&pattern(100_000)).unwrap();
            acknowledge("written");
        }
        writer.finish().unwrap()
    };
    for n in 0.. {
        let id = format!("record-{run}-{n}");
        let key = upload(store.create_record(&id).unwrap(), 50);
        acknowledge(&format!("stored={id}={}", *key.to_text()));
        let key = upload(store.replace_record(&id, &key).unwrap(), 30);
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
        // Spread over the progress of two uploads with their replacements.
        let events = lines_until_killed("killed_uploads_leave_nothing", &path, run, run * 7919 % 170);

        // All records before the last one are deleted; its last line applies.
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
                let whole = pattern(100_000).repeat(if event == "stored" { 50 } else { 30 });
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
        store.maintain().unwrap();
        store.close().unwrap();
        assert_eq!(pending(&path), 0, "the sweep left something");
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
        let lines = lines_until_killed("acknowledged_writes_survive_a_kill", &path, run, run * 7919 % 100);
        let store = Strongroom::open(&path).unwrap();
        let reported: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("stored=")).collect();
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

/// Copies until it is killed or all is copied, and prints its progress.
fn copy_until_killed(path: &Path) {
    let [from, to] = [path, &path.with_file_name("copy.db")].map(|path| Location::parse(path).unwrap());
    acknowledge("open");
    let mut before = 0;
    let copied = copy(&from, &to, CopyOptions::new().mirror(true), &mut |copied| {
        (before..copied.records).for_each(|_| acknowledge("copied"));
        before = copied.records;
    });
    acknowledge(&format!("complete={}", copied.unwrap().is_complete()));
}

/// A copy that is killed and repeated, beside writers, is equal to its source once they stop.
#[test]
fn a_killed_copy_is_resumed() {
    if let (Some(path), Ok(_)) = (env::var_os(STORE), env::var(RUN)) {
        return copy_until_killed(path.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let items: Vec<_> = (0..20_000_u32).map(|n| (n.to_le_bytes(), pattern(1000))).collect();
    let _ = store.store_many(&items).unwrap();
    let _ = store.store("long", pattern(20_000_000)).unwrap();
    let stop = AtomicBool::new(false);
    let mut killed_half_way = 0;
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let writer = scope.spawn(|| {
            let (mut keys, mut n) = (VecDeque::new(), 0_u32);
            while !stop.load(Ordering::Relaxed) {
                let id = format!("new-{n}");
                keys.push_back((id.clone(), store.store(&id, pattern(500)).unwrap()));
                if n % 3 == 0
                    && let Some((id, key)) = keys.pop_front()
                {
                    keys.push_back((id.clone(), store.replace(&id, &key, pattern(600)).unwrap()));
                } else if n % 3 == 1
                    && let Some((id, key)) = keys.pop_front()
                {
                    store.delete(&id, &key).unwrap();
                }
                n += 1;
            }
        });
        for run in 0..rounds(5, 20) {
            // Soon after the start, and then ever later.
            let lines = lines_until_killed("a_killed_copy_is_resumed", &path, run, 1 + run * 7919 % 3000);
            killed_half_way += u64::from(!lines.iter().any(|line| line.starts_with("complete=")));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join_within(DEADLINE);
    });
    assert!(killed_half_way > 2, "hardly any kill met a copy: {killed_half_way}");
    let [from, to] = [&path, &folder.path().join("copy.db")].map(|path| Location::parse(path).unwrap());
    assert!(copy(&from, &to, CopyOptions::new().mirror(true), &mut |_| ()).unwrap().is_complete());
    let [from, to] = [from, to].map(|location| location.open_existing_storage().unwrap());
    let [here, there] = [&from, &to].map(|storage| storage.list(None, usize::MAX).unwrap());
    assert!(here == there && here.len() > 20_000);
    for entry in here {
        assert!(from.get(&entry.locator).unwrap() == to.get(&entry.locator).unwrap());
    }
    let mut position = None;
    loop {
        let step = to.verify(position.as_ref(), usize::MAX).unwrap();
        assert_eq!(step.damage, []);
        position = step.next;
        if position.is_none() {
            break;
        }
    }
}

/// A handle with the new index key, and during the rotation with the old one, too.
fn open_rotated(path: &Path, is_rotating: bool) -> Strongroom {
    let index_key = |number| IndexKey::from_bytes(&[number; 32]).unwrap();
    let builder = Strongroom::builder().path(path).index_key(index_key(2));
    let store = if is_rotating { builder.previous_index_key(index_key(1)) } else { builder }.open().unwrap();
    store.begin_rotation().unwrap();
    store
}

fn numbered(n: usize) -> String {
    format!("id-{n}")
}

/// Moves all records to the new index key, while writers work with them, until it is killed. Prints its progress and
/// the acknowledged writes.
fn rotate_until_killed(path: &Path, run: &str, ids: usize) {
    let store = open_rotated(path, true);
    acknowledge("open");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{run}-{writer}-{n}");
                    store.store_with(&id, pattern(100), WriteOptions::new().key(&key_of(&id))).unwrap();
                    acknowledge(&format!("stored={id}"));
                    // Under an id that exists, nothing is stored, on whichever side of the rotation it is.
                    let old = numbered((n * WRITERS + writer) * 7919 % ids);
                    assert!(matches!(store.store(&old, b"other"), Err(Error::AlreadyExists)));
                    assert!(store.retrieve(&old, &key_of(&old)).unwrap() == pattern(100));
                }
            });
        }
        for n in (0..ids).cycle() {
            assert!(store.contains(numbered(n)).unwrap());
            acknowledge("moved");
        }
    });
}

/// A rotation of the index key that is killed continues: each record stays there once, and its key opens it.
#[test]
fn a_killed_rotation_continues() {
    let ids = rounds(1000, 100_000);
    if let (Some(path), Ok(run)) = (env::var_os(STORE), env::var(RUN)) {
        return rotate_until_killed(path.as_ref(), &run, ids);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let old_key = IndexKey::from_bytes(&[1; 32]).unwrap();
    let store = Strongroom::builder().path(&path).index_key(old_key).open().unwrap();
    let mut known: Vec<_> = (0..ids).map(numbered).collect();
    let keys: Vec<_> = known.iter().map(|id| key_of(id)).collect();
    let items = known.iter().zip(&keys).map(|(id, key)| (id, pattern(100), WriteOptions::new().key(key)));
    store.store_many_with(&items.collect::<Vec<_>>()).unwrap();
    store.close().unwrap();
    let runs = rounds(5, 20);
    let (mut remaining, mut moved_in_part) = (ids, 0);
    for run in 0..runs {
        let lines = lines_until_killed("a_killed_rotation_continues", &path, run, ids as u64 / runs / 2);
        known.extend(lines.iter().filter_map(|line| line.strip_prefix("stored=")).map(str::to_owned));
        let store = open_rotated(&path, true);
        let now = store.rotation(usize::MAX).unwrap().unwrap().remaining.len();
        assert!(now <= remaining, "{now} of {remaining} records have not moved");
        moved_in_part += u64::from(now < remaining && now > 0);
        remaining = now;
        store.close().unwrap();
    }
    assert!(moved_in_part > runs / 2, "hardly any kill met the rotation: {moved_in_part}");

    let store = open_rotated(&path, true);
    assert!(known.iter().all(|id| store.contains(id).unwrap()));
    store.finish_rotation().unwrap();
    store.close().unwrap();
    let store = open_rotated(&path, false);
    for id in &known {
        assert!(store.retrieve(id, &key_of(id)).unwrap() == pattern(100), "{id}");
    }
    let unreported = store.stats().unwrap().records - known.len() as u64;
    assert!(unreported <= runs * WRITERS as u64, "{unreported} records that no writer reported");
    assert_eq!(count(&path, "SELECT count(*) FROM record WHERE substr(locator, 1, 1) <> x'02'"), 0);
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
