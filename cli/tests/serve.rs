//! The services as the program starts them: configuration, logs, tokens and signals.

#![cfg(all(unix, feature = "server"))]

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use crate::support::World;
use crate::support::service::Service;
use crate::support::wait::{self, DEADLINE, WaitWithin};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn between<'t>(text: &'t str, start: &str, end: char) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split(end).next().unwrap()
}

#[test]
fn no_log_holds_an_id_a_key_a_token_or_data() {
    let world = World::new();
    let token = world.ok(&["token", "new", "--scopes", "store,retrieve", "--tokens", "tokens"], "");
    let token = token.trim();
    assert!(!String::from_utf8(world.read("tokens")).unwrap().contains(token));
    let service = Service::start(&world, &["serve", "--tokens", "tokens"]);
    let bearer = format!("authorization: Bearer {token}");
    let json = [bearer.as_str(), "content-type: application/json"];
    let (id, data) = ("marked-id-7f3a", "bWFya2VkIGRhdGEgN2YzYQ==");

    let stored = service.send("POST /v1/store", &json, &format!(r#"{{"id":"{id}","data":"{data}"}}"#));
    let key = between(&stored, "\"key\":\"", '"');
    let got = service.send("POST /v1/retrieve", &json, &format!(r#"{{"id":"{id}","key":"{key}"}}"#));
    assert!(got.contains(data), "{got}");
    let url_id = "bWFya2VkLWlkLTdmM2E";
    let (id_header, key_header) = (format!("strongroom-id: {url_id}"), format!("strongroom-key: {key}"));
    let bytes = [bearer.as_str(), "content-type: application/octet-stream", &id_header, &key_header];
    assert!(service.send("POST /v1/retrieve", &bytes, "").contains("marked data 7f3a"));
    // Failures are logged, too.
    service.send("POST /v1/store", &json, &format!(r#"{{"id":"{id}","data":"{data}"#));
    service.send("POST /v1/store", &json, &format!(r#"{{"id":"{id}","data":"{data}","{key}":1}}"#));
    service.send("POST /v1/delete", &json, &format!(r#"{{"id":"{id}","key":"{key}"}}"#));
    service.send("POST /v1/retrieve", &["authorization: Bearer srt1markedtoken"], "");
    service.send(&format!("GET /v1/{id}?key={key}"), &[&bearer], data);

    let (status, log) = service.stop(Signal::TERM);
    assert_eq!(status, Some(0), "{log}");
    for secret in [id, "marked", data, "bWFya2", key, token, "srk1", "srt1"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    // The control: each request has a line, so that a secret in it would have been found.
    for answered in
        ["\"status\":201", "\"status\":200", "\"status\":400", "\"status\":403", "\"status\":401", "\"status\":404"]
    {
        assert!(log.contains(answered), "{answered} is not in {log}");
    }
    assert!(log.contains(between(&stored, "strongroom-request-id: ", '\r')), "{log}");
}

#[test]
fn the_storage_service_logs_no_locator_and_no_record() {
    let world = World::new();
    let service = Service::start(&world, &["serve-storage"]);
    let locator = "5a".repeat(32);
    let headers = ["content-type: application/octet-stream", "if-none-match: *"];
    let record = "marked record ".repeat(10);
    let put = format!("PUT /v1/records/{locator}");
    assert!(service.send(&put, &headers, &record).starts_with("HTTP/1.1 204 "));
    assert!(service.send(&put, &headers, &record).starts_with("HTTP/1.1 412 "));
    let got = service.send(&format!("GET /v1/records/{locator}"), &[], "");
    assert!(got.ends_with(&record), "{got}");
    assert!(service.send(&format!("GET /v1/records?after={locator}x"), &[], "").starts_with("HTTP/1.1 400 "));

    let (status, log) = service.stop(Signal::INT);
    assert_eq!(status, Some(0), "{log}");
    for secret in ["5a5a", "marked", between(&got, "etag: \"", '"')] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    assert!(log.contains("/v1/records/{locator}") && log.contains("\"status\":412"), "the control: {log}");
    // The record was durable, and no index key was created.
    let service = Service::start(&world, &["serve-storage"]);
    assert!(service.send(&format!("GET /v1/records/{locator}"), &[], "").ends_with(&record));
    assert_eq!(service.stop(Signal::TERM).0, Some(0));
    assert!(!world.exists("records.db.index-key"));
}

/// Its reader may be a file.
#[test]
fn a_log_in_text_has_no_colours() {
    let world = World::new();
    let mut serve = world.command(&["serve", "--insecure-loopback", "--listen", "127.0.0.1:0"]);
    let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains(" INFO starting ") && !line.contains('\x1b'), "{line}");
}

#[test]
fn flags_override_the_environment_and_that_the_file() {
    let world = World::new();
    world.write(
        "config.toml",
        "listen = [\"127.0.0.1:1\"]\ntokens = \"from file\"\nstore = \"from file\"\n[limits]\nwaiting = 7\n[log]\nlevel = \"warn\"\n",
    );
    let print = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = world.command(&[&["serve", "--config", "config.toml", "--print-config"], args].concat());
        let output = wait::output(command.env_remove("STRONGROOM_STORE").envs(environment.iter().copied()));
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let from_file = print(&[], &[]);
    for line in ["store = \"from file\"", "tokens = \"from file\"", "127.0.0.1:1\"", "waiting = 7", "level = \"warn\""]
    {
        assert!(from_file.contains(line), "{line} is not in {from_file}");
    }
    assert!(from_file.contains("threads = 64"), "what is not said is as by default");
    let environment = [("STRONGROOM_TOKENS", "from environment"), ("STRONGROOM_LISTEN", "127.0.0.1:2,unix:/x")];
    let from_environment = print(&[], &environment);
    assert!(from_environment.contains("tokens = \"from environment\""), "{from_environment}");
    assert!(from_environment.contains("listen = [\"127.0.0.1:2\", \"unix:/x\"]"), "{from_environment}");
    let from_flags = print(&["--tokens", "from flag", "--log-level", "debug"], &environment);
    assert!(from_flags.contains("tokens = \"from flag\"") && from_flags.contains("level = \"debug\""), "{from_flags}");

    // The environment and the flags can switch off a setting of the file.
    for (name, flag, variable) in [
        ("insecure_health", "--insecure-health", "STRONGROOM_INSECURE_HEALTH"),
        ("insecure_loopback", "--insecure-loopback", "STRONGROOM_INSECURE_LOOPBACK"),
        ("pad", "--pad", "STRONGROOM_PAD"),
    ] {
        for in_file in [true, false] {
            world.write("config.toml", format!("{name} = {in_file}\n"));
            let has =
                |printed: &str, value: bool| assert!(printed.contains(&format!("{name} = {value}\n")), "{printed}");
            has(&print(&[], &[]), in_file);
            has(&print(&[], &[(variable, "false")]), false);
            has(&print(&[], &[(variable, "yes")]), true);
            has(&print(&[flag], &[(variable, "no")]), true);
            has(&print(&[&format!("{flag}=false")], &[(variable, "yes")]), false);
        }
    }

    // The output is a valid configuration.
    world.write("printed.toml", &from_flags);
    let again = world.ok(&["serve", "--config", "printed.toml", "--print-config", "--store", "from file"], "");
    assert_eq!(again, from_flags);
}

#[test]
fn invalid_configurations_fail_before_the_start() {
    let world = World::new();
    for (name, document) in
        [("a.toml", "lisen = []"), ("b.toml", "[limits]\nrequest = 1"), ("c.toml", "listen = [\"x\"]")]
    {
        world.write(name, document);
        world.fail(19, &["serve", "--config", name], "");
    }
    // A secret instead of its file's path, and a key file instead of a configuration.
    world.write("d.toml", "[remote]\ntoken = \"confidential\"");
    world.write("e.toml", "confidential");
    for (name, line) in [("d.toml", "line 2"), ("e.toml", "line 1")] {
        let refused = world.fail(19, &["serve", "--config", name], "");
        assert!(refused.contains(line), "{refused}");
    }
    let refused = world.fail(19, &["serve", "--listen", "0.0.0.0:0"], "");
    assert!(refused.contains("tls.certificate") && refused.contains("loopback"), "{refused}");
    world.fail(64, &["serve", "--listen", "localhost:1"], "");
    world.fail(64, &["serve", "--log-level", "loud"], "");
    world.fail(19, &["serve", "--tls-key", "key.pem"], "");
    world.fail(19, &["serve-storage", "--tokens", "nowhere"], "");
    world.write("tokens", "no token");
    let refused = world.fail(19, &["serve-storage", "--tokens", "tokens"], "");
    assert!(refused.contains("line 1"), "{refused}");
}

#[test]
fn a_token_is_printed_once() {
    let world = World::new();
    let printed = world.ok(&["token", "new", "--scopes", "storage"], "");
    let (token, line) = printed.trim_end().split_once('\n').unwrap();
    assert!(token.starts_with("srt1") && line.ends_with(" storage") && !line.contains(token), "{printed}");
    world.ok(&["token", "new", "--scopes", "erase", "--tokens", "tokens"], "");
    let json: Value =
        serde_json::from_str(&world.ok(&["--json", "token", "new", "--scopes", "store,erase"], "")).unwrap();
    assert!(json["line"].as_str().unwrap().ends_with(" store,erase"), "{json}");
    assert_eq!(String::from_utf8(world.read("tokens")).unwrap().lines().count(), 1);
    world.ok(&["token", "new", "--scopes", "store", "--tokens", "tokens"], "");
    let lines = String::from_utf8(world.read("tokens")).unwrap();
    assert!(lines.lines().map(|line| line.split(' ').count()).eq([2, 2]) && lines.ends_with(" store\n"), "{lines}");
    world.fail(64, &["token", "new"], "");
    world.fail(64, &["token", "new", "--scopes", "all"], "");
}

#[test]
#[cfg(target_os = "linux")]
fn systemd_is_notified_when_it_listens() {
    let world = World::new();
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = world.command(&["serve-storage", "--listen", "unix:socket"]);
    let mut child = command.env("NOTIFY_SOCKET", world.path("notify")).stderr(Stdio::null()).spawn().unwrap();
    let mut message = [0; 64];
    let len = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..len], b"READY=1");
    assert!(world.exists("socket"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait_within(DEADLINE).success());
    assert!(!world.exists("socket"));
}

#[test]
fn a_store_in_memory_leaves_no_file() {
    let world = World::new();
    let token = world.ok(&["token", "new", "--scopes", "store,retrieve,storage", "--tokens", "tokens"], "");
    let bearer = format!("authorization: Bearer {}", token.trim());
    let json = [bearer.as_str(), "content-type: application/json"];
    let service = Service::start(&world, &["serve", "--store", ":memory:", "--tokens", "tokens"]);
    let answer = service.send("POST /v1/store", &json, r#"{"id":"id","data":"AA=="}"#);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(service.stop(Signal::TERM).0, Some(0));
    let service = Service::start(&world, &["serve-storage", "--store", ":memory:", "--tokens", "tokens"]);
    let answer = service.send("GET /v1/stats", &json, "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(service.stop(Signal::TERM).0, Some(0));
    world.ok(&["store", "--store", ":memory:", "--id", "id"], "data");
    world.fail(19, &["stats", "--store", ":memory:"], "");
    let names = std::fs::read_dir(world.folder.path()).unwrap();
    assert_eq!(names.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["tokens"]);
}
