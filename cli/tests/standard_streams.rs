//! Standard streams that are closed, empty or non-blocking, and programs that write the data.

#![cfg(unix)]

use std::io::{Read, pipe};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::wait::{self, DEADLINE, Join, WaitWithin, write_within};
use crate::support::{DATA, ID, World, failure, feed, secret_in};
use rustix::fs::{OFlags, fcntl_setfl};

/// The program with the shell redirection `redirection`.
fn redirected(world: &World, redirection: &str, args: &[&str]) -> Command {
    world.through(&["sh", "-c", &format!("exec \"$@\" {redirection}"), "sh"], args)
}

#[test]
fn a_closed_stream_is_an_error_before_any_change() {
    let world = World::with_record();
    world.write("data", DATA);
    let before = world.names();
    for (redirection, args) in [
        ("<&-", &["replace", "--id", ID, "--key-file", "key", "--key-out", "new"][..]),
        ("<&-", &["replace", "--id", ID, "--key-file", "key", "--key-out", "new", "--allow-empty", "-"]),
        ("<&-", &["replace", "--id", ID, "--key-file", "-", "--key-out", "new", "data"]),
        ("<&-", &["store", "--id", "new", "--key-out", "new", "--allow-empty"]),
        ("<&-", &["store", "--id", "new", "--key-out", "new", "--allow-empty", "/dev/stdin"]),
        ("<&-", &["store", "--id", "new", "--key-file", "key", "--allow-empty"]),
        ("<&-", &["store", "--id-file", "-", "--key-out", "new", "data"]),
        ("<&-", &["retrieve", "--id", ID, "--key-file", "-"]),
        ("<&- >&- 2>&-", &["store", "--id", "new", "data"]),
        (">&-", &["store", "--id", "new", "data"]),
        (">&-", &["store", "--id", "new", "--key-out", "new", "--json", "data"]),
        (">&-", &["replace", "--id", ID, "--key-file", "key", "data"]),
        (">&-", &["retrieve", "--id", ID, "--key-file", "key"]),
        (">&-", &["erase", "--id", ID, "--yes"]),
        (">&-", &["delete", "--id", ID, "--key-file", "key", "--json"]),
        (">&-", &["key", "new"]),
        (">&-", &["contains", "--id", ID]),
        (">&-", &["purge"]),
        (">&-", &["verify"]),
        (">&-", &["stats"]),
        (">&-", &["completions", "bash"]),
        (">&-", &["--help"]),
    ] {
        let message = failure(&feed(&mut redirected(&world, redirection, args), DATA.as_bytes()), 14);
        let name = if redirection.starts_with('<') { "stdin" } else { "stdout" };
        assert!(message.contains(name) || redirection.contains("2>"), "{args:?}: {message}");
        assert_eq!(world.names(), before, "{args:?}");
    }
    assert_eq!(world.records(), 1);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

/// Unused streams may be closed; /dev/null, however it is opened, does not count as closed.
#[test]
fn an_unused_stream_may_be_closed() {
    let world = World::with_record();
    world.write("data", DATA);
    for (redirection, args) in [
        ("<&-", &["stats"][..]),
        ("2>&-", &["stats"]),
        ("<>/dev/null 1<>/dev/null 2<>/dev/null", &["stats"]),
        ("<>/dev/null", &["store", "--id", "empty", "--key-out", "empty", "--allow-empty"]),
        ("<&- >&- 2>&-", &["store", "--id", "new", "--key-out", "new", "data"]),
        ("<&- >&- 2>&-", &["delete", "--id", ID, "--key-file", "key"]),
    ] {
        let output = feed(&mut redirected(&world, redirection, args), b"");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.records(), 2);
}

#[test]
fn empty_data_is_stored_only_on_request() {
    let world = World::with_record();
    world.write("empty", "");
    world.ok(&["key", "new", "--key-out", "own"], "");
    wait::output(Command::new("mkfifo").arg(world.path("pipe")));
    let before = world.names();
    for data in [&[][..], &["-"], &["/dev/stdin"], &["/dev/null"], &["--from-command", "true"]] {
        for command in [
            &["replace", "--id", ID, "--key-file", "key", "--key-out", "new"][..],
            &["replace", "--id", ID, "--key-file", "key"],
            &["store", "--id", "new", "--key-out", "new"],
            &["store", "--id", "new", "--key-file", "own"],
        ] {
            let message = world.fail(19, &[command, data].concat(), "");
            assert!(message.contains("--allow-empty"), "{message}");
        }
    }
    let pipe = world.path("pipe");
    thread::spawn(|| std::fs::File::options().write(true).open(pipe)); // waits for the program, and writes nothing
    let output = feed(&mut world.command(&["store", "--id", "new", "--key-out", "new", "pipe"]), b"");
    assert!(failure(&output, 19).contains("--allow-empty"));
    let from_file = feed(&mut redirected(&world, "<empty", &["store", "--id", "new", "--key-out", "new"]), b"");
    assert!(failure(&from_file, 19).contains("--allow-empty"));
    assert_eq!(world.names(), before);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);

    world.ok(&["store", "--id", "named", "--key-out", "named", "empty"], "");
    world.ok(&["store", "--id", "meant", "--key-file", "own", "--allow-empty"], "");
    world.ok(&["store", "--id", "program", "--key-out", "program", "--allow-empty", "--from-command", "true"], "");
    world.ok(&["replace", "--id", ID, "--key-file", "key", "--key-out", "new", "--allow-empty"], "");
    for (id, key) in [("named", "named"), ("meant", "own"), ("program", "program"), (ID, "new")] {
        assert_eq!(world.ok(&["retrieve", "--id", id, "--key-file", key], ""), "");
    }
}

#[test]
fn from_command_stores_the_output_of_a_program() {
    let world = World::with_record();
    let program = ["--from-command", "--", "printf", "%s.%s\n", "$(id) * ", "-x"];
    world.ok(&[&["store", "--id", "new", "--key-out", "new"][..], &program].concat(), "");
    assert_eq!(world.ok(&["retrieve", "--id", "new", "--key-file", "new"], ""), "$(id) * .-x\n", "no shell in between");
    let key = world.ok(&[&["replace", "--id", ID, "--key-file", "key"][..], &program].concat(), "");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "-"], key), "$(id) * .-x\n");
    world.ok(
        &["store", "--id", "long", "--key-out", "long", "--from-command", "--", "head", "-c", "3000000", "/dev/zero"],
        "",
    );
    let long = feed(&mut world.command(&["retrieve", "--id", "long", "--key-file", "long"]), b"");
    assert!(long.stdout == [0; 3_000_000]);
    // stdin belongs to the program.
    world.ok(&["store", "--id", "in", "--key-out", "in", "--from-command", "cat"], DATA);
    assert_eq!(world.ok(&["retrieve", "--id", "in", "--key-file", "in"], ""), DATA);
}

#[test]
fn from_command_stores_nothing_if_the_program_fails() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "own"], "");
    let before = world.names();
    for (status, message, program) in [
        (14, "exit status: 3", &["sh", "-c", "echo half; exit 3"][..]),
        (14, "exit status: 1", &["false"]),
        (14, "signal", &["sh", "-c", "head -c 3000000 /dev/zero; kill -9 $$"]),
        (14, "exit status: 1", &["sh", "-c", "echo whole; exec >&-; exit 1"]),
        (19, "cannot start", &["no-such-program"]),
        (14, "cannot start", &["./records.db"]),
    ] {
        for command in [
            &["replace", "--id", ID, "--key-file", "key", "--key-out", "new"][..],
            &["replace", "--id", ID, "--key-file", "key"],
            &["store", "--id", "new", "--key-out", "new"],
            &["store", "--id", "new"],
            &["store", "--id", "new", "--key-file", "own"],
        ] {
            let args = [command, &["--allow-empty", "--from-command", "--"], program].concat();
            let error = world.fail(status, &args, "");
            assert!(error.contains(message) && error.contains("--from-command"), "{args:?}: {error}");
        }
        let names: Vec<_> = world.names().into_iter().filter(|name| name != "records.db.uploads").collect();
        assert_eq!(names, before, "{program:?}");
    }
    assert_eq!(world.records(), 1);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    // The program is not started if nothing can be stored.
    world.fail(2, &["store", "--id", ID, "--from-command", "touch", "started"], "");
    world.fail(64, &["store", "--id", "new", "--from-command"], "");
    world.fail(64, &["store", "--id", "new", "records.db", "argument"], "");
    assert!(!world.exists("started"));
}

/// A program with endless output is killed if its data cannot be stored.
#[test]
fn from_command_ends_the_program_after_an_error() {
    let world = World::with_record();
    let program = "echo $$ >pid; exec yes";
    let limit = ["sh", "-c", "ulimit -f 4096 && trap '' XFSZ && exec \"$@\"", "sh"];
    let args = ["store", "--id", "endless", "--from-command", "--", "sh", "-c", program];
    let output = feed(&mut world.through(&limit, &args), b"");
    assert!(!output.status.success());
    let pid = String::from_utf8(world.read("pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    wait::wait_for(|| rustix::process::test_kill_process(pid).is_err().then_some(()));
    assert_eq!(world.records(), 1);
}

/// The new key is printed before the old one becomes invalid.
#[test]
fn a_failed_replace_says_that_the_printed_key_is_unused() {
    let world = World::with_record();
    let mut replace = world.command(&["replace", "--id", ID, "--key-file", "key"]);
    replace.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = replace.spawn().unwrap();
    // More than the pipe's capacity, so that the program has opened the record.
    child.stdin = child.stdin.map(|stdin| write_within(stdin, &[b'x'; 200_000], DEADLINE));
    world.ok(&["delete", "--id", ID, "--key-file", "key"], "");
    let output = child.output_within(DEADLINE);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(11), "{message}");
    assert!(message.contains("the new key that was printed opens nothing"), "{message}");
    assert!(output.stdout.starts_with(b"srk1"));
    assert_eq!(secret_in(&message), None);
}

/// Non-blocking streams, as an event-driven parent leaves them.
#[test]
fn non_blocking_streams_are_polled() {
    let world = World::new();
    let data: Vec<u8> = (0..=250).cycle().take(2_000_000).collect();
    // Time for the program to block on an empty input and on a full output.
    let pause = || thread::sleep(Duration::from_millis(100));
    let non_blocking_stdin = |args: &[&str]| {
        let (stdin, to_stdin) = pipe().unwrap();
        fcntl_setfl(&stdin, OFlags::NONBLOCK).unwrap();
        (world.command(args).stdin(stdin).spawn().unwrap(), to_stdin)
    };
    let (mut store, mut to_stdin) = non_blocking_stdin(&["store", "--id", ID, "--key-out", "key"]);
    for piece in data.chunks(700_000) {
        pause();
        to_stdin = write_within(to_stdin, piece, DEADLINE);
    }
    drop(to_stdin);
    assert!(store.wait_within(DEADLINE).success());

    let (mut from_stdout, stdout) = pipe().unwrap();
    fcntl_setfl(&stdout, OFlags::NONBLOCK).unwrap();
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    let mut child = world.command(&retrieve).stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
    let read = thread::spawn(move || {
        pause();
        let mut read = Vec::new();
        from_stdout.read_to_end(&mut read).unwrap();
        read
    });
    assert!(child.wait_within(DEADLINE).success());
    assert!(read.join_within(DEADLINE) == data);

    let (mut delete, to_stdin) = non_blocking_stdin(&["delete", "--id", ID, "--key-file", "-"]);
    pause();
    drop(write_within(to_stdin, &world.read("key"), DEADLINE));
    assert!(delete.wait_within(DEADLINE).success());
    assert_eq!(world.records(), 0);
}
