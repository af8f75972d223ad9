//! Namespaces: the same id names another record in each.

use crate::support::{self, DATA, ID, World};

#[test]
fn each_namespace_has_its_own_ids() {
    let world = World::with_record();
    let in_one = |args: &[&str], stdin: &str| world.ok(&[args, &["--namespace", "one"]].concat(), stdin);
    in_one(&["store", "--id", ID, "--key-out", "one"], "first");
    assert_eq!(in_one(&["retrieve", "--id", ID, "--key-file", "one"], ""), "first");
    assert_eq!(in_one(&["contains", "--id", ID], ""), "there is a record\n");
    world.fail(1, &["retrieve", "--namespace", "two", "--id", ID, "--key-file", "one"], "");
    world.fail(3, &["retrieve", "--namespace=", "--id", ID, "--key-file", "one"], ""); // the default namespace
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    assert_eq!(world.records(), 2);

    in_one(&["replace", "--id", ID, "--key-file", "one", "--key-out", "2"], "second");
    in_one(&["rekey", "--id", ID, "--key-file", "2", "--key-out", "3"], "");
    assert_eq!(in_one(&["take", "--id", ID, "--key-file", "3"], ""), "second");
    in_one(&["store", "--id", ID, "--key-out", "4"], "third");
    in_one(&["delete", "--id", ID, "--key-file", "4"], "");
    in_one(&["store", "--id", ID, "--key-out", "5"], "fourth");
    assert_eq!(in_one(&["erase", "--id", ID, "--yes"], ""), "erased\n");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
}

/// A variable that is meant for the commands on records has no effect on others.
#[test]
fn the_environment_names_a_namespace() {
    let world = World::with_record();
    let run = |name: &str, args: &[&str]| support::feed(world.command(args).env("STRONGROOM_NAMESPACE", name), b"");
    assert_eq!(run("one", &["contains", "--id", ID]).status.code(), Some(1));
    assert_eq!(run("one", &["contains", "--id", ID, "--namespace="]).status.code(), Some(0));
    assert_eq!(run("", &["contains", "--id", ID]).status.code(), Some(0), "an empty variable counts as unset");
    assert!(run("one", &["stats"]).stdout.starts_with(b"records: 1\n"));
    for args in [&["purge"][..], &["key", "new"], &["completions", "bash"]] {
        assert!(run("one", args).status.success(), "{args:?}");
    }
    #[cfg(feature = "server")]
    assert!(run("one", &["serve", "--print-config"]).status.success());
}

#[cfg(feature = "server")]
#[test]
fn the_environment_binds_a_new_token() {
    let world = World::new();
    let new = ["token", "new", "--scopes", "store", "--tokens", "tokens"];
    let run = |name: &str, args: &[&str]| support::feed(world.command(args).env("STRONGROOM_NAMESPACE", name), b"");
    assert!(run("one", &new).status.success());
    assert!(run("one", &[&new[..], &["--namespace", "two"]].concat()).status.success());
    assert!(run("", &new).status.success());
    let list = run("one", &["token", "list", "--tokens", "tokens", "--json"]);
    let tokens: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let namespaces: Vec<_> = tokens.as_array().unwrap().iter().map(|token| token["namespace"].as_str()).collect();
    assert_eq!(namespaces, [Some("one"), Some("two"), None]);
}

#[cfg(feature = "server")]
#[test]
fn a_token_for_the_whole_store_is_bound_to_no_namespace() {
    let world = World::new();
    for scopes in ["storage", "monitor", "store,monitor"] {
        let new = ["token", "new", "--scopes", scopes, "--tokens", "tokens"];
        let message = world.fail(64, &[&new[..], &["--namespace", "one"]].concat(), "");
        assert!(message.contains("without --namespace"), "{message}");
        let from_environment = support::feed(world.command(&new).env("STRONGROOM_NAMESPACE", "one"), b"");
        let message = support::failure(&from_environment, 64);
        assert!(message.contains("without STRONGROOM_NAMESPACE"), "{message}");
        world.ok(&new, "");
    }
}

#[test]
fn commands_on_the_whole_store_refuse_a_namespace() {
    let world = World::with_record();
    let commands = [("purge", &[][..]), ("stats", &[]), ("key new", &[]), ("completions", &["bash"]), ("man", &["."])];
    let of_services: [(_, &[_]); 4] = [
        ("serve", &["--print-config"]),
        ("serve-storage", &["--print-config"]),
        ("token list", &["--tokens", "tokens"]),
        ("token revoke", &["web-1", "--tokens", "tokens"]),
    ];
    let of_services = if cfg!(feature = "server") { &of_services[..] } else { &[] };
    for (command, args) in commands.iter().chain(of_services) {
        let args = [&Vec::from_iter(command.split(' '))[..], args, &["--namespace", "one"]].concat();
        let message = world.fail(64, &args, "");
        let expected = format!("--namespace cannot be used together with {command}\n");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn invalid_namespaces_are_errors() {
    let world = World::with_record();
    let longest = "n".repeat(255);
    world.ok(&["store", "--id", ID, "--namespace", &longest, "--key-out", "longest"], DATA);
    let message = world.fail(64, &["contains", "--id", ID, "--namespace", &format!("{longest}n")], "");
    assert!(message.contains("at most 255 bytes"), "{message}");
    let key = String::from_utf8(world.read("key")).unwrap();
    let message = world.fail(64, &["contains", "--id", ID, "--namespace", key.trim()], "");
    assert!(message.contains("a key, not a namespace"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_namespace_is_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let world = World::new();
    let with_name = |args: &[&str], name: &[u8]| {
        let mut command = world.command(args);
        support::feed(command.arg("--namespace").arg(OsStr::from_bytes(name)), DATA.as_bytes())
    };
    assert!(with_name(&["store", "--id", ID, "--key-out", "key"], b"\xff\xfe").status.success());
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    assert_eq!(with_name(&retrieve, b"\xff\xfe").stdout, DATA.as_bytes());
    support::failure(&with_name(&retrieve, b"\xff\xfd"), 1);
}

#[cfg(all(unix, feature = "server"))]
#[test]
fn a_token_reaches_only_its_namespace() {
    use crate::support::service::Service;

    let world = World::new();
    let token = |name: &str, args: &[&str]| {
        let args = [&["token", "new", "--tokens", "tokens"], args].concat();
        world.write(name, world.ok(&args, ""));
    };
    token("bound", &["--scopes", "store,retrieve,take", "--namespace", "one"]);
    token("other", &["--scopes", "store,retrieve,take", "--namespace", "two"]);
    token("default", &["--scopes", "store,retrieve,take", "--namespace="]);
    token("all", &["--scopes", "store,retrieve,erase"]);
    let listen = format!("unix:{}", world.path("socket").display());
    let _server = Service::start_on(&world, &["serve", "--tokens", "tokens", "--listen", &listen]);
    let run = |token: &str, args: &[&str], stdin: &str| {
        let mut command = world.command(&[args, &["--server", &listen, "--token-file", token]].concat());
        support::feed(&mut command, stdin.as_bytes())
    };
    let status = |token: &str, args: &[&str]| run(token, args, DATA).status.code();

    let store = ["store", "--namespace", "one", "--id", ID, "--key-out", "key"];
    assert_eq!(status("other", &store), Some(21));
    assert_eq!(status("default", &store), Some(21));
    assert_eq!(status("bound", &store), Some(0));
    let retrieve = ["retrieve", "--namespace", "one", "--id", ID, "--key-file", "key"];
    assert_eq!(run("bound", &retrieve, "").stdout, DATA.as_bytes());
    assert_eq!(run("all", &retrieve, "").stdout, DATA.as_bytes());
    assert_eq!(status("other", &retrieve), Some(21));
    assert_eq!(
        status("bound", &["rekey", "--namespace", "one", "--id", ID, "--key-file", "key", "--key-out", "2"]),
        Some(0)
    );
    let take = ["take", "--namespace", "one", "--id", ID, "--key-file", "2"];
    assert_eq!(status("all", &take), Some(21), "without the scope");
    assert_eq!(run("bound", &take, "").stdout, DATA.as_bytes());
    assert_eq!(status("bound", &take), Some(1));
    assert_eq!(status("default", &["store", "--id", ID, "--key-out", "default-key"]), Some(0));
}
