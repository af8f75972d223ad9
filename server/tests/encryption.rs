//! The encryption server, for each row of the protocol's tables.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::intercept::Intercepted;
use base64ct::{Base64, Base64UrlUnpadded, Encoding};

use crate::support::{Answer, Client, Running, config, encryption, encryption_over};
use serde_json::{Value, json};
use strongroom::RecordKey;
use strongroom::storage::{Locator, MemoryStorage, PutMode, Storage};

const BYTES: (&str, &str) = ("content-type", "application/octet-stream");

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8).collect()
}

fn new_key() -> String {
    RecordKey::generate().unwrap().to_text().to_string()
}

fn key_of(answer: &Answer, status: u16) -> String {
    answer.is(status);
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1);
    body["key"].as_str().unwrap().to_owned()
}

/// A request with data as bytes; `headers` are those of key and new key.
fn bytes(server: &Running, path: &str, id: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    bytes_on(&mut server.connect(), path, id, headers, body)
}

fn bytes_on(client: &mut Client, path: &str, id: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let id = Base64UrlUnpadded::encode_string(id.as_bytes());
    client.send(&format!("POST {path}"), &[&[BYTES, ("strongroom-id", &id)], headers].concat(), body)
}

#[test]
fn data_of_all_lengths_comes_back_either_way() {
    let server = encryption(&config());
    for len in [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000, 262_144, 1_000_000] {
        let (data, id) = (data(len), format!("of {len} bytes"));
        let stored = server.json("/v1/store", &json!({"id": id, "data": Base64::encode_string(&data)}));
        let key = key_of(&stored, 201);
        let there = server.json("/v1/retrieve", &json!({"id": id, "key": key}));
        there.is(200);
        assert!(there.json() == json!({"data": Base64::encode_string(&data)}), "{len}");
        let there = bytes(&server, "/v1/retrieve", &id, &[("strongroom-key", &key)], b"");
        there.is(200);
        assert!(there.body == data && there.whole, "{len}");

        let id = format!("as bytes, {len}");
        let key = key_of(&bytes(&server, "/v1/store", &id, &[], &data), 201);
        let there = bytes(&server, "/v1/retrieve", &id, &[("strongroom-key", &key)], b"");
        assert!(there.body == data && there.whole, "{len}");
        let there = server.json("/v1/retrieve", &json!({"id": id, "key": key}));
        assert!(there.json() == json!({"data": Base64::encode_string(&data)}), "{len}");
    }
}

#[test]
fn an_id_is_any_bytes() {
    let server = encryption(&config());
    let id: Vec<u8> = (0..=255).collect();
    let (base64, url) = (Base64::encode_string(&id), Base64UrlUnpadded::encode_string(&id));
    let key = key_of(&server.json("/v1/store", &json!({"id_base64": base64, "data": "aGk="})), 201);
    let headers = [BYTES, ("strongroom-id", &url), ("strongroom-key", &key)];
    assert_eq!(server.send("POST /v1/retrieve", &headers, b"").body, b"hi");
    let escaped = r#"{"id":"\u00e9\/","data":"aGk="}"#;
    let stored =
        server.send("POST /v1/store", &[("content-type", "application/json; charset=utf-8")], escaped.as_bytes());
    let key = key_of(&stored, 201);
    assert_eq!(bytes(&server, "/v1/retrieve", "é/", &[("strongroom-key", &key)], b"").body, b"hi");
}

#[test]
fn a_record_is_replaced_and_removed() {
    let server = encryption(&config());
    let old = key_of(&server.json("/v1/store", &json!({"id": "a", "data": "MQ=="})), 201);
    let new = key_of(&server.json("/v1/replace", &json!({"id": "a", "key": old, "data": "Mg=="})), 200);
    server.json("/v1/retrieve", &json!({"id": "a", "key": old})).is_problem(404, 1, "NotFound");
    let newer = key_of(&bytes(&server, "/v1/replace", "a", &[("strongroom-key", &new)], b"3"), 200);
    assert_eq!(server.json("/v1/retrieve", &json!({"id": "a", "key": newer})).json(), json!({"data": "Mw=="}));
    assert_eq!(server.json("/v1/stats", &json!({})).json()["records"], 1);
    server.json("/v1/delete", &json!({"id": "a", "key": new})).is_problem(404, 1, "NotFound");
    server.json("/v1/delete", &json!({"id": "a", "key": newer})).is(204);
    server.json("/v1/store", &json!({"id": "a", "data": ""})).is(201);
    assert_eq!(server.json("/v1/erase", &json!({"id": "a"})).json(), json!({"erased": true}));
    assert_eq!(server.json("/v1/erase", &json!({"id": "a"})).json(), json!({"erased": false}));
    assert_eq!(server.json("/v1/stats", &json!({})).json(), json!({"records": 0, "bytes": 0, "expired": 0, "free": 0}));
}

/// Without the key, answers do not reveal whether a record exists.
#[test]
fn a_wrong_key_and_a_missing_record_have_one_answer() {
    let server = encryption(&config());
    server.json("/v1/store", &json!({"id": "there", "data": "aGk="})).is(201);
    let (key, new) = (new_key(), new_key());
    let start = Cell::new(Instant::now());
    let comparable = |mut answer: Answer| {
        answer.is_problem(404, 1, "NotFound");
        // Both answers are delayed.
        assert!(start.replace(Instant::now()).elapsed() >= Duration::from_millis(5));
        answer.headers.retain(|(name, _)| !["date", "strongroom-request-id"].contains(&name.as_str()));
        (answer.headers, answer.body)
    };
    let small = |path: &str, id: &str| {
        let mut body = json!({"id": id, "key": key});
        if path == "/v1/replace" {
            body["data"] = "".into();
        }
        comparable(server.json(path, &body))
    };
    let streamed = |path: &str, id: &str, body: &[u8], new: &[(&str, &str)]| {
        comparable(bytes(&server, path, id, &[&[("strongroom-key", key.as_str())], new].concat(), body))
    };
    let one = small("/v1/retrieve", "there");
    assert_eq!(one, small("/v1/retrieve", "gone!"));
    for path in ["/v1/delete", "/v1/replace"] {
        assert_eq!(one, small(path, "there"), "{path}");
        assert_eq!(one, small(path, "gone!"), "{path}");
    }
    for id in ["there", "gone!"] {
        assert_eq!(one, streamed("/v1/retrieve", id, b"", &[]));
        assert_eq!(one, streamed("/v1/replace", id, b"x", &[]));
        assert_eq!(one, streamed("/v1/replace", id, b"x", &[("strongroom-new-key", &new)]));
    }
}

#[test]
fn a_write_under_a_callers_key_may_be_repeated() {
    let server = encryption(&config());
    let (key, new) = (new_key(), new_key());
    let long = data(600_000);
    let (mut other, longer) = (long.clone(), [&long[..], b"x"].concat());
    other[599_999] ^= 1;

    let store = |body: &[u8]| bytes(&server, "/v1/store", "a", &[("strongroom-key", &key)], body);
    for _ in 0..2 {
        assert_eq!(key_of(&store(&long), 201), key);
    }
    for wrong in [&other, &longer, &long[..599_999], b""] {
        store(wrong).is_problem(409, 2, "AlreadyExists");
    }
    bytes(&server, "/v1/store", "a", &[("strongroom-key", &new)], &long).is_problem(409, 2, "AlreadyExists");
    bytes(&server, "/v1/store", "a", &[], &long).is_problem(409, 2, "AlreadyExists");

    let keys = [("strongroom-key", key.as_str()), ("strongroom-new-key", new.as_str())];
    let replace = |body: &[u8]| bytes(&server, "/v1/replace", "a", &keys, body);
    for _ in 0..2 {
        assert_eq!(key_of(&replace(&other), 200), new);
    }
    for wrong in [&long[..], &longer, b""] {
        replace(wrong).is_problem(404, 1, "NotFound");
    }
    let same = [("strongroom-key", new.as_str()), ("strongroom-new-key", new.as_str())];
    bytes(&server, "/v1/replace", "a", &same, b"").is_problem(400, 19, "InvalidArgument");

    let small = json!({"id": "b", "data": "MQ==", "key": key});
    for _ in 0..2 {
        assert_eq!(key_of(&server.json("/v1/store", &small), 201), key);
    }
    let small = json!({"id": "b", "data": "Mg==", "key": key, "new_key": new});
    for _ in 0..2 {
        assert_eq!(key_of(&server.json("/v1/replace", &small), 200), new);
    }
    server.json("/v1/store", &json!({"id": "b", "data": "MQ==", "key": key})).is_problem(409, 2, "AlreadyExists");
}

/// A connection is lost, and the client repeats the request while the server still works on the first one.
#[test]
fn a_late_concurrent_repeat_is_busy() {
    let server = encryption(&config());
    let key = new_key();
    let (headers, body) = ([BYTES, ("strongroom-id", "YQ"), ("strongroom-key", &key)], data(600_000));
    let mut slow = server.connect();
    slow.head("POST /v1/store", &headers, Some(600_000));
    slow.stream.write_all(&body[..300_000]).unwrap();
    server.wait_for_metric("strongroom_received_bytes_total", |bytes| bytes == 300_000);
    slow.stream.write_all(&body[300_000..300_001]).unwrap(); // read after the record has begun
    server.wait_for_metric("strongroom_received_bytes_total", |bytes| bytes == 300_001);
    assert_eq!(key_of(&server.send("POST /v1/store", &headers, &body), 201), key);
    slow.stream.write_all(&body[300_001..]).unwrap();
    slow.answer(false).is_problem(503, 12, "Busy");
    assert_eq!(key_of(&server.send("POST /v1/store", &headers, &body), 201), key);
}

#[test]
fn invalid_requests_are_refused() {
    let server = encryption(&config());
    let key = new_key();
    let argument = |body: &Value| server.json("/v1/store", body).is_problem(400, 19, "InvalidArgument");
    argument(&json!({"id": "a"}));
    argument(&json!({"data": ""}));
    argument(&json!({"id": "a", "id_base64": "YQ==", "data": ""}));
    argument(&json!({"id": "a", "data": "YQ"}));
    argument(&json!({"id": "a", "data": "YQ==", "more": 1}));
    argument(&json!({"id": "a", "data": "YQ==", "new_key": key}));
    argument(&json!({"id": 7, "data": "YQ=="}));
    argument(&json!({"id": "a", "id_base64": null, "data": "YQ=="}));
    argument(&json!({"id": "a", "data": "YQ==", "key": null}));
    argument(&json!("a"));
    argument(&json!(["a", "YQ==", "YQ==", key, key]));
    for (path, body) in [
        ("/v1/retrieve", json!({"id": "a"})),
        ("/v1/retrieve", json!({"id": "a", "key": key, "data": ""})),
        ("/v1/replace", json!({"id": "a", "data": ""})),
        ("/v1/delete", json!({"id": "a", "key": key, "new_key": key})),
        ("/v1/erase", json!({"id": "a", "key": key})),
        ("/v1/stats", json!({"id": "a"})),
        ("/v1/stats", json!([])),
    ] {
        server.json(path, &body).is_problem(400, 19, "InvalidArgument");
    }
    server.send("POST /v1/store", &[("content-type", "application/json")], b"{").is_problem(400, 19, "InvalidArgument");
    server.json("/v1/store", &json!({"id": "", "data": ""})).is_problem(400, 6, "InvalidId");
    server.json("/v1/store", &json!({"id": "x".repeat(4097), "data": ""})).is_problem(400, 6, "InvalidId");
    server.json("/v1/store", &json!({"id": "x".repeat(4096), "data": ""})).is(201);
    let mut typo = key.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'q' { 'p' } else { 'q' });
    server.json("/v1/retrieve", &json!({"id": "a", "key": typo})).is_problem(400, 5, "InvalidKey");

    let longest = "x".repeat(4096);
    let longest = bytes(&server, "/v1/retrieve", &longest, &[("strongroom-key", &key)], b"");
    longest.is_problem(404, 1, "NotFound");
    bytes(&server, "/v1/retrieve", "a", &[], b"").is_problem(400, 19, "InvalidArgument");
    bytes(&server, "/v1/retrieve", "a", &[("strongroom-key", "srk1")], b"").is_problem(400, 5, "InvalidKey");
    bytes(&server, "/v1/retrieve", "a", &[("strongroom-key", &key)], b"x").is_problem(400, 19, "InvalidArgument");
    bytes(&server, "/v1/store", "", &[], b"").is_problem(400, 6, "InvalidId");
    let twice = [("strongroom-key", key.as_str()), ("strongroom-key", key.as_str())];
    bytes(&server, "/v1/store", "a", &twice, b"").is_problem(400, 19, "InvalidArgument");
    server.send("POST /v1/store", &[BYTES, ("strongroom-id", "Y===")], b"").is_problem(400, 19, "InvalidArgument");
    server.send("POST /v1/store", &[], b"{}").is_problem(415, 19, "InvalidArgument");
    bytes(&server, "/v1/erase", "a", &[], b"").is_problem(415, 19, "InvalidArgument");
    server.send("GET /v1/store", &[], b"").is_problem(405, 19, "InvalidArgument");
    server.send("GET /v1/nothing", &[], b"").is_problem(404, 19, "InvalidArgument");
}

#[test]
fn ranges() {
    let server = encryption(&config());
    let data = data(600_000);
    let key = key_of(&bytes(&server, "/v1/store", "a", &[], &data), 201);
    let get = |range: &str| bytes(&server, "/v1/retrieve", "a", &[("strongroom-key", &key), ("range", range)], b"");
    for (range, expected) in
        [("bytes=0-0", 0..1), ("bytes=16380-500000", 16_380..500_001), ("bytes=-7", 599_993..600_000)]
    {
        let answer = get(range);
        answer.is(206);
        assert!(answer.body == data[expected.clone()], "{range}");
        let content_range = format!("bytes {}-{}/600000", expected.start, expected.end - 1);
        assert_eq!(answer.header("content-range"), Some(content_range.as_str()));
    }
    let beyond = get("bytes=600000-");
    beyond.is_problem(416, 19, "InvalidArgument");
    assert_eq!(beyond.header("content-range"), Some("bytes */600000"));
    let wrong = [("strongroom-key", new_key()), ("range", "bytes=600000-".into())];
    let wrong = wrong.each_ref().map(|(name, value)| (*name, value.as_str()));
    bytes(&server, "/v1/retrieve", "a", &wrong, b"").is_problem(404, 1, "NotFound");
}

/// Changes the bytes of the only record.
fn tamper(storage: &MemoryStorage, change: impl FnOnce(&mut Vec<u8>)) {
    let locator: Locator = storage.list(None, 1).unwrap()[0].locator;
    let mut record = storage.get(&locator).unwrap().unwrap();
    change(&mut record);
    storage.put(&locator, &record, PutMode::Overwrite).unwrap();
}

#[test]
fn a_damaged_record_is_an_error_or_a_cut_answer() {
    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config());
    let data = data(3 << 20);
    let key = key_of(&bytes(&server, "/v1/store", "a", &[], &data), 201);
    let get = || bytes(&server, "/v1/retrieve", "a", &[("strongroom-key", &key)], b"");
    server.json("/v1/retrieve", &json!({"id": "a", "key": key})).is_problem(413, 8, "TooLarge");
    assert!(get().whole, "the control");

    tamper(&storage, |record| record[2 << 20] ^= 1);
    let cut = get();
    assert_eq!(cut.status, 200);
    assert!(!cut.whole && cut.body.len() >= 1 << 20 && cut.body[..] == data[..cut.body.len()]);
    tamper(&storage, |record| record[2 << 20] ^= 1);
    assert!(get().whole, "it is as before");

    tamper(&storage, |record| record[100] ^= 1);
    get().is_problem(422, 4, "Corrupt");
    tamper(&storage, |record| record.truncate(record.len() - 1));
    get().is_problem(422, 4, "Corrupt");
    tamper(&storage, |record| record[0] = 9);
    get().is_problem(422, 7, "Unsupported");
    tamper(&storage, |record| (record[0], record[20]) = (1, record[20] ^ 1));
    get().is_problem(404, 1, "NotFound");
}

#[test]
fn a_truncated_body_stores_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config());
    for (announced, sent) in [(1000, 999), (3 << 20, 2 << 20), (10, 0)] {
        let mut client = server.connect();
        client.head("POST /v1/store", &[BYTES, ("strongroom-id", "YQ")], Some(announced));
        client.stream.write_all(&data(sent)).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while !client.is_closed() {}
        assert_eq!(storage.stats(0).unwrap().records, 0);
    }
    let mut client = server.connect();
    client.head("POST /v1/store", &[BYTES, ("strongroom-id", "YQ"), ("transfer-encoding", "chunked")], None);
    client.stream.write_all(b"3\r\nabc\r\n").unwrap();
    drop(client); // before the last chunk
    let mut client = server.connect();
    client.head("POST /v1/store", &[BYTES, ("strongroom-id", "Yg"), ("transfer-encoding", "chunked")], None);
    client.stream.write_all(b"3\r\nabc\r\n0\r\n\r\n").unwrap();
    client.answer(false).is(201);
    assert_eq!(storage.stats(0).unwrap().records, 1, "the whole one alone");
}

#[test]
fn a_storage_fault_stores_nothing_and_stops_no_service() {
    let memory = Arc::new(MemoryStorage::new());
    let panics = Intercepted::before_put(memory.clone(), || std::panic::resume_unwind(Box::new("secret")));
    let server = encryption_over(Arc::new(panics), &config());
    let body = json!({"id": "a", "data": ""});
    server.json("/v1/store", &body).is_problem(500, 99, "Internal");
    assert_eq!(memory.stats(0).unwrap().records, 0);
    server.json("/v1/store", &body).is(201);

    for n in 0..4 {
        let memory = Arc::new(MemoryStorage::new());
        let server = encryption_over(Arc::new(Intercepted::failing_upload(memory.clone(), n)), &config());
        let stored = bytes(&server, "/v1/store", "a", &[], &data(600_000));
        stored.is_problem(507, 13, "StorageFull");
        assert_eq!(memory.stats(0).unwrap().records, 0);
        // A short body is one `put`, which shares its commit with others.
        bytes(&server, "/v1/store", "a", &[], &data(200_000)).is(201);
    }
}
