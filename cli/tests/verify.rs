//! The command `verify`.

use serde_json::{Value, json};

use crate::support::{DATA, World};

/// A store with three records, and a backup of it.
fn world() -> World {
    let world = World::new();
    for id in ["1", "2", "3"] {
        world.ok(&["store", "--id", id, "--key-out", id], DATA);
    }
    world.write("backup.db", world.read("records.db"));
    world
}

/// Alters the first record, and returns its locator.
fn damage(world: &World, database: &str) -> String {
    let database = rusqlite::Connection::open(world.path(database)).unwrap();
    database.execute("UPDATE record SET body = zeroblob(length(body)) WHERE id = 1", ()).unwrap();
    database.query_row("SELECT lower(hex(locator)) FROM record WHERE id = 1", (), |row| row.get(0)).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exit status, and the texts on stdout and stderr.
fn output(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let output = crate::support::feed(&mut world.command(args), b"");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn damage_is_printed_and_repaired_without_a_key() {
    let world = world();
    let bytes = 3 * (12 + 56 + DATA.len() + 16);
    let clean = format!("records: 3\nbytes: {bytes}\ndamaged: 0\nunsupported: 0\n");
    std::fs::remove_file(world.path("records.db.index-key")).unwrap();
    assert_eq!(world.ok(&["verify"], ""), clean);
    assert_eq!(world.ok(&["verify", "--repair-from", "backup.db"], ""), clean);
    let locator = damage(&world, "records.db");

    let (status, text, message) = output(&world, &["verify", "--rate", "50M"]);
    assert_eq!(status, Some(4));
    assert!(message.contains("damaged") && message.contains("--repair-from"), "{message}");
    let found = format!("{locator} row: checksum\n");
    assert_eq!(text.strip_prefix(&found).map(|rest| rest.contains("damaged: 1\n")), Some(true), "{text}");
    let (status, text, _) = output(&world, &["verify", "--json"]);
    let damage = json!({"damage": {"locator": locator, "place": "row", "kind": "checksum"}});
    assert_eq!((status, &lines(&text)[0]), (Some(4), &damage));
    assert_eq!(lines(&text)[1]["damaged"], 1);

    let repaired = world.ok(&["verify", "--json", "--repair-from", "backup.db"], "");
    let [found, restored, report] = &lines(&repaired)[..] else { panic!("{repaired}") };
    assert_eq!((found, restored), (&damage, &json!({"restored": locator})));
    let clean = json!({"records": 3, "bytes": bytes, "damaged": 0, "unsupported": 0, "lost": 0});
    assert_eq!(report, &clean);
    world.write("records.db.index-key", "");
    world.ok(&["verify", "--start-at", &locator, "--records-only"], "");
}

#[test]
fn a_copy_that_cannot_help_is_an_error() {
    let world = world();
    damage(&world, "records.db");
    damage(&world, "backup.db");
    let (status, text, message) = output(&world, &["verify", "--repair-from", "backup.db"]);
    assert!(status == Some(4) && text.matches(" row: checksum\n").count() == 2, "{text}");
    let hint = "hint: repeat the command with another backup, or erase the damaged records by their ids\n";
    assert_eq!(message, format!("error: the store is damaged\n{hint}"));
    for (copy, said) in
        [("records.db", "itself"), ("./records.db", "itself"), ("missing.db", "no store at"), (":memory:", "in memory")]
    {
        let message = world.fail(19, &["verify", "--repair-from", copy], "");
        assert!(message.contains(said), "{message}");
    }
    world.ok(&["store", "--store", "other.db", "--id", "1", "--key-out", "other"], DATA);
    let (status, _, message) = output(&world, &["verify", "--repair-from", "other.db"]);
    assert!(status == Some(19) && message.contains("another store"), "{message}");
    assert!(world.fail(19, &["verify", "--store", "missing.db"], "").contains("does not exist"));
    assert!(world.fail(19, &["verify", "--store", ":memory:"], "").contains("in memory"));
    assert!(!world.exists("missing.db"));
    world.fail(7, &["verify", "--server", "unix:socket"], "");
    // As the hint says.
    world.ok(&["erase", "--id", "1", "--yes"], "");
    world.ok(&["verify"], "");
}

#[test]
fn wrong_arguments_are_errors() {
    let world = world();
    for args in [
        &["--rate", "0"][..],
        &["--rate", "fast"],
        &["--start-at", "A"],
        &["--repair-from", "backup.db", "--records-only"],
        &["--repair-from", "backup.db", "--start-at", "structure"],
    ] {
        world.fail(64, &[&["verify"], args].concat(), "");
    }
    world.fail(19, &["verify", "--start-at", "other.1"], "");
    world.fail(19, &["verify", "--start-at", &"07".repeat(32)], "");
}
