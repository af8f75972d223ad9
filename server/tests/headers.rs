//! Headers that change the meaning of a request (RFC 9110).

use std::io::Write;
use std::sync::Arc;

use crate::support::{Answer, Running, config, encryption, encryption_over, storage, token};
use serde_json::json;
use strongroom::storage::{MemoryStorage, Storage};
use strongroom_server::Scope;

const BYTES: (&str, &str) = ("content-type", "application/octet-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Requests that no route here serves.
const REFUSED: [(&str, &str, u16); 15] = [
    ("content-encoding", "gzip", 415),
    ("content-encoding", "identity, br", 415),
    ("content-encoding", "aws-chunked", 415),
    ("content-range", "bytes 0-3/8", 400),
    ("content-range", "bytes */8", 400),
    ("expect", "200-ok", 417),
    ("content-type", "application/octet-stream", 400), // a second one
    ("range", "bytes=0-1", 400),                       // a second one
    ("authorization", "Bearer srt1other", 400),        // a second one
    ("content-type", "text/plain", 415),
    ("content-type", "multipart/form-data; boundary=x", 415),
    ("content-type", "application/octet-stream; charset=utf-16", 415),
    ("content-type", "application/json; charset=\"utf-16\"", 415),
    ("content-type", "application/json-seq", 415),
    ("content-type", "", 415),
];

#[test]
fn a_content_encoded_body_is_not_stored() {
    let memory = Arc::new(MemoryStorage::new());
    let (encryption, storage) = (encryption_over(memory.clone(), &config()), storage(memory.clone()));
    let record = format!("PUT /v1/records/{}", "7".repeat(64));
    for (name, value, status) in REFUSED {
        let mut headers = vec![(name, value)];
        if name != "content-type" || status == 400 {
            headers.push(BYTES);
        }
        if status == 400 {
            headers.extend([("range", "bytes=0-1"), ("authorization", "Bearer srt1wrong")]);
        }
        let to_encryption = [&headers[..], &[("strongroom-id", "YQ")]].concat();
        for answer in [
            encryption.send("POST /v1/store", &to_encryption, b"{\"a\":1}"),
            storage.send(&record, &headers, b"{\"a\":1}"),
        ] {
            assert_eq!(answer.status, status, "{name}: {value}");
            answer.is_problem(status, 19, "InvalidArgument");
            let accepts = answer.header("accept-encoding");
            assert_eq!(accepts, (name == "content-encoding").then_some("identity"));
        }
    }
    assert_eq!(memory.stats(0).unwrap().records, 0);
    for (name, value) in [
        ("content-encoding", "identity"),
        ("Content-Language", "de"),
        ("content-type", "application/octet-stream; x=y"),
        ("range", "bytes=0-1"),
    ] {
        let headers = [(name, value), BYTES];
        let headers = if name == "content-type" { &headers[..1] } else { &headers };
        storage.send(&record, headers, &[7; 100]).is(204);
    }
    let utf8 = ("content-type", "application/json; charset=UTF-8");
    encryption.send("POST /v1/store", &[utf8], br#"{"id":"a","data":""}"#).is(201);
}

#[test]
fn a_transfer_coding_is_not_stored_as_data() {
    let memory = Arc::new(MemoryStorage::new());
    let server = storage(memory.clone());
    let record = format!("PUT /v1/records/{}", "7".repeat(64));
    for (coding, status) in [("gzip, chunked", 400), ("chunked", 204)] {
        let mut client = server.connect();
        client.head(&record, &[BYTES, ("transfer-encoding", coding)], None);
        client.stream.write_all(&[b"64\r\n", &[7; 100][..], b"\r\n0\r\n\r\n"].concat()).unwrap();
        client.answer(false).is(status);
    }
    assert_eq!(memory.stats(0).unwrap().records, 1);
}

#[test]
fn two_authorization_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let right = format!("Bearer {}", token(&file, &[Scope::Erase]));
    let mut config = config();
    config.tokens = Some(file);
    let server = encryption(&config);
    for (first, second) in [(right.as_str(), "Bearer srt1wrong"), ("Bearer srt1wrong", &right), (&right, &right)] {
        let headers = [("authorization", first), ("authorization", second), JSON];
        server.send("POST /v1/stats", &headers, b"{}").is_problem(400, 19, "InvalidArgument");
    }
    server.send("POST /v1/stats", &[("authorization", &right), JSON], b"{}").is(200);
}

#[test]
fn headers_without_effect_are_refused() {
    let server = encryption(&config());
    let refused = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        server.send(&format!("POST {path}"), headers, body).is_problem(400, 19, "InvalidArgument");
    };
    let stored = br#"{"id": "a", "data": "AAAA"}"#;
    let key = server.send("POST /v1/store", &[JSON], stored).json()["key"].as_str().unwrap().to_owned();
    for (name, value) in [
        ("strongroom-id", "YQ"),
        ("strongroom-key", key.as_str()),
        ("strongroom-new-key", &key),
        ("strongroom-expires-in", "60"),
        ("strongroom-pad", "false"),
    ] {
        refused("/v1/store", &[JSON, (name, value)], br#"{"id": "b", "data": "AAAA"}"#);
        refused("/v1/store-many", &[JSON, (name, value)], br#"{"records": [{"id": "b", "data": "AAAA"}]}"#);
    }
    let named = [BYTES, ("strongroom-id", "YQ"), ("strongroom-key", &key)];
    for header in [("strongroom-new-key", key.as_str()), ("strongroom-expires-at", "9"), ("strongroom-pad", "true")] {
        refused("/v1/retrieve", &[&named[..], &[header]].concat(), b"");
        refused("/v1/take", &[&named[..], &[header]].concat(), b"");
    }
    refused("/v1/store", &[BYTES, ("strongroom-id", "Yg"), ("strongroom-new-key", &key)], b"data");
    let record = format!("PUT /v1/records/{}", "7".repeat(64));
    let storage = storage(Arc::new(MemoryStorage::new()));
    for header in [("strongroom-id", "YQ"), ("strongroom-key", key.as_str()), ("strongroom-expires-in", "60")] {
        storage.send(&record, &[BYTES, header], RECORD).is_problem(400, 19, "InvalidArgument");
    }
    // A second header is refused, even if the request uses none.
    let twice = [JSON, ("strongroom-anything", "a"), ("strongroom-anything", "a")];
    refused("/v1/contains", &twice, br#"{"id": "a"}"#);
    let contains = |id: &str| server.json("/v1/contains", &json!({ "id": id })).json()["contains"].clone();
    assert_eq!((contains("a"), contains("b")), (json!(true), json!(false)));
}

/// A record of the minimum length.
const RECORD: &[u8; 68] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!?+-*/";

/// Stores the record in an encryption server, and returns a function that retrieves it.
fn retrieves(server: &Running) -> impl Fn(&[(&str, &str)]) -> Answer {
    let stored = server.send("POST /v1/store", &[BYTES, ("strongroom-id", "YQ")], RECORD).json();
    let key = stored["key"].as_str().unwrap().to_owned();
    move |headers| {
        let own = [BYTES, ("strongroom-id", "YQ"), ("strongroom-key", &key)];
        server.send("POST /v1/retrieve", &[&own, headers].concat(), b"")
    }
}

#[test]
fn ranges_are_honoured_refused_or_ignored() {
    let (encryption, storage) = (encryption(&config()), storage(Arc::new(MemoryStorage::new())));
    let retrieve = retrieves(&encryption);
    let record = format!("/v1/records/{}", "7".repeat(64));
    storage.send(&format!("PUT {record}"), &[BYTES], RECORD).is(204);
    let get = |headers: &[(&str, &str)]| storage.send(&format!("GET {record}"), headers, b"");
    type Ask<'a> = &'a dyn Fn(&[(&str, &str)]) -> Answer;
    let services: [Ask<'_>; 2] = [&retrieve, &get];
    for ask in services {
        for (range, body) in
            [("bytes=2-3", "23"), ("BYTES=66-", "*/"), ("bytes=-1", "/"), ("bytes=,67-99999999999999999999", "/")]
        {
            let answer = ask(&[("range", range)]);
            answer.is(206);
            assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{range}");
        }
        for range in ["bytes=68-", "bytes=-0", "bytes=99999999999999999999-"] {
            let answer = ask(&[("range", range)]);
            answer.is_problem(416, 19, "InvalidArgument");
            assert_eq!(answer.header("content-range"), Some("bytes */68"));
        }
        for range in ["lines=0-1", "bytes=3-2", "bytes=0-1,4-5", "bytes", "bytes=a-b", "x"] {
            let answer = ask(&[("range", range)]);
            answer.is(200);
            assert_eq!((answer.body.len(), answer.header("content-range")), (68, None), "{range}");
        }
        for if_range in ["\"other\"", "W/\"other\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            let answer = ask(&[("range", "bytes=2-3"), ("if-range", if_range)]);
            answer.is(200);
            assert_eq!(answer.body.len(), 68, "{if_range}");
        }
        assert_eq!(ask(&[("if-range", "\"other\"")]).status, 200, "without a range it means nothing");
    }
    let etag = get(&[]).header("etag").unwrap().to_owned();
    assert_eq!(get(&[("range", "bytes=2-3"), ("if-range", &etag)]).status, 206);
    assert_eq!(get(&[("range", "bytes=2-3"), ("if-range", &format!("W/{etag}"))]).status, 200);
    let head = storage.send(&format!("HEAD {record}"), &[("range", "bytes=2-3")], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("68")));
}

/// RFC 9110 section 8.6.
#[test]
fn an_answer_without_a_body_has_the_length_of_the_one_with_it() {
    let service = storage(Arc::new(MemoryStorage::new()));
    let record = format!("/v1/records/{}", "7".repeat(64));
    service.send(&format!("PUT {record}"), &[BYTES], RECORD).is(204);
    for path in
        ["/healthz", "/openapi.json", "/v1/records", "/v1/stats", "/unknown", "/v1/records?x=", "/v1/maintain", &record]
    {
        let [get, head] = ["GET", "HEAD"].map(|method| service.send(&format!("{method} {path}"), &[], b""));
        assert_eq!((head.status, head.header("content-length")), (get.status, get.header("content-length")), "{path}");
        assert!(head.header("content-length").is_some_and(|len| len != "0"), "{path}");
    }
    for method in ["GET", "HEAD"] {
        let answer = service.send(&format!("{method} {record}"), &[("if-none-match", "*")], b"");
        assert_eq!(answer.status, 304);
        assert!([None, Some("68")].contains(&answer.header("content-length")), "{method}: {answer:?}");
    }
    let removed = service.send(&format!("DELETE {record}"), &[], b"");
    assert_eq!((removed.status, removed.header("content-length")), (204, None));
}

#[test]
fn conditional_requests_follow_the_rfc() {
    let storage = storage(Arc::new(MemoryStorage::new()));
    let record = format!("/v1/records/{}", "7".repeat(64));
    let send = |method: &str, headers: &[(&str, &str)], body: &[u8]| {
        storage.send(&format!("{method} {record}"), &[&[BYTES], headers].concat(), body)
    };
    let put = |byte: u8, headers: &[(&str, &str)]| send("PUT", headers, &[byte; 100]).status;
    let etag = || send("HEAD", &[], b"").header("etag").unwrap().to_owned();
    assert_eq!(put(0, &[("if-match", "*")]), 412, "nothing is there");
    assert_eq!(put(1, &[]), 204);
    let first = etag();
    let both = format!("\"other\", {first}");
    assert_eq!(put(2, &[("if-match", &both)]), 204);
    assert_eq!(put(3, &[("if-match", &both)]), 412, "it is another version");
    assert_eq!(put(3, &[("if-match", "\"other\""), ("if-match", &etag())]), 204, "a list may be in several lines");
    assert_eq!(put(4, &[("if-match", &format!("W/{}", etag()))]), 412, "weak tags prove nothing");
    assert_eq!(put(4, &[("if-match", "\"other\"")]), 412);
    assert_eq!(put(4, &[("if-match", "other")]), 400);
    assert_eq!(put(4, &[("if-match", "*")]), 204);
    assert_eq!(put(5, &[("if-none-match", "*")]), 412);
    assert_eq!(put(5, &[("if-unmodified-since", "Wed, 21 Oct 2015 07:28:00 GMT")]), 204, "there are no dates");
    let there = etag();
    for method in ["GET", "HEAD"] {
        for known in [there.clone(), format!("W/{there}"), format!("\"other\", {there}"), "*".to_owned()] {
            let answer = send(method, &[("if-none-match", &known)], b"");
            assert_eq!((answer.status, answer.header("etag")), (304, Some(there.as_str())), "{method} {known}");
        }
        assert_eq!(send(method, &[("if-none-match", &first)], b"").status, 200);
        assert_eq!(send(method, &[("if-match", &format!("{first}, {there}"))], b"").status, 200);
        assert_eq!(send(method, &[("if-match", &first)], b"").status, 412);
    }
    assert_eq!(send("DELETE", &[("if-match", &first)], b"").status, 412);
    for spared in [&there, &format!("W/{there}"), &format!("\"other\", {there}"), "*"] {
        send("DELETE", &[("if-none-match", spared)], b"").is_problem(412, 2, "AlreadyExists");
        send("DELETE", &[("if-match", &there), ("if-none-match", spared)], b"").is_problem(412, 2, "AlreadyExists");
    }
    assert_eq!(send("DELETE", &[("if-match", &first), ("if-none-match", &first)], b"").status, 412);
    assert_eq!(send("DELETE", &[("if-none-match", "other")], b"").status, 400);
    assert_eq!(etag(), there, "nothing is removed");
    assert_eq!(send("DELETE", &[("if-none-match", &first)], b"").status, 204);
    assert_eq!(send("DELETE", &[("if-none-match", "*")], b"").status, 404);
    assert_eq!(put(5, &[]), 204);
    let there = etag();
    assert_eq!(send("DELETE", &[("if-match", &format!("{first},{there}"))], b"").status, 204);
    assert_eq!(send("DELETE", &[("if-match", &there)], b"").status, 404);

    // Without entity tags, no condition holds, and the request is not executed.
    let server = encryption(&config());
    let store =
        |header| server.send("POST /v1/store", &[JSON, header], json!({"id": "a", "data": ""}).to_string().as_bytes());
    for header in [("if-match", "\"x\""), ("if-none-match", "*")] {
        store(header).is_problem(412, 19, "InvalidArgument");
    }
    store(("if-none-match", "\"x\"")).is(201);
    for path in ["/v1/records", "/v1/expired?now=0", "/v1/settings", "/v1/stats"] {
        for method in ["GET", "HEAD"] {
            let get = |header| storage.send(&format!("{method} {path}"), &[header], b"");
            for header in [("if-match", "\"x\""), ("if-none-match", "*")] {
                assert_eq!(get(header).status, 412, "{method} {path}");
            }
            let without = get(JSON).status;
            for header in [("if-match", "*"), ("if-none-match", "\"x\"")] {
                assert_eq!(get(header).status, without, "{method} {path}");
            }
        }
    }
}
