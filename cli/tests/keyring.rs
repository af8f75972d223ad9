//! Keyrings: records whose keys they keep, and the commands on them.

use std::fs;

use crate::support::{DATA, ID, World, failure, feed};
use serde_json::{Value, json};

const KEYRING: [&str; 4] = ["--keyring", "keys", "--identity", "me.age"];

/// A folder with an empty keyring.
fn world() -> World {
    let world = World::new();
    assert_eq!(world.ok(&["keyring", "new", "--keyring", "keys", "--new-identity", "me.age"], ""), "");
    world
}

fn with(args: &[&'static str]) -> Vec<&'static str> {
    [&KEYRING[..], args].concat()
}

#[test]
fn a_record_goes_through_its_life_without_a_key() {
    let world = world();
    assert_eq!(world.ok(&with(&["store", "--id", ID]), DATA), "");
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID]), ""), DATA);
    assert_eq!(world.ok(&with(&["replace", "--id", ID]), "two"), "");
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID, "--range", "1.."]), ""), "wo");
    let before = world.ok(&with(&["keyring", "export", "--id", ID]), "");
    assert_eq!(world.ok(&with(&["rekey", "--id", ID]), ""), "");
    let after = world.ok(&with(&["keyring", "export", "--id", ID]), "");
    assert!(before.starts_with("srk1") && before != after);
    world.write("old", before);
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "old"], "");
    assert_eq!(world.ok(&with(&["take", "--id", ID]), ""), "two");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "");
    for removal in ["delete", "erase"] {
        world.ok(&with(&["store", "--id", ID]), DATA);
        let yes: &[&str] = if removal == "erase" { &["--yes"] } else { &[] };
        world.ok(&[&with(&[removal, "--id", ID]), yes].concat(), "");
        assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "", "{removal}");
    }
    assert_eq!(world.records(), 0);
}

#[test]
fn files_are_stored_under_their_names() {
    let world = world();
    fs::create_dir(world.path("folder")).unwrap();
    for (name, data) in [("a", "one"), ("folder/b", "two"), ("c", "")] {
        world.write(name, data);
    }
    assert_eq!(world.ok(&with(&["store", "a", "folder/b", "c"]), ""), "");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "a\nb\nc\n");
    assert_eq!(world.ok(&with(&["retrieve", "--id", "b"]), ""), "two");
    assert_eq!(world.ok(&with(&["retrieve", "--id", "c"]), ""), "");

    // The same command continues: what is stored is compared.
    let keys = world.read("keys");
    world.write("d", "four");
    let stored = world.ok(&with(&["--json", "store", "a", "folder/b", "c", "d"]), "");
    let expected = |(id, unchanged)| format!("{{\"id\":\"{id}\",\"stored\":true,\"unchanged\":{unchanged}}}\n");
    let lines = [("a", true), ("b", true), ("c", true), ("d", false)].map(expected);
    assert_eq!(stored, lines.concat());
    assert_ne!(world.read("keys"), keys);
    assert_eq!(world.records(), 4);

    // Another content is another record.
    world.write("a", "changed");
    let keys = world.ok(&with(&["keyring", "list"]), "");
    let message = failure(&feed(&mut world.command(&with(&["store", "d", "a", "new"])), b""), 2);
    assert!(message.starts_with("error: a was not stored, nor the files after it: there is a record"), "{message}");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), keys, "keys without records remained");
    assert_eq!(world.ok(&with(&["retrieve", "--id", "a"]), ""), "one");
}

/// A file that was stored before does not drop the options in silence.
#[test]
fn a_file_stored_again_gets_the_expiry_and_the_padding() {
    let world = world();
    world.write("a", [7; 1000]);
    let expiry_and_len = || {
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        let one = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?));
        database.query_row("SELECT expires_at, length(body) FROM record", (), one).unwrap()
    };
    world.ok(&with(&["store", "a"]), "");
    let (never, plain) = expiry_and_len();
    assert_eq!(never, None);
    for time in ["@4102444800", "@4102444900", "@4102444800", "@4102444800"] {
        assert_eq!(world.ok(&with(&["store", "--expires-at", time, "a"]), ""), "");
        assert_eq!(expiry_and_len(), (time[1..].parse().ok(), plain));
    }
    let note = "files that were stored before, and keep their expiry time if they have one: 1\n";
    for args in [&["store", "--pad", "a"][..], &["store", "a"]] {
        let output = feed(&mut world.command(&with(args)), b"");
        assert_eq!((output.status.success(), &*String::from_utf8_lossy(&output.stderr)), (true, note));
        let (expires_at, padded) = expiry_and_len();
        assert!(expires_at == Some(4_102_444_800) && padded > plain, "{expires_at:?}, {padded}");
    }
    // The earlier keys have left the keyring.
    world.ok(&with(&["delete", "--id", "a"]), "");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "");
}

/// The first file is stored when stdout fails.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_reply_leaves_no_key_without_a_record() {
    let world = world();
    for name in ["a", "b", "c"] {
        world.write(name, DATA);
    }
    let full = ["sh", "-c", "exec \"$@\" > /dev/full", "sh"];
    failure(&feed(&mut world.through(&full, &with(&["--json", "store", "a", "b", "c"])), b""), 14);
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "a\n");
    assert_eq!(world.ok(&with(&["retrieve", "--id", "a"]), ""), DATA);
}

/// The key of a record that exists must survive a second store of its id.
#[test]
fn a_second_store_keeps_the_first_key() {
    let world = world();
    world.ok(&with(&["store", "--id", ID]), DATA);
    let key = world.ok(&with(&["keyring", "export", "--id", ID]), "");
    world.fail(2, &with(&["store", "--id", ID]), "other data");
    assert_eq!(world.ok(&with(&["keyring", "export", "--id", ID]), ""), key);
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID]), ""), DATA);
    // Even if a killed run has left a newer key.
    world.ok(&["key", "new", "--key-out", "unused"], "");
    world.ok(&with(&["keyring", "add", "--id", ID, "--key-file", "unused"]), "");
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID]), ""), DATA);
    assert_eq!(world.ok(&with(&["replace", "--id", ID]), "two"), "");
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID]), ""), "two");
}

#[test]
fn keys_of_namespaces_are_apart() {
    let world = world();
    world.ok(&with(&["store", "--id", ID]), "one");
    world.ok(&with(&["store", "--namespace", "tenant", "--id", ID]), "two");
    assert_eq!(world.ok(&with(&["retrieve", "--namespace", "tenant", "--id", ID]), ""), "two");
    world.ok(&with(&["keyring", "remove", "--namespace", "tenant", "--id", ID, "--yes"]), "");
    world.fail(19, &with(&["retrieve", "--namespace", "tenant", "--id", ID]), "");
    assert_eq!(world.ok(&with(&["retrieve", "--id", ID]), ""), "one");
}

#[test]
fn lists_are_lines_texts_or_bytes() {
    let world = world();
    world.write("id", b"two\nlines\n");
    world.ok(&with(&["store", "--id-file", "id"]), DATA);
    world.ok(&with(&["store", "--id", "one"]), DATA);
    failure(&feed(&mut world.command(&with(&["keyring", "list"])), b""), 19);
    assert_eq!(world.ok(&with(&["keyring", "list", "--format", "nul"]), ""), "one\0two\nlines\0");
    let json: Value = serde_json::from_str(&world.ok(&with(&["keyring", "list", "--json"]), "")).unwrap();
    assert_eq!(json, json!(["one", "two\nlines"]));
    let output = feed(&mut world.command(&with(&["keyring", "list", "--format", "json"])), b"");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json);
}

/// A list that a command reads otherwise than it was meant would let it erase records.
#[test]
fn a_list_of_ids_comes_back_as_it_was() {
    let world = world();
    let ids = [&b"one"[..], b"x\0y", b"two\nlines", b"p\xff\0\n"];
    for id in ids {
        world.write("id", [id, b"\n"].concat());
        world.ok(&with(&["store", "--id-file", "id"]), DATA);
    }
    for format in ["lines", "nul"] {
        failure(&feed(&mut world.command(&with(&["keyring", "list", "--format", format])), b""), 19);
    }
    let is_kept = |list: &[&'static str], kept: usize, others: usize| {
        world.write("ids", world.ok(&with(&[&["keyring", "list"], list].concat()), ""));
        let said = world.ok(&with(&["retain", "--ids", "ids", "--format", "json", "--json"]), "");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["kept"], &said["missing"], &said["others"]), (&json!(kept), &json!(0), &json!(others)));
    };
    is_kept(&["--format", "json"], ids.len(), 0);
    world.ok(&with(&["store", "--namespace", "tenant", "--id", ID]), DATA);
    is_kept(&["--format", "json"], ids.len(), 1);
    is_kept(&["--all-namespaces"], ids.len() + 1, 0);
    world.fail(64, &with(&["keyring", "list", "--namespace", "tenant", "--all-namespaces"]), "");
    let mut in_tenant = world.command(&with(&["keyring", "list", "--all-namespaces"]));
    in_tenant.env("STRONGROOM_NAMESPACE", "tenant"); // the option overrides it
    assert_eq!(
        feed(&mut in_tenant, b"").stdout,
        world.ok(&with(&["keyring", "list", "--all-namespaces"]), "").as_bytes()
    );
    failure(&feed(&mut world.command(&with(&["keyring", "list", "--all-namespaces", "--format", "nul"])), b""), 64);
    world.write("ids", r#"{"namespace": "tenant", "base64url": "cP8"}"#);
    world.fail(19, &with(&["retain", "--ids", "ids", "--format", "json"]), "");
}

/// A pipe gets the bytes of an id, a terminal nothing that would control it.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_escaped_ids() {
    let world = world();
    world.write("id", b"\x1b[2J 'gr\xc3\xbc\xc3\x9fe' \xc2\x9b\xff");
    world.ok(&with(&["store", "--id-file", "id"]), DATA);
    let shown = |more: &[&'static str]| {
        let list = [&with(&["keyring", "list"]), more].concat();
        let seen = crate::support::on_terminal(&world, "", "", &list);
        assert_eq!(seen["status"], 0);
        let shown = seen["shown"].as_str().unwrap(); // each char is a byte
        String::from_utf8(shown.chars().map(|char| u8::try_from(char).unwrap()).collect()).unwrap()
    };
    let escaped = "\\u{1b}[2J 'gr\u{fc}\u{df}e' \\u{9b}\u{fffd}";
    assert_eq!(shown(&[]), format!("{escaped}\n"));
    assert_eq!(shown(&["--format", "nul"]), format!("{escaped}\0"));
    let piped = feed(&mut world.command(&with(&["keyring", "list"])), b"");
    assert_eq!(piped.stdout, [&world.read("id")[..], b"\n"].concat());

    world.ok(&with(&["keyring", "remove", "--id-file", "id", "--yes"]), "");
    world.write("id", "\u{1b}\u{9b}\u{7f}");
    world.ok(&with(&["store", "--id-file", "id"]), DATA);
    assert_eq!(shown(&["--json"]), "[\"\\u001b\\u009b\\u007f\"]\n");
}

#[test]
fn a_passphrase_comes_from_a_file_or_a_command() {
    let world = world();
    world.ok(&with(&["store", "--id", ID]), DATA);
    world.write("passphrase", "correct horse\r\n");
    private(&world, "passphrase");
    world.ok(&with(&["keyring", "rotate", "--new-passphrase-file", "passphrase"]), "");
    world.fail(21, &with(&["retrieve", "--id", ID]), "");
    let retrieve = ["retrieve", "--keyring", "keys", "--id", ID];
    assert_eq!(world.ok(&[&retrieve[..], &["--passphrase-file", "passphrase"]].concat(), ""), DATA);
    assert_eq!(world.ok(&[&retrieve[..], &["--passphrase-command", "echo 'correct horse'"]].concat(), ""), DATA);
    let message = world.fail(64, &retrieve, "");
    assert!(message.contains("--passphrase-file"), "{message}");
    world.write("passphrase", "one\ntwo\n");
    world.fail(19, &[&retrieve[..], &["--passphrase-file", "passphrase"]].concat(), "");
}

fn private(world: &World, name: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (world, name);
}

#[test]
fn misuse_is_explained() {
    let world = world();
    world.write("data", DATA);
    fs::create_dir(world.path("folder")).unwrap();
    world.write("folder/data", DATA);
    world.ok(&with(&["store", "--id", "other"]), DATA);
    for (status, args, expected) in [
        (64, with(&["store"]), "stdin has no name"),
        (64, with(&["store", "data", "-"]), "stdin has no name"),
        (64, with(&["store", "--id", "x", "data", "folder/data"]), "--id names one record"),
        (19, with(&["store", "data", "folder/data"]), "the same name"),
        (64, with(&["store", "--id", "x", "--key-out", "key"]), "cannot be used together"),
        (64, with(&["retrieve", "--id", "x", "--key-file", "key"]), "cannot be used together"),
        (64, with(&["store", "--from-command", "--", "echo"]), "--from-command needs --id"),
        (19, with(&["retrieve", "--id", "x"]), "no key for this id"),
        (64, vec!["store", "data"], "--id"),
        (64, vec!["store", "--id", "x", "data", "data"], "--from-command"),
        (64, vec!["keyring", "list"], "--keyring"),
        (19, vec!["keyring", "list", "--keyring", "keys"], "--identity"),
        (19, vec!["keyring", "list", "--keyring", "none", "--identity", "me.age"], "there is no keyring"),
        (19, vec!["keyring", "list", "--keyring", "data", "--identity", "me.age"], "not a keyring"),
        (19, vec!["keyring", "new", "--keyring", "keys", "--recipient", "age1"], "never overwritten"),
        (19, vec!["keyring", "new", "--keyring", "new", "--recipient", "age1"], "a recipient is not valid"),
        (19, vec!["keyring", "new", "--keyring", "new", "--new-identity", "me.age"], "never overwritten"),
        (64, vec!["keyring", "new", "--keyring", "new"], "pass --new-identity, --recipient or --passphrase-file"),
        (64, with(&["keyring", "rotate"]), "pass --new-passphrase-file or --recipient"),
    ] {
        let message = world.fail(status, &args, "");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(!world.exists("new"));
}

/// A keyring in the environment is for commands that name no key themselves.
#[test]
fn the_environment_names_a_keyring() {
    let mut world = world();
    world.environment = vec![("STRONGROOM_KEYRING", "keys".into()), ("STRONGROOM_IDENTITY", "me.age".into())];
    world.ok(&["store", "--id", "kept"], DATA);
    world.ok(&["store", "--id", "own", "--key-out", "key"], DATA);
    assert_eq!(world.ok(&["keyring", "list"], ""), "kept\n");
    assert_eq!(world.ok(&["retrieve", "--id", "kept"], ""), DATA);
    assert_eq!(world.ok(&["retrieve", "--id", "own", "--key-file", "key"], ""), DATA);
    assert_eq!(world.records(), 2);
}

#[test]
fn the_index_key_comes_from_a_command() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.ok(&["key", "new", "--index", "--key-out", "other"], "");
    let command = ["--index-key-command", "cat index"];
    world.ok(&[&["store", "--id", ID, "--key-out", "key"], &command[..]].concat(), DATA);
    assert!(!world.exists("records.db.index-key"));
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&[&retrieve[..], &command].concat(), ""), DATA);
    assert_eq!(world.ok(&[&retrieve[..], &["--index-key-file", "index"]].concat(), ""), DATA);
    world.fail(9, &[&retrieve[..], &["--index-key-command", "cat other"]].concat(), "");
    world.fail(5, &[&retrieve[..], &["--index-key-command", "cat key"]].concat(), "");
    let output = feed(
        &mut world.command(&[&retrieve[..], &["--index-key-command", "sh -c 'echo why >&2; exit 3'"]].concat()),
        b"",
    );
    let message = failure(&output, 14);
    assert_eq!(message, "why\nerror: the command for the index key failed: exit status: 3\n");
    let both = [&retrieve[..], &command, &["--index-key-file", "index"]].concat();
    assert!(world.fail(64, &both, "").contains("cannot be used together"));
    // A command line overrides the environment.
    let mut world = world;
    world.environment = vec![("STRONGROOM_INDEX_KEY_COMMAND", "cat other".into())];
    world.fail(9, &retrieve, "");
    assert_eq!(world.ok(&[&retrieve[..], &["--index-key-file", "index"]].concat(), ""), DATA);
}

#[cfg(all(unix, feature = "server"))]
#[test]
fn services_and_clients_take_secrets_from_commands() {
    use crate::support::service::Service;

    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let token = world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], "");
    world.write("token", &token);
    let storage = Service::start(&world, &["serve-storage", "--store", "cipher.db", "--tokens", "tokens"]);
    let place = format!("http://{}", storage.address);
    let document = format!(
        "store = '{place}'\nindex_key_command = 'cat index'\n[remote]\ntoken_command = \"sh -c 'echo run >> runs; cat token'\"\n"
    );
    world.write("config.toml", document);
    let server = Service::start(&world, &["serve", "--config", "config.toml"]);
    let server = format!("http://{}", server.address);
    world.ok(&["store", "--server", &server, "--id", ID, "--key-out", "key"], DATA);
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&[&retrieve[..], &["--server", &server]].concat(), ""), DATA);
    assert_eq!(world.read("runs"), b"run\n", "the command is run once");

    let direct = [&retrieve[..], &["--store", &place, "--index-key-command", "cat index"]].concat();
    assert_eq!(world.ok(&[&direct[..], &["--token-command", "cat token"]].concat(), ""), DATA);
    world.fail(21, &direct, "");
    let message = world.fail(19, &[&direct[..], &["--token-command", "cat index"]].concat(), "");
    assert!(message.contains("not a token but an index key"), "{message}");
    world.fail(19, &[&direct[..], &["--token-command", "/nowhere/program"]].concat(), "");

    // A file on the command line takes the place of a command in the configuration.
    let args = ["serve", "--config", "config.toml", "--print-config", "--index-key-file", "index"];
    let printed = world.ok(&args, "");
    assert!(printed.contains("index_key_file = \"index\"") && !printed.contains("index_key_command = "), "{printed}");
}

/// The scope `store` is enough for all commands that write.
#[cfg(all(unix, feature = "server"))]
#[test]
fn a_token_that_cannot_read_writes() {
    use crate::support::service::Service;

    let mut world = world();
    world.environment = vec![("STRONGROOM_KEYRING", "keys".into()), ("STRONGROOM_IDENTITY", "me.age".into())];
    let token = world.ok(&["token", "new", "--scopes", "store", "--tokens", "tokens"], "");
    world.write("token", &token);
    world.write("file", DATA);
    let service = Service::start(&world, &["serve", "--tokens", "tokens"]);
    let server = format!("http://{}", service.address);
    let run = |args: &[&str]| world.ok(&[args, &["--server", &server, "--token-file", "token"]].concat(), "new data");
    world.ok(&["store", "--store", "other.db", "file"], "");
    run(&["store", "file"]);
    run(&["store", "--expires-in", "1d", "file"]); // continues the first
    assert_eq!(world.ok(&["retrieve", "--id", "file", "--store", "other.db"], ""), DATA);
    world.ok(&["delete", "--id", "file", "--store", "other.db"], "");
    assert_eq!(world.ok(&["retrieve", "--id", "file"], ""), DATA, "it has a key of its own");
    run(&["replace", "--id", "file"]);
    world.ok(&["store", "--store", "other.db", "file"], ""); // whose key is the newest
    run(&["rekey", "--id", "file"]);
    world.ok(&["delete", "--id", "file", "--store", "other.db"], "");
    drop(service);
    assert_eq!(world.ok(&["retrieve", "--id", "file"], ""), "new data");
    assert_eq!(world.ok(&["keyring", "list"], ""), "file\n");
}

/// A keyring that cannot be written after its record is removed.
#[cfg(target_os = "linux")]
#[test]
fn a_removal_that_the_keyring_misses_is_reported() {
    use std::os::unix::fs::{PermissionsExt, chown};

    let mut world = World::new();
    fs::create_dir(world.path("folder")).unwrap();
    world.ok(&["keyring", "new", "--keyring", "folder/keys", "--new-identity", "folder/me.age"], "");
    let with = |args: &[&'static str]| [&["--keyring", "folder/keys", "--identity", "folder/me.age"], args].concat();
    for id in ["delete", "take", "erase"] {
        world.ok(&with(&["store", "--id", id]), DATA);
    }
    for name in ["keys", "me.age"] {
        chown(world.path("folder").join(name), Some(65_534), Some(65_534)).unwrap_or_default();
    }
    world.run_unprivileged();
    let make = |mode| fs::set_permissions(world.path("folder"), fs::Permissions::from_mode(mode)).unwrap();
    make(0o500);
    for args in [
        &["delete", "--id", "delete"][..],
        &["take", "--id", "take", "-o", "data"],
        &["erase", "--id", "erase", "--yes"],
    ] {
        let message = failure(&feed(&mut world.command(&with(args)), b""), 14);
        assert!(message.starts_with("error: the record is removed, but its key is still in the keyring"), "{message}");
    }
    assert_eq!(world.records(), 0);
    make(0o700);
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "delete\nerase\ntake\n");
    // The record could be in another store than this one.
    world.fail(1, &with(&["delete", "--id", "delete"]), "");
    assert_eq!(world.ok(&with(&["erase", "--id", "erase", "--yes"]), ""), "there was no record\n");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "delete\nerase\ntake\n");
    for id in ["delete", "erase", "take"] {
        world.ok(&with(&["keyring", "remove", "--id", id, "--yes"]), "");
    }
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "");
}

/// A change in one store removes only the key of its own record.
#[test]
fn one_keyring_serves_several_stores() {
    let world = world();
    let other = |args: &[&'static str]| [&with(args)[..], &["--store", "other.db"]].concat();
    let actions: [&[&str]; 5] = [
        &["delete", "--id", "id"],
        &["take", "--id", "id", "-o", "taken"],
        &["erase", "--id", "id", "--yes"],
        &["replace", "--id", "id"],
        &["rekey", "--id", "id"],
    ];
    for args in actions {
        world.ok(&with(&["store", "--id", "id"]), "first");
        world.ok(&other(&["store", "--id", "id"]), "second");
        world.ok(&other(args), "third");
        assert_eq!(world.ok(&with(&["retrieve", "--id", "id"]), ""), "first", "{args:?}");
        world.ok(&other(&["erase", "--id", "id", "--yes"]), "");
        // Without a record, nothing happens to the key.
        feed(&mut world.command(&other(args)), b"third");
        assert_eq!(world.ok(&with(&["retrieve", "--id", "id"]), ""), "first", "{args:?}");
        world.ok(&with(&["delete", "--id", "id"]), "");
        assert_eq!(world.ok(&with(&["keyring", "list"]), ""), "", "{args:?}");
    }
}

#[test]
fn one_secret_opens_a_keyring() {
    let world = world();
    world.write("passphrase", "correct horse");
    world.write("program", "#!/bin/sh\n");
    let all = [["--identity", "me.age"], ["--passphrase-file", "passphrase"], ["--passphrase-command", "false"]];
    for (n, one) in all.iter().enumerate() {
        for other in &all[n + 1..] {
            let message = world.fail(64, &[&["keyring", "list", "--keyring", "keys"], &one[..], other].concat(), "");
            assert!(message.contains(one[0]) && message.contains(other[0]), "{message}");
        }
    }
    let new = ["keyring", "new", "--keyring", "other", "--passphrase-file", "passphrase"];
    for more in [&["--new-identity", "new.age"][..], &["--recipient", "age1x"], &["--identity", "me.age"], &all[2]] {
        world.fail(64, &[&new[..], more].concat(), "");
    }
    assert!(!world.exists("other") && !world.exists("new.age"));
    // The command line overrides the environment, whose variables are no error for a command without a keyring.
    let with_both = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("STRONGROOM_IDENTITY", "missing.age").env("STRONGROOM_PASSPHRASE_FILE", "missing");
        feed(&mut command, b"")
    };
    assert!(with_both(&with(&["keyring", "list"])).status.success());
    assert!(with_both(&["key", "new"]).status.success());
    let message = failure(&with_both(&["keyring", "list", "--keyring", "keys"]), 64);
    assert!(message.contains("STRONGROOM_PASSPHRASE_FILE"), "{message}");
    assert!(with_both(&["keyring", "new", "--keyring", "third", "--new-identity", "third.age"]).status.success());
}

#[test]
fn a_wrong_secret_is_not_explained_by_tokens() {
    let world = world();
    world.ok(&["keyring", "new", "--keyring", "other", "--new-identity", "other.age"], "");
    let message = world.fail(21, &["keyring", "list", "--keyring", "keys", "--identity", "other.age"], "");
    assert!(message.contains("does not open the keyring") && !message.contains("hint"), "{message}");
}

#[test]
fn a_damaged_keyring_is_not_taken_for_a_damaged_store() {
    let world = world();
    world.ok(&with(&["store", "--id", ID]), DATA);
    let keyring = world.read("keys");
    // Without an identity, the program reads the first lines to learn which secret to ask for.
    let without_identity = ["retrieve", "--id", ID, "--keyring", "keys"];
    for (len, args) in [(keyring.len() - 1, &with(&["retrieve", "--id", ID])[..]), (30, &without_identity)] {
        world.write("keys", &keyring[..len]);
        let message = world.fail(4, args, "");
        assert_eq!(message, "error: the keyring keys was altered or damaged: restore it from its backup\n");
    }
}

/// Only the key that opens the record is removed with it: the others may be other stores', or the record is damaged.
#[test]
fn an_erasure_says_that_keys_remain() {
    let world = world();
    world.ok(&["key", "new", "--key-out", "others"], "");
    for (json, expected) in [
        ("--json", "{\"erased\":true,\"keys_remain\":true}\n"),
        (
            "--yes",
            "erased; the keyring still has keys of this id, which did not open the record: unless they are another \
             store's, remove them with `keyring remove`\n",
        ),
    ] {
        world.ok(&["store", "--id", ID, "--key-out", "key"], DATA);
        world.ok(&with(&["keyring", "add", "--id", ID, "--key-file", "others"]), "");
        let mut args = with(&["erase", "--id", ID, "--yes"]);
        if json == "--json" {
            args.push(json);
        }
        assert_eq!(world.ok(&args, ""), expected);
        assert_eq!(world.ok(&with(&["keyring", "list"]), ""), format!("{ID}\n"));
        fs::remove_file(world.path("key")).unwrap();
    }
    // A key that opens the record goes with it, and the other store's remains without a word.
    world.ok(&with(&["store", "--id", ID]), DATA);
    assert_eq!(world.ok(&with(&["erase", "--id", ID, "--yes", "--json"]), ""), "{\"erased\":true}\n");
    assert_eq!(world.ok(&with(&["keyring", "list"]), ""), format!("{ID}\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_text_are_base64url_in_json() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let world = world();
    let name = OsStr::from_bytes(b"p\xff");
    fs::write(world.folder.path().join(name), "data").unwrap();
    let run = |args: &[&'static str]| -> Value {
        let output = feed(world.command(&with(&[&["--json"], args].concat())).arg(name), b"");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(run(&["store"]), json!({"id": {"base64url": "cP8"}, "stored": true, "unchanged": false}));
    let list = world.ok(&with(&["--json", "keyring", "list"]), "");
    assert_eq!(list, "[{\"base64url\":\"cP8\"}]\n");
    world.ok(&with(&["store", "--id", "it's"]), DATA);
    fs::remove_file(world.folder.path().join(name)).unwrap();
    let retrieved = run(&["retrieve", "--id", "it's", "--output"]);
    assert_eq!(retrieved, json!({"bytes": DATA.len(), "output": {"base64url": "cP8"}}));
    fs::remove_file(world.folder.path().join(name)).unwrap();
    assert_eq!(run(&["keyring", "export", "--id", "it's", "--key-out"]), json!({"key_file": {"base64url": "cP8"}}));
    let stored = world.ok(&with(&["--json", "retrieve", "--id", "it's", "-o", "it's \"here\""]), "");
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap()["output"], "it's \"here\"");
}
