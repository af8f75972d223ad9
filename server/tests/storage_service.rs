//! The storage service, for each row of the protocol's tables.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::support::{Answer, Running, storage};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use strongroom::protocol::limits::BATCH_BYTES;
use strongroom::storage::{
    DamageKind, Locator, MemoryStorage, PutMode, RemoteStorage, SqliteStorage, Storage, StorageMetrics,
};
use strongroom::{Durability, Endpoint, Error, VerifyOptions};

const BYTES: (&str, &str) = ("content-type", "application/octet-stream");
const CREATE: (&str, &str) = ("if-none-match", "*");
const JSON: (&str, &str) = ("content-type", "application/json");

fn endpoint(service: &Running) -> Endpoint {
    Endpoint::new(&format!("http://{}", service.address)).unwrap()
}

fn service() -> Running {
    storage(Arc::new(MemoryStorage::new()))
}

/// A record with arbitrary bytes, which the service does not interpret.
fn record(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed) ^ (n >> 8) as u8).collect()
}

fn etag(record: &[u8]) -> String {
    format!("\"{}\"", Base64UrlUnpadded::encode_string(&record[..68]))
}

fn path(n: u8) -> String {
    format!("/v1/records/{}", locator(n))
}

fn locator(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

fn put(service: &Running, n: u8, record: &[u8], headers: &[(&str, &str)]) -> Answer {
    service.send(&format!("PUT {}", path(n)), &[&[BYTES], headers].concat(), record)
}

fn get(service: &Running, n: u8, headers: &[(&str, &str)]) -> Answer {
    service.send(&format!("GET {}", path(n)), headers, b"")
}

/// One statement of a database, one request to an object store.
#[test]
fn a_short_record_is_read_by_one_call() {
    let metrics = StorageMetrics::default();
    let service = storage(metrics.measure(Arc::new(MemoryStorage::new())));
    let (short, long) = (record(1, 16 << 10), record(2, (16 << 10) + 1));
    put(&service, 1, &short, &[CREATE]).is(204);
    put(&service, 2, &long, &[CREATE]).is(204);
    assert_eq!(get(&service, 1, &[]).body, short);
    assert_eq!(get(&service, 1, &[("range", "bytes=100-199")]).body, short[100..200]);
    assert_eq!(get(&service, 1, &[("range", "bytes=-50")]).body, short[short.len() - 50..]);
    get(&service, 1, &[("if-none-match", &etag(&short))]).is(304);
    get(&service, 3, &[]).is(404);
    let reads = || -> Vec<_> {
        let read =
            metrics.operations().into_iter().filter(|operation| ["get", "info", "read_at"].contains(&operation.name));
        read.map(|operation| (operation.name, operation.outcomes)).collect()
    };
    assert_eq!(reads(), [("get", vec![("ok", 5)])]);
    assert_eq!(get(&service, 2, &[]).body, long);
    assert_eq!(reads(), [("get", vec![("ok", 6)]), ("read_at", vec![("ok", 1)])]);
}

#[test]
fn records_of_all_lengths_come_back() {
    let service = service();
    for (n, len) in (0..).zip([68, 69, 1000, 262_143, 262_144, 262_145, 1 << 20, 3_000_001]) {
        let record = record(n, len);
        put(&service, n, &record, &[CREATE]).is(204);
        let answer = get(&service, n, &[]);
        answer.is(200);
        assert!(answer.body == record && answer.whole, "{len}");
        assert_eq!(answer.header("etag"), Some(etag(&record).as_str()));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let head = service.send(&format!("HEAD {}", path(n)), &[], b"");
        head.is(200);
        assert_eq!(head.header("etag"), Some(etag(&record).as_str()));
        assert_eq!(head.header("content-length"), Some(len.to_string().as_str()));
    }
}

#[test]
fn writes_have_preconditions() {
    let service = service();
    let (old, new) = (record(1, 100), record(2, 200));
    put(&service, 1, &old, &[("if-match", &etag(&old))]).is_problem(412, 11, "Conflict");
    put(&service, 1, &old, &[CREATE]).is(204);
    put(&service, 1, &new, &[CREATE]).is_problem(412, 2, "AlreadyExists");
    put(&service, 1, &new, &[("if-match", &etag(&new))]).is_problem(412, 11, "Conflict");
    assert_eq!(get(&service, 1, &[]).body, old);
    put(&service, 1, &new, &[("if-match", &etag(&old))]).is(204);
    put(&service, 1, &old, &[]).is(204);
    assert_eq!(get(&service, 1, &[]).body, old);
    // The same for uploads.
    let long = record(3, 1 << 20);
    put(&service, 1, &long, &[CREATE]).is_problem(412, 2, "AlreadyExists");
    put(&service, 1, &long, &[("if-match", &etag(&new))]).is_problem(412, 11, "Conflict");
    put(&service, 1, &long, &[("if-match", &etag(&old))]).is(204);
}

#[test]
fn invalid_requests_are_refused() {
    let service = service();
    let good = record(1, 100);
    put(&service, 1, &good[..67], &[]).is_problem(400, 19, "InvalidArgument");
    put(&service, 1, &good, &[("if-none-match", "\"x\"")]).is_problem(400, 19, "InvalidArgument");
    put(&service, 1, &good, &[("if-match", "*")]).is_problem(412, 11, "Conflict");
    put(&service, 1, &good, &[("if-match", &etag(&good)), CREATE]).is_problem(400, 19, "InvalidArgument");
    service.send(&format!("PUT {}", path(1)), &[], &good).is_problem(415, 19, "InvalidArgument");
    for wrong in ["00", &locator(0xab).to_uppercase(), &format!("{}0", locator(1))] {
        let answer = service.send(&format!("GET /v1/records/{wrong}"), &[], b"");
        answer.is_problem(400, 19, "InvalidArgument");
    }
    service.send("GET /v2/records", &[], b"").is_problem(404, 19, "InvalidArgument");
    let answer = service.send("POST /v1/records", &[], b"");
    answer.is_problem(405, 19, "InvalidArgument");
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    assert_eq!(get(&service, 1, &[]).status, 404, "none of them was stored");
}

#[test]
fn ranges_are_of_one_version() {
    let service = service();
    let there = record(1, 1 << 20);
    put(&service, 1, &there, &[]).is(204);
    for (range, expected) in [
        ("bytes=0-67", 0..68),
        ("bytes=100-", 100..1 << 20),
        ("bytes=-16", (1 << 20) - 16..1 << 20),
        ("bytes=5-9999999", 5..1 << 20),
    ] {
        let answer = get(&service, 1, &[("range", range), ("if-match", &etag(&there))]);
        answer.is(206);
        assert!(answer.body == there[expected.clone()], "{range}");
        let content_range = format!("bytes {}-{}/{}", expected.start, expected.end - 1, 1 << 20);
        assert_eq!(answer.header("content-range"), Some(content_range.as_str()));
    }
    let beyond = get(&service, 1, &[("range", "bytes=1048576-")]);
    beyond.is_problem(416, 19, "InvalidArgument");
    assert_eq!(beyond.header("content-range"), Some("bytes */1048576"));
    assert!(get(&service, 1, &[("range", "bytes=0-1,3-4")]).body == there, "more than one range is ignored");

    let other = etag(&record(9, 68));
    get(&service, 1, &[("range", "bytes=0-67"), ("if-match", &other)]).is_problem(412, 11, "Conflict");
    get(&service, 2, &[("range", "bytes=0-67"), ("if-match", &other)]).is_problem(412, 11, "Conflict");
}

#[test]
fn records_are_deleted() {
    let service = service();
    let there = record(1, 100);
    put(&service, 1, &there, &[]).is(204);
    let (tag, other) = (etag(&there), etag(&record(2, 100)));
    let delete = |headers: &[_]| service.send(&format!("DELETE {}", path(1)), headers, b"");
    delete(&[("if-match", &other)]).is_problem(412, 11, "Conflict");
    let others = format!("{other}, {other}");
    delete(&[("if-match", &others)]).is_problem(412, 11, "Conflict");
    delete(&[("if-match", &tag)]).is(204);
    for expected in [&other, &others, "*"] {
        delete(&[("if-match", expected)]).is_problem(404, 1, "NotFound");
        delete(&[("if-match", expected), ("if-none-match", &tag)]).is_problem(404, 1, "NotFound");
    }
    delete(&[]).is_problem(404, 1, "NotFound");
    get(&service, 1, &[]).is_problem(404, 1, "NotFound");
    let head = service.send(&format!("HEAD {}", path(1)), &[], b"");
    assert_eq!((head.status, head.header("strongroom-code")), (404, Some("1")));
}

#[test]
fn pages_are_in_order() {
    let service = service();
    for n in [3, 1, 2] {
        put(&service, n, &record(n, 68 + usize::from(n)), &[]).is(204);
    }
    let head = |n: u8| Base64UrlUnpadded::encode_string(&record(n, 68));
    let line = |n: u8| json!({"locator": locator(n), "head": head(n), "bytes": 68 + u64::from(n)});
    let list = |query: &str| service.send(&format!("GET /v1/records{query}"), &[], b"");
    assert_eq!(list("").json(), json!({"records": [line(1), line(2), line(3)]}));
    assert_eq!(list("?limit=2").json(), json!({"records": [line(1), line(2)]}));
    assert_eq!(list(&format!("?after={}&limit=9999", locator(2))).json(), json!({"records": [line(3)]}));
    assert_eq!(list(&format!("?after={}", locator(3))).json(), json!({"records": []}));
    for wrong in ["?after=1", "?limit=x", "?limit=-1", "?page=2"] {
        list(wrong).is_problem(400, 19, "InvalidArgument");
    }
    let stats = json!({"records": 3, "bytes": 3 * 68 + 6, "expired": 0, "free": 0});
    assert_eq!(service.send("GET /v1/stats", &[], b"").json(), stats);
    service.send("POST /v1/maintain", &[], b"").is(204);
}

#[test]
fn free_space_is_returned_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteStorage::open(folder.path().join("records.db"), Durability::Relaxed).unwrap();
    let service = storage(Arc::new(database));
    put(&service, 1, &record(1, 1_000_000), &[]).is(204);
    service.send(&format!("DELETE {}", path(1)), &[], b"").is(204);
    let free = || service.send("GET /v1/stats", &[], b"").json()["free"].as_u64().unwrap();
    let before = free();
    assert!(before > 900_000, "{before}");
    let compact = |limit: u64| service.json("/v1/compact", &json!({"limit": limit})).json()["compacted"].as_u64();
    assert_eq!(compact(0), Some(0));
    let step = compact(100_000).unwrap();
    assert!((1..=100_000).contains(&step), "{step}");
    while compact(u64::MAX).unwrap() > 0 {}
    assert_eq!(free(), 0);
    for body in [json!({}), json!({"limit": -1}), json!({"limit": "1"}), json!({"limit": 1, "now": 1})] {
        service.json("/v1/compact", &body).is_problem(400, 19, "InvalidArgument");
    }
    self::service().json("/v1/compact", &json!({"limit": 1})).is_problem(422, 7, "Unsupported");
}

#[test]
fn many_are_created_together_or_not_at_all() {
    let service = service();
    let body = |records: &[(u8, &[u8])]| -> Vec<u8> {
        let one = |(n, record): &(u8, &[u8])| [&[*n; 32][..], &(record.len() as u64).to_le_bytes(), record].concat();
        records.iter().flat_map(one).collect()
    };
    let (a, b) = (record(1, 100), record(2, 70_000));
    let create = |body: &[u8]| service.send("POST /v1/create-many", &[BYTES], body);
    create(&body(&[(1, &a), (2, &b)])).is(204);
    create(&body(&[(3, &a), (2, &b)])).is_problem(412, 2, "AlreadyExists");
    get(&service, 3, &[]).is_problem(404, 1, "NotFound");
    create(&[]).is(204);
    let whole = body(&[(4, &a)]);
    for cut in [1, 31, 32, 39, 40, whole.len() - 1] {
        create(&whole[..cut]).is_problem(400, 19, "InvalidArgument");
    }

    let many = service.send("POST /v1/get-many", &[BYTES], &[[2; 32], [9; 32], [1; 32]].concat());
    many.is(200);
    let len = |len: usize| (len as u64).to_le_bytes();
    assert!(many.body == [&len(70_000)[..], &b, &[0xff; 8], &len(100), &a].concat());
    service.send("POST /v1/get-many", &[BYTES], &[0; 31]).is_problem(400, 19, "InvalidArgument");
}

/// Whether the body's length is announced makes no difference.
#[test]
fn a_record_longer_than_a_batch_is_too_large() {
    let service = service();
    let mut announced = service.connect();
    announced.head("POST /v1/create-many", &[BYTES], Some(BATCH_BYTES + 41));
    announced.answer(false).is_problem(413, 8, "TooLarge");
    for len in [BATCH_BYTES + 1, u64::MAX] {
        let head = [&[7; 32][..], &len.to_le_bytes()].concat();
        service.send("POST /v1/create-many", &[BYTES], &head).is_problem(413, 8, "TooLarge");
        let mut chunked = service.connect();
        chunked.head("POST /v1/create-many", &[BYTES, ("transfer-encoding", "chunked")], None);
        chunked.stream.write_all(&[b"28\r\n", &head[..], b"\r\n"].concat()).unwrap();
        chunked.answer(false).is_problem(413, 8, "TooLarge");
    }
}

#[test]
fn settings_are_compared_and_swapped() {
    let service = service();
    let swap = |body: &Value| service.send("POST /v1/swap-settings", &[JSON], body.to_string().as_bytes());
    service.send("GET /v1/settings", &[], b"").is_problem(404, 1, "NotFound");
    swap(&json!({"expected": "b25l", "new": "dHdv"})).is_problem(412, 11, "Conflict");
    swap(&json!({"new": "b25l"})).is(204);
    swap(&json!({"expected": null, "new": "dHdv"})).is_problem(412, 11, "Conflict");
    let answer = service.send("GET /v1/settings", &[], b"");
    answer.is(200);
    assert_eq!(answer.body, b"one");
    swap(&json!({"expected": "b25l", "new": "dHdv"})).is(204);
    assert_eq!(service.send("GET /v1/settings", &[], b"").body, b"two");
    for wrong in [json!({"expected": "dHdv", "new": "?"}), json!({"expected": "dHdv"}), json!(["dHdv", "b25l"])] {
        swap(&wrong).is_problem(400, 19, "InvalidArgument");
    }
    let long = Base64UrlUnpadded::encode_string(&[7; 4097]);
    swap(&json!({"expected": "dHdv", "new": long})).is_problem(400, 19, "InvalidArgument");
    service.send("POST /v1/swap-settings", &[], b"{}").is_problem(415, 19, "InvalidArgument");
}

#[test]
fn a_version_is_renamed() {
    let service = service();
    let (one, other) = (path(1), path(2));
    service.send(&format!("PUT {one}"), &[BYTES], &[1; 100]).is(204);
    let head = Base64UrlUnpadded::encode_string(&[1; 68]);
    let hex = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let rename = |head: &str| {
        let body = json!({"from": hex(&one), "head": head, "to": hex(&other)});
        service.send("POST /v1/rename", &[JSON], body.to_string().as_bytes())
    };
    rename(&Base64UrlUnpadded::encode_string(&[2; 68])).is_problem(412, 11, "Conflict");
    rename("short").is_problem(400, 19, "InvalidArgument");
    rename(&head).is(204);
    rename(&head).is(204); // a repetition
    service.send(&format!("GET {one}"), &[], b"").is_problem(404, 1, "NotFound");
    assert_eq!(service.send(&format!("GET {other}"), &[], b"").body, [1; 100]);
    service.send(&format!("PUT {one}"), &[BYTES], &[1; 100]).is(204);
    rename(&head).is_problem(412, 2, "AlreadyExists");
}

#[test]
fn records_are_verified_and_those_that_expired_listed() {
    let service = service();
    for (number, time) in [(1, 0_u64), (2, 500), (3, 400)] {
        let record = [&[number; 4][..], &time.to_le_bytes(), &[number; 88]].concat();
        service.send(&format!("PUT {}", path(number)), &[BYTES], &record).is(204);
    }
    let expired = service.send("GET /v1/expired?now=450&limit=10", &[], b"").json();
    assert_eq!(expired["records"].as_array().unwrap().len(), 1);
    assert_eq!(expired["records"][0]["locator"], "03".repeat(32));
    assert_eq!(service.send("GET /v1/expired?now=500", &[], b"").json()["records"].as_array().unwrap().len(), 2);
    for wrong in ["GET /v1/expired", "GET /v1/expired?now=x", "GET /v1/expired?now=1&after=2"] {
        service.send(wrong, &[], b"").is_problem(400, 19, "InvalidArgument");
    }
    let verify = |body: &Value| service.send("POST /v1/verify", &[JSON], body.to_string().as_bytes());
    let step = verify(&json!({"limit": 2})).json();
    assert_eq!(step, json!({"records": 2, "bytes": 200, "damage": [], "next": "02".repeat(32)}));
    let step = verify(&json!({"position": step["next"], "limit": 2})).json();
    let one = json!({"records": 1, "bytes": 100, "damage": [], "next": null});
    assert_eq!(step, one);
    assert_eq!(verify(&json!({"position": format!("record.{}", "02".repeat(32)), "limit": 2})).json(), one);
    let none = json!({"records": 0, "bytes": 0, "damage": [], "next": null});
    assert_eq!(verify(&json!({"position": "structure", "limit": 2})).json(), none);
    for wrong in ["", "A", "record.02", "row.1.2", "row"] {
        verify(&json!({"position": wrong, "limit": 2})).is_problem(400, 19, "InvalidArgument");
    }
}

#[test]
fn damage_is_found_over_a_service_and_repaired_beside_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = (folder.path().join("records.db"), folder.path().join("backup.db"));
    let locator = |number| Locator::from_bytes([number; 32]);
    let open = |path: &Path| Arc::new(SqliteStorage::open(path, Durability::Full).unwrap());
    let database = open(&path);
    let settings = [&[1; 17][..], &[0, 1, 1], &[7; 16]].concat();
    database.swap_settings(None, &settings).unwrap();
    for number in 1..=3 {
        let record = [&[1, 1, 0, 0][..], &[0; 8], &vec![number; 9_000_000]].concat();
        database.put(&locator(number), &record, PutMode::Create).unwrap();
    }
    database.close().unwrap();
    std::fs::copy(&path, &whole).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(5000).position(|window| window == [2; 5000]).unwrap();
    bytes[place + 1234] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let database: Arc<dyn Storage> = open(&path);
    let service = storage(Arc::clone(&database));
    let remote: Arc<dyn Storage> = Arc::new(RemoteStorage::open(&endpoint(&service)).unwrap());
    let search = |storage: &dyn Storage| {
        let mut found = Vec::new();
        let report = strongroom::verify(storage, &VerifyOptions::new(), |step| {
            found.extend_from_slice(step.damage);
            ControlFlow::Continue(())
        });
        (report.unwrap(), found)
    };
    let (report, found) = search(&*remote);
    assert_eq!((report.records, report.bytes > 18_000_000, found.len()), (3, true, 1), "{found:?}");
    assert_eq!((found[0].locator, found[0].kind), (Some(locator(2)), DamageKind::Checksum));
    assert_eq!(search(&*database).1, found);
    // A service's client cannot repair. A service can be the copy.
    let copies = storage(open(&whole));
    let copy = RemoteStorage::open(&endpoint(&copies)).unwrap();
    assert!(matches!(strongroom::repair(&remote, &copy), Err(Error::Unsupported(_))));
    assert_eq!(strongroom::repair(&database, &copy).unwrap().restored, [locator(2)]);
    assert_eq!(search(&*remote), search(&*open(&whole)));
}

#[test]
fn the_service_reports_its_state() {
    let memory = Arc::new(MemoryStorage::new());
    let service = storage(memory.clone());
    service.send("GET /healthz", &[], b"").is(200);
    service.send("GET /readyz", &[], b"").is(200);
    memory.close().unwrap();
    service.send("GET /healthz", &[], b"").is(200);
    let lost = service.send("GET /readyz", &[], b"");
    lost.is_problem(503, 14, "Storage");
    assert_eq!(lost.header("retry-after"), Some("1"));
    get(&service, 1, &[]).is_problem(500, 18, "Closed");
    let metrics = service.send("GET /metrics", &[], b"");
    metrics.is(200);
    let metrics = String::from_utf8(metrics.body).unwrap();
    let line = "strongroom_requests_total{route=\"/v1/records/{locator}\",method=\"GET\",status=\"500\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("strongroom_errors_total{error=\"Closed\"} 1\n"), "{metrics}");
    let line = "strongroom_storage_operations_total{backend=\"memory\",operation=\"get\",outcome=\"Closed\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
}
