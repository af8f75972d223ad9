//! Folders that are stored with `--recursive`.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use strongroom::{Keyring, KeyringEntries, KeyringSecret, RecordKey};

use crate::support::wait::{self, DEADLINE, WaitWithin};
use crate::support::{World, failure, feed};

/// A folder with a keyring, named by the environment, and the folder `tree`.
fn world() -> World {
    let mut world = World::new();
    world.ok(&["keyring", "new", "--keyring", "keys", "--new-identity", "me.age"], "");
    world.environment = vec![("STRONGROOM_KEYRING", "keys".into()), ("STRONGROOM_IDENTITY", "me.age".into())];
    fs::create_dir(world.path("tree")).unwrap();
    world
}

const STORE: [&str; 5] = ["store", "--recursive", "--id-prefix", "project", "tree"];
const RETRIEVE: [&str; 6] = ["retrieve", "--recursive", "--id-prefix", "project", "-o", "copy"];

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

/// The numbers that a run prints.
fn numbers(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.ok(&with(args, &["--json"]), "")).unwrap()
}

/// Stores the folder with `--mirror`. Returns the numbers that the run prints, and the paths that it has removed.
fn mirror(world: &World, args: &[&str]) -> (Value, Vec<Value>) {
    let (stdout, stderr) = outcome(world, 0, &with(args, &["--mirror", "--json"]));
    let path = |line: &str| serde_json::from_str::<Value>(line).unwrap()["removed"]["path"].take();
    (serde_json::from_str(&stdout).unwrap(), stderr.lines().map(path).collect())
}

/// A file that was modified long ago.
fn write_old(world: &World, name: &str, data: impl AsRef<[u8]>) {
    world.write(name, data);
    set_age(&world.path(name), 1_000_000);
}

fn set_age(path: &Path, seconds: u64) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// A name's mode, time and content.
type Described = (u32, i64, i64, Vec<u8>);

/// All that is in a folder: the path of each name, and its description.
fn describe(folder: &Path) -> BTreeMap<Vec<u8>, Described> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for name in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let (path, metadata) = (name.path(), name.metadata().unwrap());
            let content = if metadata.is_dir() {
                folders.push(path.clone());
                b"folder".to_vec()
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let described = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), content);
            found.insert(path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec(), described);
        }
    }
    found
}

fn fill(world: &World) {
    fs::create_dir_all(world.path("tree/src/deep")).unwrap();
    write_old(world, "tree/README", "read me\n");
    write_old(world, "tree/src/main.rs", "fn main() {}\n");
    write_old(world, "tree/src/deep/empty", "");
    write_old(world, "tree/src/deep/large", vec![7; 700_000]);
    fs::set_permissions(world.path("tree/src/main.rs"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.path("tree/README"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(world.path("tree/src/deep"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(world.path("tree/src"), Permissions::from_mode(0o1777)).unwrap();
    let odd = world.path("tree").join(std::ffi::OsStr::from_bytes(b"odd \xff\n name"));
    fs::write(&odd, "odd").unwrap();
    set_age(&odd, 5_000);
    symlink("../README", world.path("tree/src/link")).unwrap();
    symlink("/nowhere", world.path("tree/src/dangling")).unwrap();
    set_age(&world.path("tree/src"), 77_777);
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let world = world();
    fill(&world);
    let stored = numbers(&world, &STORE);
    assert_eq!((&stored["stored"], &stored["bytes"]), (&5.into(), &700_024.into()));
    assert_eq!(world.records(), 6);
    assert_eq!(world.ok(&["retrieve", "--id", "project/src/main.rs"], ""), "fn main() {}\n");
    let restored = numbers(&world, &RETRIEVE);
    assert_eq!((&restored["restored"], &restored["failed"]), (&7.into(), &0.into()));
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));

    // Existing equal files stay as they are; different ones are replaced.
    let inode = fs::metadata(world.path("copy/src/main.rs")).unwrap().ino();
    fs::set_permissions(world.path("copy/src/main.rs"), Permissions::from_mode(0o600)).unwrap();
    world.write("copy/src/deep/empty", "no longer");
    fs::remove_file(world.path("copy/src/link")).unwrap();
    symlink("elsewhere", world.path("copy/src/link")).unwrap();
    world.write("copy/other", "stays");
    let restored = numbers(&world, &RETRIEVE);
    assert_eq!((&restored["restored"], &restored["unchanged"]), (&2.into(), &5.into()));
    assert_eq!(fs::metadata(world.path("copy/src/main.rs")).unwrap().ino(), inode);
    fs::remove_file(world.path("copy/other")).unwrap();
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

#[test]
fn a_second_run_stores_what_has_changed() {
    let world = world();
    fill(&world);
    numbers(&world, &STORE);
    let (keys, records) = (world.read("keys"), world.records());
    let again = numbers(&world, &STORE);
    assert_eq!((&again["stored"], &again["unchanged"]), (&0.into(), &5.into()));
    assert_eq!(world.read("keys"), keys, "the keyring was written without need");

    // One is changed, one has the same length, one is touched, one is new, one is removed, one becomes a folder.
    write_old(&world, "tree/src/main.rs", "fn main() { panic!() }\n");
    write_old(&world, "tree/src/deep/large", vec![8; 700_000]);
    set_age(&world.path("tree/README"), 5);
    write_old(&world, "tree/new", "new");
    fs::remove_file(world.path("tree").join(std::ffi::OsStr::from_bytes(b"odd \xff\n name"))).unwrap();
    fs::remove_file(world.path("tree/src/deep/empty")).unwrap();
    fs::create_dir(world.path("tree/src/deep/empty")).unwrap();
    let changed = numbers(&world, &STORE);
    let expected = serde_json::json!({
        "stored": 1, "replaced": 2, "unchanged": 1, "removed": 0, "failed": 0, "bytes": 700_026,
    });
    assert_eq!(changed, expected);
    numbers(&world, &RETRIEVE);
    let mut copy = describe(&world.path("copy"));
    assert_eq!(copy.remove(&b"odd \xff\n name"[..]).unwrap().3, b"odd", "a removed file stays in the tree");
    assert_eq!(copy, describe(&world.path("tree")));
    assert_eq!(world.records(), records + 1);

    let (mirrored, mut removed) = mirror(&world, &STORE);
    assert_eq!((&mirrored["removed"], &mirrored["unchanged"]), (&2.into(), &4.into()));
    removed.sort_by_key(|path| !path.is_object());
    assert_eq!(removed, [serde_json::json!({"base64url": "b2RkIP8KIG5hbWU"}), "src/deep/empty".into()]);
    assert_eq!(world.records(), 5);
    assert_eq!(
        world.ok(&["keyring", "list"], ""),
        "project/\nproject/README\nproject/new\nproject/src/deep/large\nproject/src/main.rs\n"
    );
    fs::remove_dir_all(world.path("copy")).unwrap();
    numbers(&world, &RETRIEVE);
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

/// A change within the same tick of the clock would have the same time and length.
#[test]
fn a_file_that_is_as_young_as_its_record_is_read_again() {
    let world = world();
    world.write("tree/young", "one");
    numbers(&world, &STORE);
    let modified = fs::metadata(world.path("tree/young")).unwrap().modified().unwrap();
    world.write("tree/young", "two");
    File::open(world.path("tree/young")).unwrap().set_modified(modified).unwrap();
    assert_eq!(numbers(&world, &STORE)["replaced"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "project/young"], ""), "two");
}

/// The manifest is older than the record: the file may have its earlier time again.
#[test]
fn a_file_is_compared_after_an_interrupted_replacement() {
    let world = world();
    write_old(&world, "tree/file", "one");
    let modified = fs::metadata(world.path("tree/file")).unwrap().modified().unwrap();
    numbers(&world, &STORE);
    let manifest = world.ok(&["retrieve", "--id", "project/"], "");
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "old"], "");
    write_old(&world, "tree/file", "two");
    assert_eq!(numbers(&world, &STORE)["replaced"], 1);
    // As a kill leaves it before the manifest is written.
    world.ok(&["replace", "--id", "project/"], &manifest);
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "new"], "");
    world.ok(&["keyring", "remove", "--id", "project/file", "--yes"], "");
    world.ok(&["keyring", "add", "--id", "project/file", "--key-file", "old"], "");
    world.ok(&["keyring", "add", "--id", "project/file", "--key-file", "new"], "");
    world.write("tree/file", "one");
    File::open(world.path("tree/file")).unwrap().set_modified(modified).unwrap();
    assert_eq!(numbers(&world, &STORE)["replaced"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "project/file"], ""), "one");
    assert_eq!(numbers(&world, &STORE)["unchanged"], 1);
    assert_eq!(key_count(&world, "project/file"), 1, "a superseded key remained");
}

/// The number of an id's keys in the keyring.
fn key_count(world: &World, id: &str) -> usize {
    let secret = KeyringSecret::identity_file(world.path("me.age")).unwrap();
    Keyring::open(world.path("keys"), secret).unwrap().entries().keys("", id).len()
}

/// Makes the manifest older than the record of `tree/file`: as a kill leaves it. The record has "two", under the key
/// `new`; the manifest is that of "one", under the key `old`. Returns the time of "one".
fn make_manifest_stale(world: &World) -> SystemTime {
    write_old(world, "tree/file", "one");
    let modified = fs::metadata(world.path("tree/file")).unwrap().modified().unwrap();
    numbers(world, &STORE);
    numbers(world, &RETRIEVE);
    let manifest = world.ok(&["retrieve", "--id", "project/"], "");
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "old"], "");
    world.write("tree/file", "two");
    set_age(&world.path("tree/file"), 1000);
    numbers(world, &STORE);
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "new"], "");
    world.ok(&["replace", "--id", "project/"], &manifest);
    modified
}

#[test]
fn a_restore_does_not_trust_the_times_of_a_stale_manifest() {
    let world = world();
    let modified = make_manifest_stale(&world);
    for keys in [&["new"][..], &["old", "new"], &["new", "old"]] {
        world.ok(&["keyring", "remove", "--id", "project/file", "--yes"], "");
        for key in keys {
            world.ok(&["keyring", "add", "--id", "project/file", "--key-file", key], "");
        }
        world.write("copy/file", "one");
        File::open(world.path("copy/file")).unwrap().set_modified(modified).unwrap();
        for _ in 0..2 {
            assert_eq!(numbers(&world, &RETRIEVE)["restored"], 1, "{keys:?}");
            assert_eq!(world.read("copy/file"), b"two", "{keys:?}");
            assert_ne!(fs::metadata(world.path("copy/file")).unwrap().modified().unwrap(), modified, "{keys:?}");
            fs::remove_dir_all(world.path("copy")).unwrap();
        }
        fs::create_dir(world.path("copy")).unwrap();
    }
    // Other keys of the id change nothing if the manifest is right.
    numbers(&world, &STORE);
    world.ok(&["key", "new", "--key-out", "others"], "");
    world.ok(&["keyring", "add", "--id", "project/file", "--key-file", "others"], "");
    assert_eq!(numbers(&world, &RETRIEVE)["restored"], 1);
    assert_eq!(numbers(&world, &RETRIEVE)["unchanged"], 1);
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

/// A file with the size and the time of one that was stored so soon after its change may have other data.
#[test]
fn a_restore_reads_the_record_of_a_young_file() {
    let world = world();
    world.write("tree/young", "one");
    numbers(&world, &STORE);
    numbers(&world, &RETRIEVE);
    let modified = fs::metadata(world.path("copy/young")).unwrap().modified().unwrap();
    world.write("copy/young", "two");
    File::open(world.path("copy/young")).unwrap().set_modified(modified).unwrap();
    assert_eq!(numbers(&world, &RETRIEVE)["restored"], 1);
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

/// A run trusts the manifest and the keyring, not the store, about the records of unchanged files.
#[test]
fn a_file_whose_key_is_removed_is_stored_again() {
    let mut world = world();
    write_old(&world, "tree/file", "data");
    numbers(&world, &STORE);
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "key"], "");
    let environment = std::mem::take(&mut world.environment);
    world.ok(&["delete", "--id", "project/file", "--key-file", "key"], "");
    world.environment = environment;
    assert_eq!(numbers(&world, &STORE)["unchanged"], 1);
    world.ok(&["keyring", "remove", "--id", "project/file", "--yes"], "");
    assert_eq!(numbers(&world, &STORE)["stored"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "project/file"], ""), "data");
    // Without the record, a changed file is stored under a new key, which takes the place of the manifest's.
    world.ok(&["keyring", "export", "--id", "project/file", "--key-out", "key-2"], "");
    let environment = std::mem::take(&mut world.environment);
    world.ok(&["delete", "--id", "project/file", "--key-file", "key-2"], "");
    world.environment = environment;
    write_old(&world, "tree/file", "changed");
    assert_eq!(numbers(&world, &STORE)["stored"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "project/file"], ""), "changed");
    assert_eq!(key_count(&world, "project/file"), 1);
}

#[test]
fn a_mirror_keeps_the_records_of_files_that_are_skipped() {
    let world = world();
    for name in ["pipe", "me-2.age", "gone", "kept"] {
        write_old(&world, &format!("tree/{name}"), name);
    }
    fs::create_dir(world.path("tree/folder")).unwrap();
    write_old(&world, "tree/folder/file", "in the folder");
    let identity = world.read("me.age");
    write_old(&world, "tree/me-2.age", &identity);
    numbers(&world, &STORE);
    let stored = describe(&world.path("tree"));
    fs::remove_dir_all(world.path("tree/folder")).unwrap();
    for name in ["gone", "pipe"] {
        fs::remove_file(world.path("tree").join(name)).unwrap();
    }
    let pipes = world.other("mkfifo", &["tree/pipe", "tree/folder"]).status().unwrap();
    assert!(pipes.success());
    let args = with(&STORE, &["--mirror", "--identity", "tree/me-2.age"]);
    let (stdout, stderr) = outcome(&world, 0, &args);
    assert!(stdout.contains("removed: 1\n"), "{stdout}");
    assert!(stderr.contains("removed: gone\n"), "{stderr}");
    assert!(stderr.contains("skipped: me-2.age: this command uses the file"), "{stderr}");
    numbers(&world, &RETRIEVE);
    let mut restored = describe(&world.path("copy"));
    assert_eq!(restored.len() + 1, stored.len());
    restored.insert(b"gone".to_vec(), stored[&b"gone"[..]].clone());
    assert_eq!(restored, stored);
}

#[test]
fn a_mirror_removes_only_what_was_its_trees() {
    let world = world();
    for name in ["gone", "kept", "x"] {
        write_old(&world, &format!("tree/{name}"), name);
    }
    fs::create_dir(world.path("tree/deep")).unwrap();
    write_old(&world, "tree/deep/file", "deep");
    fs::create_dir(world.path("inner")).unwrap();
    write_old(&world, "inner/file", "inner");
    let inner = ["store", "--recursive", "--id-prefix", "project/x", "inner"];
    world.ok(&["store", "--id", "project/note"], "note");
    assert_eq!(mirror(&world, &STORE).1, [0; 0], "there was no tree");
    world.ok(&["store", "--id", "project/deep/note"], "deep note");
    numbers(&world, &inner);
    // The tree keeps the records below a folder when a file takes its place.
    fs::remove_dir_all(world.path("tree/deep")).unwrap();
    write_old(&world, "tree/deep", "a file");
    numbers(&world, &STORE);
    for name in ["deep", "gone", "x"] {
        fs::remove_file(world.path("tree").join(name)).unwrap();
    }
    fs::create_dir(world.path("tree/deep")).unwrap();
    let (counts, mut removed) = mirror(&world, &STORE);
    removed.sort_by_key(|path| path.as_str().unwrap().to_owned());
    assert_eq!(removed, ["deep", "deep/file", "deep/note", "gone", "x"]);
    assert_eq!(counts["removed"], 5);
    assert_eq!(
        world.ok(&["keyring", "list"], ""),
        "project/\nproject/kept\nproject/note\nproject/x/\nproject/x/file\n"
    );
    assert_eq!(world.ok(&["retrieve", "--id", "project/note"], ""), "note");
    world.ok(&["retrieve", "--recursive", "--id-prefix", "project/x", "-o", "copy"], "");
    assert_eq!(world.read("copy/file"), b"inner");

    // A tree of another store does not keep the files.
    fs::create_dir(world.path("tree/y")).unwrap();
    write_old(&world, "tree/y/file", "y");
    numbers(&world, &STORE);
    numbers(&world, &["store", "--recursive", "--id-prefix", "project/y", "inner", "--store", "other.db"]);
    fs::remove_dir_all(world.path("tree/y")).unwrap();
    assert_eq!(mirror(&world, &STORE).1, ["y/file"]);
}

#[test]
fn names_in_json_are_not_escaped() {
    let world = world();
    let name = "it's \"a\" \\name\u{301}\t";
    let odd = std::ffi::OsStr::from_bytes(b"p\xff");
    write_old(&world, &format!("tree/{name}"), "new");
    world.ok(&["store", "--id", &format!("project/{name}"), "--key-out", "key"], "theirs");
    let pipes = world.other("mkfifo", &[&format!("tree/{name}.pipe")]).arg(world.path("tree").join(odd)).status();
    assert!(pipes.unwrap().success());
    let (_, stderr) = outcome(&world, 19, &with(&STORE, &["--json"]));
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths = |kind: &str| lines.iter().filter_map(|line| Some(line.get(kind)?["path"].clone())).collect::<Vec<_>>();
    assert_eq!(paths("failed"), [Value::from(name)]);
    let mut skipped = paths("skipped");
    skipped.sort_by_key(Value::is_object);
    assert_eq!(skipped, [Value::from(format!("{name}.pipe")), serde_json::json!({"base64url": "cP8"})]);
}

#[test]
fn a_killed_run_continues() {
    let world = world();
    for folder in 0..40 {
        fs::create_dir(world.path(&format!("tree/{folder}"))).unwrap();
        for file in 0..50 {
            write_old(&world, &format!("tree/{folder}/{file}"), format!("data {folder} {file}"));
        }
    }
    world.ok(&["store", "--id", "other"], "the store exists");
    let mut killed = 0;
    for run in 0..8 {
        let mut child = world.command(&STORE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + run * 25));
        child.kill().unwrap();
        killed += usize::from(!child.wait_within(DEADLINE).success());
        // Each record has a key.
        let listed = world.ok(&["keyring", "list"], "").lines().count() as u64;
        assert!(world.records() <= listed, "run {run}");
    }
    assert!(killed > 0);
    numbers(&world, &STORE);
    assert_eq!(world.records(), 2002);
    assert_eq!(world.ok(&["keyring", "list"], "").lines().count(), 2002);
    numbers(&world, &RETRIEVE);
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

/// Runs the program, which must end with `status`. Returns stdout and stderr.
fn outcome(world: &World, status: i32, args: &[&str]) -> (String, String) {
    let Output { stdout, stderr, status: found } = feed(&mut world.command(args), b"");
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(found.code(), Some(status), "{stdout}{stderr}");
    (stdout, stderr)
}

#[test]
fn nothing_is_written_outside_of_the_folder() {
    let world = world();
    fill(&world);
    write_old(&world, "tree/src/deep/large", "small");
    numbers(&world, &STORE);
    // A link in the place of a folder.
    fs::create_dir(world.path("elsewhere")).unwrap();
    fs::create_dir(world.path("copy")).unwrap();
    symlink("../elsewhere", world.path("copy/src")).unwrap();
    let (stdout, stderr) = outcome(&world, 19, &RETRIEVE);
    assert!(stdout.contains("restored: 2\n"), "{stdout}");
    assert!(stderr.contains("failed: src: cannot make the folder"), "{stderr}");
    assert!(stderr.contains("failed: src/main.rs: cannot open its folder"), "{stderr}");
    assert!(stderr.ends_with("error: files that were not restored: 7; all others were\n"), "{stderr}");
    assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);
    assert!(world.read("copy/README") == b"read me\n");

    // A link or a folder in the place of a file.
    fs::remove_file(world.path("copy/src")).unwrap();
    fs::remove_file(world.path("copy/README")).unwrap();
    symlink("../elsewhere/README", world.path("copy/README")).unwrap();
    let (_, stderr) = outcome(&world, 19, &RETRIEVE);
    assert!(
        stderr.starts_with("failed: README: cannot replace it: there is something else in its place\n"),
        "{stderr}"
    );
    assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);

    // Paths of a manifest.
    for path in ["../elsewhere/x", "/tmp/strongroom-escape", "src/../../elsewhere/x"] {
        let manifest = format!(
            r#"{{"version":1,"entries":[{{"path":"src","mode":493,"modified":[0,0]}},{{"path":"{path}","mode":420,"modified":[0,0],"size":1}}]}}"#
        );
        world.ok(&["replace", "--id", "project/"], &manifest);
        world.fail(4, &RETRIEVE, "");
    }
    assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_cannot_be_read_are_named_and_the_others_are_stored() {
    let mut world = world();
    write_old(&world, "tree/gone", "gone");
    write_old(&world, "tree/kept", "kept");
    fs::create_dir(world.path("tree/closed")).unwrap();
    write_old(&world, "tree/closed/inside", "inside");
    numbers(&world, &STORE);
    write_old(&world, "tree/secret", "secret");
    fs::remove_file(world.path("tree/gone")).unwrap();
    let fifo = world.other("mkfifo", &["tree/pipe"]).status().unwrap();
    assert!(fifo.success());
    for (name, mode) in [("tree/secret", 0o000), ("tree/closed", 0o000), ("tree", 0o755)] {
        fs::set_permissions(world.path(name), Permissions::from_mode(mode)).unwrap();
    }
    world.run_unprivileged();
    let (stdout, stderr) = outcome(&world, 14, &with(&STORE, &["--mirror"]));
    assert!(stdout.contains("stored: 0\nreplaced: 0\nunchanged: 1\nremoved: 0\nfailed: 2\n"), "{stdout}");
    for line in [
        "skipped: pipe: it is a device, a socket or a pipe\n",
        "failed: closed: cannot read the folder: Permission denied",
        "failed: secret: cannot open the file: Permission denied",
        "error: files that were not stored, and nothing was removed: 2; all others were\n",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
    let listed = world.ok(&["keyring", "list"], "");
    assert_eq!(
        listed, "project/\nproject/closed/inside\nproject/gone\nproject/kept\n",
        "a key without a record remained"
    );
}

#[test]
fn the_files_in_use_are_neither_stored_nor_overwritten() {
    let world = world();
    fs::remove_dir(world.path("tree")).unwrap();
    world.write("data", "data");
    world.ok(&["store", "--id", "other"], "other");
    let store = ["store", "--recursive", "--id-prefix", "here", "."];
    let (stdout, stderr) = outcome(&world, 0, &store);
    assert!(stdout.contains("stored: 1\n"), "{stdout}");
    for name in ["records.db", "records.db.index-key", "keys", "me.age"] {
        assert!(stderr.contains(&format!("skipped: {name}: this command uses the file")), "{stderr}");
    }
    // A tree that has a file in the place of the store.
    world.write("data", "changed");
    fs::create_dir(world.path("other")).unwrap();
    world.write("other/records.db", "not a database");
    numbers(&world, &["store", "--recursive", "--id-prefix", "other", "other"]);
    let (_, stderr) = outcome(&world, 19, &["retrieve", "--recursive", "--id-prefix", "other", "-o", "."]);
    assert!(stderr.starts_with("failed: records.db: this command uses the file in its place"), "{stderr}");
    assert_eq!(world.ok(&["retrieve", "--id", "other"], ""), "other");
}

#[test]
fn a_record_of_another_keyring_is_left_alone() {
    let world = world();
    write_old(&world, "tree/mine", "mine");
    write_old(&world, "tree/theirs", "new");
    world.ok(&["store", "--id", "project/theirs", "--key-out", "key"], "theirs");
    let (stdout, stderr) = outcome(&world, 19, &STORE);
    assert!(stdout.contains("stored: 1\n"), "{stdout}");
    assert!(stderr.starts_with("failed: theirs: there is a record with its id"), "{stderr}");
    assert_eq!(world.ok(&["keyring", "list"], ""), "project/\nproject/mine\n");
    assert_eq!(world.ok(&["retrieve", "--id", "project/theirs", "--key-file", "key"], ""), "theirs");
    // The whole tree is another keyring's.
    world.ok(
        &[
            "keyring",
            "new",
            "--keyring",
            "others",
            "--recipient",
            "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa",
        ],
        "",
    );
    world.write("others.age", "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n");
    fs::set_permissions(world.path("others.age"), Permissions::from_mode(0o600)).unwrap();
    let others = ["--keyring", "others", "--identity", "others.age"];
    assert!(world.fail(19, &with(&STORE, &others), "").contains("whose key the keyring does not have"));
    assert!(world.fail(19, &with(&RETRIEVE, &others), "").contains("the keyring does not have its key"));
}

#[test]
fn the_keys_of_another_store_remain() {
    let world = world();
    let other = |args: &[&'static str]| with(args, &["--store", "other.db"]);
    let both = [&STORE[..], &other(&STORE)].map(<[_]>::to_vec);
    let check = |data: [&str; 2]| {
        for (args, data) in [&["retrieve", "--id", "project/file"][..], &other(&["retrieve", "--id", "project/file"])]
            .into_iter()
            .zip(data)
        {
            assert_eq!(world.ok(args, ""), data);
        }
    };
    // Both have a tree before the file comes.
    fs::create_dir(world.path("tree/folder")).unwrap();
    both.iter().for_each(|store| drop(numbers(&world, store)));
    write_old(&world, "tree/file", "one");
    for store in &both {
        assert_eq!(numbers(&world, store)["stored"], 1);
    }
    check(["one", "one"]);
    assert_eq!(key_count(&world, "project/file"), 2);
    // Several keys do not make a run read the files, nor change the keyring.
    let keys = world.read("keys");
    for store in &both {
        assert_eq!(numbers(&world, store)["unchanged"], 1);
    }
    assert_eq!(world.read("keys"), keys);
    write_old(&world, "tree/file", "two");
    assert_eq!(numbers(&world, &both[0])["replaced"], 1);
    check(["two", "one"]);
    assert_eq!(numbers(&world, &both[1])["replaced"], 1);
    check(["two", "two"]);
    set_age(&world.path("tree/file"), 77);
    for store in both.iter().rev() {
        assert_eq!(numbers(&world, store)["unchanged"], 1);
    }
    check(["two", "two"]);
    assert_eq!(key_count(&world, "project/file"), 2);
    for args in [&RETRIEVE[..], &other(&RETRIEVE)] {
        numbers(&world, args);
        assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
        fs::remove_dir_all(world.path("copy")).unwrap();
    }
    // The record of the other store is none of its tree, if it has one.
    fs::remove_file(world.path("tree/file")).unwrap();
    assert_eq!(mirror(&world, &both[0]).1, ["file"]);
    assert_eq!(world.ok(&other(&["retrieve", "--id", "project/file"]), ""), "two");
    assert_eq!(key_count(&world, "project/file"), 1);
    for data in ["three", "four"] {
        write_old(&world, "tree/file", data);
        numbers(&world, &both[0]);
        check([data, "two"]);
    }
}

/// A record that is no file of a tree has the id of one in another store.
#[test]
fn the_key_of_another_stores_record_remains() {
    let world = world();
    write_old(&world, "tree/file", "one");
    numbers(&world, &STORE);
    world.ok(&["store", "--id", "project/file", "--store", "other.db"], "other");
    world.ok(&["store", "--id", "project/later", "--store", "other.db"], "later");
    let check = |data: &str| {
        assert_eq!(world.ok(&["retrieve", "--id", "project/file"], ""), data);
        assert_eq!(world.ok(&["retrieve", "--id", "project/file", "--store", "other.db"], ""), "other");
        assert_eq!(world.ok(&["retrieve", "--id", "project/later", "--store", "other.db"], ""), "later");
    };
    assert_eq!(numbers(&world, &STORE)["unchanged"], 1);
    check("one");
    write_old(&world, "tree/file", "two");
    write_old(&world, "tree/later", "new");
    let stored = numbers(&world, &with(&STORE, &["--mirror"]));
    assert_eq!((&stored["stored"], &stored["replaced"]), (&1.into(), &1.into()));
    check("two");
    fs::remove_file(world.path("tree/later")).unwrap();
    assert_eq!(mirror(&world, &STORE).1, ["later"]);
    check("two");
    // Records of this store become files of a tree.
    world.ok(&["store", "--id", "own/file"], "two");
    assert_eq!(numbers(&world, &["store", "--recursive", "--id-prefix", "own", "tree"])["stored"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "own/file"], ""), "two");
}

/// Adds keys that open nothing.
fn add_keys(world: &World, id: &str, count: usize) {
    let secret = KeyringSecret::identity_file(world.path("me.age")).unwrap();
    let mut keyring = Keyring::open(world.path("keys"), secret).unwrap();
    let add =
        |entries: &mut KeyringEntries| (0..count).try_for_each(|_| entries.insert("", id, &RecordKey::generate()?));
    keyring.update(add).unwrap();
}

#[test]
fn a_file_with_too_many_keys_fails_alone() {
    let world = world();
    for name in ["full", "other"] {
        write_old(&world, &format!("tree/{name}"), "data");
    }
    numbers(&world, &STORE);
    add_keys(&world, "project/full", 254);
    add_keys(&world, "project/new", 255);
    for name in ["full", "new", "newer", "other"] {
        write_old(&world, &format!("tree/{name}"), "changed");
    }
    let (stdout, stderr) = outcome(&world, 19, &STORE);
    assert!(stdout.contains("stored: 1\nreplaced: 1\nunchanged: 0\nremoved: 0\nfailed: 2\n"), "{stdout}");
    for name in ["full", "new"] {
        assert!(stderr.contains(&format!("failed: {name}: the keyring has 255 keys of this id")), "{stderr}");
    }
    assert_eq!(world.ok(&["retrieve", "--id", "project/full"], ""), "data");
    // The manifest.
    add_keys(&world, "project/", 254);
    write_old(&world, "tree/newest", "changed");
    let (_, stderr) = outcome(&world, 19, &STORE);
    let named = "error: the manifest, whose id is the prefix with a slash at its end: the keyring has 255 keys";
    assert!(stderr.contains(named), "{stderr}");
    assert_eq!(world.ok(&["retrieve", "--id", "project/newest"], ""), "changed");
    // The way out that the page about keyrings describes.
    for name in ["", "full"] {
        world.ok(&["delete", "--id", &format!("project/{name}")], "");
        assert_eq!(key_count(&world, &format!("project/{name}")), 254);
    }
    for name in ["", "full", "new"] {
        world.ok(&["keyring", "remove", "--id", &format!("project/{name}"), "--yes"], "");
    }
    assert_eq!(numbers(&world, &STORE)["stored"], 5); // with those that are compared
    assert_eq!(world.ok(&["retrieve", "--id", "project/full"], ""), "changed");

    // Files without a tree: those before it are stored.
    add_keys(&world, "full", 255);
    let (_, stderr) = outcome(&world, 19, &["store", "tree/other", "tree/full", "tree/new"]);
    assert!(stderr.starts_with("error: tree/full was not stored, nor the files after it: the keyring has"), "{stderr}");
    assert_eq!(world.ok(&["retrieve", "--id", "other"], ""), "changed");
    assert_eq!(key_count(&world, "new"), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn runs_into_a_full_store_leave_no_keys() {
    let world = world();
    for file in 0..30 {
        write_old(&world, &format!("tree/{file}"), [7; 100_000]);
    }
    fs::create_dir(world.path("full")).unwrap();
    let script = "mount -t tmpfs -o size=2m none full && \"$@\"; \"$@\" && exit 0; \"$@\"";
    let full = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    if !wait::output(world.other("unshare", &full[1..]).arg("true")).status.success() {
        eprintln!("SKIPPED: no file system may be mounted here");
        return;
    }
    let output = feed(&mut world.through(&full, &with(&STORE, &["--store", "full/records.db"])), b"");
    let message = failure(&output, 13);
    assert_eq!(message.matches("the storage is full").count(), 3, "{message}");
    assert_eq!(world.ok(&["keyring", "list"], ""), "");
}

/// Where files cannot be nameless, they have temporary names. A signal removes those of all workers, and the next run
/// those of a killed one; none is stored.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_restore_leaves_no_plaintext() {
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::{Pid, Signal, kill_process};

    let world = world();
    for folder in ["a", "b"] {
        fs::create_dir(world.path("tree").join(folder)).unwrap();
        write_old(&world, &format!("tree/{folder}/file"), [7; 300_000]); // not in a batch with others
    }
    numbers(&world, &STORE);
    let unfinished = || {
        let names = ["a", "b"].into_iter().flat_map(|folder| fs::read_dir(world.path("copy").join(folder))).flatten();
        let names = names.map(Result::unwrap).filter(|name| name.metadata().is_ok_and(|metadata| metadata.len() > 0));
        names.filter(|name| name.file_name().as_bytes().starts_with(b".strongroom-unfinished-")).count()
    };
    for (signal, left) in [(Signal::INT, 0), (Signal::TERM, 0), (Signal::KILL, 2)] {
        let mut restore = world.command(&RETRIEVE);
        world.preload(&mut restore);
        let mut child = restore.env("NO_TMPFILE", "").env("HOLD_WRITES", "").stdout(Stdio::null()).spawn().unwrap();
        wait::wait_for(|| (unfinished() == 2).then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait_within(DEADLINE).signal(), Some(signal.as_raw()));
        assert_eq!(unfinished(), left, "{signal:?}");
    }
    let (stdout, stderr) = outcome(&world, 0, &["store", "--recursive", "--id-prefix", "other", "copy"]);
    assert!(stdout.starts_with("stored: 0\n"), "{stdout}");
    assert_eq!(stderr.matches(": it is an unfinished file of a command").count(), 2, "{stderr}");
    let mut restore = world.command(&RETRIEVE);
    world.preload(&mut restore);
    assert!(feed(restore.env("NO_TMPFILE", ""), b"").status.success());
    assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
}

/// Those of the program, and those of the library: keyrings and key files.
#[test]
fn unfinished_files_are_not_stored() {
    let world = world();
    let name = |end: &str| format!("tree/.strongroom-unfinished-{end}");
    for end in ["0123456789abcdeg", "file-0123456789abcdef"] {
        write_old(&world, &name(end), "plaintext");
    }
    for end in ["", "0123456789abcde", "file-", "file-0123456789abcdeg", "file-0123456789abcdef0"] {
        write_old(&world, &name(end), "a user's");
    }
    let (stdout, stderr) = outcome(&world, 0, &STORE);
    assert!(stdout.starts_with("stored: 5\n"), "{stdout}");
    assert_eq!(stderr.matches(": it is an unfinished file of a command").count(), 2, "{stderr}");
}

/// Only the owner of a file may replace it in a folder with the sticky bit.
#[cfg(target_os = "linux")]
#[test]
fn a_link_that_cannot_be_replaced_leaves_no_other() {
    use std::os::unix::fs::{chown, lchown};

    let mut world = world();
    symlink("one", world.path("tree/link")).unwrap();
    numbers(&world, &STORE);
    numbers(&world, &RETRIEVE);
    fs::remove_file(world.path("copy/link")).unwrap();
    symlink("two", world.path("copy/link")).unwrap();
    world.run_unprivileged();
    let shared = Permissions::from_mode(0o1777);
    if lchown(world.path("copy/link"), Some(0), None).is_err() || chown(world.path("copy"), Some(0), None).is_err() {
        eprintln!("SKIPPED: only root may give a file to another user");
        return;
    }
    fs::set_permissions(world.path("copy"), shared).unwrap();
    let (_, stderr) = outcome(&world, 14, &RETRIEVE);
    assert!(stderr.starts_with("failed: link: cannot make the link: "), "{stderr}");
    assert_eq!(describe(&world.path("copy")).len(), 1);
    assert_eq!(fs::read_link(world.path("copy/link")).unwrap(), Path::new("two"));
}

/// A restore can be repeated over files and folders that its user may not read.
#[cfg(target_os = "linux")]
#[test]
fn a_restore_is_repeated_over_what_its_user_cannot_read() {
    let mut world = world();
    if !rustix::process::geteuid().is_root() {
        return; // only root can read and store such files
    }
    fs::create_dir_all(world.path("tree/folder/inner")).unwrap();
    write_old(&world, "tree/folder/inner/file", "data");
    write_old(&world, "tree/folder/other", "data");
    let set = |name: &str, mode| fs::set_permissions(world.path(name), Permissions::from_mode(mode)).unwrap();
    for (name, mode) in [("file", 0o200), ("", 0o300)] {
        set(&format!("tree/folder/inner/{name}"), mode);
    }
    set("tree/folder", 0o100);
    world.ok(&STORE, "");
    let stored = describe(&world.path("tree"));
    world.run_unprivileged();
    assert_eq!(numbers(&world, &RETRIEVE)["restored"], 2);
    for unchanged in [2, 1, 2] {
        let seen = numbers(&world, &RETRIEVE);
        assert_eq!((&seen["failed"], &seen["unchanged"]), (&0.into(), &unchanged.into()), "{seen}");
        assert!(describe(&world.path("copy")) == stored);
        let mode = if unchanged == 2 { 0o100 } else { 0o200 };
        fs::set_permissions(world.path("copy/folder/inner/file"), Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn misuse_is_explained() {
    let world = world();
    world.write("tree/file", "data");
    world.write("file", "data");
    for (status, args, expected) in [
        (64, vec!["store", "--recursive", "tree"], "--id-prefix"),
        (64, vec!["store", "--id-prefix", "p", "tree"], "--recursive"),
        (64, vec!["store", "--recursive", "--id-prefix", "p"], "FILE"),
        (64, vec!["store", "--recursive", "--id-prefix", "p", "-"], "name it"),
        (64, with(&STORE, &["more"]), "cannot be used"),
        (64, with(&STORE, &["--id", "x"]), "cannot be used"),
        (64, with(&STORE, &["--expires-in", "1d"]), "cannot be used"),
        (64, with(&STORE, &["--key-out", "key"]), "cannot be used"),
        (64, with(&STORE, &["--workers", "0"]), "--workers"),
        (64, vec!["retrieve", "--recursive", "--id-prefix", "p", "-o", "-"], "--output"),
        (64, with(&RETRIEVE, &["--range", "0..1"]), "cannot be used"),
        (64, vec!["retrieve"], "--id"),
        (19, vec!["store", "--recursive", "--id-prefix", "p", "missing"], "cannot read the folder"),
        (19, vec!["store", "--recursive", "--id-prefix", "p", "file"], "cannot read the folder"),
        (19, vec!["store", "--recursive", "--id-prefix", "", "tree"], "prefix"),
    ] {
        let message = world.fail(status, &args, "");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    let without_output = ["retrieve", "--recursive", "--id-prefix", "p"];
    assert!(failure(&feed(&mut world.command(&without_output), b""), 64).contains("--output"));
    world.ok(&["store", "--id", "other"], "data");
    assert!(world.fail(19, &RETRIEVE, "").contains("no tree under this prefix"));
    assert!(!world.exists("copy"));
    fs::remove_file(world.path("tree/file")).unwrap();
    assert!(world.fail(19, &with(&STORE, &["--mirror"]), "").contains("the folder is empty"));
    let mut bare = world;
    bare.environment.clear();
    assert!(bare.fail(64, &STORE, "").contains("--keyring"));
    assert!(bare.fail(64, &RETRIEVE, "").contains("--keyring"));
}

#[cfg(feature = "server")]
#[test]
fn trees_are_stored_over_services() {
    use crate::support::service::Service;

    let world = world();
    fill(&world);
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let token = world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], "");
    world.write("token", &token);
    let storage = Service::start(&world, &["serve-storage", "--store", "cipher.db", "--tokens", "tokens"]);
    let place = format!("http://{}", storage.address);
    let token = world.ok(&["token", "new", "--scopes", "store,retrieve", "--tokens", "tokens-2"], "");
    world.write("token-2", &token);
    let server = Service::start(&world, &["serve", "--store", "plain.db", "--tokens", "tokens-2"]);
    let server = format!("http://{}", server.address);
    let storage = ["--store", place.as_str(), "--token-file", "token", "--index-key-file", "index"];
    let server = ["--server", server.as_str(), "--token-file", "token-2"];
    // The stores share a keyring.
    for options in [&storage[..], &server[..]] {
        write_old(&world, "tree/src/main.rs", "fn main() {}\n");
        assert_eq!(numbers(&world, &with(&STORE, options))["stored"], 5);
        write_old(&world, "tree/src/main.rs", "fn main() { }\n");
        assert_eq!(numbers(&world, &with(&STORE, options))["replaced"], 1);
        assert_eq!(numbers(&world, &with(&STORE, options))["unchanged"], 5);
        numbers(&world, &with(&RETRIEVE, options));
        assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
    }
}

/// A token may store and replace, but not read: an interrupted first run continues.
#[cfg(feature = "server")]
#[test]
fn a_run_without_the_right_to_read_continues() {
    use crate::support::service::Service;

    let world = world();
    write_old(&world, "tree/file", "data");
    for (scopes, file) in [("store", "store.token"), ("retrieve,erase", "others.token")] {
        let token = world.ok(&["token", "new", "--scopes", scopes, "--tokens", "tokens"], "");
        world.write(file, &token);
    }
    let server = Service::start(&world, &["serve", "--store", "plain.db", "--tokens", "tokens"]);
    let server = format!("http://{}", server.address);
    let storing = with(&STORE, &["--server", &server, "--token-file", "store.token"]);
    assert_eq!(numbers(&world, &storing)["stored"], 1);
    let others = ["--server", server.as_str(), "--token-file", "others.token"];
    world.ok(&with(&["delete", "--id", "project/"], &others), ""); // as if it was not yet written
    assert_eq!(numbers(&world, &storing)["replaced"], 1);
    assert_eq!(key_count(&world, "project/file"), 1);
    assert_eq!(world.ok(&with(&["retrieve", "--id", "project/file"], &others), ""), "data");
}

/// A run that fails to remove a record leaves it to the next one.
#[cfg(feature = "server")]
#[test]
fn a_failed_mirror_continues() {
    use crate::support::service::Service;

    let world = world();
    for (scopes, file) in [("store,retrieve", "some.token"), ("store,retrieve,erase", "all.token")] {
        let token = world.ok(&["token", "new", "--scopes", scopes, "--tokens", "tokens"], "");
        world.write(file, &token);
    }
    let server = Service::start(&world, &["serve", "--store", "plain.db", "--tokens", "tokens"]);
    let server = format!("http://{}", server.address);
    let storing = |token| with(&STORE, &["--server", &server, "--token-file", token]);
    write_old(&world, "tree/gone", "data");
    write_old(&world, "tree/kept", "data");
    numbers(&world, &storing("some.token"));
    fs::remove_file(world.path("tree/gone")).unwrap();
    outcome(&world, 21, &with(&storing("some.token"), &["--mirror"]));
    assert_eq!(mirror(&world, &storing("all.token")).1, ["gone"]);
}
