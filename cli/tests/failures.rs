//! Every failure that a user can cause: its exit status, and no secret in its message.

use std::fs;
use std::io::{self, Read, Write};

use crate::support::{DATA, ID, World, failure, feed, secret_in};
use rusqlite::Connection;

#[test]
fn records_that_are_missing_or_do_not_open() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "other"], "");
    for command in ["retrieve", "replace", "delete"] {
        let message = world.fail(1, &[command, "--id", "nobody", "--key-file", "key"], DATA);
        assert!(message.contains("there is no record under this id\nhint: "), "{message}");
        let message = world.fail(3, &[command, "--id", ID, "--key-file", "other"], DATA);
        assert!(message.contains("does not open"), "{message}");
    }
    let message = world.fail(2, &["store", "--id", ID], DATA);
    assert!(message.contains("already"), "{message}");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA, "nothing was changed");
}

#[test]
fn a_record_that_was_altered() {
    let world = World::with_record();
    let database = Connection::open(world.path("records.db")).unwrap();
    let mut record: Vec<u8> = database.query_row("SELECT body FROM record", (), |row| row.get(0)).unwrap();
    *record.last_mut().unwrap() ^= 1;
    database.execute("UPDATE record SET body = ?1", [record]).unwrap();
    drop(database);
    world.fail(4, &["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], "");
    assert!(!world.exists("copy"));
}

#[test]
fn an_invalid_key_is_an_error() {
    let world = World::with_record();
    let key = String::from_utf8(world.read("key")).unwrap();
    let index_key = String::from_utf8(world.read("records.db.index-key")).unwrap();
    let mut typo = key.clone().into_bytes();
    typo[10] = if typo[10] == b'q' { b'p' } else { b'q' };
    let long = format!("{key}{}", " ".repeat(2000));
    for (text, expected) in [
        (&typo[..], "typo"),
        (index_key.as_bytes(), "is not a record key"),
        (&key.as_bytes()[..40], "typo"),
        (format!("{key}{key}").as_bytes(), "is not a "),
        (long.as_bytes(), "is not a key"),
        (b"", "is not a key"),
        (b"\xff\xfe", "is not a key"),
        (DATA.as_bytes(), "is not a key"),
    ] {
        world.write("bad", text);
        for command in ["retrieve", "replace", "delete", "store"] {
            let message = world.fail(5, &[command, "--id", ID, "--key-file", "bad"], DATA);
            assert!(message.contains(expected), "{message}");
        }
        let message = world.fail(5, &["retrieve", "--id", ID, "--key-file", "-"], text);
        assert!(message.contains(expected), "{message}");
    }
    world.write("bad", &key);
    world.fail(5, &["contains", "--id", ID, "--index-key-file", "bad"], "");
}

#[test]
fn ids_that_are_too_short_or_long() {
    let world = World::with_record();
    let long = ID.repeat(4096 / ID.len() + 1);
    for id in ["", &long] {
        world.fail(6, &["store", "--id", id], DATA);
        world.fail(6, &["retrieve", "--id", id, "--key-file", "key"], "");
        world.fail(6, &["replace", "--id", id, "--key-file", "key"], DATA);
        world.fail(6, &["delete", "--id", id, "--key-file", "key"], "");
        world.fail(6, &["erase", "--id", id, "--yes"], "");
    }
}

#[test]
fn a_store_of_a_newer_version() {
    let world = World::with_record();
    Connection::open(world.path("records.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    world.fail(7, &["stats"], "");
}

#[test]
fn index_keys_of_another_store_or_missing() {
    let world = World::with_record();
    world.ok(&["key", "new", "--index", "--key-out", "other"], "");
    let message = world.fail(9, &["retrieve", "--id", ID, "--key-file", "key", "--index-key-file", "other"], "");
    assert!(message.contains("hint: "), "{message}");
    world.fail(10, &["contains", "--id", ID, "--index-key-file", "nowhere"], "");
    fs::remove_file(world.path("records.db.index-key")).unwrap();
    world.fail(10, &["retrieve", "--id", ID, "--key-file", "key"], "");
    world.fail(10, &["store", "--id", "new", "--key-out", "new"], DATA);
    assert!(!world.exists("new"));
}

/// Wrong paths. The message does not quote them, because they may be data or a key.
#[test]
fn paths_of_other_file_kinds_are_errors() {
    let world = World::with_record();
    fs::create_dir(world.path("folder")).unwrap();
    world.write("text", "not a database, but long enough to be looked at as one");
    let before = world.names();
    for args in [
        &["store", "--id", "new", "nowhere"][..],
        &["store", "--id", "new", DATA],
        &["store", "--id", "new", "folder"],
        &["store", "--id", "new", "--key-file", "nowhere"],
        &["store", "--id", "new", "--key-out", "folder"],
        &["store", "--id", "new", "--key-out", "nowhere/key"],
        &["replace", "--id", ID, "--key-file", "key", "nowhere"],
        &["retrieve", "--id", ID, "--key-file", "nowhere"],
        &["retrieve", "--id", ID, "--key-file", "folder"],
        &["retrieve", "--id", ID, "--key-file", ID],
        &["retrieve", "--id", ID, "--key-file", "key", "-o", "folder"],
        &["retrieve", "--id", ID, "--key-file", "key", "-o", "nowhere/copy"],
        &["stats", "--store", "nowhere"],
        &["stats", "--store", "folder"],
        &["stats", "--store", "text"],
        &["erase", "--id", ID, "--yes", "--store", "nowhere"],
        &["key", "new", "--key-out", "key"],
    ] {
        world.fail(19, args, DATA);
        assert_eq!(world.names(), before, "{args:?}");
    }
    assert_eq!(world.records(), 1);
}

/// Text from a peer or a path would otherwise control the terminal.
#[test]
fn messages_escape_control_characters() {
    let world = World::with_record();
    let check = |args: &[&str]| {
        for json in [&["--json"][..], &[]] {
            let output = feed(&mut world.command(&[json, args].concat()), b"");
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && message.ends_with('\n'), "{message:?}");
            assert!(message.contains("u{1b}[31m") && message.contains("u{9b}"), "{message:?}");
            assert!(message.lines().all(|line| !line.contains(char::is_control)), "{message:?}");
        }
    };
    let path = "nowhere\u{1b}[31m\u{9b}\r/x";
    check(&["store", "--id", "new", "--store", path]);
    check(&["retrieve", "--id", ID, "--key-file", "key", "-o", path]);
    check(&["key", "new", "--key-out", path]);
    check(&["verify", "--repair-from", path]);

    // A PostgreSQL server that refuses every client.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://user@{}/db?sslmode=disable", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut len) = (client.unwrap(), [0; 4]);
            client.read_exact(&mut len).unwrap();
            let rest = u64::from(u32::from_be_bytes(len) - 4);
            io::copy(&mut (&client).take(rest), &mut io::sink()).unwrap();
            let fields = b"SERROR\0C28000\0M\x1b[31mred\xc2\x9b\r\0\0";
            let len = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            client.write_all(&[b"E", &len[..], fields].concat()).unwrap();
        }
    });
    check(&["stats", "--store", &url]);
}

/// clap quotes invalid arguments; this program does not.
#[test]
fn wrong_usage_repeats_no_value() {
    let world = World::with_record();
    let key = String::from_utf8(world.read("key")).unwrap();
    let (key, index_key) = (key.trim(), world.ok(&["key", "new", "--index"], ""));
    let (as_value, as_flag) = (format!("--key={key}"), format!("--{key}"));
    let (flag_value, short) = (format!("--json={key}"), format!("-{key}"));
    let cut = key.split_at(50).0;
    for args in [
        &[key][..],
        &[as_flag.as_str()],
        &["help", key],
        &["key", key],
        &["completions", key],
        &["completions", "bash", key],
        &["store"],
        &["store", "--id"],
        &["store", "--id", ID, key],
        &["store", "--id", ID, "--", key],
        &["store", "--id", ID, "file", DATA],
        &["store", "--id", ID, "--id", ID],
        &["store", "--id", ID, "--key-file", "key", "--key-out", "out"],
        &["retrieve", ID],
        &["retrieve", key],
        &["retrieve", "--id", ID, key],
        &["retrieve", "--id", ID, "--", key],
        &["retrieve", "--id", ID, "--key", key],
        &["retrieve", "--id", ID, &as_value],
        &["retrieve", "--id", ID, &as_flag],
        &["retrieve", "--id", ID, &flag_value],
        &["retrieve", "--id", ID, &short],
        &["retrieve", "--id", ID, "--key-file", key],
        &["retrieve", "--id", ID, "--key-file", &key.to_uppercase()],
        &["retrieve", "--id", ID, "--key-file", cut],
        &["retrieve", "--id", ID, "--key-file", "key", "-o", key],
        &["store", "--id", ID, "--expires-in", key],
        &["store", "--id", ID, "--expires-at", key],
        &["contains", "--id", ID, key],
        &["purge", "--limit", key],
        &["verify", "--rate", key],
        &["verify", "--start-at", key],
        &["verify", "--repair-from", key],
        &["stats", "--store", key],
        &["stats", "--index-key-file", index_key.trim()],
        &["erase", "--id", ID],
        &["retrieve", "--id", ID, "--key-file", "-x", "--idd", ID],
    ] {
        let message = world.fail(64, args, "");
        assert!(message.starts_with("error: ") && message.contains("\nhint: "), "{args:?}: {message}");
    }
    let mut by_environment = world.command(&["stats"]);
    failure(&feed(by_environment.env("STRONGROOM_INDEX_KEY_FILE", index_key.trim()), b""), 64);
    assert_eq!(world.records(), 1);

    let message = world.fail(64, &["retrieve", "--id", ID, "--key", key], "");
    assert!(message.contains("never an argument") && message.contains("did you mean --key-file?"), "{message}");
    let message = world.fail(64, &["retreive", "--id", ID], "");
    assert!(message.contains("did you mean retrieve?"), "{message}");
}

#[test]
fn a_value_that_looks_like_an_option_is_explained() {
    let world = World::with_record();
    for (option, args) in [
        ("--id", &["retrieve", "--id", "-5", "--key-file", "key"][..]),
        ("--id", &["retrieve", "--id", "-my-id", "--key-file", "key"]),
        ("--id", &["retrieve", "--id", "--my-id", "--key-file", "key"]),
        ("--key-file", &["retrieve", "--id", "x", "--key-file", "-my-key"]),
        ("--store", &["stats", "--store", "-x.db"]),
    ] {
        let message = world.fail(64, args, "");
        assert!(message.contains(&format!("{option}=-5")) && !message.contains("my-"), "{message}");
    }
    assert!(world.fail(64, &["retrieve", "--key-file", "key", "--id"], "").contains("--id=-5"));
    world.ok(&["store", "--id=-5", "--key-out=-key"], DATA);
    assert_eq!(world.ok(&["retrieve", "--id=-5", "--key-file=-key"], ""), DATA);
}

/// An option may take a value only after "=", and an option of one command may be a flag of another.
#[test]
fn a_typo_after_an_option_without_a_value_is_a_typo() {
    let world = World::new();
    for args in [
        &["store", "--id", "x", "--pad", "--key-ot", "k", "f"][..],
        &["rekey", "--id", "x", "--pad", "--key-fil", "k"],
        &["--store", "serve", "store", "--id", "x", "--pad", "--key-ot", "k"],
        #[cfg(feature = "server")]
        &["serve", "--pad", "--listne", "127.0.0.1:0"],
        #[cfg(feature = "server")]
        &["serve", "--insecure-health", "--listne", "127.0.0.1:0"],
        #[cfg(feature = "server")]
        &["serve-storage", "--insecure-loopback", "--listne", "127.0.0.1:0"],
    ] {
        let message = world.fail(64, args, "");
        assert!(message.contains("is unknown") && message.contains("did you mean --"), "{args:?}: {message}");
    }
    for option in ["--store", "--id"] {
        let message = world.fail(64, &["store", "--pad", option, "--key-ot"], "");
        assert!(message.contains(&format!("{option} needs a value")), "{message}");
    }
}

#[test]
fn without_a_command_the_help_lists_the_commands() {
    let world = World::new();
    for store in [Some("records.db"), None] {
        let mut command = world.command(&[]);
        command.env_remove("STRONGROOM_STORE").envs(store.map(|store| ("STRONGROOM_STORE", store)));
        let message = failure(&feed(&mut command, b""), 64);
        assert!(message.contains("a command is missing: store, retrieve, "), "{message}");
    }
    assert!(world.fail(64, &["key"], "").contains("a command is missing: new"));
}

#[test]
fn the_key_and_the_data_are_not_both_on_stdin() {
    let world = World::with_record();
    let key = world.read("key");
    for command in ["store", "replace"] {
        for data in [&[][..], &["-"]] {
            let args = [&[command, "--id", ID, "--key-file", "-"], data].concat();
            let message = world.fail(64, &args, &key);
            assert!(message.contains("only one of"), "{message}");
        }
    }
    let args = ["retrieve", "--id", ID, "--key-file", "key", "--json"];
    let message = failure(&feed(&mut world.command(&args), b""), 64);
    assert!(message.contains("--output"), "{message}");
    assert_eq!(secret_in(&message), None);
}

/// The paths of outputs and of a service's files are named, with the system's error.
#[test]
fn messages_name_files_that_are_no_secret() {
    let world = World::with_record();
    for (args, expected) in [
        (
            &["retrieve", "--id", ID, "--key-file", "key", "-o", "nowhere/copy"][..],
            "--output (nowhere/copy): No such file",
        ),
        (&["key", "new", "--key-out", "nowhere/key"], "--key-out (nowhere/key): No such file"),
        #[cfg(feature = "server")]
        (&["serve", "--config", "nowhere.toml"], "--config (nowhere.toml): No such file"),
        #[cfg(feature = "server")]
        (
            &["serve", "--store", "x.db", "--listen", "unix:x.sock", "--audit", "nowhere/audit"],
            "audit (nowhere/audit): No such file",
        ),
        #[cfg(feature = "server")]
        (
            &["serve", "--store", "x.db", "--listen", "unix:x.sock", "--tokens", "nowhere/tokens"],
            "tokens (nowhere/tokens): No such file",
        ),
    ] {
        let message = failure(&feed(&mut world.command(args), b""), 19);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_database_of_another_user_is_not_permitted() {
    use std::os::unix::fs::{PermissionsExt, chown};

    let mut world = World::with_record();
    world.run_unprivileged();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can make a file of another user");
        return;
    }
    chown(world.path("records.db"), Some(0), Some(0)).unwrap();
    fs::set_permissions(world.path("records.db"), fs::Permissions::from_mode(0o600)).unwrap();
    let message = world.fail(14, &["stats"], "");
    assert!(message.contains("records.db: Permission denied"), "{message}");
}
