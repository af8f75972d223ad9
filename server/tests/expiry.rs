//! Records that expire, over both services: fields and headers, the answers, purging on request and in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strongroom::storage::{Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, IndexKey, RecordKey, Strongroom, WriteOptions};
use strongroom_server::{Config, Service};

use crate::support::{Answer, Running, config, start, storage};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const ID: (&str, &str) = ("strongroom-id", "aWQ");
/// Writes a record whose field or header with this name has this value, and returns its key.
type Write = fn(&Running, &str, u64) -> String;

/// The time at which the clock starts.
const START: u64 = 1_000_000;

/// An encryption server whose clock the test sets, in seconds.
fn timed(config: &Config) -> (Running, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(START));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let builder = Strongroom::builder().storage(Arc::new(MemoryStorage::new()));
    let store = builder.index_key(IndexKey::from_bytes(&[7; 32]).unwrap()).clock(now).open().unwrap();
    (start(Service::encryption(Arc::new(store), config).unwrap(), config), clock)
}

fn far_interval() -> Config {
    let mut config = config();
    config.purge.interval_seconds = 1_000_000;
    config
}

fn key_of(answer: &Value) -> String {
    answer["key"].as_str().unwrap().to_owned()
}

/// Each way to write a record that expires, and the names of its two fields or headers.
const WRITES: [(Write, [&str; 2]); 5] = [
    (stored, ["expires_at", "expires_in"]),
    (stored_among_many, ["expires_at", "expires_in"]),
    (replaced, ["expires_at", "expires_in"]),
    (stored_as_bytes, ["strongroom-expires-at", "strongroom-expires-in"]),
    (replaced_as_bytes, ["strongroom-expires-at", "strongroom-expires-in"]),
];

fn stored(server: &Running, name: &str, value: u64) -> String {
    new_key(&server.json("/v1/store", &json!({"id": "id", "data": "QQ==", name: value})), 201)
}

fn stored_among_many(server: &Running, name: &str, value: u64) -> String {
    let answer = server.json("/v1/store-many", &json!({"records": [{"id": "id", "data": "QQ==", name: value}]}));
    answer.is(201);
    answer.json()["keys"][0].as_str().unwrap().to_owned()
}

fn replaced(server: &Running, name: &str, value: u64) -> String {
    let key = lasting(server);
    new_key(&server.json("/v1/replace", &json!({"id": "id", "key": key, "data": "QQ==", name: value})), 200)
}

fn stored_as_bytes(server: &Running, name: &str, value: u64) -> String {
    new_key(&server.send("POST /v1/store", &[OCTETS, ID, (name, &value.to_string())], b"A"), 201)
}

fn replaced_as_bytes(server: &Running, name: &str, value: u64) -> String {
    let key = lasting(server);
    let headers = [OCTETS, ID, ("strongroom-key", &key), (name, &value.to_string())];
    new_key(&server.send("POST /v1/replace", &headers, b"A"), 200)
}

/// The key of a record that does not expire.
fn lasting(server: &Running) -> String {
    new_key(&server.json("/v1/store", &json!({"id": "id", "data": "Qg=="})), 201)
}

fn new_key(answer: &Answer, status: u16) -> String {
    answer.is(status);
    key_of(&answer.json())
}

#[test]
fn fields_and_headers_set_the_expiry() {
    let (server, clock) = timed(&far_interval());
    for (write, names) in WRITES {
        for (name, value) in names.into_iter().zip([START + 50, 50]) {
            clock.store(START, Ordering::Relaxed);
            let key = write(&server, name, value);
            let retrieve = |key: &str| server.json("/v1/retrieve", &json!({"id": "id", "key": key}));
            clock.store(START + 49, Ordering::Relaxed);
            retrieve(&key).is(200);
            assert_eq!(server.json("/v1/contains", &json!({"id": "id"})).json(), json!({"contains": true}));
            clock.store(START + 50, Ordering::Relaxed);
            retrieve(&key).is_problem(410, 20, "Expired");
            let as_bytes = server.send("POST /v1/retrieve", &[OCTETS, ID, ("strongroom-key", &key)], b"");
            as_bytes.is_problem(410, 20, "Expired");
            let found = server.json("/v1/retrieve-many", &json!({"records": [{"id": "id", "key": key}]})).json();
            assert_eq!(found["records"][0]["code"], 20);
            server.json("/v1/replace", &json!({"id": "id", "key": key, "data": ""})).is_problem(410, 20, "Expired");
            assert_eq!(server.json("/v1/contains", &json!({"id": "id"})).json(), json!({"contains": false}));
            // Without the right key, it is a missing record.
            let other = RecordKey::generate().unwrap();
            retrieve(&other.to_text()).is_problem(404, 1, "NotFound");
            assert_eq!(server.json("/v1/stats", &json!({})).json()["expired"], 1);
            assert_eq!(server.json("/v1/purge", &json!({"limit": 0})).json(), json!({"purged": 0}));
            assert_eq!(server.json("/v1/purge", &json!({"limit": 10})).json(), json!({"purged": 1}));
            assert_eq!(server.json("/v1/purge", &json!({"limit": 10})).json(), json!({"purged": 0}));
            retrieve(&key).is_problem(404, 1, "NotFound");
        }
    }
}

#[test]
fn bad_times_and_fields_are_400() {
    let (server, _) = timed(&far_interval());
    let store = |more: Value| {
        let mut body = json!({"id": "id", "data": "QQ=="});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.json("/v1/store", &body)
    };
    for more in [
        json!({"expires_at": 1, "expires_in": 1}),
        json!({"expires_at": -1}),
        json!({"expires_in": 1.5}),
        json!({"expires_in": "1"}),
        json!({"expires_at": START}),
        json!({"expires_at": 0}),
        json!({"expires_at": u64::MAX}),
        json!({"expires_in": 0}),
        json!({"limit": 1}),
    ] {
        store(more).is_problem(400, 19, "InvalidArgument");
    }
    for (name, value) in [
        ("strongroom-expires-at", "1"),
        ("strongroom-expires-at", "x"),
        ("strongroom-expires-in", "-1"),
        ("strongroom-expires-in", ""),
    ] {
        server.send("POST /v1/store", &[OCTETS, ID, (name, value)], b"A").is_problem(400, 19, "InvalidArgument");
    }
    let both = [OCTETS, ID, ("strongroom-expires-at", "2000000"), ("strongroom-expires-in", "5")];
    server.send("POST /v1/store", &both, b"A").is_problem(400, 19, "InvalidArgument");
    // A header that would be ignored.
    let header = [("content-type", "application/json"), ("strongroom-expires-in", "5")];
    server.send("POST /v1/store", &header, br#"{"id":"id","data":""}"#).is_problem(400, 19, "InvalidArgument");
    assert_eq!(server.json("/v1/stats", &json!({})).json()["records"], 0);

    let key = key_of(&store(json!({"expires_in": u64::MAX})).json());
    for path in ["/v1/retrieve", "/v1/delete"] {
        let body = json!({"id": "id", "key": key, "expires_in": 5});
        server.json(path, &body).is_problem(400, 19, "InvalidArgument");
    }
    for path in ["/v1/contains", "/v1/erase"] {
        server.json(path, &json!({"id": "id", "expires_in": 5})).is_problem(400, 19, "InvalidArgument");
        server.json(path, &json!({"id": "id", "limit": 5})).is_problem(400, 19, "InvalidArgument");
    }
    for body in [json!({}), json!({"limit": -1}), json!({"limit": 1, "id": "id"}), json!({"limit": 1, "now": 5})] {
        server.json("/v1/purge", &body).is_problem(400, 19, "InvalidArgument");
    }
    server.json("/v1/retrieve", &json!({"id": "id", "key": key})).is(200);
}

#[test]
fn a_client_sets_the_expiry_and_purges() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (server, clock) = timed(&far_interval());
    clock.store(now, Ordering::Relaxed);
    let client = Strongroom::connect(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap();
    let hour = || WriteOptions::new().expires_in(Duration::from_secs(3600));
    let short = client.store_with("short", b"data", hour()).unwrap();
    let long = client.store_reader_with("long", &vec![7; 1_000_000][..], hour()).unwrap();
    let many = client.store_many_with(&[("many", b"data", hour()), ("lasting", b"data", WriteOptions::new())]).unwrap();
    let old = client.store("replaced", b"old").unwrap();
    let new = client.replace_with("replaced", &old, b"new", hour()).unwrap();
    let [many, lasting] = &many[..] else { panic!() };
    for (id, key) in [("short", &short), ("long", &long), ("many", many), ("replaced", &new), ("lasting", lasting)] {
        client.retrieve(id, key).unwrap();
    }
    let end_of_time = WriteOptions::new().expires_in(Duration::MAX);
    let late = client.store_with("late", b"data", end_of_time).unwrap();
    client.delete("late", &late).unwrap();
    let past = WriteOptions::new().expires_at(SystemTime::now() - Duration::from_secs(5));
    assert!(matches!(client.store_with("past", b"data", past), Err(Error::InvalidArgument(_))));

    clock.fetch_add(2 * 3600, Ordering::Relaxed);
    for (id, key) in [("short", &short), ("long", &long), ("many", many), ("replaced", &new)] {
        assert!(matches!(client.retrieve(id, key), Err(Error::Expired)), "{id}");
        assert!(matches!(client.open_record(id, key), Err(Error::Expired)), "{id}");
        assert!(matches!(client.retrieve_many(&[(id, key)]).unwrap()[0], Err(Error::Expired)), "{id}");
        assert!(!client.contains(id).unwrap());
    }
    assert_eq!((client.stats().unwrap().records, client.stats().unwrap().expired), (5, 4));
    assert_eq!((client.purge(3).unwrap(), client.purge(usize::MAX).unwrap(), client.purge(1).unwrap()), (3, 1, 0));
    assert_eq!(client.retrieve("lasting", lasting).unwrap(), b"data");
}

/// A record with this expiry time.
fn record(expires_at: u64) -> Vec<u8> {
    let mut record = vec![1; 100];
    record[4..12].copy_from_slice(&expires_at.to_le_bytes());
    record
}

#[test]
fn the_storage_service_purges_at_a_time() {
    let server = storage(Arc::new(MemoryStorage::new()));
    let remote = RemoteStorage::open(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap();
    let far = u64::MAX - 1;
    for (n, time) in [(1, far - 20), (2, far - 10), (3, 0)] {
        let locator = Locator::from_bytes([n; 32]);
        remote.put(&locator, &record(time), PutMode::Create).unwrap();
    }
    assert_eq!([0, far - 20, far].map(|now| remote.stats(now).unwrap().expired), [0, 1, 2]);
    let stats = |query: &str| server.send(&format!("GET /v1/stats{query}"), &[], b"");
    assert_eq!(stats("").json()["expired"], 0);
    assert_eq!(stats(&format!("?now={far}")).json()["expired"], 2);
    stats("?now=-1").is_problem(400, 19, "InvalidArgument");
    stats("?other=1").is_problem(400, 19, "InvalidArgument");
    let purge = |body: &Value| server.json("/v1/purge", body);
    assert_eq!(purge(&json!({"limit": 5})).json(), json!({"purged": 0}));
    assert_eq!(purge(&json!({"limit": 5, "now": null})).json(), json!({"purged": 0}));
    assert_eq!(purge(&json!({"limit": 5, "now": far - 15})).json(), json!({"purged": 1}));
    assert_eq!(remote.purge(far, 5).unwrap(), 1);
    assert_eq!(remote.stats(far).unwrap().records, 1);
    for body in [json!({}), json!({"now": 1}), json!({"limit": "5"}), json!({"limit": 5, "other": 1})] {
        purge(&body).is_problem(400, 19, "InvalidArgument");
    }
}

const DAY: u64 = 24 * 60 * 60;

/// The locator of a claim that was made so many seconds ago.
fn claim(seconds_ago: u64) -> Locator {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let bytes = [&[0], &(now - seconds_ago).to_be_bytes()[..], &[9; 23]].concat();
    Locator::from_bytes(bytes.try_into().unwrap())
}

/// A record whose `take` was interrupted, perhaps on a machine that never comes back.
#[test]
fn the_storage_service_removes_abandoned_claims() {
    let memory = Arc::new(MemoryStorage::new());
    let server = storage(memory.clone());
    let (young, old) = (claim(DAY - 3600), claim(DAY + 60));
    let purge = |body: &Value| server.json("/v1/purge", body).json()["purged"].as_u64().unwrap();
    let is_there = |locator| memory.info(locator).unwrap().is_some();
    memory.put(&young, &record(0), PutMode::Create).unwrap();
    memory.put(&old, &record(0), PutMode::Create).unwrap();
    assert_eq!(purge(&json!({"limit": 5, "now": u64::MAX - 1})), 0, "a store removes them itself");
    assert_eq!([purge(&json!({"limit": 5})), purge(&json!({"limit": 5}))], [1, 0]);
    assert!(is_there(&young) && !is_there(&old));
    memory.put(&old, &record(0), PutMode::Create).unwrap();
    server.send("POST /v1/maintain", &[], b"").is(204);
    assert!(is_there(&young) && !is_there(&old));
}

#[test]
fn services_purge_in_the_background() {
    let mut config = config();
    config.purge.interval_seconds = 1;
    let memory = Arc::new(MemoryStorage::new());
    for n in 0..200 {
        let locator = Locator::from_bytes([n; 32]);
        memory.put(&locator, &record(if n % 2 == 0 { 5 } else { 0 }), PutMode::Create).unwrap();
    }
    memory.put(&claim(DAY + 60), &record(0), PutMode::Create).unwrap();
    let server = start(Service::storage(memory.clone(), &config).unwrap(), &config);
    server.wait_for_metric("strongroom_purged_records_total", |purged| purged == 101);
    assert_eq!(memory.stats(u64::MAX).unwrap().records, 100);

    let (server, clock) = timed(&config);
    server.json("/v1/store", &json!({"id": "id", "data": "", "expires_in": 50})).is(201);
    clock.fetch_add(50, Ordering::Relaxed);
    server.wait_for_metric("strongroom_purged_records_total", |purged| purged == 1);
    assert_eq!(server.json("/v1/stats", &json!({})).json()["records"], 0);
}

/// The storage of an encryption server may be a storage service: both purge.
#[test]
fn the_expiry_of_a_store_in_a_storage_service_is_that_of_the_store() {
    let service = storage(Arc::new(MemoryStorage::new()));
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    let clock = Arc::new(AtomicU64::new(START));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let builder = Strongroom::builder().endpoint(endpoint).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    let store = builder.clock(now).open().unwrap();
    for data in [vec![1; 10], vec![2; 1_000_000]] {
        let until = |seconds| WriteOptions::new().expires_at(UNIX_EPOCH + Duration::from_secs(START + seconds));
        clock.store(START, Ordering::Relaxed);
        let old = store.store_with("id", &data, until(50)).unwrap();
        assert_eq!(store.retrieve("id", &old).unwrap(), data);
        clock.store(START + 50, Ordering::Relaxed);
        assert!(matches!(store.retrieve("id", &old), Err(Error::Expired)));
        let new = store.store_reader_with("id", &data[..], until(90)).unwrap();
        assert_eq!(store.retrieve("id", &new).unwrap(), data);
        clock.store(START + 90, Ordering::Relaxed);
        assert_eq!(store.purge(10).unwrap(), 1);
        assert_eq!(store.stats().unwrap().records, 0);
    }
}
