//! The commands on a store behind an encryption server, and on a storage service.

#![cfg(all(unix, feature = "server"))]

use crate::support;
use crate::support::service::Service;
use crate::support::{DATA, ID, World};
use rustix::process::Signal;

/// Runs all commands on the store of the options `place`.
fn all_commands(world: &World, place: &[&str]) {
    let args = |args: &[&'static str]| [place, args].concat();
    let ok = |words: &[&'static str], stdin: &str| world.ok(&args(words), stdin);

    ok(&["store", "--id", ID, "--key-out", "key"], DATA);
    assert_eq!(ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    assert_eq!(ok(&["retrieve", "--id", ID, "--key-file", "key", "--range", "2..5"], ""), "agn");
    world.fail(2, &args(&["store", "--id", ID]), DATA);

    let printed = ok(&["replace", "--id", ID, "--key-file", "key"], "other");
    world.write("new", printed);
    assert_eq!(ok(&["retrieve", "--id", ID, "--key-file", "new"], ""), "other");
    ok(&["rekey", "--id", ID, "--key-file", "new", "--key-out", "rekeyed"], "");
    assert_eq!(ok(&["take", "--id", ID, "--key-file", "rekeyed"], ""), "other");
    world.fail(1, &args(&["take", "--id", ID, "--key-file", "rekeyed"]), "");
    ok(&["store", "--id", ID, "--key-file", "new"], DATA);
    ok(&["delete", "--id", ID, "--key-file", "new"], "");
    world.fail(1, &args(&["retrieve", "--id", ID, "--key-file", "new"]), "");

    // Long enough to be streamed, with a given key, repeated.
    let long = "0123456789".repeat(300_000);
    world.write("long", &long);
    ok(&["key", "new", "--key-out", "own"], "");
    for _ in 0..2 {
        ok(&["store", "--id", "long", "--key-file", "own", "long"], "");
    }
    ok(&["retrieve", "--id", "long", "--key-file", "own", "-o", "copy"], "");
    assert!(world.read("copy") == long.as_bytes());
    ok(&["rekey", "--id", "long", "--key-file", "own", "--key-out", "long-2"], "");
    ok(&["take", "--id", "long", "--key-file", "long-2", "-o", "copy"], "");
    assert!(world.read("copy") == long.as_bytes());
    ok(&["store", "--id", "long", "--namespace", "one", "--key-file", "own", "long"], "");
    assert_eq!(ok(&["contains", "--id", "long", "--namespace", "one"], ""), "there is a record\n");
    assert_eq!(ok(&["erase", "--id", "long", "--namespace", "one", "--yes"], ""), "erased\n");
    ok(&["store", "--id", "long", "--key-file", "own", "long"], "");
    assert_eq!(ok(&["contains", "--id", "long"], ""), "there is a record\n");
    assert!(ok(&["stats"], "").starts_with("records: 1\n"));
    assert_eq!(ok(&["erase", "--id", "long", "--yes"], ""), "erased\n");
    assert_eq!(ok(&["erase", "--id", "long", "--yes"], ""), "there was no record\n");
    for file in ["key", "new", "rekeyed", "own", "long-2", "copy"] {
        std::fs::remove_file(world.path(file)).unwrap();
    }
}

#[test]
fn client_and_both_services_act_as_one_store() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let storage = Service::start(&world, &["serve-storage", "--store", "cipher.db"]);
    let place = format!("http://{}", storage.address);
    let server = Service::start(&world, &["serve", "--store", &place, "--index-key-file", "index", "--timeout", "6"]);

    all_commands(&world, &["--server", &format!("http://{}", server.address)]);
    all_commands(&world, &["--store", &place, "--index-key-file", "index"]);

    // A record that one of them has stored is found by the other.
    world.ok(&["store", "--server", &format!("http://{}", server.address), "--id", ID, "--key-out", "key"], DATA);
    let found =
        world.ok(&["retrieve", "--store", &place, "--index-key-file", "index", "--id", ID, "--key-file", "key"], "");
    assert_eq!(found, DATA);
    world.ok(&["key", "new", "--index", "--key-out", "other"], "");
    world.fail(9, &["contains", "--id", ID, "--store", &place, "--index-key-file", "other"], "");
    world.fail(10, &["contains", "--id", ID, "--store", &place, "--index-key-file", "none"], "");
    for command in ["stats", "purge", "maintain", "compact", "verify"] {
        world.ok(&[command, "--store", &place], "");
    }
    for command in ["maintain", "compact", "verify"] {
        let message = world.fail(7, &[command, "--server", &format!("http://{}", server.address)], "");
        assert!(message.contains("name the storage with --store"), "{message}");
    }

    let (status, log) = storage.stop(Signal::TERM);
    assert_eq!(status, Some(0), "{log}");
    let url = format!("http://{}", server.address);
    let failed = world.fail(14, &["stats", "--server", &url], "");
    assert!(failed.contains("the service"), "{failed}");
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_unix_socket_and_a_token() {
    let world = World::new();
    let socket = world.path("socket");
    let token = world.ok(&["token", "new", "--scopes", "store,retrieve", "--tokens", "tokens"], "");
    world.write("token", token);
    let listen = format!("unix:{}", socket.display());
    let server = Service::start_on(&world, &["serve", "--tokens", "tokens", "--listen", &listen]);
    world.ok(&["store", "--server", &listen, "--token-file", "token", "--id", ID, "--key-out", "key"], DATA);
    let retrieve = ["retrieve", "--server", &listen, "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&[&retrieve[..], &["--token-file", "token"]].concat(), ""), DATA);
    let failed = world.fail(21, &retrieve, "");
    assert!(failed.contains("a valid token is required") && failed.contains("--token-file"), "{failed}");
    let failed = world.fail(21, &["erase", "--server", &listen, "--token-file", "token", "--id", ID, "--yes"], "");
    assert!(failed.contains("scope"), "{failed}");
    world.fail(14, &[&retrieve[..], &["--token-file", "none"]].concat(), "");
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
}

#[test]
fn the_command_line_overrides_the_environment() {
    let world = World::new();
    let server = Service::start(&world, &["serve"]); // the environment sets the store: records.db
    let url = format!("http://{}", server.address);
    // The environment sets a store, the command line a server.
    world.ok(&["store", "--server", &url, "--id", ID, "--key-out", "key"], DATA);
    let with_server = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("STRONGROOM_SERVER", &url);
        support::feed(&mut command, b"")
    };
    let found = with_server(&["retrieve", "--id", ID, "--key-file", "key"]);
    assert_eq!(
        support::failure(&found, 64),
        "error: STRONGROOM_STORE cannot be used together with STRONGROOM_SERVER\nhint: see `strongroom --help` and `strongroom COMMAND --help`\n"
    );
    let found = with_server(&["retrieve", "--store", "records.db", "--id", ID, "--key-file", "key"]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), DATA);

    // A cluster, of which no server tells the others.
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key", "--server"];
    let cluster = format!("cluster:{url}?names=127.0.0.1");
    assert_eq!(world.ok(&[&retrieve[..], &[cluster.as_str()]].concat(), ""), DATA);
    let refused = world.fail(19, &[&retrieve[..], &[&format!("cluster:{url}")]].concat(), "");
    assert!(refused.contains("a cluster needs the names"), "{refused}");

    // The same, and an address overrides a store and a server in the environment.
    let address = server.address.to_string();
    let retrieve = ["retrieve", "--id", ID, "--key-file", "key"];
    let mut command = world.command(&[&retrieve[..], &["--bootstrap-nodes", &address]].concat());
    let found = support::feed(command.env("STRONGROOM_SERVER", "http://127.0.0.1:1"), b"");
    assert_eq!(String::from_utf8_lossy(&found.stdout), DATA);
    let mut command = world.command(&retrieve);
    command.env_remove("STRONGROOM_STORE").env("STRONGROOM_BOOTSTRAP_NODES", &address);
    assert_eq!(String::from_utf8_lossy(&support::feed(&mut command, b"").stdout), DATA);
    let both = world.fail(64, &[&retrieve[..], &["--bootstrap-nodes", &address, "--server", &url]].concat(), "");
    assert!(both.contains("--server cannot be used together with --bootstrap-nodes"), "{both}");
    // The services have a variable of their own, and join both that they are given.
    let mut command = world.command(&["serve", "--print-config"]);
    let printed = support::feed(command.env("STRONGROOM_BOOTSTRAP_NODES", &address), b"");
    assert!(String::from_utf8_lossy(&printed.stdout).contains("[cluster]\njoin = []"), "{printed:?}");
    let given = ["serve", "--print-config", "--join", "a.example:1", "--bootstrap-nodes", "b.example:2,c.example:3"];
    let printed = world.ok(&given, "").replace(['\n', ' '], "");
    assert!(printed.contains("join=[\"a.example:1\",\"b.example:2\",\"c.example:3\""), "{printed}");
}

#[test]
fn an_error_names_the_variables_that_exclude_each_other() {
    let world = World::new();
    for (name, other) in [
        ("STRONGROOM_SERVER", "STRONGROOM_BOOTSTRAP_NODES"),
        ("STRONGROOM_INDEX_KEY_FILE", "STRONGROOM_INDEX_KEY_COMMAND"),
        ("STRONGROOM_TOKEN_FILE", "STRONGROOM_TOKEN_COMMAND"),
        ("STRONGROOM_IDENTITY", "STRONGROOM_PASSPHRASE_FILE"),
    ] {
        let mut command = world.command(&["keyring", "list"]);
        command.env_remove("STRONGROOM_STORE").envs([("STRONGROOM_KEYRING", "x"), (name, "x"), (other, "x")]);
        let message = support::failure(&support::feed(&mut command, b""), 64);
        assert!(message.contains(&format!("{name} cannot be used together with {other}\n")), "{message}");
    }
}

#[test]
fn a_key_given_as_a_token_is_not_sent() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.ok(&["key", "new", "--key-out", "key"], "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for (file, kind) in [("index", "an index key"), ("key", "a record key")] {
        let failed = world.fail(19, &["stats", "--server", &url, "--token-file", file], "");
        assert!(failed.contains(&format!("is not a token but {kind}")), "{failed}");
        let args = ["stats", "--store", &url, "--index-key-file", "index", "--token-file", file];
        assert!(world.fail(19, &args, "").contains(&format!("is not a token but {kind}")));
        world.write("config", format!("index_key_file = 'index'\n[remote]\ntoken_file = '{file}'"));
        let failed = world.fail(19, &["serve", "--config", "config", "--store", &url], "");
        assert!(failed.contains(&format!("remote.token_file holds {kind}")), "{failed}");
    }
    let token = world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], "");
    world.write("token", &token);
    for (kind, args) in [
        ("an index key but a token", ["--store", "new.db", "--index-key-file", "token"]),
        ("an index key but a record key", ["--store", "new.db", "--index-key-file", "key"]),
        ("a record key but a token", ["--id", ID, "--key-file", "token"]),
        ("a record key but an index key", ["--id", ID, "--key-file", "index"]),
    ] {
        let failed =
            world.fail(5, &[&["store", "--id", "x"][..if args[0] == "--id" { 1 } else { 3 }], &args].concat(), DATA);
        assert!(failed.contains(&format!("is not {kind}")), "{failed}");
        assert!(!failed.contains(token.trim().get(5..25).unwrap()), "{failed}");
    }
    let failed = world.fail(64, &["stats", "--server", &url, "--token-file", token.trim()], "");
    assert!(!failed.contains(token.trim().get(5..25).unwrap()), "{failed}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing was sent");
}

/// Threads with stacks larger than memory cannot be started.
#[test]
fn too_few_client_threads_are_an_error() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let without_threads = |args: &[&str], stdin: &[u8]| {
        let mut command = world.command(args);
        command.env("RUST_MIN_STACK", (1u64 << 46).to_string());
        support::feed(&mut command, stdin)
    };
    let remote = ["--store", "http://localhost:1", "--index-key-file", "index"];
    for args in [&["stats"][..], &["store", "--id", ID, "--key-out", "key"]] {
        let failed = support::failure(&without_threads(&[args, &remote].concat(), b""), 14);
        assert!(failed.contains("cannot start a thread"), "{failed}");
    }
}

#[test]
fn what_cannot_be_is_told() {
    let world = World::new();
    for url in ["http://192.0.2.1:1", "records.db", "https://a.example/path", "http://127.0.0.1:99999", "https://a:0"] {
        world.fail(19, &["stats", "--server", url], "");
    }
    let contains = ["contains", "--id", ID, "--store", "http://127.0.0.1:1"];
    assert!(world.fail(19, &contains, "").contains("--index-key-file"));
    assert!(world.fail(19, &["serve", "--server", "http://127.0.0.1:1"], "").contains("--store"));
    assert!(world.fail(19, &["serve-storage", "--store", "http://127.0.0.1:1"], "").contains("path"));
    let client = ["stats", "--server", "https://127.0.0.1:1", "--client-key", "key"];
    assert!(world.fail(19, &client, "").contains("client certificate and its private key belong together"));
    let trusted = ["stats", "--server", "http://127.0.0.1:1", "--authorities", "ca.pem"];
    assert!(world.fail(19, &trusted, "").contains("https://"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = world.fail(14, &["stats", "--server", &format!("http://{silent}"), "--timeout", "1"], "");
    assert!(failed.contains("cannot be reached"), "{failed}");
}

/// A shell's variables for other services do not concern one without TLS.
#[test]
fn variables_for_tls_are_ignored_without_it() {
    let world = World::new();
    let service = Service::start(&world, &["serve", "--store", "served.db"]);
    let url = format!("http://{}", service.address);
    let set = |args: &[&str]| {
        let mut command = world.command(args);
        let set = ["AUTHORITIES", "REVOCATIONS", "CLIENT_CERTIFICATE", "CLIENT_KEY"];
        command.envs(set.map(|name| (format!("STRONGROOM_{name}"), "missing.pem")));
        support::feed(&mut command, DATA.as_bytes())
    };
    for args in [&["health", &url][..], &["stats", "--server", &url], &["store", "--server", &url, "--id", ID]] {
        let output = set(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let message = support::failure(&set(&["health", &url, "--authorities", "missing.pem"]), 19);
    assert!(message.contains("only for https://"), "{message}");
    service.stop(Signal::TERM);
}

#[test]
fn a_refusal_names_what_was_refused() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let limits = "[limits]\nwrong_tokens_per_minute = 5\n";
    world.write("config.toml", limits);
    for name in ["ours", "other"] {
        world.ok(
            &["token", "new", "--scopes", "storage", "--tokens", name, "--token-out", &format!("{name}.token")],
            "",
        );
    }
    let storage = Service::start(
        &world,
        &["serve-storage", "--store", "cipher.db", "--tokens", "ours", "--config", "config.toml"],
    );
    let url = format!("http://{}", storage.address);
    let other = ["--store", &url, "--index-key-file", "index", "--token-file", "other.token", "--timeout", "6"];
    let message = world.fail(21, &[&["serve"], &other[..]].concat(), "");
    let named = format!("error: the storage service {url} refuses this service: check remote.token_file");
    assert!(message.starts_with(&named) && !message.contains("hint"), "{message}");
    let message = world.fail(21, &[&["stats"], &other[..]].concat(), "");
    assert!(message.contains("a valid token is required") && message.contains("\nhint: pass a token"), "{message}");
    // Further wrong tokens are answered with 429, whose reason is shown.
    let refused = || support::failure(&support::feed(&mut world.command(&[&["stats"], &other[..]].concat()), b""), 21);
    let message = (0..5).map(|_| refused()).find(|message| message.contains("too many requests with invalid tokens"));
    assert!(message.is_some_and(|message| message.contains("\nhint: pass a token")));
    storage.stop(Signal::TERM);
}
