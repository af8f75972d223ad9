//! The command `copy`: backup, restore, and a way to and from a storage service.

use serde_json::Value;

use crate::support::{DATA, ID, World};

fn json(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.ok(&[args, &["--json"]].concat(), "")).unwrap()
}

#[test]
fn a_backup_is_updated_and_restored() {
    let world = World::with_record();
    let text = world.ok(&["copy", "--to", "backup.db"], "");
    assert!(text.starts_with("copied: 1\nbytes: "), "{text}");
    assert!(text.contains("\nunchanged: 0\ndeleted: 0\nThe copy opens with the store's own index key"), "{text}");
    assert!(text.ends_with("backup.db.index-key\n"), "{text}");

    world.ok(&["store", "--id", "second", "--key-out", "second"], DATA);
    assert_eq!(json(&world, &["copy", "--to", "backup.db", "--workers", "1"])["unchanged"], 1);
    world.ok(&["erase", "--id", "second", "--yes"], "");
    assert_eq!(json(&world, &["copy", "--to", "backup.db"])["deleted"], 0);
    let mirrored = json(&world, &["copy", "--to", "backup.db", "--mirror"]);
    let expected = r#"{"bytes":0,"copied":0,"damaged":[],"deleted":1,"too_large":[],"unchanged":1}"#;
    assert_eq!(mirrored, serde_json::from_str::<Value>(expected).unwrap());

    // The index key is kept elsewhere, so the copy back needs none.
    std::fs::rename(world.path("records.db.index-key"), world.path("index")).unwrap();
    assert_eq!(json(&world, &["copy", "--store", "backup.db", "--to", "restored.db"])["copied"], 1);
    let retrieve = ["retrieve", "--store", "restored.db", "--id", ID, "--key-file", "key"];
    world.fail(10, &retrieve, "");
    assert_eq!(world.ok(&[&retrieve[..], &["--index-key-file", "index"]].concat(), ""), DATA);
    std::fs::copy(world.path("index"), world.path("restored.db.index-key")).unwrap();
    assert_eq!(world.ok(&retrieve, ""), DATA);
    let text = world.ok(&["copy", "--store", "backup.db", "--to", "restored.db"], "");
    assert!(text.ends_with("unchanged: 1\ndeleted: 0\n"), "nothing is left to do: {text}");
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let world = World::with_record();
    world.ok(&["store", "--store", "other.db", "--id", ID], DATA);
    for (args, code, text) in [
        (&["copy", "--store", "missing.db", "--to", "new.db"][..], 19, "the store does not exist"),
        (&["copy", "--to", "other.db"], 19, "another store"),
        (&["copy", "--to", "records.db"], 19, "choose another name"),
        (&["copy", "--to", "./records.db"], 19, "choose another name"),
        (&["copy", "--to", "records.db-wal"], 19, "choose another name"),
        (&["copy", "--to", "records.db.index-key"], 19, "choose another name"),
        (&["copy", "--to", "missing/new.db"], 14, "cannot open"),
        (&["copy", "--to", "new.db/"], 19, "must end in the name of a file"),
        (&["copy", "--to", "records.db/."], 19, "must end in the name of a file"),
        (&["copy", "--to", ":memory:"], 19, "in memory"),
        (&["copy", "--to", "ftp://bucket/new"], 19, "unknown scheme"),
        (&["copy", "--to", "new.db", "--workers", "0"], 64, "1..=64"),
        (&["copy", "--server", "http://127.0.0.1:1", "--to", "new.db"], 64, "encryption server cannot be copied"),
        (&["copy"], 64, "--to"),
    ] {
        let message = world.fail(code, args, "");
        assert!(message.contains(text), "{args:?}: {message}");
    }
    assert!(!world.exists("new.db") && !world.exists("missing.db"));
    assert_eq!(json(&world, &["stats", "--store", "other.db"])["records"], 1);
}

#[test]
fn a_damaged_record_is_named() {
    let world = World::with_record();
    world.ok(&["store", "--id", "second", "--key-out", "second"], DATA);
    // The record's bytes occur once in the file: its last page is damaged in place.
    let connection = rusqlite::Connection::open(world.path("records.db")).unwrap();
    let locator: String = connection
        .query_row(
            "UPDATE record SET body = zeroblob(length(body)) WHERE id = 2 RETURNING lower(hex(locator))",
            (),
            |row| row.get(0),
        )
        .unwrap();
    drop(connection);
    let output = crate::support::feed(&mut world.command(&["copy", "--to", "backup.db"]), b"");
    assert_eq!(output.status.code(), Some(4));
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.starts_with("copied: 1\n") && stdout.contains(&format!("\ndamaged: {locator}\n")), "{stdout}");
    assert_eq!(stderr, "error: damaged records of the store were not copied: 1; all others were\n");
}

/// Lowers the number of entries in the only page of the index by which the database lists its six records: SQLite reads
/// it without an error, and passes four records over.
pub(crate) fn hide_four_of_six(world: &World) {
    let path = world.path("records.db");
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'record_prefix'";
    let root: u32 = rusqlite::Connection::open(&path).unwrap().query_row(sql, (), |row| row.get(0)).unwrap();
    let mut file = world.read("records.db");
    let entries = &mut file[(root as usize - 1) * 8192 + 4];
    assert_eq!(*entries, 6);
    *entries = 2;
    world.write("records.db", file);
}

#[test]
fn a_mirror_deletes_no_record_that_the_source_only_hides() {
    let world = World::with_record();
    for n in 1..6 {
        world.ok(&["store", "--id", &format!("id {n}"), "--key-out", &format!("key {n}")], DATA);
    }
    world.ok(&["copy", "--to", "backup.db"], "");
    hide_four_of_six(&world);
    let check = |args: &[&str], counts: &str| {
        let output = crate::support::feed(&mut world.command(&[&["copy"], args].concat()), b"");
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(4), "{args:?}: {stdout}{stderr}");
        assert!(stdout.contains(counts), "{args:?}: {stdout}");
        let message = "error: damaged records of the store were not copied: at least 1\nhint: ";
        assert!(stderr.starts_with(message) && stderr.contains("verify --repair-from"), "{args:?}: {stderr}");
    };
    check(&["--to", "backup.db", "--mirror"], "unchanged: 2\ndeleted: 0\n");
    check(&["--to", "backup.db"], "unchanged: 2\ndeleted: 0\n");
    check(&["--to", "new.db", "--mirror"], "copied: 2\n");
    #[cfg(all(unix, feature = "server"))]
    {
        let service = crate::support::service::Service::start(&world, &["serve-storage", "--store", "records.db"]);
        let place = format!("http://{}", service.address);
        check(&["--store", &place, "--to", "backup.db", "--mirror"], "unchanged: 2\ndeleted: 0\n");
    }
    assert_eq!(json(&world, &["stats", "--store", "backup.db"])["records"], 6);

    world.ok(&["verify", "--repair-from", "backup.db"], "");
    assert_eq!(json(&world, &["copy", "--to", "backup.db", "--mirror"])["unchanged"], 6);
}

#[cfg(all(unix, feature = "server"))]
#[test]
fn a_storage_service_is_a_source_and_a_destination() {
    use crate::support::service::Service;

    let world = World::with_record();
    let long = "0123456789".repeat(300_000);
    world.ok(&["store", "--id", "long", "--key-out", "long"], &long);
    let service = Service::start(&world, &["serve-storage", "--store", "cipher.db"]);
    let place = format!("http://{}", service.address);
    let text = world.ok(&["copy", "--to", &place], "");
    assert!(text.starts_with("copied: 2\n") && text.ends_with("deleted: 0\n"), "{text}");
    assert_eq!(json(&world, &["copy", "--to", &place, "--mirror"])["unchanged"], 2);
    world.fail(19, &["copy", "--store", &place, "--to", &place], "");

    let index_key = ["--index-key-file", "records.db.index-key"];
    world.ok(
        &[&["replace", "--store", &place, "--id", ID, "--key-file", "key", "--key-out", "new"], &index_key[..]]
            .concat(),
        "other",
    );
    assert_eq!(json(&world, &["copy", "--store", &place, "--to", "records.db"])["copied"], 1, "the replaced one");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "new"], ""), "other");
    assert_eq!(json(&world, &["copy", "--store", &place, "--to", "local.db"])["copied"], 2);
    let retrieve = ["retrieve", "--store", "local.db", "--id", "long", "--key-file", "long"];
    assert!(world.ok(&[&retrieve[..], &index_key].concat(), "") == long);

    let other = Service::start(&world, &["serve-storage", "--store", "other.db"]);
    let other = format!("http://{}", other.address);
    assert_eq!(json(&world, &["copy", "--store", &place, "--to", &other])["copied"], 2);
}
