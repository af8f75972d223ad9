//! A program that stores with a keyring is killed repeatedly: the keyring has the key of each acknowledged record.

#![cfg(all(unix, feature = "server"))]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::rounds::rounds;
use crate::support::World;
use crate::support::wait::{DEADLINE, WaitWithin};
use serde_json::Value;
use strongroom::{Keyring, KeyringSecret, Strongroom};

/// The files of a run.
const FILES: usize = 4;

#[test]
fn no_key_of_an_acknowledged_record_is_lost() {
    let world = World::new();
    world.ok(&["keyring", "new", "--keyring", "keys", "--new-identity", "me.age"], "");
    let open = || {
        let secret = KeyringSecret::identity_file(world.path("me.age")).unwrap();
        Keyring::open(world.path("keys"), secret).unwrap()
    };
    let mut acknowledged: Vec<String> = Vec::new();
    let (mut killed, mut without_record) = (0, 0);
    for run in 0..rounds(20, 200) {
        let names: Vec<_> = (0..FILES).map(|n| format!("{run}-{n}")).collect();
        names.iter().for_each(|name| world.write(name, format!("data of {name}")));
        let mut args = vec!["--json", "store", "--keyring", "keys", "--identity", "me.age"];
        args.extend(names.iter().map(String::as_str));
        let mut child = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Before and after each acknowledgement; the first also while the keyring is written.
        let count = [0, 0, 0, 1, 2, 3][run % 6];
        let mut printed: Vec<_> = lines.by_ref().take(count).collect();
        thread::sleep(Duration::from_micros(run as u64 * 7919 % if count == 0 { 40_000 } else { 2_000 }));
        child.kill().unwrap();
        killed += usize::from(!child.wait_within(DEADLINE).success());
        printed.extend(lines);
        acknowledged.extend(printed.iter().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["id"].as_str().unwrap().to_owned()
        }));
        let keyring = open();
        for id in &acknowledged {
            assert!(keyring.get("", id).is_some(), "run {run}: the keyring lost {id}");
        }
    }
    // The database exists if a run came so far.
    let keyring = open();
    if !acknowledged.is_empty() {
        let store = Strongroom::open(world.path("records.db")).unwrap();
        for id in &acknowledged {
            let data = store.retrieve(id, keyring.get("", id).unwrap()).unwrap();
            assert_eq!(String::from_utf8(data).unwrap(), format!("data of {id}"));
        }
        for (_, id, _) in keyring.entries().iter() {
            without_record += usize::from(!store.contains(id).unwrap());
        }
        let records = store.stats().unwrap().records;
        assert_eq!(records, (keyring.entries().len() - without_record) as u64, "a record is without its key");
    }
    println!("{killed} kills, {} acknowledged records, {without_record} keys without a record", acknowledged.len());
    assert!(killed > 0 && !acknowledged.is_empty());
}
