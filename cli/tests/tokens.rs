//! Named tokens that expire, are listed and revoked; the audit log.

#![cfg(all(unix, feature = "server"))]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::service::Service;

use crate::support::wait::{self, DEADLINE, poll_within};
use crate::support::{DATA, ID, World, failure, feed};

const NEW: [&str; 6] = ["token", "new", "--scopes", "store,retrieve", "--tokens", "tokens"];

fn new(world: &World, more: &[&str]) -> String {
    world.ok(&[&NEW[..], more].concat(), "").trim().to_owned()
}

fn store_with(world: &World, service: &Service, token: &str, id: &str) -> Option<i32> {
    world.write("token", format!("{token}\n"));
    let server = format!("http://{}", service.address);
    let args = ["store", "--server", &server, "--token-file", "token", "--id", id];
    feed(&mut world.command(&args), DATA.as_bytes()).status.code()
}

#[test]
fn tokens_are_listed_and_revoked() {
    let world = World::new();
    new(&world, &["--name", "web-1", "--expires-at", "2100-01-01"]);
    new(&world, &["--namespace", "tenant"]);
    world.fail(19, &[&NEW[..], &["--name", "web-1"]].concat(), "");
    let list = ["token", "list", "--tokens", "tokens"];
    let text = world.ok(&list, "");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("name "), "{text}");
    assert!(
        lines[1].starts_with("web-1 ") && lines[1].ends_with(" store,retrieve  -          2100-01-01T00:00:00Z  -"),
        "{text}"
    );
    let tokens: Value = serde_json::from_str(&world.ok(&[&list[..], &["--json"]].concat(), "")).unwrap();
    assert_eq!((&tokens[1]["name"], &tokens[1]["namespace"]), (&Value::Null, &json!("tenant")));
    let hash = tokens[1]["hash"].as_str().unwrap();
    assert!(lines[2].starts_with(hash), "{text}");

    let len = world.read("tokens").len();
    world.ok(&["token", "revoke", "web-1", "--tokens", "tokens"], "");
    world.fail(19, &["token", "revoke", "web-1", "--tokens", "tokens"], "");
    world.ok(&["token", "revoke", hash, "--tokens", "tokens"], "");
    assert_eq!(world.ok(&list, "").lines().count(), 1);
    assert_eq!(world.read("tokens").len(), len, "a line was removed or moved");
    new(&world, &["--name", "web-1"]);
    for (status, args) in [
        (19, [&NEW[..], &["--name", "a/b"]].concat()),
        (19, [&NEW[..], &["--expires-at", "2020-01-01"]].concat()),
        (64, [&NEW[..], &["--expires-at", "2100-01-01", "--expires-in", "1d"]].concat()),
        (19, vec!["token", "list", "--tokens", "missing"]),
        (19, vec!["token", "revoke", "web-2", "--tokens", "tokens"]),
    ] {
        world.fail(status, &args, "");
    }
    let token = new(&world, &[]);
    assert!(world.fail(64, &["token", "revoke", &token, "--tokens", "tokens"], "").contains("this is a token"));
}

#[test]
fn a_token_that_was_not_given_is_not_listed() {
    let world = World::new();
    let list = ["token", "list", "--tokens", "tokens"];
    new(&world, &["--name", "before"]);
    let to_full = ["sh", "-c", "exec \"$@\" > /dev/full", "sh"];
    let full = wait::output(&mut world.through(&to_full, &[&NEW[..], &["--name", "lost"]].concat()));
    assert_eq!(full.status.code(), Some(14));
    world.write("taken", "x");
    let message = world.fail(19, &[&NEW[..], &["--name", "lost", "--token-out", "taken"]].concat(), "");
    assert!(message.contains("the file of --token-out exists"), "{message}");
    world.fail(19, &[&NEW[..], &["--name", "lost", "--token-out", "missing/token"]].concat(), "");
    assert_eq!(world.ok(&list, "").lines().count(), 2, "the title and one token");

    assert_eq!(new(&world, &["--name", "lost", "--token-out", "token"]), "");
    assert!(world.read("token").starts_with(b"srt1"));
    assert_eq!(world.path("token").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let said = new(&world, &["--name", "third", "--token-out", "third", "--json"]);
    assert_eq!(said, r#"{"token_file":"third"}"#);
    // A file that does not exist, or is another one.
    world.fail(19, &[&list[..], &["--uses", "missing"]].concat(), "");
    let message = world.fail(14, &[&list[..], &["--uses", "token"]].concat(), "");
    assert!(message.contains("cannot read the file of --uses (token)"), "{message}");
    fs::create_dir(world.path("folder")).unwrap();
    let message = world.fail(19, &["token", "list", "--tokens", "folder"], "");
    assert!(message.contains("cannot read the file of --tokens (folder)"), "{message}");
}

/// A command that reads only the start of the file would cut off the rest.
#[test]
fn a_tokens_file_that_is_too_long_stays_as_it_is() {
    const MAX: usize = 16 << 20;
    let world = World::new();
    for len in [MAX - 10, MAX + 1] {
        world.write("tokens", format!("#{}\n", "x".repeat(len - 2)));
        let message = failure(&feed(&mut world.command(&[&NEW[..], &["--name", "more"]].concat()), b""), 19);
        assert!(message.contains("more than 16 MiB"), "{message}");
        assert_eq!(world.read("tokens").len(), len);
    }
    world.fail(19, &["token", "list", "--tokens", "tokens"], "");
    world.fail(19, &["token", "revoke", "--tokens", "tokens", "more"], "");
}

/// The rest of a cut line may restrict the token: to a namespace, or in time.
#[test]
fn a_tokens_file_with_a_cut_line_is_refused() {
    let world = World::new();
    new(&world, &["--name", "app", "--expires-in", "52w", "--namespace", "tenant"]);
    let line = String::from_utf8(world.read("tokens")).unwrap();
    for cut in [line.trim_end(), line.split(" namespace").next().unwrap(), &line[..10]] {
        world.write("tokens", cut);
        for args in [
            &NEW[..],
            &["token", "list", "--tokens", "tokens"],
            &["token", "revoke", "app", "--tokens", "tokens"],
            &["serve", "--store", "x.db", "--listen", "unix:x.sock", "--tokens", "tokens"],
        ] {
            let message = world.fail(19, args, "");
            assert!(message.contains("line 1 of the tokens file, its last one, lacks a line feed"), "{message}");
        }
        assert_eq!(world.read("tokens"), cut.as_bytes());
    }
}

/// A limit on the length of files stops the program within the new line.
#[test]
fn an_interrupted_new_token_has_no_rights() {
    const LIMIT: usize = 512;
    let world = World::new();
    let new_token = ["--name", "lost", "--namespace", "tenant"];
    new(&world, &new_token);
    let line = String::from_utf8(world.read("tokens")).unwrap();
    let before_namespace = line.find(" namespace").unwrap();
    for written in [1, 10, 64, 70, before_namespace, line.len() - 1] {
        let old = format!("#{}\n", "x".repeat(LIMIT - 2 - written));
        world.write("tokens", &old);
        let limited = ["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"];
        let output = wait::output(&mut world.through(&limited, &[&NEW[..], &new_token].concat()));
        assert!(!output.status.success() && output.stdout.is_empty(), "{written}");
        let list = ["token", "list", "--tokens", "tokens"];
        assert_eq!(world.ok(&list, "").lines().count(), 1, "the title: {written}");
        new(&world, &new_token);
        assert_eq!(world.ok(&list, "").lines().count(), 2, "{written}");
        assert!(world.read("tokens").starts_with(old.as_bytes()));
    }
}

/// A pipe, a terminal or a device keeps no line, and a read of it may wait.
#[test]
fn only_a_regular_file_of_tokens_is_changed() {
    let world = World::new();
    assert!(world.other("mkfifo", &["tokens"]).status().unwrap().success());
    for tokens in ["tokens", "/dev/null"] {
        for args in [&["token", "new", "--scopes", "store"][..], &["token", "revoke", "app"]] {
            let message = world.fail(19, &[args, &["--tokens", tokens]].concat(), "");
            assert!(message.contains("the file of --tokens is not a regular file"), "{message}");
        }
    }
}

#[test]
fn a_service_names_tokens_and_refuses_revoked_and_expired_ones() {
    let world = World::new();
    let token = new(&world, &["--name", "web-1"]);
    let other = new(&world, &["--name", "web-2"]);
    let expired = new(&world, &["--name", "old", "--expires-at", "2100-01-01"]);
    let file = String::from_utf8(world.read("tokens")).unwrap();
    world.write("tokens", file.replace("expires=4102444800", "expires=1000000000"));
    let serve = ["serve", "--store", "served.db", "--tokens", "tokens", "--token-uses", "uses", "--audit", "audit"];
    let service = Service::start(&world, &serve);
    assert_eq!(store_with(&world, &service, &token, ID), Some(0));
    assert_eq!(store_with(&world, &service, &token, ID), Some(2));
    assert_eq!(store_with(&world, &service, &expired, "other"), Some(21));
    world.ok(&["token", "revoke", "web-1", "--tokens", "tokens"], "");
    fs::rename(world.path("audit"), world.path("audit.1")).unwrap();
    service.signal(Signal::HUP);
    poll_within(DEADLINE, || world.exists("audit").then_some(()));
    assert_eq!(store_with(&world, &service, &token, "third"), Some(21));
    assert_eq!(store_with(&world, &service, &other, "third"), Some(0));
    service.send("GET /healthz", &[], "");
    let address = service.address;
    let (status, log) = service.stop(Signal::TERM);
    assert_eq!(status, Some(0));

    let lines = |name| -> Vec<Value> {
        let text = String::from_utf8(world.read(name)).unwrap();
        assert!(!text.contains(ID) && !text.contains("srt1") && !text.contains("srk1"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of = |lines: &[Value], field: &str| lines.iter().map(|line| line[field].clone()).collect::<Vec<_>>();
    let (before, after) = (lines("audit.1"), lines("audit"));
    // The program looks for the id before it stores.
    let (contains, store) = ("POST /v1/contains", "POST /v1/store");
    assert_eq!(of(&before, "operation"), [contains, store, contains, contains]);
    assert_eq!(of(&before, "token"), ["web-1", "web-1", "web-1", "old"]);
    assert_eq!(of(&before, "outcome"), ["ok", "ok", "ok", "AccessDenied"]);
    assert_eq!(of(&before, "status"), [200, 201, 200, 401]);
    assert_eq!(of(&after, "operation"), [contains, contains, store]);
    assert_eq!(of(&after, "token"), [Value::Null, "web-2".into(), "web-2".into()]);
    assert_eq!(of(&after, "status"), [401, 200, 201]);
    let locators = of(&before, "locator");
    assert!(locators[..3].iter().all(|locator| *locator == locators[0]));
    assert_eq!(locators[0].as_str().unwrap().len(), 16);
    assert_eq!(locators[3], Value::Null, "an unauthenticated request names no record");
    assert_ne!(of(&after, "locator")[2], locators[0]);
    for line in before.iter().chain(&after) {
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let names: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let all = ["certificate", "locator", "operation", "outcome", "peer", "request_id", "status", "time", "token"];
        assert_eq!(names, all);
    }
    // The log names the client, too; a probe is logged at the level debug.
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = log.iter().find(|line| line["message"] == "starting").unwrap();
    assert_eq!(
        (&start["store"], &start["tls"], &start["version"]),
        (&json!("database"), &json!(false), &json!(env!("CARGO_PKG_VERSION")))
    );
    let stored = log.iter().find(|line| line["route"] == "/v1/store" && line["status"] == 201).unwrap();
    assert_eq!((&stored["token"], &stored["level"]), (&json!("web-1"), &json!("INFO")));
    assert!(stored["peer"].as_str().unwrap().starts_with(&address.ip().to_string()));
    let probe = log.iter().find(|line| line["route"] == "/healthz").unwrap();
    assert_eq!(probe["level"], "DEBUG");
    // The times of last uses are written at the end, and the list shows them.
    let list = world.ok(&["token", "list", "--tokens", "tokens", "--uses", "uses"], "");
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("web-2").ends_with('Z') && line("old").ends_with("  -"), "{list}");
    // A service that starts again keeps them.
    Service::start(&world, &serve).stop(Signal::TERM);
    assert_eq!(world.ok(&["token", "list", "--tokens", "tokens", "--uses", "uses"], ""), list);
}

#[test]
fn a_request_to_a_storage_service_is_audited_with_its_locator() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let service = Service::start(&world, &["serve-storage", "--store", "cipher.db", "--audit", "audit"]);
    let place = format!("http://{}", service.address);
    world.ok(&["store", "--store", &place, "--index-key-file", "index", "--id", ID, "--key-out", "key"], DATA);
    service.stop(Signal::TERM);
    let text = String::from_utf8(world.read("audit")).unwrap();
    let put: Value = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["operation"].as_str().unwrap().starts_with("PUT /v1/records/"))
        .unwrap();
    assert_eq!(put["locator"].as_str().unwrap().len(), 16);
    assert_eq!((&put["token"], &put["outcome"]), (&Value::Null, &json!("ok")));
}
