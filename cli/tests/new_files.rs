//! New files are complete or missing, regardless of signals, crashes and the features of the file system.

#![cfg(target_os = "linux")]

use crate::support;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::wait::{DEADLINE, WaitWithin, output, wait_for, write_within};
use crate::support::{DATA, ID, World, failure, feed};
use rustix::process::{Pid, Signal, kill_process};

fn kill(child: &Child, signal: i32) {
    kill_process(Pid::from_child(child), Signal::from_named_raw(signal).unwrap()).unwrap();
}

/// The names of all files, except those that SQLite leaves when its process is killed, and the tests' own.
fn names(world: &World) -> Vec<String> {
    let own = |name: &String| name.starts_with("records.db-") || name == "preload.so";
    world.names().into_iter().filter(|name| !own(name)).collect()
}

/// A `store --key-out k` that has read some of its data and waits for more.
fn waiting_store(world: &World, without_nameless_files: bool) -> Child {
    let mut store = world.command(&["store", "--id", "new", "--key-out", "k"]);
    if without_nameless_files {
        world.preload(&mut store);
        store.env("NO_TMPFILE", "");
    }
    let mut child = store.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // More than the pipe's capacity, so that the program has begun to read the data.
    child.stdin = child.stdin.map(|stdin| write_within(stdin, &[b'x'; 200_000], DEADLINE));
    child
}

#[test]
fn a_signal_removes_the_unused_key_file() {
    use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM};
    use signal_hook::consts::{SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};

    const SIGKILL: i32 = 9;
    const SIGPWR: i32 = 30;
    let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGIO, SIGPROF, SIGPWR, SIGUSR1, SIGUSR2, SIGVTALRM];
    let world = World::with_record();
    let before = names(&world);
    for signal in signals.into_iter().chain([SIGXCPU, SIGXFSZ, SIGKILL]) {
        for without_nameless_files in [false, true] {
            let mut child = waiting_store(&world, without_nameless_files);
            if without_nameless_files {
                let is_temporary = |name: &String| name.starts_with(".strongroom-");
                wait_for(|| names(&world).iter().any(is_temporary).then_some(()));
            }
            kill(&child, signal);
            let status = child.wait_within(DEADLINE);
            assert!(status.signal() == Some(signal) || status.code() == Some(128 + signal), "{signal}: {status}");
            if signal != SIGKILL || !without_nameless_files {
                assert_eq!(names(&world), before, "signal {signal}");
            }
        }
    }
    // The leftovers of the killed program are removed, and the same command succeeds.
    world.ok(&["store", "--id", "new", "--key-out", "k"], DATA);
    assert_eq!(names(&world).len(), before.len() + 1);
    assert_eq!(world.ok(&["retrieve", "--id", "new", "--key-file", "k"], ""), DATA);
}

/// If a retrieval is interrupted or killed at any time, the file is the old one or the new one, and no other remains.
#[test]
fn an_interrupted_retrieve_leaves_no_partial_file() {
    let world = World::new();
    let data = vec![b'x'; 50_000_000];
    world.ok(&["store", "--id", ID, "--key-out", "key"], &data);
    world.write("copy", "precious");
    let before = names(&world);
    for (n, signal) in [Signal::INT, Signal::KILL, Signal::TERM, Signal::HUP].into_iter().cycle().take(24).enumerate() {
        let mut retrieve = world.command(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"]);
        let mut child = retrieve.spawn().unwrap();
        thread::sleep(Duration::from_millis(7 * n as u64));
        let _ = kill_process(Pid::from_child(&child), signal);
        child.wait_within(DEADLINE);
        let copy = world.read("copy");
        assert!(copy == b"precious" || copy == data, "{} bytes", copy.len());
        assert_eq!(names(&world), before);
    }
}

/// The same if files without a name are not supported.
#[test]
fn a_signal_removes_the_temporary_file() {
    let world = World::new();
    world.ok(&["store", "--id", ID, "--key-out", "key"], vec![b'x'; 300_000_000]);
    world.write("copy", "precious");
    let before = names(&world);
    for signal in [Signal::INT, Signal::TERM] {
        let mut retrieve = world.command(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"]);
        world.preload(&mut retrieve);
        let mut child = retrieve.env("NO_TMPFILE", "").spawn().unwrap();
        wait_for(|| names(&world).iter().any(|name| name.starts_with(".strongroom-")).then_some(()));
        kill(&child, signal.as_raw());
        assert_eq!(child.wait_within(DEADLINE).signal(), Some(signal.as_raw()));
        assert_eq!(world.read("copy"), b"precious");
        assert_eq!(names(&world), before);
    }
    let mut retrieve = world.command(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"]);
    world.preload(&mut retrieve);
    assert!(feed(retrieve.env("NO_TMPFILE", ""), b"").status.success());
    assert_eq!((world.read("copy").len(), names(&world)), (300_000_000, before));
}

/// The path of a file without a name is in `/proc`, which some containers do not have.
#[test]
fn files_get_their_names_without_proc() {
    let world = World::with_record();
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    let without_proc = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    if !output(world.other("unshare", &without_proc[1..]).arg("true")).status.success() {
        eprintln!("SKIPPED: no file system may be mounted here");
        return;
    }
    world.ok(&["keyring", "new", "--keyring", "keys", "--new-identity", "me.age"], "");
    fs::create_dir(world.path("tree")).unwrap();
    world.write("tree/file", "data");
    let tree = ["--recursive", "--id-prefix", "tree", "--keyring", "keys", "--identity", "me.age"];
    for args in [
        &["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"][..],
        &["key", "new", "--key-out", "new"],
        &[&["store", "tree"], &tree[..]].concat(),
        &[&["retrieve", "-o", "tree-2"], &tree[..]].concat(),
    ] {
        let run = |state: &str| {
            let outcome = feed(&mut world.through(&without_proc, args), b"");
            assert!(outcome.status.success(), "{state}: {args:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        };
        run("new");
        if args.contains(&"-o") {
            let replaced = if args.contains(&"copy") { "copy" } else { "tree-2/file" };
            world.write(replaced, "precious");
            run("replaced");
        }
    }
    assert_eq!(world.read("copy"), DATA.as_bytes());
    assert_eq!(world.read("tree-2/file"), b"data");
    let is_temporary = |name: &String| name.starts_with(".strongroom-");
    assert!(!names(&world).iter().any(is_temporary) && fs::read_dir(world.path("tree-2")).unwrap().count() == 1);
}

#[test]
fn files_left_by_a_crash_are_removed() {
    let world = World::with_record();
    let [dead, alive, link, folder] =
        ["dead", "alive", "link", "folder"].map(|name| format!(".strongroom-unfinished-{name:0>16}"));
    // Names that only resemble those of the program.
    let own =
        [".strongroom-key", ".strongroom-unfinished-", &format!("{dead}1"), &format!("{dead}.")].map(str::to_owned);
    for name in own.iter().chain([&dead, &alive]) {
        world.write(name, "plaintext");
    }
    world.write("precious", "precious");
    std::os::unix::fs::symlink("precious", world.path(&link)).unwrap();
    fs::create_dir(world.path(&folder)).unwrap();
    let locked = File::open(world.path(&alive)).unwrap();
    locked.lock().unwrap();
    world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], "");
    assert!(!world.exists(&dead) && world.path(&link).symlink_metadata().is_err());
    assert!(world.exists(&alive) && world.exists(&folder));
    assert_eq!(world.read("precious"), b"precious");
    drop(locked);
    world.ok(&["key", "new", "--key-out", "new"], "");
    assert!(!world.exists(&alive));
    assert!(own.iter().all(|name| world.exists(name)));
}

/// Signals are deferred between the naming of the key file and the commit of the record, so that neither is without the
/// other.
#[test]
fn a_signal_waits_for_a_commit_and_a_second_does_not() {
    let world = World::with_record();
    for interrupted_twice in [false, true] {
        let mut child = waiting_store(&world, false);
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        drop(child.stdin.take());
        wait_for(|| world.exists("k").then_some(()));
        kill(&child, Signal::INT.as_raw());
        if interrupted_twice {
            let ended = wait_for(|| {
                thread::sleep(Duration::from_millis(20));
                let _ = kill_process(Pid::from_child(&child), Signal::INT);
                child.try_wait().unwrap()
            });
            assert_eq!(ended.signal(), Some(Signal::INT.as_raw()), "while the database is still locked");
            fs::remove_file(world.path("k")).unwrap();
        } else {
            thread::sleep(Duration::from_millis(100));
            assert!(child.try_wait().unwrap().is_none() && world.exists("k"));
        }
        drop(database);
        if !interrupted_twice {
            child.wait_within(DEADLINE);
            let retrieved = feed(&mut world.command(&["retrieve", "--id", "new", "--key-file", "k"]), b"");
            assert!(retrieved.stdout == [b'x'; 200_000], "{}", String::from_utf8_lossy(&retrieved.stderr));
            world.ok(&["delete", "--id", "new", "--key-file", "k"], "");
            fs::remove_file(world.path("k")).unwrap();
        }
    }
    assert_eq!(world.records(), 1);
}

/// Some file systems cannot sync a folder (EINVAL, ENOTSUP), and some folders may not be opened (EACCES). A failing
/// disk (EIO) is an error.
#[test]
fn a_folder_without_fsync_is_no_error() {
    let world = World::with_record();
    let index_key = ["--index-key-file", "records.db.index-key"];
    for (n, (error, status)) in [(22, 0), (95, 0), (13, 0), (1, 0), (38, 0), (5, 14)].into_iter().enumerate() {
        let key = format!("key {n}");
        for args in [
            &["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"][..],
            &["store", "--id", &key, "--key-out", &key],
            &["key", "new", "--key-out", &format!("new {n}")],
        ] {
            let mut command = world.command(&[args, &index_key].concat());
            world.preload(&mut command);
            let output = feed(command.env("FOLDER_FSYNC", error.to_string()), DATA.as_bytes());
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{args:?} with {error}: {message}");
        }
        assert_eq!(world.exists(&key), status == 0, "a key that may not be on the disk opens nothing");
    }
    assert_eq!(world.records(), 6);
}

/// A power cut must not lose the store's new folder.
#[test]
fn the_default_folder_is_durable() {
    let world = World::new();
    fs::create_dir(world.path("home")).unwrap();
    let mut store = world.command(&["store", "--id", ID]);
    store.env_remove("STRONGROOM_STORE").env("XDG_DATA_HOME", world.path("home/.local/share"));
    world.preload(&mut store);
    assert!(feed(store.env("FSYNC_LOG", world.path("log")), DATA.as_bytes()).status.success());
    let log = String::from_utf8(world.read("log")).unwrap();
    for folder in ["home", "home/.local", "home/.local/share"] {
        let folder = world.path(folder).canonicalize().unwrap();
        assert!(log.lines().any(|line| line == folder.to_str().unwrap()), "{} is not in {log}", folder.display());
    }
}

#[test]
fn a_thread_limit_is_an_error() {
    let mut world = World::with_record();
    world.write("large", vec![b'x'; 30_000_000]);
    world.write("records.db.uploads", ""); // which a long record creates
    let before = names(&world);
    world.run_with_one_thread();
    // A progress bar needs no thread.
    let seen = support::on_terminal(&world, "", "", &["store", "--id", "large", "large"]);
    assert_eq!(seen["status"], 0, "{seen}");
    assert!(seen["shown"].as_str().unwrap().contains("MiB"), "{seen}");
    let output = feed(&mut world.command(&["store", "--id", "new", "--key-out", "k"]), DATA.as_bytes());
    if output.status.success() {
        eprintln!("SKIPPED: threads cannot be limited here");
        return;
    }
    let message = failure(&output, 14);
    assert!(message.contains("thread"), "{message}");
    assert_eq!(names(&world), before);
}
