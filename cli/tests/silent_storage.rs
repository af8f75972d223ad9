//! A storage that accepts connections and answers nothing: its services say so, long before a call's own time limit.

#![cfg(all(unix, feature = "server"))]

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::World;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Fault, Proxy, Target};
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, wait_for};

/// Longer than a test.
const ALWAYS: Duration = DEADLINE.saturating_mul(10);

/// The status of an answer, and the error's number.
fn outcome(answer: &str) -> (&str, Option<&str>) {
    let status = answer.split(' ').nth(1).unwrap();
    (status, answer.lines().find_map(|line| line.strip_prefix("strongroom-code: ")))
}

const JSON: &[&str] = &["content-type: application/json"];

/// `proxy` is between the encryption server and its storage.
fn is_reported(server: Service, proxy: &Proxy) {
    let post = |path: &str, body: &str| server.send(&format!("POST {path}"), JSON, body);
    let stored = post("/v1/store", r#"{"id":"a","data":""}"#);
    let stored: Value = serde_json::from_str(stored.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let key = stored["key"].as_str().unwrap();
    assert_eq!(outcome(&server.send("GET /readyz", &[], "")).0, "200");
    proxy.fail(Fault::Silent, ALWAYS);
    assert_eq!(outcome(&server.send("GET /readyz", &[], "")), ("503", Some("14")));
    let retrieve = format!(r#"{{"id":"a","key":"{key}"}}"#);
    assert_eq!(outcome(&post("/v1/retrieve", &retrieve)), ("503", Some("14")));
    assert_eq!(outcome(&post("/v1/store", r#"{"id":"b","data":""}"#)), ("502", Some("15")));
    assert_eq!(outcome(&server.send("GET /healthz", &[], "")).0, "200");
    server.signal(Signal::TERM);
    // Signals sent at the same time arrive in any order, and only a second Ctrl-C ends it at once.
    wait_for(|| TcpStream::connect(server.address).is_err().then_some(()));
    let (_, log) = server.stop(Signal::INT);
    assert!(log.contains("the storage does not answer"), "{log}");
}

#[test]
fn a_silent_storage_service_is_reported() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let storage = Service::start(&world, &["serve-storage", "--store", "records.db"]);
    let proxy = Proxy::new(Target::Tcp(storage.address));
    let url = format!("http://{}", proxy.address);
    let args = ["serve", "--store", &url, "--index-key-file", "index", "--timeout", "300"];
    is_reported(Service::start(&world, &args), &proxy);
}

fn postgres(world: &World) -> (Proxy, String) {
    let server = Postgres::shared();
    let proxy = Proxy::new(Target::Unix(server.socket()));
    let schema = crate::support::postgres::schema_of(world.folder.path());
    let url = format!("postgres://strongroom@{}/postgres?schema={schema}", proxy.address);
    (proxy, url)
}

#[test]
fn a_silent_postgres_is_reported_by_the_encryption_server() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let (proxy, url) = postgres(&world);
    is_reported(Service::start(&world, &["serve", "--store", &url, "--index-key-file", "index"]), &proxy);
}

#[test]
fn a_silent_postgres_is_reported_by_the_storage_service() {
    let world = World::new();
    let (proxy, url) = postgres(&world);
    let service = Service::start(&world, &["serve-storage", "--store", &url]);
    assert_eq!(outcome(&service.send("GET /readyz", &[], "")).0, "200");
    proxy.fail(Fault::Silent, ALWAYS);
    let path = format!("/v1/records/{}", "01".repeat(32));
    let record = format!("{}{}", "\u{1}\u{1}", "\0".repeat(100));
    assert_eq!(outcome(&service.send("GET /readyz", &[], "")), ("503", Some("14")));
    assert_eq!(outcome(&service.send(&format!("GET {path}"), &[], "")), ("503", Some("14")));
    let headers = ["content-type: application/octet-stream", "if-none-match: *"];
    assert_eq!(outcome(&service.send(&format!("PUT {path}"), &headers, &record)), ("502", Some("15")));
}

/// Nothing but a probe waits for the storage, and it would wait for longer than the test.
#[test]
fn a_silent_storage_delays_no_stop() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let storage = Service::start(&world, &["serve-storage", "--store", "records.db"]);
    let proxy = Proxy::new(Target::Tcp(storage.address));
    let url = format!("http://{}", proxy.address);
    let args = ["serve", "--store", &url, "--index-key-file", "index", "--timeout", "3600"];
    let server = Service::start(&world, &args);
    proxy.fail(Fault::Silent, ALWAYS);
    assert_eq!(outcome(&server.send("GET /readyz", &[], "")).0, "503");
    let (status, log) = server.stop(Signal::TERM);
    assert_eq!(status, Some(0), "{log}");
}
