//! Free space, and its return to the operating system.

use std::fs;

use serde_json::{Value, json};

use crate::support::World;

fn stats(world: &World) -> Value {
    serde_json::from_str(&world.ok(&["stats", "--json"], "")).unwrap()
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
