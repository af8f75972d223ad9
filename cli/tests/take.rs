//! Records that are read once.

use crate::support::wait::{DEADLINE, WaitWithin, wait_for};
use crate::support::{DATA, ID, World, failure, feed};

/// The file that an error names as the place of the data.
fn place(message: &str) -> &str {
    message.split(" is in ").nth(1).and_then(|rest| rest.split(": ").next()).unwrap()
}

#[test]
fn a_record_is_taken_once() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "other"], "");
    world.fail(3, &["take", "--id", ID, "--key-file", "other"], "");
    assert_eq!(world.ok(&["take", "--id", ID, "--key-file", "key"], ""), DATA);
    world.fail(1, &["take", "--id", ID, "--key-file", "key"], "");
    assert_eq!(world.records(), 0);
}

#[test]
fn one_of_several_takers_gets_the_data() {
    let world = World::with_record();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let take = || feed(&mut world.command(&["take", "--id", ID, "--key-file", "key"]), b"");
        let takers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    let (took, others): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| output.status.success());
    assert_eq!(took.len(), 1);
    assert_eq!(took[0].stdout, DATA.as_bytes());
    assert!(others.iter().all(|output| output.status.code() == Some(1) && output.stdout.is_empty()));
}

#[test]
fn a_file_gets_the_data() {
    let world = World::new();
    let long = "0123456789".repeat(300_000);
    world.ok(&["store", "--id", ID, "--key-out", "key"], &long);
    world.write("copy", "older");
    let reply = world.ok(&["take", "--id", ID, "--key-file", "key", "-o", "copy", "--json"], "");
    assert_eq!(reply, "{\"bytes\":3000000,\"output\":\"copy\"}\n");
    assert!(world.read("copy") == long.as_bytes());
    assert_eq!(world.records(), 0);

    world.ok(&["store", "--id", ID, "--allow-empty", "--key-out", "empty"], "");
    assert_eq!(world.ok(&["take", "--id", ID, "--key-file", "empty"], ""), "");
}

/// Each failure before the data is written.
#[test]
fn a_failure_leaves_the_record() {
    let world = World::with_record();
    std::fs::create_dir(world.path("folder")).unwrap();
    let long = "n".repeat(300);
    for (status, output) in [
        (19, "folder"),
        (19, "missing/copy"),
        (19, "missing/"),
        (19, "records.db/copy"),
        (19, &long),
        (19, "key"),
        (19, "records.db"),
    ] {
        world.fail(status, &["take", "--id", ID, "--key-file", "key", "-o", output], "");
    }
    let as_json = feed(&mut world.command(&["take", "--id", ID, "--key-file", "key", "--json"]), b"");
    assert_eq!(as_json.status.code(), Some(64));
    world.fail(19, &["take", "--id", ID, "--key-file", "missing"], "");
    #[cfg(target_os = "linux")]
    {
        let closed = ["sh", "-c", "exec \"$@\" >&-", "sh"];
        let output = feed(&mut world.through(&closed, &["take", "--id", ID, "--key-file", "key"]), b"");
        assert_eq!(output.status.code(), Some(14));
    }
    assert_eq!(world.ok(&["take", "--id", ID, "--key-file", "key"], ""), DATA);
}

/// The name is another user's, in a folder of all: only the rename shows it.
#[cfg(target_os = "linux")]
#[test]
fn data_whose_file_cannot_get_its_name_remains() {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    let mut world = World::with_record();
    if !rustix::process::geteuid().is_root() {
        return; // only root can make another user's file
    }
    fs::create_dir(world.path("all")).unwrap();
    world.run_unprivileged();
    world.write("all/copy", "theirs");
    fs::set_permissions(world.path("all"), fs::Permissions::from_mode(0o1777)).unwrap();
    for name in ["all", "all/copy"] {
        chown(world.path(name), Some(0), Some(0)).unwrap();
    }
    let take = ["take", "--id", ID, "--key-file", "key", "-o", "all/copy"];
    let message = failure(&feed(&mut world.command(&take), b""), 14);
    let kept = place(&message);
    assert!(message.starts_with("error: the record is removed, and its data is in "), "{message}");
    assert!(kept.contains("/all/strongroom-taken-"), "{message}");
    assert_eq!(world.read(kept), DATA.as_bytes());
    assert_eq!(world.read("all/copy"), b"theirs");
    assert_eq!(world.records(), 0);
}

/// The folder becomes read-only while the record is taken. Later commands that write there keep the data.
#[cfg(target_os = "linux")]
#[test]
fn data_in_a_folder_that_becomes_read_only_remains() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;

    let mut world = World::with_record();
    fs::create_dir(world.path("folder")).unwrap();
    world.run_unprivileged();
    let allow = |mode| fs::set_permissions(world.path("folder"), fs::Permissions::from_mode(mode)).unwrap();
    // The lock holds up the removal of the record, which comes after the new file.
    let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut take = world.command(&["take", "--id", ID, "--key-file", "key", "-o", "folder/copy"]);
    let take = take.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| fs::read_dir(world.path("folder")).unwrap().next()).unwrap();
    allow(0o500);
    drop(database);
    let message = failure(&take.output_within(DEADLINE), 14);
    allow(0o700);
    let kept = place(&message);
    assert_eq!(world.records(), 0);
    world.ok(&["key", "new", "--key-out", "folder/new"], "");
    assert_eq!(world.read(kept), DATA.as_bytes());
}

/// No signal removes more than a kill does.
#[cfg(target_os = "linux")]
#[test]
fn data_that_is_written_when_a_signal_comes_remains() {
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let world = World::new();
        world.ok(&["store", "--id", ID, "--key-out", "key"], DATA.repeat(1000));
        let mut take = world.command(&["take", "--id", ID, "--key-file", "key", "-o", "copy"]);
        world.preload(&mut take);
        let mut child = take.env("HOLD_WRITES", "").stdin(Stdio::null()).spawn().unwrap();
        let written = || {
            let name = world.names().into_iter().find(|name| name.starts_with("strongroom-taken-"))?;
            Some(fs::read(world.path(&name)).unwrap()).filter(|data| !data.is_empty())
        };
        let before = wait_for(written);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait_within(DEADLINE).signal(), Some(signal.as_raw()));
        assert!(written().is_some_and(|data| data == before), "{signal:?}");
        world.fail(1, &["retrieve", "--id", ID, "--key-file", "key"], "");
    }
}

/// A full disk, before the first byte or after some.
#[cfg(target_os = "linux")]
#[test]
fn data_that_is_written_when_the_disk_is_full_remains() {
    let data = DATA.repeat(1000);
    for space in [9000, 0] {
        let world = World::new();
        world.ok(&["store", "--id", ID, "--key-out", "key"], &data);
        world.write("copy", "older");
        let mut take = world.command(&["take", "--id", ID, "--key-file", "key", "-o", "copy"]);
        world.preload(&mut take);
        let message = failure(&feed(take.env("FULL_DISK", space.to_string()), b""), 14);
        assert!(message.contains("cannot write the file of --output (copy): No space left"), "{message}");
        let kept: Vec<_> = world.names().into_iter().filter(|name| name.starts_with("strongroom-taken-")).collect();
        if space == 0 {
            assert!(message.starts_with("error: the record is removed, and no data was written: "), "{message}");
            assert_eq!(kept.len(), 0);
        } else {
            let start = "error: the record is removed, and the data that was written is in ";
            assert!(message.starts_with(start), "{message}");
            assert!(place(&message).ends_with(&kept[0]), "{message}");
            assert_eq!(world.read(&kept[0]), data.as_bytes()[..space]);
        }
        assert_eq!(world.read("copy"), b"older");
        assert_eq!(world.records(), 0);
    }
}

/// Damage that only reading all of the data finds.
#[test]
fn data_that_is_read_before_damage_remains() {
    let data = "0123456789".repeat(300_000);
    for (damage, has_data) in [
        ("UPDATE segment SET data = zeroblob(length(data)) WHERE n = 3", true),
        ("UPDATE record SET body = zeroblob(length(body))", false),
    ] {
        let world = World::new();
        world.ok(&["store", "--id", ID, "--key-out", "key"], &data);
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        assert_eq!(database.execute(damage, ()).unwrap(), 1);
        drop(database);
        let take = ["take", "--id", ID, "--key-file", "key", "-o", "copy"];
        let message = failure(&feed(&mut world.command(&take), b""), 4);
        assert!(message.starts_with("error: the record is removed, and "), "{message}");
        assert!(message.contains(" damaged"), "{message}");
        let kept = world.names().into_iter().find(|name| name.starts_with("strongroom-taken-"));
        assert_eq!(kept.is_some(), has_data, "{message}");
        if let Some(kept) = kept {
            let kept_data = world.read(&kept);
            assert!(place(&message).ends_with(&kept), "{message}");
            assert!(!kept_data.is_empty() && data.as_bytes().starts_with(&kept_data), "{} bytes", kept_data.len());
        }
        assert!(!world.exists("copy"));
        assert_eq!(world.records(), 0);
    }
}

/// A folder with a keyring that all runs use.
fn with_keyring() -> World {
    let mut world = World::new();
    world.ok(&["keyring", "new", "--keyring", "keys", "--new-identity", "me.age"], "");
    world.environment = vec![("STRONGROOM_KEYRING", "keys".into()), ("STRONGROOM_IDENTITY", "me.age".into())];
    world
}

/// The key opens the record in a backup.
#[test]
fn the_keyring_keeps_the_key_of_data_that_was_not_written() {
    use std::process::Command;

    const REMOVED: &str = "error: the record is removed (its key is still in the keyring)";

    let data = "0123456789".repeat(300_000); // a short record that is damaged stays
    let to_file = ["take", "--id", ID, "-o", "copy"];
    let fails = |damage: Option<&str>, status, expected: &str, take: &dyn Fn(&World) -> Command| {
        let world = with_keyring();
        world.ok(&["store", "--id", ID], &data);
        std::fs::copy(world.path("records.db"), world.path("backup.db")).unwrap();
        std::fs::copy(world.path("records.db.index-key"), world.path("backup.db.index-key")).unwrap();
        if let Some(damage) = damage {
            let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
            assert_eq!(database.execute(damage, ()).unwrap(), 1);
        }
        let message = failure(&feed(&mut take(&world), b""), status);
        assert!(message.starts_with(&format!("{REMOVED}{expected}")), "{message}");
        assert_eq!(world.records(), 0);
        assert_eq!(world.ok(&["keyring", "list"], ""), format!("{ID}\n"));
        assert!(world.ok(&["retrieve", "--id", ID, "--store", "backup.db"], "") == data);
    };
    let damage = Some("UPDATE record SET body = zeroblob(length(body))");
    fails(damage, 4, ", and no data was written: ", &|world| world.command(&to_file));
    fails(damage, 4, ": ", &|world| world.command(&["take", "--id", ID]));
    #[cfg(target_os = "linux")]
    {
        let full = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"];
        fails(None, 14, ": cannot write to stdout: ", &|world| world.through(&full, &["take", "--id", ID]));
        fails(None, 14, ", and the data that was written is in ", &|world| {
            let mut take = world.command(&to_file);
            world.preload(&mut take);
            take.env("FULL_DISK", "9000");
            take
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_failure_of_stdout_says_that_the_record_is_removed() {
    use std::process::Stdio;

    let world = with_keyring();
    world.ok(&["store", "--id", ID], DATA);
    let full = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"];
    let take = ["take", "--id", ID, "-o", "copy", "--json"];
    let message = failure(&feed(&mut world.through(&full, &take), b""), 14);
    assert!(message.contains("the record is removed, and its data is in copy: cannot write to stdout: "), "{message}");
    assert_eq!(world.read("copy"), DATA.as_bytes());
    assert_eq!(world.ok(&["keyring", "list"], ""), "");

    let world = World::with_record();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut take = world.command(&["take", "--id", ID, "--key-file", "key"]);
    let take = take.stdin(Stdio::null()).stdout(closed).stderr(Stdio::piped()).spawn().unwrap();
    let message = failure(&take.output_within(DEADLINE), 141);
    assert_eq!(message, "error: the record is removed: stdout was closed\n");
    assert_eq!(world.records(), 0);
}

/// The data cannot be retrieved again, so a terminal shows all of it.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_escaped_data() {
    use crate::support::on_terminal;

    let world = World::new();
    // The pieces of a long text end within characters.
    let long = "Gr\u{fc}\u{df}e: C:\\neu\n".repeat(40_000);
    for (data, expected) in [(&*long, &*long), ("\u{1b}[2J\u{e9}\u{7f}", "\\x1b[2J\u{e9}\\x7f")] {
        world.ok(&["store", "--id", ID, "--key-out", "key"], data);
        let seen = on_terminal(&world, "", "", &["take", "--id", ID, "--key-file", "key"]);
        // The terminal of the test shows each byte as a character.
        let expected: String = expected.bytes().map(char::from).collect();
        assert_eq!((&seen["status"], seen["shown"].as_str()), (&serde_json::json!(0), Some(&*expected)));
        std::fs::remove_file(world.path("key")).unwrap();
    }
    assert_eq!(world.records(), 0);
}
