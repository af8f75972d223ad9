//! Records that expire.

use serde_json::Value;

use crate::support::wait::wait_for;
use crate::support::{DATA, ID, World, feed};

/// Waits until the record of `id` has expired.
fn wait_until_expired(world: &World, place: &[&str], id: &str, key: &str) {
    let retrieve = [&["retrieve", "--id", id, "--key-file", key], place].concat();
    wait_for(|| match feed(&mut world.command(&retrieve), b"").status.code() {
        Some(0) => None,
        Some(20) => Some(()),
        status => panic!("{status:?}"),
    });
}

fn stats(world: &World, place: &[&str]) -> Value {
    serde_json::from_str(&world.ok(&[&["stats", "--json"], place].concat(), "")).unwrap()
}

#[test]
fn an_expired_record_is_unreadable_and_purged() {
    let world = World::with_record();
    assert_eq!(world.ok(&["purge"], ""), "purged: 0\n");
    world.ok(&["store", "--id", "brief", "--key-out", "brief", "--expires-in", "1"], DATA);
    wait_until_expired(&world, &[], "brief", "brief");
    let message = world.fail(20, &["retrieve", "--id", "brief", "--key-file", "brief"], "");
    assert!(message.contains("expired"), "{message}");
    world.fail(20, &["replace", "--id", "brief", "--key-file", "brief"], DATA);
    assert_eq!(feed(&mut world.command(&["contains", "--id", "brief"]), b"").status.code(), Some(1));
    assert!(world.ok(&["stats"], "").starts_with("records: 2\n"));
    assert!(world.ok(&["stats"], "").ends_with("\nexpired: 1\nfree: 0\n"));
    assert_eq!(world.ok(&["purge"], ""), "purged: 1\n");
    assert_eq!(world.ok(&["purge", "--json"], ""), "{\"purged\":0}\n");
    world.fail(1, &["retrieve", "--id", "brief", "--key-file", "brief"], "");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[test]
fn purge_has_a_limit() {
    let world = World::new();
    for id in ["1", "2", "3"] {
        world.ok(&["store", "--id", id, "--key-out", id, "--expires-in", "1s"], DATA);
    }
    for id in ["1", "2", "3"] {
        wait_until_expired(&world, &[], id, id);
    }
    assert_eq!(world.ok(&["purge", "--limit", "2"], ""), "purged: 2\n");
    assert_eq!(world.ok(&["purge", "--limit", "2"], ""), "purged: 1\n");
    assert_eq!(world.records(), 0);
    for limit in ["0", "-1", "", "x", "1.5"] {
        let message = world.fail(64, &["purge", &format!("--limit={limit}")], "");
        assert!(message.contains("whole number from 1"), "{message}");
    }
}

#[test]
fn the_id_of_an_expired_record_is_free() {
    let world = World::new();
    world.ok(&["key", "new", "--key-out", "own"], "");
    world.ok(&["store", "--id", ID, "--key-file", "own", "--expires-in", "1"], DATA);
    wait_until_expired(&world, &[], ID, "own");
    world.ok(&["store", "--id", ID, "--key-out", "key"], "other");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), "other");
    assert_eq!(stats(&world, &[])["expired"], 0);
}

#[test]
fn the_key_of_an_expired_record_still_deletes_it() {
    let world = World::new();
    for id in ["deleted", "erased"] {
        world.ok(&["store", "--id", id, "--key-out", id, "--expires-in", "1"], DATA);
        wait_until_expired(&world, &[], id, id);
    }
    world.ok(&["delete", "--id", "deleted", "--key-file", "deleted"], "");
    assert_eq!(world.ok(&["erase", "--id", "erased", "--yes"], ""), "erased\n");
    assert_eq!(world.records(), 0);
}

#[test]
fn later_expiry_times_are_accepted() {
    let world = World::new();
    let options = [
        ["--expires-in", "2w1h30m"],
        ["--expires-in", "18446744073709551615"],
        ["--expires-at", "@4102444800"],
        ["--expires-at", "2100-01-01"],
        ["--expires-at", "2100-01-01T00:00:00+01:00"],
    ];
    for (n, option) in options.iter().enumerate() {
        let (id, new) = (format!("{n}"), format!("{n}-new"));
        world.ok(&[&["store", "--id", &id, "--key-out", &id], &option[..]].concat(), DATA);
        world.ok(&[&["replace", "--id", &id, "--key-file", &id, "--key-out", &new], &option[..]].concat(), "new");
        assert_eq!(world.ok(&["retrieve", "--id", &id, "--key-file", &new], ""), "new");
    }
    assert_eq!(world.ok(&["purge"], ""), "purged: 0\n");
}

/// Without an option, the new version never expires, even if the old one would have.
#[test]
fn a_replacement_has_its_own_expiry() {
    let world = World::with_record();
    world.ok(&["replace", "--id", ID, "--key-file", "key", "--key-out", "2", "--expires-in", "1h"], DATA);
    world.ok(&["replace", "--id", ID, "--key-file", "2", "--key-out", "3", "--expires-in", "1"], DATA);
    wait_until_expired(&world, &[], ID, "3");

    world.ok(&["store", "--id", "kept", "--key-out", "kept", "--expires-in", "5m"], DATA);
    world.ok(&["replace", "--id", "kept", "--key-file", "kept", "--key-out", "kept-2"], DATA);
    let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
    let expiring = "SELECT count(*) FROM record WHERE expires_at IS NOT NULL";
    let expiring: i64 = database.query_row(expiring, (), |row| row.get(0)).unwrap();
    assert_eq!(expiring, 1);
}

#[test]
fn past_and_invalid_expiry_times_are_errors() {
    let world = World::with_record();
    for option in ["--expires-at=2020-01-01", "--expires-at=1969-12-31T23:59:59Z", "--expires-at=@1", "--expires-in=0"]
    {
        let message = world.fail(19, &["store", "--id", "new", "--key-out", "new", option], DATA);
        assert!(message.contains("the expiry time is past"), "{message}");
        world.fail(19, &["replace", "--id", ID, "--key-file", "key", "--key-out", "new", option], DATA);
        assert!(!world.exists("new"));
    }
    for (option, expected) in [
        ("--expires-in=", "a duration is "),
        ("--expires-in=12x", "a duration is "),
        ("--expires-in=-5s", "a duration is "),
        ("--expires-in=18446744073709551615w", "too long"),
        ("--expires-at=", "a time is "),
        ("--expires-at=2026-02-30", "a time is "),
        ("--expires-at=2026-13-01", "a time is "),
    ] {
        let message = world.fail(64, &["store", "--id", "new", option], DATA);
        assert!(message.contains(expected), "{option}: {message}");
    }
    let both = ["store", "--id", "new", "--expires-in", "1h", "--expires-at", "2100-01-01"];
    assert!(world.fail(64, &both, DATA).contains("cannot be used together"));
    assert_eq!(world.records(), 1);
}

/// The services do not remove expired records themselves here.
#[cfg(all(unix, feature = "server"))]
#[test]
fn a_service_purges_on_request() {
    use crate::support::service::Service;

    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.write("config", "[purge]\ninterval_seconds = 0\n");
    let storage = Service::start(&world, &["serve-storage", "--store", "cipher.db", "--config", "config"]);
    let url = format!("http://{}", storage.address);
    let over = ["--store", &url, "--index-key-file", "index"];
    let server = Service::start(&world, &[&["serve", "--config", "config"], &over[..]].concat());
    let url = format!("http://{}", server.address);
    for (n, place) in [&over[..], &["--server", &url]].into_iter().enumerate() {
        let key = format!("key-{n}");
        let with = |args: &[&str]| world.ok(&[args, place].concat(), DATA);
        with(&["store", "--id", ID, "--key-out", &key, "--expires-in", "5"]);
        wait_until_expired(&world, place, ID, &key);
        assert_eq!(stats(&world, place)["expired"], 1);
        assert_eq!(with(&["purge"]), "purged: 1\n");
        assert_eq!(with(&["purge", "--limit", "5"]), "purged: 0\n");
        assert_eq!(stats(&world, place)["records"], 0);
        let absent = [&["contains", "--id", ID], place].concat();
        assert_eq!(feed(&mut world.command(&absent), b"").status.code(), Some(1));
    }
}
