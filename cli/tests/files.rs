//! Data in files: written completely or not at all, and failures if writing is not permitted.

use crate::support;
use std::fs;
use std::process::Stdio;

use crate::support::wait::{DEADLINE, WaitWithin};
use crate::support::{DATA, ID, World};

#[test]
fn a_file_is_replaced_only_by_a_whole_record() {
    let world = World::with_record();
    world.ok(&["key", "new", "--key-out", "other"], "");
    world.write("copy", "precious");
    let before = world.names();
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "other", "-o", "copy"], "");
    world.fail(1, &["retrieve", "--id", "nobody", "--key-file", "key", "-o", "copy"], "");
    assert_eq!(world.read("copy"), b"precious");
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "other", "-o", "new"], "");
    assert_eq!(world.names(), before, "no half file");

    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], ""), "");
    assert_eq!(world.read("copy"), DATA.as_bytes());
    assert_eq!(world.names(), before);
}

#[cfg(unix)]
#[test]
fn a_retrieved_file_is_private_and_replaces_no_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let world = World::with_record();
    world.write("copy", "");
    fs::set_permissions(world.path("copy"), fs::Permissions::from_mode(0o644)).unwrap();
    world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], "");
    assert_eq!(fs::metadata(world.path("copy")).unwrap().permissions().mode() & 0o777, 0o600);

    symlink("copy", world.path("link")).unwrap();
    let message = world.fail(19, &["retrieve", "--id", ID, "--key-file", "key", "-o", "link"], "");
    assert!(message.contains("not a regular file"), "{message}");
    assert!(fs::symlink_metadata(world.path("link")).unwrap().is_symlink());
}

/// A reader that closes the pipe early, such as `head`, causes no error message.
#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let world = World::new();
    world.ok(&["store", "--id", ID, "--key-out", "key"], vec![b'x'; 4_000_000]);
    let mut child = world
        .command(&["retrieve", "--id", ID, "--key-file", "key"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(support::failure(&child.output_within(DEADLINE), 141), "");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let set_mode = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut world = World::with_record();
    fs::create_dir(world.path("locked")).unwrap();
    set_mode(&world.path("locked"), 0o555);
    world.run_unprivileged();
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&retrieve, ""), DATA, "it works as long as it may");

    for args in [
        &["retrieve", "--id", ID, "--key-file", "key", "-o", "locked/copy"][..],
        &["store", "--id", "new", "--key-out", "locked/key"],
        &["replace", "--id", ID, "--key-file", "key", "--key-out", "locked/key"],
        &["key", "new", "--key-out", "locked/key"],
        &["store", "--id", "new", "--store", "locked/records.db"],
        &["man", "locked"],
    ] {
        world.fail(14, args, "other data");
    }
    assert_eq!(world.records(), 1);
    assert_eq!(world.ok(&retrieve, ""), DATA);

    world.write("unreadable", DATA);
    set_mode(&world.path("unreadable"), 0o000);
    world.fail(14, &["store", "--id", "new", "unreadable"], "");
    world.fail(14, &["retrieve", "--id", ID, "--key-file", "unreadable"], "");

    set_mode(&world.path("records.db"), 0o444);
    let message = world.fail(14, &["store", "--id", "new"], DATA);
    assert!(message.contains("may not write"), "{message}");
    let message = world.fail(7, &["erase", "--yes", "--id", ID], "");
    assert!(message.contains("may not write"), "{message}");
    assert_eq!((world.ok(&retrieve, ""), world.records()), (DATA.into(), 1), "it can be read");
}
