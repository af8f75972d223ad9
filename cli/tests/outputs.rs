//! No output replaces a file that the command uses, under any name.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;

use crate::support::{DATA, ID, World, failure, feed};

/// All files and their contents, except those that SQLite creates and removes while a store is open.
fn contents(world: &World) -> BTreeMap<String, Vec<u8>> {
    let names = world.names().into_iter().filter(|name| world.path(name).is_file());
    names.map(|name| (name.clone(), world.read(&name))).collect()
}

#[test]
fn an_input_or_store_file_is_refused_as_output() {
    let world = World::with_record();
    world.ok(&["token", "new", "--scopes", "store", "--tokens", "tokens"], "");
    for name in ["token", "authorities", "certificate", "certificate.key", "revocations"] {
        world.write(name, "precious");
    }
    world.write("id", ID);
    fs::create_dir(world.path("folder")).unwrap();
    for name in ["records.db", "records.db.index-key", "key", "token"] {
        fs::hard_link(world.path(name), world.path(&format!("folder/{name}"))).unwrap();
    }
    let before = contents(&world);
    let absolute = world.path("records.db").into_os_string().into_string().unwrap();
    let options = [
        ["--index-key-file", "records.db.index-key"],
        ["--token-file", "token"],
        ["--authorities", "authorities"],
        ["--client-certificate", "certificate"],
        ["--client-key", "certificate.key"],
        ["--revocations", "revocations"],
    ]
    .concat();
    for output in [
        "records.db",
        "./records.db",
        "folder/../records.db",
        &absolute,
        "records.db-wal",
        "records.db-shm",
        "records.db-journal",
        "records.db.uploads",
        "folder/../records.db-wal",
        "records.db.index-key",
        "folder/records.db",
        "folder/records.db.index-key",
        "folder/key",
        "folder/token",
        "key",
        "id",
        "token",
        "authorities",
        "certificate",
        "certificate.key",
        "revocations",
    ] {
        let retrieve = ["retrieve", "--id-file", "id", "--key-file", "key", "-o", output];
        let message = world.fail(19, &[&retrieve[..], &options].concat(), "");
        assert!(message.contains("choose another name"), "{output}: {message}");
        assert_eq!(contents(&world), before, "{output}");

        // A key file is never overwritten, and an output must not create the store's own key file.
        for args in [
            &["key", "new", "--key-out", output][..],
            &["store", "--id", "new", "--key-out", output],
            &["replace", "--id", ID, "--key-file", "key", "--key-out", output],
        ] {
            world.fail(19, &[args, &options].concat(), DATA);
            assert_eq!(contents(&world), before, "{args:?}");
        }
    }
    #[cfg(feature = "server")]
    for output in ["records.db", "folder/records.db", "records.db-wal", "key", "token"] {
        let (scopes, options) = (["token", "new", "--scopes", "store", "--tokens", output], ["--token-file", "token"]);
        let refused = if output == "key" { continue } else { world.fail(19, &[&scopes[..], &options].concat(), "") };
        assert!(refused.contains("choose another name"), "{refused}");
    }
    assert_eq!(contents(&world), before);
    fs::remove_file(world.path("folder/records.db")).unwrap(); // a database has one name
    // Other outputs are permitted, also beside the store and over existing files.
    world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "records.db.copy"], "");
    world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "authorities"], "");
    assert_eq!(world.read("authorities"), DATA.as_bytes());
}

/// `>>` does not truncate the file, so that the check can protect it.
#[test]
fn an_input_or_store_file_is_refused_as_stdout() {
    let world = World::with_record();
    world.write("config.toml", "");
    let before = contents(&world);
    for (file, args) in [
        #[cfg(feature = "server")]
        ("config.toml", &["serve", "--config", "config.toml", "--print-config"][..]),
        ("records.db", &["stats"][..]),
        ("records.db", &["retrieve", "--id", ID, "--key-file", "key"]),
        ("records.db", &["key", "new"]),
        ("records.db", &["store", "--id", "new"]),
        ("records.db", &["completions", "bash"]),
        ("records.db.index-key", &["erase", "--id", ID, "--yes"]),
        ("key", &["replace", "--id", ID, "--key-file", "key"]),
    ] {
        let redirect = ["sh", "-c", &format!("exec \"$@\" >>{file}"), "sh"];
        let message = failure(&feed(&mut world.through(&redirect, args), DATA.as_bytes()), 19);
        assert!(message.contains("stdout"), "{message}");
        assert_eq!(contents(&world), before, "{args:?}");
    }
}

/// Closing a file of the database elsewhere in the same process releases SQLite's locks on it.
#[test]
fn a_store_file_is_refused_as_input() {
    let world = World::with_record();
    fs::hard_link(world.path("records.db"), world.path("link")).unwrap();
    for args in [
        &["store", "--id", "new", "records.db"][..],
        &["store", "--id", "new", "link"],
        &["replace", "--id", ID, "--key-file", "key", "records.db"],
        &["retrieve", "--id", ID, "--key-file", "link"],
        &["delete", "--id-file", "records.db", "--key-file", "key"],
    ] {
        let message = world.fail(19, args, "");
        assert!(message.contains("copy it first"), "{message}");
    }
    let redirected = ["sh", "-c", "exec \"$@\" <records.db", "sh"];
    let output = feed(&mut world.through(&redirected, &["store", "--id", "new"]), b"");
    assert!(failure(&output, 19).contains("copy it first"));
    fs::remove_file(world.path("link")).unwrap();
    assert_eq!(world.records(), 1);
}

#[test]
fn a_manual_page_does_not_overwrite_a_store() {
    let world = World::new();
    fs::create_dir(world.path("man1")).unwrap();
    world.ok(&["store", "--store", "man1/strongroom-store.1", "--id", ID, "--key-out", "key"], DATA);
    let before = world.read("man1/strongroom-store.1");
    let message = world.fail(19, &["man", "man1", "--store", "man1/strongroom-store.1"], "");
    assert!(message.contains("choose another name"), "{message}");
    assert!(world.read("man1/strongroom-store.1") == before);
    std::os::unix::fs::symlink(world.path("key"), world.path("man1/strongroom.1")).unwrap();
    world.fail(19, &["man", "man1"], "");
    assert_eq!(world.read("key").len(), 63);
}

/// With such a path, the names of the store's files would be wrong, and an output could replace them.
#[test]
fn a_store_with_a_separator_behind_its_name_is_refused() {
    let world = World::with_record();
    let before = contents(&world);
    for store in ["records.db/", "records.db/."] {
        for output in ["records.db", "records.db-wal", "records.db.index-key"] {
            let args = ["retrieve", "--store", store, "--id", ID, "--key-file", "key", "-o", output];
            let message = world.fail(19, &args, "");
            assert!(message.contains("must end in the name of a file"), "{store} {output}: {message}");
            assert_eq!(contents(&world), before, "{store} {output}");
        }
    }
    for store in ["new.db/", "new.db/."] {
        let message = world.fail(19, &["store", "--store", store, "--id", ID, "--key-out", "new"], DATA);
        assert!(message.contains("must end in the name of a file"), "{store}: {message}");
        assert_eq!(contents(&world), before, "{store}");
    }
}
