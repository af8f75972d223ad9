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

use crate::support::wait::{DEADLINE, WaitWithin};
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

    let mirrored = numbers(&world, &with(&STORE, &["--mirror"]));
    assert_eq!((&mirrored["removed"], &mirrored["unchanged"]), (&2.into(), &4.into()));
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

/// A tree takes the keys under its prefix for its own: those of another store stop it before it changes one.
#[test]
fn the_keys_of_another_store_remain() {
    let world = world();
    write_old(&world, "tree/file", "data");
    let other = |args: &[&'static str]| with(args, &["--store", "other.db"]);
    numbers(&world, &STORE);
    let keys = world.read("keys");
    let message = world.fail(19, &other(&STORE), "");
    assert!(message.contains("\"project/file\"") && message.contains("another store"), "{message}");
    assert_eq!(world.read("keys"), keys);
    // Another prefix, or a tree without files.
    world.ok(&["store", "--recursive", "--id-prefix", "second", "tree", "--store", "other.db"], "");
    fs::create_dir_all(world.path("folders/in")).unwrap();
    world.ok(&["store", "--recursive", "--id-prefix", "folders", "folders"], "");
    world.ok(&["store", "--recursive", "--id-prefix", "folders", "folders", "--store", "other.db"], "");
    world.ok(&["retrieve", "--recursive", "--id-prefix", "folders", "-o", "copy"], "");
    assert!(world.exists("copy/in"));
    // A record of another store that comes later is not removed with the files of the tree.
    world.ok(&["store", "--id", "second/note"], "note");
    let mirror = ["store", "--recursive", "--id-prefix", "second", "tree", "--store", "other.db", "--mirror"];
    assert_eq!(numbers(&world, &mirror)["removed"], 0);
    assert_eq!(world.ok(&["retrieve", "--id", "second/note"], ""), "note");
    // Records of this store become files of a tree.
    world.ok(&["store", "--id", "own/file"], "data");
    let own = numbers(&world, &["store", "--recursive", "--id-prefix", "own", "tree"]);
    assert_eq!(own["stored"], 1);
    assert_eq!(world.ok(&["retrieve", "--id", "own/file"], ""), "data");
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
    for options in [&storage[..], &server[..]] {
        write_old(&world, "tree/src/main.rs", "fn main() {}\n");
        assert_eq!(numbers(&world, &with(&STORE, options))["stored"], 5);
        write_old(&world, "tree/src/main.rs", "fn main() { }\n");
        assert_eq!(numbers(&world, &with(&STORE, options))["replaced"], 1);
        assert_eq!(numbers(&world, &with(&STORE, options))["unchanged"], 5);
        numbers(&world, &with(&RETRIEVE, options));
        assert_eq!(describe(&world.path("copy")), describe(&world.path("tree")));
        // Each store has its own keyring, because their records have other keys.
        world.ok(&["keyring", "new", "--keyring", "keys-2", "--recipient", &recipient(&world)], "");
        fs::rename(world.path("keys-2"), world.path("keys")).unwrap();
    }
}

#[cfg(feature = "server")]
fn recipient(world: &World) -> String {
    let identity = String::from_utf8(world.read("me.age")).unwrap();
    identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}
