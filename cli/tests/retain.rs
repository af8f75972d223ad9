//! Erasing the records that no listed id names.

use serde_json::{Value, json};

use crate::support::World;

fn world() -> World {
    let world = World::new();
    for (namespace, id) in [("", "a"), ("", "b"), ("tenant", "a"), ("tenant", "c")] {
        world.ok(&["store", "--namespace", namespace, "--id", id], "data");
    }
    world
}

fn contains(world: &World, namespace: &str, id: &str) -> bool {
    let output = world.command(&["contains", "--namespace", namespace, "--id", id]).output().unwrap();
    output.status.success()
}

#[test]
fn listed_records_stay_and_the_others_are_erased_on_request() {
    let world = world();
    let list = r#""a" {"namespace":"tenant","id":"c"} ["missing"]"#;
    let retain = ["retain", "--ids", "-", "--format", "json"];
    let shown = world.ok(&retain, list);
    assert!(shown.starts_with("kept: 2\nmissing: 1\nothers: 2\nbytes: "), "{shown}");
    assert!(shown.ends_with("\nnothing was erased: pass --yes to erase the others\n"), "{shown}");
    assert_eq!(world.records(), 4);
    let shown: Value = serde_json::from_str(&world.ok(&[&retain[..], &["--yes", "--json"]].concat(), list)).unwrap();
    assert_eq!((&shown["kept"], &shown["erased"]), (&json!(2), &json!(2)));
    assert!(contains(&world, "", "a") && contains(&world, "tenant", "c"));
    assert_eq!(world.records(), 2);
    assert!(world.ok(&retain, list).ends_with("\nthere is nothing to erase\n"));
}

#[test]
fn lines_and_zero_bytes_end_ids_of_the_default_namespace() {
    let world = world();
    world.write("ids", "a\nb\n");
    assert!(world.ok(&["retain", "--ids", "ids"], "").starts_with("kept: 2\nmissing: 0\nothers: 2\n"));
    let nul = ["retain", "--ids", "-", "--format", "nul", "--yes"];
    assert!(world.ok(&nul, "a\0").ends_with("\nerased: 3\n"));
    assert!(contains(&world, "", "a") && !contains(&world, "tenant", "a"));
}

#[test]
fn a_wrong_list_erases_nothing_unless_allowed() {
    let world = world();
    for list in ["", "another\nstore's\nids\n"] {
        let message = world.fail(19, &["retain", "--ids", "-", "--yes"], list);
        assert!(message.contains("all records of the store would be removed"), "{message}");
    }
    world.fail(6, &["retain", "--ids", "-", "--yes"], "a\n\nb\n");
    world.fail(19, &["retain", "--ids", "missing", "--yes"], "");
    for json in ["{}", "[1]", r#"{"id":"a"}"#, "\"a\" x"] {
        world.fail(19, &["retain", "--ids", "-", "--format", "json", "--yes"], json);
    }
    world.fail(64, &["retain", "--yes"], "");
    // The command concerns all namespaces.
    world.fail(64, &["retain", "--namespace", "tenant", "--ids", "-"], "a\n");
    assert_eq!(world.records(), 4);
    assert!(world.ok(&["retain", "--ids", "-", "--yes", "--allow-all"], "").ends_with("\nerased: 4\n"));
}
