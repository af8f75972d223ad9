//! Processes that are killed while they write: acknowledged writes are there, and others happened or did not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::thread;

use strongroom::{Error, RecordKey, Strongroom, VerifyOptions, WriteOptions};

use crate::support::pattern;
use crate::support::rounds::rounds;
use crate::support::shared_server::hash;
use crate::support::wait::{DEADLINE, WaitWithin};

/// The name of the store, for the process that is killed.
const STORE: &str = "STRONGROOM_TEST_STORE_NAME";
const WRITERS: u8 = 16;

fn key(version: u8) -> RecordKey {
    RecordKey::from_bytes(&[version; 32]).unwrap()
}

/// Short and long data.
fn data(n: u32, version: u8) -> Vec<u8> {
    pattern(if (n + u32::from(version)).is_multiple_of(5) { 1_100_000 } else { 100 } + usize::from(version))
}

/// Prints the step, with a single system call.
fn print(step: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{step} {id}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn write_until_killed(store: &Strongroom) {
    print("open", "-");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{writer}/{n}");
                    print("storing", &id);
                    store.store_with(&id, data(n, 1), WriteOptions::new().key(&key(1))).unwrap();
                    print("stored", &id);
                    print("replacing", &id);
                    store.replace_with(&id, &key(1), data(n, 2), WriteOptions::new().key(&key(2))).unwrap();
                    print("replaced", &id);
                    match n % 3 {
                        0 => {
                            print("removing", &id);
                            store.delete(&id, &key(2)).unwrap();
                            print("removed", &id);
                        }
                        1 => {
                            print("removing", &id);
                            assert!(store.take(&id, &key(2)).unwrap() == data(n, 2));
                            print("removed", &id);
                        }
                        _ => {}
                    }
                }
            });
        }
    });
}

/// Runs `test`, which calls this, again and again as a process that writes to a new store until it is killed, and then
/// checks the store.
pub(crate) fn check(test: &str, open: impl Fn(&str) -> Strongroom) {
    if let Ok(name) = std::env::var(STORE) {
        return write_until_killed(&open(&name));
    }
    for round in 0..rounds(3, 100) {
        let name = format!("killed_{}", hash(&(test, std::process::id(), round)));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(STORE, &name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.skip_while(|line| line != "open -").filter(|line| !line.is_empty()).skip(1);
        let count = 60 + usize::try_from(round).unwrap() * 7 % 50;
        let mut printed: Vec<_> = lines.by_ref().take(count).collect();
        child.kill().unwrap();
        child.wait_within(DEADLINE);
        printed.extend(lines);
        assert!(printed.len() >= count, "the process ended on its own");

        let mut last = BTreeMap::new();
        for line in &printed {
            let (step, id) = line.split_once(' ').unwrap();
            last.insert(id, step);
        }
        let store = open(&name);
        let mut records = 0;
        for (id, step) in last {
            let n = id.split_once('/').unwrap().1.parse().unwrap();
            let found = [1, 2].map(|version| match store.retrieve(id, &key(version)) {
                Ok(found) => {
                    assert!(found == data(n, version), "{id}");
                    true
                }
                Err(Error::NotFound | Error::WrongKey) => false,
                Err(error) => panic!("{id} {step}: {error:?}"),
            });
            records += u64::from(found != [false, false]);
            let allowed: &[[bool; 2]] = match step {
                "storing" => &[[false, false], [true, false]],
                "stored" => &[[true, false]],
                "replacing" => &[[true, false], [false, true]],
                "replaced" => &[[false, true]],
                "removing" => &[[false, true], [false, false]],
                "removed" => &[[false, false]],
                other => panic!("{other}"),
            };
            assert!(allowed.contains(&found), "{id} {step}: {found:?}");
        }
        // Records that a `take` has claimed are counted, too, and a server may end the last statements of a killed
        // client only now.
        let stats = store.stats().unwrap();
        assert!(stats.records.abs_diff(records) <= u64::from(WRITERS), "{records} {stats:?}");
        let report = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_clean(), "{report:?}");
        store.maintain().unwrap();
    }
}
