//! New keys, printed or in a file, which are never lost while a record needs them; and keys typed at a prompt.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

#[cfg(target_os = "linux")]
use crate::support::on_terminal;
use crate::support::wait::{self, DEADLINE, WaitWithin};
use crate::support::{DATA, ID, World, failure, feed, secret_in};
use serde_json::json;

#[cfg(unix)]
#[test]
fn key_files_are_private() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::with_record();
    world.ok(&["replace", "--id", ID, "--key-file", "key", "--key-out", "new"], "new");
    world.ok(&["key", "new", "--key-out", "made"], "");
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    for name in ["key", "new", "made", "index"] {
        assert_eq!(fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        assert_eq!(world.read(name).len(), 63, "a key and a newline in {name}");
    }
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "new"], ""), "new");
}

#[test]
fn an_existing_key_file_prevents_the_store() {
    let world = World::with_record();
    let key = world.read("key");
    for args in [
        &["store", "--id", "new", "--key-out", "key"][..],
        &["replace", "--id", ID, "--key-file", "key", "--key-out", "key"],
        &["key", "new", "--key-out", "key"],
        &["key", "new", "--index", "--key-out", "key"],
    ] {
        let message = world.fail(19, args, "other data");
        assert!(message.contains("never overwritten"), "{message}");
    }
    assert!(world.read("key") == key);
    assert_eq!(world.records(), 1);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[test]
fn a_key_file_is_removed_if_the_store_fails() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "other"], "");
    let before = world.names();
    world.fail(2, &["store", "--id", ID, "--key-out", "new"], DATA);
    world.fail(3, &["replace", "--id", ID, "--key-file", "other", "--key-out", "new"], DATA);
    world.fail(1, &["replace", "--id", "nobody", "--key-file", "key", "--key-out", "new"], DATA);
    assert_eq!(world.names(), before);
}

/// The key cannot be printed, so the record is removed again.
#[test]
fn a_record_whose_key_cannot_be_printed_is_not_stored() {
    let world = World::with_record();
    let mut child = world
        .command(&["store", "--id", "new"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take()); // while the program waits for data
    child.stdin.as_mut().unwrap().write_all(DATA.as_bytes()).unwrap();
    let message = failure(&child.output_within(DEADLINE), 14);
    assert!(message.contains("nothing was stored"), "{message}");
    assert_eq!(world.records(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let world = World::with_record();
    let run = |args: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = world.command(args);
        command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        failure(&command.spawn().unwrap().output_within(DEADLINE), 14)
    };
    assert!(run(&["store", "--id", "new", "--allow-empty"]).contains("nothing was stored"));
    assert_eq!(world.records(), 1);
    assert!(run(&["stats"]).contains("cannot write to stdout"));
    assert!(run(&["retrieve", "--id", ID, "--key-file", "key"]).contains("cannot write to stdout"));
    assert!(run(&["--help"]).contains("cannot write to stdout"));
    let replaced = run(&["replace", "--id", ID, "--key-file", "key", "--allow-empty"]);
    assert!(replaced.contains("the record was not changed"), "{replaced}");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_new_key_file_prevents_the_replace() {
    let world = World::with_record();
    fs::create_dir(world.path("full")).unwrap();
    // A file system of one page, which is full.
    let script = "mount -t tmpfs -o size=4k none full && head -c 4096 /dev/zero >full/page && exec \"$@\"";
    let full = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    if !wait::output(world.other("unshare", &full[1..]).arg("true")).status.success() {
        eprintln!("skipped: no file system may be mounted here");
        return;
    }
    let args = ["store", "--id", "new", "--key-out", "full/key"];
    let message = failure(&feed(&mut world.through(&full, &args), DATA.as_bytes()), 14);
    assert!(message.contains("--key-out"), "{message}");
    assert_eq!(world.records(), 1, "the key comes first");

    let args = ["replace", "--id", ID, "--key-file", "key", "--key-out", "full/key"];
    let message = failure(&feed(&mut world.through(&full, &args), b"new"), 14);
    assert!(message.contains("--key-out"), "{message}");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_typed_on_a_terminal_is_not_echoed() {
    let world = World::with_record();
    let key = String::from_utf8(world.read("key")).unwrap();
    let args = ["retrieve", "--id", ID];
    let seen = on_terminal(&world, "Key (not shown): ", &key, &args);
    assert_eq!(seen["status"], 0);
    let shown = seen["shown"].as_str().unwrap();
    assert!(shown.ends_with(DATA) && !shown.contains("srk1"), "{shown}");
    let seen = on_terminal(&world, "Key (not shown): ", "srk1qqqq\n", &args);
    assert_eq!(seen["status"], 5);
    let seen = on_terminal(&world, "Key (not shown): ", "\u{4}", &args);
    assert_eq!(seen["status"], 19, "the end of input");
    let seen = on_terminal(&world, "Key (not shown): ", "\u{3}", &args);
    assert_eq!((&seen["status"], &seen["echo"]), (&json!(-2), &json!(true)), "Ctrl-C");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_at_a_prompt_restores_the_echo() {
    let world = World::with_record();
    for (name, number) in [("SIGHUP", 1), ("SIGINT", 2), ("SIGQUIT", 3), ("SIGTERM", 15), ("SIGKILL", 9)] {
        let seen = on_terminal(&world, "Key (not shown): ", name, &["retrieve", "--id", ID]);
        assert_eq!((&seen["status"], &seen["echo"]), (&json!(-number), &json!(name != "SIGKILL")), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn other_processes_cannot_read_the_memory() {
    let mut world = World::with_record();
    world.run_unprivileged();
    let seen = on_terminal(&world, "Key (not shown): ", "\n", &["retrieve", "--id", ID]);
    assert_eq!(seen["core"], json!([["0", "0"]]));
    assert_eq!(seen["umask"], json!(["0077"]));
    assert_eq!(seen["owner"], 0, "to the system, the process is nobody's to look into");
    assert_eq!(seen["status"], 5);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_terminal_there_is_no_prompt() {
    let world = World::with_record();
    let detached = ["python3", "-c", "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"];
    for command in ["retrieve", "take", "replace", "rekey", "delete"] {
        let output = feed(&mut world.through(&detached, &[command, "--id", ID]), DATA.as_bytes());
        let message = failure(&output, 64);
        assert!(message.contains("pass --key-file"), "{message}");
    }
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[cfg(target_os = "linux")]
#[test]
fn erase_asks_first() {
    let world = World::with_record();
    let seen = on_terminal(&world, "[y/N] ", "n\n", &["erase", "--id", ID]);
    assert_eq!((&seen["status"], world.records()), (&json!(19), 1));
    let seen = on_terminal(&world, "[y/N] ", "\n", &["erase", "--id", ID]);
    assert_eq!((&seen["status"], world.records()), (&json!(19), 1));
    let seen = on_terminal(&world, "[y/N] ", "y\n", &["erase", "--id", ID]);
    assert_eq!((&seen["status"], world.records()), (&json!(0), 0));
    assert_eq!(secret_in(seen["shown"].as_str().unwrap()), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_no_binary_data() {
    let world = World::new();
    world.ok(&["store", "--id", ID, "--key-out", "key"], "\u{1b}[2J");
    let args = ["retrieve", "--id", ID, "--key-file", "key"];
    let seen = on_terminal(&world, "", "", &args);
    let shown = seen["shown"].as_str().unwrap();
    assert!(shown.contains("use --output") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(seen["status"], 19);
    assert_eq!(world.ok(&args, ""), "\u{1b}[2J", "a pipe gets it");
}
