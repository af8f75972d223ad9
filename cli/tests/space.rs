//! Free space, and its return to the operating system.

use std::fs;

use serde_json::{Value, json};

use crate::support::World;
use crate::support::wait::wait_for;

fn stats(world: &World) -> Value {
    serde_json::from_str(&world.ok(&["stats", "--json"], "")).unwrap()
}

/// The operator may not have it, or not its passphrase.
#[test]
fn commands_on_the_whole_store_need_no_index_key() {
    let world = World::with_record();
    world.ok(&["store", "--id", "short-lived", "--key-out", "expired", "--expires-in", "1s"], "data");
    fs::remove_file(world.path("records.db.index-key")).unwrap();
    wait_for(|| (world.ok(&["purge"], "") == "purged: 1\n").then_some(()));
    world.write("encrypted", "age-encryption.org/v1\n");
    for option in [&[][..], &["--index-key-file", "encrypted"], &["--index-key-command", "false"]] {
        let ok = |command: &[&str]| world.ok(&[command, option].concat(), "");
        assert!(ok(&["stats"]).starts_with("records: 1\n"));
        assert_eq!(ok(&["purge"]), "purged: 0\n");
        assert_eq!(ok(&["maintain"]), "maintained\n");
        assert!(ok(&["compact"]).starts_with("compacted: "));
        ok(&["verify"]);
    }
    assert!(!world.exists("records.db.index-key"));
}

#[test]
fn compact_shortens_the_database() {
    let world = World::with_record();
    world.write("long", "0123456789".repeat(1_000_000));
    world.ok(&["store", "--id", "long", "--key-out", "long.key", "long"], "");
    let len = || fs::metadata(world.path("records.db")).unwrap().len();
    let before = len();
    assert!(before > 10_000_000);
    world.ok(&["delete", "--id", "long", "--key-file", "long.key"], "");
    assert_eq!(world.ok(&["maintain", "--json"], ""), "{\"maintained\":true}\n");
    assert!(stats(&world)["free"].as_u64().unwrap() > 10_000_000);
    let reply: Value = serde_json::from_str(&world.ok(&["compact", "--json"], "")).unwrap();
    assert_eq!(reply, json!({"compacted": before - len()}));
    assert!(len() < 200_000, "{}", len());
    assert_eq!(stats(&world)["free"], 0);
    assert_eq!(world.ok(&["compact"], ""), "compacted: 0\n");
    world.ok(&["verify"], "");
}
