//! New keys for the same data.

use crate::support::{DATA, ID, World};

#[test]
fn a_new_key_opens_the_same_data() {
    let world = World::with_record();
    let printed = world.ok(&["rekey", "--id", ID, "--key-file", "key"], "");
    world.write("second", printed);
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "key"], "");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "second"], ""), DATA);

    assert_eq!(world.ok(&["rekey", "--id", ID, "--key-file", "second", "--key-out", "third"], ""), "");
    let reply = world.ok(&["rekey", "--id", ID, "--key-file", "third", "--key-out", "fourth", "--json"], "");
    assert_eq!(reply, "{\"key_file\":\"fourth\"}\n");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "fourth"], ""), DATA);
    assert_eq!(world.records(), 1);
}

#[test]
fn a_long_record_gets_a_new_key() {
    let world = World::new();
    let long = "0123456789".repeat(300_000);
    world.ok(&["store", "--id", ID, "--key-out", "key"], &long);
    world.ok(&["rekey", "--id", ID, "--key-file", "key", "--key-out", "new"], "");
    world.ok(&["retrieve", "--id", ID, "--key-file", "new", "-o", "copy"], "");
    assert!(world.read("copy") == long.as_bytes());
}

#[test]
fn the_expiry_time_remains_unless_another_is_given() {
    let world = World::new();
    let expires_at = || -> Option<i64> {
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        database.query_row("SELECT expires_at FROM record", (), |row| row.get(0)).unwrap()
    };
    world.ok(&["store", "--id", ID, "--key-out", "1", "--expires-at", "@4102444800"], DATA);
    world.ok(&["rekey", "--id", ID, "--key-file", "1", "--key-out", "2"], "");
    assert_eq!(expires_at(), Some(4_102_444_800));
    world.ok(&["rekey", "--id", ID, "--key-file", "2", "--key-out", "3", "--expires-at", "@4102444801"], "");
    assert_eq!(expires_at(), Some(4_102_444_801));
    world.ok(&["rekey", "--id", ID, "--key-file", "3", "--key-out", "4", "--expires-in", "1h"], "");
    assert!(expires_at().unwrap() < 4_102_444_800);
}

#[test]
fn a_failure_leaves_the_record_and_no_key_file() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "other"], "");
    let before = world.names();
    world.fail(3, &["rekey", "--id", ID, "--key-file", "other", "--key-out", "new"], "");
    world.fail(3, &["rekey", "--id", ID, "--key-file", "other"], "");
    world.fail(1, &["rekey", "--id", "nobody", "--key-file", "key", "--key-out", "new"], "");
    world.fail(19, &["rekey", "--id", ID, "--key-file", "key", "--key-out", "key"], "");
    let past = ["rekey", "--id", ID, "--key-file", "key", "--key-out", "new", "--expires-at", "2020-01-01"];
    assert!(world.fail(19, &past, "").contains("past"));
    assert_eq!(world.names(), before);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_that_cannot_be_printed_prevents_the_rekey() {
    use crate::support::{failure, wait::DEADLINE, wait::WaitWithin};
    use std::process::Stdio;

    let world = World::with_record();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = world.command(&["rekey", "--id", ID, "--key-file", "key"]);
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let message = failure(&command.spawn().unwrap().output_within(DEADLINE), 14);
    assert!(message.contains("the record was not changed"), "{message}");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

/// A rekey that waits for the database, after its key file has its name.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_a_rekey_and_no_crash_loses_the_key() {
    use crate::support::wait::{DEADLINE, WaitWithin, wait_for};
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    let world = World::with_record();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut rekey = world.command(&["rekey", "--id", ID, "--key-file", "key", "--key-out", "new"]);
        let mut child = rekey.stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| world.exists("new").then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait_within(DEADLINE);
        drop(database);
        // The rekey ends with "busy" just before the signal ends the program.
        assert!(status.signal() == Some(signal.as_raw()) || status.code() == Some(12), "{status}");
        assert_eq!(world.exists("new"), signal == Signal::KILL);
        assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    }
}

#[cfg(all(unix, feature = "server"))]
#[test]
fn a_token_with_the_scope_store_is_enough() {
    use crate::support::service::Service;

    let world = World::new();
    let listen = format!("unix:{}", world.path("socket").display());
    for scope in ["store", "retrieve"] {
        let token = world.ok(&["token", "new", "--scopes", scope, "--tokens", "tokens"], "");
        world.write(&format!("{scope}.token"), token);
    }
    let _server = Service::start_on(&world, &["serve", "--tokens", "tokens", "--listen", &listen]);
    let storing = ["--server", &listen, "--token-file", "store.token"];
    world.ok(&[&["store", "--id", ID, "--key-out", "key"], &storing[..]].concat(), DATA);
    world.ok(&[&["rekey", "--id", ID, "--key-file", "key", "--key-out", "new"], &storing[..]].concat(), "");
    let retrieving = ["--server", &listen, "--token-file", "retrieve.token"];
    let retrieve = ["retrieve", "--id", ID, "--key-file", "new"];
    assert_eq!(world.ok(&[&retrieve[..], &retrieving].concat(), ""), DATA);
    world.fail(21, &[&["rekey", "--id", ID, "--key-file", "new", "--key-out", "3"], &retrieving[..]].concat(), "");
    assert!(!world.exists("3"));
}
