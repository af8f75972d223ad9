//! The behaviour of each command without failures.

use crate::support;
use std::fs;

use crate::support::{DATA, ID, World};
use serde_json::{Value, json};
use strongroom::{IndexKey, RecordKey};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_record_goes_through_its_life() {
    let world = World::new();
    world.write("data", DATA);

    let key = world.ok(&["store", "--id", ID, "data"], "");
    RecordKey::from_text(key.strip_suffix('\n').unwrap()).unwrap();
    world.write("key", &key);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);

    let new_key = world.ok(&["replace", "--id", ID, "--key-file", "key"], "signed");
    RecordKey::from_text(new_key.trim()).unwrap();
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "key"], "");
    world.write("key", &new_key);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), "signed");

    assert_eq!(world.ok(&["delete", "--id", ID, "--key-file", "key"], ""), "");
    world.fail(1, &["retrieve", "--id", ID, "--key-file", "key"], "");
    assert_eq!(world.records(), 0);
}

#[test]
fn data_comes_from_a_file_or_stdin_and_may_be_any_bytes() {
    let world = World::new();
    let data: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    world.write("-data", &data);
    let cases: [(&str, &[&str], &[u8]); 6] = [
        ("file", &["--", "-data"], b""),
        ("pipe", &[], &data),
        ("dash", &["-"], &data),
        ("empty", &["--allow-empty"], b""),
        ("device", &["/dev/stdin"], &data),
        ("path", &["./-data"], b""),
    ];
    for (id, args, stdin) in cases {
        world.ok(&[&["store", "--id", id, "--key-out", id], args].concat(), stdin);
        world.ok(&["retrieve", "--id", id, "--key-file", id, "-o", "copy"], "");
        assert!(world.read("copy") == if id == "empty" { b"" } else { &data[..] }, "{id}");
        let printed = support::feed(&mut world.command(&["retrieve", "--id", id, "--key-file", id, "-o", "-"]), b"");
        assert!(printed.status.success() && printed.stdout == world.read("copy"), "{id}");
    }
    assert_eq!(world.records(), 6);
}

#[test]
fn keys_come_from_files_and_pipes() {
    let world = World::with_record();
    let key = String::from_utf8(world.read("key")).unwrap();
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "-"], &key), DATA);
    for around in [("\r\n  ", ""), ("\u{feff}", "\r\n"), ("\u{feff} \t", "\n\n\n"), ("", "\u{a0}\u{2028}")] {
        let key = format!("{}{}{}", around.0, key.trim(), around.1);
        assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "-"], &key), DATA);
        world.write("edited", key);
        assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "edited"], ""), DATA);
    }
    world.write("data", "new");
    let new_key = world.ok(&["replace", "--id", ID, "--key-file", "-", "data"], &key);
    assert_eq!(world.ok(&["delete", "--id", ID, "--key-file", "-"], new_key), "");
}

/// A repetition succeeds; with other data, it fails.
#[test]
fn a_key_made_before_stores() {
    let world = World::new();
    assert_eq!(world.ok(&["key", "new", "--key-out", "key"], ""), "");
    assert_eq!(world.ok(&["store", "--id", ID, "--key-file", "key"], DATA), "");
    assert_eq!(world.ok(&["store", "--id", ID, "--key-file", "key", "--json"], DATA), "{\"stored\":true}\n");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    world.fail(2, &["store", "--id", ID, "--key-file", "key"], "other data");
}

#[test]
fn key_new_makes_both_kinds() {
    let world = World::new();
    let key = world.ok(&["key", "new"], "");
    RecordKey::from_text(key.trim()).unwrap();
    assert_ne!(key, world.ok(&["key", "new"], ""));
    IndexKey::from_text(world.ok(&["key", "new", "--index"], "").trim()).unwrap();
    IndexKey::from_text(parse(&world.ok(&["key", "new", "--index", "--json"], ""))["key"].as_str().unwrap()).unwrap();

    // With the index key in a file, no key file is made beside the database.
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.ok(&["store", "--id", ID, "--index-key-file", "index", "--key-out", "key"], DATA);
    assert!(!world.exists("records.db.index-key"));
    let output = support::feed(
        world.command(&["retrieve", "--id", ID, "--key-file", "key"]).env("STRONGROOM_INDEX_KEY_FILE", "index"),
        b"",
    );
    assert_eq!(output.stdout, DATA.as_bytes());
}

#[test]
fn json_reports_the_outcome() {
    let world = World::new();
    let stored = parse(&world.ok(&["--json", "store", "--id", ID], DATA));
    assert_eq!(stored.as_object().unwrap().len(), 1);
    world.write("key", stored["key"].as_str().unwrap());
    let replaced = parse(&world.ok(&["replace", "--id", ID, "--key-file", "key", "--key-out", "2", "--json"], DATA));
    assert_eq!(replaced, json!({"key_file": "2"}));
    let retrieved = parse(&world.ok(&["--json", "retrieve", "--id", ID, "--key-file", "2", "-o", "copy"], ""));
    assert_eq!(retrieved, json!({"bytes": DATA.len(), "output": "copy"}));
    assert_eq!(world.read("copy"), DATA.as_bytes());
    let bytes = DATA.len() + 12 + 56 + 16;
    assert_eq!(
        parse(&world.ok(&["--json", "stats"], "")),
        json!({"records": 1, "bytes": bytes, "expired": 0, "free": 0})
    );
    assert_eq!(world.ok(&["stats"], ""), format!("records: 1\nbytes: {bytes}\nexpired: 0\nfree: 0\n"));
    assert_eq!(parse(&world.ok(&["--json", "delete", "--id", ID, "--key-file", "2"], "")), json!({"deleted": true}));
    assert_eq!(parse(&world.ok(&["--json", "erase", "--yes", "--id", ID], "")), json!({"erased": false}));
    world.ok(&["store", "--id", ID, "--key-out", "3"], DATA);
    assert_eq!(parse(&world.ok(&["--json", "erase", "--yes", "--id", ID], "")), json!({"erased": true}));
    world.ok(&["store", "--id", ID, "--key-out", "4"], DATA);
    assert_eq!(world.ok(&["erase", "--yes", "--id", ID], ""), "erased\n");
    assert_eq!(world.ok(&["erase", "--yes", "--id", ID], ""), "there was no record\n");
}

#[test]
fn contains_tells_whether_there_is_a_record() {
    let world = World::with_record();
    world.write("id", ID);
    assert_eq!(world.ok(&["contains", "--id", ID], ""), "there is a record\n");
    assert_eq!(world.ok(&["contains", "--id-file", "id", "--json"], ""), "{\"contains\":true}\n");
    // "No" is an answer, not an error: stderr stays empty.
    for (args, expected) in [
        (&["contains", "--id", "nobody"][..], "there is no record\n"),
        (&["contains", "--id", "nobody", "--json"], "{\"contains\":false}\n"),
    ] {
        let output = support::feed(&mut world.command(args), b"");
        assert_eq!((output.status.code(), &*output.stdout, &*output.stderr), (Some(1), expected.as_bytes(), &b""[..]));
    }
    world.fail(6, &["contains", "--id", ""], "");
    world.fail(19, &["contains", "--id", ID, "--store", "nowhere"], "");
}

/// Options may be before or after the command, and override the environment.
#[test]
fn the_store_is_chosen() {
    let world = World::new();
    let key = world.ok(&["--store", "other.db", "store", "--id", ID], DATA);
    assert_eq!(world.names(), ["other.db", "other.db.index-key"]);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "-", "--store", "other.db"], key), DATA);
}

#[cfg(target_os = "linux")]
#[test]
fn the_default_store_is_in_a_private_folder() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let in_data_home = |args: &[&str], stdin: &str| {
        let mut command = world.command(args);
        command.env_remove("STRONGROOM_STORE").env("XDG_DATA_HOME", world.path("home/data"));
        support::feed(&mut command, stdin.as_bytes())
    };
    let message = support::failure(&in_data_home(&["stats"], ""), 19);
    assert!(message.contains("does not exist"), "{message}");
    assert!(!world.exists("home"), "only storing makes a store");
    assert!(in_data_home(&["store", "--id", ID], DATA).status.success());
    assert!(in_data_home(&["stats"], "").status.success());
    for (name, mode) in [("strongroom", 0o700), ("strongroom/strongroom.db", 0o600)] {
        let found = fs::metadata(world.path("home/data").join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn an_id_is_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let world = World::new();
    let with_id = |args: &[&str], id: &[u8], stdin: &[u8]| {
        support::feed(world.command(args).arg("--id").arg(OsStr::from_bytes(id)), stdin)
    };
    assert!(with_id(&["store", "--key-out", "key"], b"\xff\xfe=", DATA.as_bytes()).status.success());
    assert_eq!(with_id(&["retrieve", "--key-file", "key"], b"\xff\xfe=", b"").stdout, DATA.as_bytes());
    support::failure(&with_id(&["retrieve", "--key-file", "key"], b"\xff\xfd=", b""), 1);
}

#[test]
fn completions_know_the_commands() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(&["completions", shell], "");
        let commands = ["store", "retrieve", "take", "replace", "rekey", "contains", "erase", "purge", "stats"];
        for word in commands.into_iter().chain(["verify", "key-file", "expires-in", "namespace"]) {
            assert!(script.contains(word), "{word} in {shell}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let world = World::new();
    fs::create_dir(world.path("man1")).unwrap();
    assert_eq!(world.ok(&["man", "man1"], ""), "");
    let commands = ["-store", "-retrieve", "-take", "-replace", "-rekey", "-contains", "-erase", "-purge", "-stats"];
    for page in commands.into_iter().chain(["", "-verify", "-key", "-key-new", "-keyring", "-keyring-new"]) {
        let page = String::from_utf8(world.read(&format!("man1/strongroom{page}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let page = String::from_utf8(world.read("man1/strongroom-store.1")).unwrap();
    assert!(page.contains(".SH EXAMPLES\n.nf\n") && page.contains("key\\-out"), "{page}");
    assert!(page.contains("pipefail"), "{page}");
    world.fail(19, &["man", "nowhere"], "");
}

/// As shown by `man` on a terminal of 80 columns: the tables keep their lines, and the variables are listed.
#[test]
fn manual_pages_fit_80_columns() {
    let world = World::new();
    fs::create_dir(world.path("man1")).unwrap();
    world.ok(&["man", "man1"], "");
    let page = String::from_utf8(world.read("man1/strongroom.1")).unwrap();
    let table = page.split(".SH \\(dqEXIT STATUS\\(dq\n.nf\n").nth(1);
    let table = table.or_else(|| page.split(".SH EXIT STATUS\n.nf\n").nth(1)).unwrap().split("\n.fi\n").next().unwrap();
    assert_eq!(table.lines().count(), 12, "{table}");
    assert!(table.contains("0   success                       12   storage busy\n"), "{table}");
    for variable in
        ["STORE", "INDEX_KEY_COMMAND", "KEYRING", "IDENTITY", "NAMESPACE", "TOKEN_FILE", "CLIENT_KEY", "TIMEOUT"]
    {
        assert!(page.contains(&format!("\n\\fBSTRONGROOM_{variable}\\fR\n")), "{variable}");
    }
    let commands = ["-store", "-retrieve", "-take", "-replace", "-rekey", "-contains", "-delete", "-erase", "-purge"];
    for name in commands.into_iter().chain([
        "",
        "-verify",
        "-stats",
        "-key-new",
        "-keyring-new",
        "-keyring-rotate",
        "-completions",
        "-man",
    ]) {
        let page = String::from_utf8(world.read(&format!("man1/strongroom{name}.1"))).unwrap();
        for line in page.split(".nf\n").skip(1).flat_map(|part| part.split(".fi\n").next().unwrap().lines()) {
            let shown = line
                .replace("\\&", "")
                .replace("\\(aq", "'")
                .replace("\\(ga", "`")
                .replace("\\e", "/")
                .replace("\\-", "-");
            assert!(shown.len() <= 80 - 7, "{shown}"); // a section is indented by 7
        }
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let world = World::with_record();
    let names = [
        "SERVER",
        "INDEX_KEY_FILE",
        "INDEX_KEY_COMMAND",
        "NAMESPACE",
        "KEYRING",
        "IDENTITY",
        "PASSPHRASE_FILE",
        "PASSPHRASE_COMMAND",
        "TOKEN_FILE",
        "TOKEN_COMMAND",
        "AUTHORITIES",
        "CLIENT_CERTIFICATE",
        "CLIENT_KEY",
        "TIMEOUT",
        "CONFIG",
        "LISTEN",
        "TOKENS",
        "TLS_CERTIFICATE",
        "TLS_KEY",
        "TLS_CLIENT_AUTHORITIES",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ];
    let empty = names.map(|name| (format!("STRONGROOM_{name}"), ""));
    let mut stats = world.command(&["stats"]);
    assert_eq!(support::feed(stats.envs(empty.clone()), b"").status.code(), Some(0));
    // Without an option for the store: the default one, which does not exist.
    let mut stats = world.command(&["stats"]);
    stats.env("STRONGROOM_STORE", "").env("XDG_DATA_HOME", world.path("data"));
    assert!(support::failure(&support::feed(&mut stats, b""), 19).contains("does not exist"));
    if cfg!(feature = "server") {
        let mut serve = world.command(&["serve", "--print-config"]);
        let output = support::feed(serve.envs(empty), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn help_has_examples_and_shows_no_value_of_the_environment() {
    let world = World::new();
    let commands: [&[&str]; 22] = [
        &[],
        &["store"],
        &["retrieve"],
        &["take"],
        &["replace"],
        &["rekey"],
        &["contains"],
        &["delete"],
        &["erase"],
        &["purge"],
        &["verify"],
        &["stats"],
        &["key", "new"],
        &["keyring", "new"],
        &["keyring", "list"],
        &["keyring", "add"],
        &["keyring", "remove"],
        &["keyring", "export"],
        &["keyring", "rotate"],
        &["completions"],
        &["man"],
        &["help", "store"],
    ];
    for command in commands {
        let args = if command.contains(&"help") { command.to_vec() } else { [command, &["--help"]].concat() };
        let output = support::feed(world.command(&args).env("STRONGROOM_STORE", ID), b"");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("Examples:\n  "), "{args:?}: {help}");
        assert_eq!(support::secret_in(&help), None);
    }
    assert!(world.ok(&["--version"], "").starts_with("strongroom 0."));
}
