//! Ids from files and pipes, which other users of the machine cannot see.

use crate::support::{DATA, ID, World};

#[test]
fn an_id_comes_from_a_file_or_stdin() {
    let world = World::with_record();
    world.write("data", DATA);
    world.write("id", format!("{ID}\n"));
    let retrieve = ["retrieve", "--key-file", "key", "--id-file"];
    assert_eq!(world.ok(&[&retrieve[..], &["id"]].concat(), ""), DATA);
    assert_eq!(world.ok(&[&retrieve[..], &["-"]].concat(), ID), DATA);
    #[cfg(unix)]
    assert_eq!(world.ok(&[&retrieve[..], &["/dev/stdin"]].concat(), format!("{ID}\n")), DATA);
    world.ok(&["replace", "--id-file", "id", "--key-file", "key", "--key-out", "2", "data"], "");
    world.ok(&["store", "--id-file", "-", "--key-out", "3", "data"], "other");
    assert_eq!(world.ok(&["retrieve", "--id", "other", "--key-file", "3"], ""), DATA);
    world.ok(&["delete", "--id-file", "-", "--key-file", "3"], "other\n");
    assert_eq!(world.ok(&["erase", "--id-file", "id", "--yes"], ""), "erased\n");
    assert_eq!(world.records(), 0);
}

/// The id is all bytes except one newline at the end.
#[test]
fn an_id_is_any_bytes_but_for_one_newline() {
    let world = World::new();
    let long = "x".repeat(4096);
    let ids: [(&[u8], &[u8]); 8] = [
        (b"a\0b", b"a\0b\n"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"a\n", b"a\n\n"),
        (b"a\r", b"a\r\n"),
        (b" a ", b" a "),
        (b"\n", b"\n\n"),
        (b"\xef\xbb\xbfa", b"\xef\xbb\xbfa"),
        (long.as_bytes(), &[long.as_bytes(), b"\n"].concat()),
    ];
    let store = strongroom::Strongroom::open(world.path("records.db")).unwrap();
    for (id, file) in ids {
        world.write("id", file);
        let key = world.ok(&["store", "--id-file", "id"], DATA);
        let key = strongroom::RecordKey::from_text(key.trim()).unwrap();
        assert_eq!(store.retrieve(id, &key).unwrap(), DATA.as_bytes(), "{id:?}");
    }
    for file in [&b""[..], b"\n", &[long.as_bytes(), b"x"].concat(), &[long.as_bytes(), b"x\n"].concat(), &[b'x'; 9999]]
    {
        world.write("id", file);
        world.fail(6, &["store", "--id-file", "id"], DATA);
    }
}

#[test]
fn an_invalid_id_is_an_error() {
    let world = World::with_record();
    let key = String::from_utf8(world.read("key")).unwrap();
    world.write("id", ID);
    assert!(world.fail(19, &["erase", "--yes", "--id-file", "key"], "").contains("a key, not an id"));
    assert!(world.fail(64, &["erase", "--yes", "--id", key.trim()], "").contains("a key, not an id"));
    world.fail(19, &["erase", "--yes", "--id-file", "nowhere"], "");
    assert!(world.fail(64, &["erase", "--yes", "--id", ID, "--id-file", "id"], "").contains("--id-file"));
    assert!(world.fail(64, &["erase", "--yes"], "").contains("--id-file"));
    for args in [
        &["store", "--id-file", "-"][..],
        &["store", "--id-file", "-", "-"],
        &["store", "--id-file", "-", "--key-file", "key", "-"],
        &["store", "--id-file", "-", "--key-file", "-", "id"],
        &["replace", "--id-file", "id", "--key-file", "-"],
        &["retrieve", "--id-file", "-", "--key-file", "-"],
        &["delete", "--id-file", "-", "--key-file", "/dev/stdin"],
    ] {
        assert!(world.fail(64, args, &key).contains("only one of"), "{args:?}");
    }
    assert_eq!(world.records(), 1);
}
