//! The rotation of a store's index key, and padding.

use std::process::Stdio;
use std::thread;

use rusqlite::Connection;
use strongroom::{IndexKey, Strongroom};

use crate::support::wait::{DEADLINE, WaitWithin, write_within};
use crate::support::{DATA, World, failure, feed};

/// A store with records of these numbers, and files with the keys of each.
fn world(count: usize) -> World {
    let world = World::new();
    for n in 0..count {
        world.ok(&["store", "--id", &format!("id {n}"), "--key-out", &format!("key {n}")], DATA);
    }
    world.ok(&["key", "new", "--index", "--key-out", "new"], "");
    world
}

const ROTATE: [&str; 4] = ["index-key", "rotate", "--new", "new"];
const BOTH: [&str; 4] = ["--index-key-file", "new", "--previous-index-key-file", "records.db.index-key"];

fn rotate(world: &World, more: &[&str], ids: &str) -> String {
    world.ok(&[&ROTATE[..], more].concat(), ids)
}

/// Records that a damaged index hides would be lost with the old key.
#[cfg(all(unix, feature = "server"))]
#[test]
fn a_rotation_does_not_end_while_damage_hides_records() {
    use crate::support::service::Service;

    let world = world(6);
    let ids: String = (0..6).map(|n| format!("id {n}\n")).collect();
    world.ok(&["copy", "--to", "backup.db"], "");
    crate::copying::hide_four_of_six(&world);
    let with_ids = [&ROTATE[..], &["--ids", "-"]].concat();
    {
        let service = Service::start(&world, &["serve-storage", "--store", "records.db"]);
        let place = format!("http://{}", service.address);
        let through = ["--store", &place, "--index-key-file", "records.db.index-key"];
        world.fail(4, &[&through[..], &with_ids].concat(), &ids);
    }
    world.fail(4, &[&ROTATE[..], &["--erase-unknown", "--yes"]].concat(), "");

    world.ok(&["verify", "--repair-from", "backup.db"], "");
    let out = rotate(&world, &["--ids", "-"], &ids);
    assert!(out.starts_with("found: 6\nmissing: 0\nerased: 0\nremaining: 0\nthe rotation is finished"), "{out}");
}

#[test]
fn a_rotation_moves_the_records_of_listed_ids() {
    let world = world(6);
    let message = world.fail(64, &ROTATE, "");
    assert!(message.contains("pass --yes"), "the beginning without ids is confirmed: {message}");
    assert_eq!(world.ok(&["index-key", "status"], ""), "the index key is not being rotated\n");
    let out = rotate(&world, &["--json", "--yes"], "");
    assert_eq!(out, "{\"erased\":0,\"finished\":false,\"found\":0,\"missing\":0,\"remaining\":6}\n");
    // One key alone no longer suffices.
    let message = world.fail(19, &["retrieve", "--id", "id 0", "--key-file", "key 0"], "");
    assert!(message.contains("being rotated") && message.contains("--previous-index-key-file"), "{message}");
    assert!(rotate(&world, &[], "").contains("remaining: 6\n"), "only the beginning is confirmed");
    let out = rotate(&world, &["--ids", "-"], "id 0\nid 1\nid 0\nunknown\n");
    assert!(out.starts_with("found: 3\nmissing: 1\nerased: 0\nremaining: 4\n"), "{out}");
    let out = rotate(&world, &["--ids", "-", "--format", "nul", "--json"], "id 2\0id 1");
    assert!(out.contains("\"found\":2") && out.contains("\"remaining\":3"), "{out}");
    let out = rotate(&world, &["--ids", "-", "--format", "json"], "\"id 3\" [\"id 4\"]\n[]");
    assert!(out.starts_with("found: 2\nmissing: 0\nerased: 0\nremaining: 1\n"), "{out}");

    let status = |more: &[&str]| world.ok(&[&BOTH[..], &["index-key", "status"], more].concat(), "");
    assert_eq!(status(&[]), "remaining: 1\n");
    assert_eq!(status(&["--json"]), "{\"remaining\":1,\"rotating\":true}\n");
    let locator = status(&["--list"]);
    assert!(locator.len() == 65 && locator.starts_with("01"), "{locator}");
    let retrieve = ["retrieve", "--id", "id 0", "--key-file", "key 0"];
    assert_eq!(world.ok(&[&BOTH[..], &retrieve].concat(), ""), DATA);

    world.fail(64, &[&ROTATE[..], &["--erase-unknown"]].concat(), "");
    let out = rotate(&world, &["--erase-unknown", "--yes"], "");
    assert!(out.starts_with("found: 0\nmissing: 0\nerased: 1\nremaining: 0\nthe rotation is finished"), "{out}");
    assert!(rotate(&world, &[], "").contains("finished"), "it may be repeated");
    for n in 0..5 {
        let retrieve =
            ["retrieve", "--id", &format!("id {n}"), "--key-file", &format!("key {n}"), "--index-key-file", "new"];
        assert_eq!(world.ok(&retrieve, ""), DATA);
    }
    world.fail(9, &retrieve, "");
    let status = world.ok(&["index-key", "status", "--index-key-file", "new"], "");
    assert_eq!(status, "the index key is not being rotated\n");
}

/// A full disk may leave an empty file in the place of the store.
#[test]
fn an_empty_file_does_not_become_a_store() {
    let world = world(0);
    world.ok(&["key", "new", "--index", "--key-out", "old"], "");
    world.write("records.db", "");
    let old = ["--index-key-file", "old"];
    for command in [&[&ROTATE[..], &["--yes"]].concat()[..], &ROTATE, &[&ROTATE[..], &["--ids", "-"]].concat()] {
        let message = world.fail(19, &[&old, command].concat(), "id 0\n");
        assert!(message.contains("there is no store"), "{message}");
    }
    world.fail(19, &[&old[..], &["index-key", "status"]].concat(), "");
    assert_eq!(world.read("records.db"), b"");
    let in_memory = [&old[..], &ROTATE, &["--store", ":memory:", "--yes"]].concat();
    assert!(world.fail(19, &in_memory, "").contains("in memory"));
}

/// A record whose id is listed is not an unknown one because it cannot be moved.
#[test]
fn a_listed_record_that_cannot_be_moved_is_not_erased() {
    let world = world(3);
    rotate(&world, &["--yes"], "");
    let retrieve = ["retrieve", "--id", "id 0", "--key-file", "key 0"];
    let database = Connection::open(world.path("records.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    // At the same time: each waits five seconds for the lock.
    thread::scope(|scope| {
        for more in [&["--ids", "-"][..], &["--ids", "-", "--erase-unknown", "--yes"]] {
            let world = &world;
            scope.spawn(move || {
                let output = feed(&mut world.command(&[&ROTATE[..], more].concat()), b"id 0\nid 1\n");
                let message = failure(&output, 12);
                assert!(!message.contains("--erase-unknown"), "{message}");
            });
        }
        assert_eq!(world.ok(&[&BOTH[..], &retrieve].concat(), ""), DATA, "it is read in its place");
    });
    database.execute_batch("ROLLBACK").unwrap();
    assert_eq!(remaining(&world), 3);
    let out = rotate(&world, &["--ids", "-", "--erase-unknown", "--yes"], "id 0\nid 1\n");
    assert!(out.starts_with("found: 2\nmissing: 0\nerased: 1\nremaining: 0\n"), "{out}");
    assert_eq!(world.ok(&[&["--index-key-file", "new"], &retrieve[..]].concat(), ""), DATA);
}

#[test]
fn a_rotation_has_namespaces() {
    let world = World::new();
    world.ok(&["store", "--id", "id", "--key-out", "key"], DATA);
    world.ok(&["store", "--id", "id", "--key-out", "tenant key", "--namespace", "tenant"], DATA);
    world.ok(&["key", "new", "--index", "--key-out", "new"], "");
    world.write("ids", "id");
    assert!(rotate(&world, &["--ids", "ids", "--namespace", "tenant"], "").contains("remaining: 1\n"));
    assert!(rotate(&world, &["--ids", "ids"], "").contains("finished"));
}

/// The program that made the list may have failed.
#[test]
fn an_empty_list_begins_no_rotation() {
    let world = world(1);
    for (format, list) in [("lines", ""), ("nul", ""), ("json", ""), ("json", "[]\n[]")] {
        for more in [&[][..], &["--yes"], &["--erase-unknown", "--yes"]] {
            let args = [&ROTATE[..], &["--ids", "-", "--format", format], more].concat();
            let message = world.fail(19, &args, list);
            assert!(message.contains("the list of --ids is empty"), "{message}");
        }
    }
    assert_eq!(world.ok(&["index-key", "status"], ""), "the index key is not being rotated\n");
    assert_eq!(world.ok(&["retrieve", "--id", "id 0", "--key-file", "key 0"], ""), DATA);
}

#[test]
fn a_list_without_a_record_erases_nothing() {
    let world = world(2);
    let erase = [&ROTATE[..], &["--ids", "-", "--erase-unknown", "--yes"]].concat();
    for (namespace, list) in [("other", "id 0\nid 1\n"), ("", "another\nstore's\nids\n")] {
        let message = world.fail(19, &[&erase[..], &["--namespace", namespace]].concat(), list);
        assert!(message.contains("nothing was erased"), "{message}");
        assert_eq!(remaining(&world), 2);
    }
    let out = world.ok(&erase, "id 0\n");
    assert!(out.starts_with("found: 1\nmissing: 0\nerased: 1\nremaining: 0\n"), "{out}");
    let retrieve = ["retrieve", "--id", "id 0", "--key-file", "key 0", "--index-key-file", "new"];
    assert_eq!(world.ok(&retrieve, ""), DATA);
    // A finished rotation has nothing left to erase.
    assert!(world.ok(&erase, "unknown\n").contains("finished"));
}

#[test]
fn a_bad_rotation_is_refused() {
    let world = world(1);
    let fail = |status, more: &[&str], ids: &str| world.fail(status, &[&ROTATE[..], more].concat(), ids);
    fail(6, &["--ids", "-"], "\n");
    fail(6, &["--ids", "-"], &"a".repeat(5000));
    fail(19, &["--ids", "-", "--format", "json"], "[1]");
    fail(19, &["--ids", "-", "--format", "json"], "id 0");
    let other_namespace = r#"{"namespace": "other", "id": "id 0"}"#;
    fail(19, &["--ids", "-", "--format", "json"], other_namespace);
    fail(19, &["--ids", "missing"], "");
    for format in ["lines", "nul", "json"] {
        let message = fail(19, &["--ids", ".", "--format", format], "");
        assert!(message.contains("cannot read the file of --ids"), "{message}");
    }
    // No rotation has begun.
    assert_eq!(world.ok(&["retrieve", "--id", "id 0", "--key-file", "key 0"], ""), DATA);
    fail(19, &["--server", "http://127.0.0.1:1"], "");
    world.fail(64, &["index-key", "rotate"], "");
    let message = world.fail(19, &["index-key", "rotate", "--new", "missing"], "");
    assert!(message.contains("key new --index"), "{message}");
    let world = self::world(1);
    let message = world.fail(19, &["index-key", "rotate", "--new", "records.db.index-key", "--yes"], "");
    assert!(message.contains("previous"), "the same key: {message}");
    assert_eq!(world.ok(&["retrieve", "--id", "id 0", "--key-file", "key 0"], ""), DATA);
}

/// Killed at any place, a rotation continues.
#[test]
fn an_interrupted_rotation_continues() {
    const IDS: usize = 400;
    let world = world(1);
    let store = Strongroom::open(world.path("records.db")).unwrap();
    // Long ids fill the pipe: once they are written, the program has moved most of them.
    let ids: Vec<_> = (0..IDS).map(|n| format!("{n:02000}")).collect();
    let keys: Vec<_> = ids.iter().map(|id| store.store(id, DATA).unwrap()).collect();
    store.close().unwrap();
    let mut moved = 0;
    for part in 1..4 {
        let mut rotation = world.command(&[&ROTATE[..], &["--ids", "-"]].concat());
        let mut rotation = rotation.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = ids[..part * IDS / 4].join("\n");
        let pipe = write_within(rotation.stdin.take().unwrap(), lines.as_bytes(), DEADLINE);
        rotation.kill().unwrap();
        rotation.wait_within(DEADLINE);
        drop(pipe);
        let now = IDS + 1 - remaining(&world);
        assert!(now > moved, "part {part}: {now} of {IDS}");
        moved = now;
    }
    world.write("ids", ids.join("\n"));
    let out = rotate(&world, &["--ids", "ids", "--json"], "");
    assert!(out.contains("\"found\":400") && out.contains("\"remaining\":1"), "{out}");
    assert!(rotate(&world, &["--ids", "-"], "id 0\n").contains("finished"));
    let new = IndexKey::from_text(&String::from_utf8(world.read("new")).unwrap()).unwrap();
    let store = Strongroom::builder().path(world.path("records.db")).index_key(new).open().unwrap();
    for (id, key) in ids.iter().zip(&keys) {
        assert_eq!(store.retrieve(id, key).unwrap(), DATA.as_bytes());
    }
    assert_eq!(store.stats().unwrap().records, IDS as u64 + 1);
}

/// The number of records under the previous key.
fn remaining(world: &World) -> usize {
    let out = world.ok(&[&BOTH[..], &["index-key", "status"]].concat(), "");
    out.trim().strip_prefix("remaining: ").unwrap().parse().unwrap()
}

#[test]
fn data_is_padded() {
    let world = World::new();
    let stored_len = |arguments: &[&str], data: &str| {
        world.ok(arguments, data);
        let stats = world.ok(&["stats", "--json"], "");
        stats.split("\"bytes\":").nth(1).unwrap().split([',', '}']).next().unwrap().parse::<usize>().unwrap()
    };
    let store = ["store", "--id", "id", "--key-out", "key", "--pad"];
    assert_eq!(stored_len(&store, &"a".repeat(1000)), 84 + 1024);
    let rekey = ["rekey", "--id", "id", "--key-file", "key", "--key-out", "key 2"];
    assert_eq!(stored_len(&rekey, ""), 84 + 1024);
    let replace = ["replace", "--id", "id", "--key-file", "key 2", "--key-out", "key 3"];
    assert_eq!(stored_len(&replace, &"a".repeat(1000)), 84 + 1000);
    let rekey = ["rekey", "--id", "id", "--key-file", "key 3", "--key-out", "key 4", "--pad"];
    assert_eq!(stored_len(&rekey, ""), 84 + 1024);
    assert_eq!(world.ok(&["retrieve", "--id", "id", "--key-file", "key 4"], "").len(), 1000);
}
