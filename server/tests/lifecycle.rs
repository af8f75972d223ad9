//! Take, rekey, namespaces and padding over HTTP: routes, scopes, bound tokens, concurrent callers of a whole chain.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::{Value, json};
use strongroom::storage::{self, MemoryStorage, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, RecordKey, Strongroom, WriteOptions};
use strongroom_server::{NewToken, Scope};

use crate::hooked::{Shared, hooked};
use crate::rounds::rounds;
use crate::support::model::{Place, check_model, check_model_of_threads};
use crate::support::wait::{DEADLINE, Join};
use crate::support::{Answer, Running, config, encryption, encryption_over, start, storage};

const JSON: (&str, &str) = ("content-type", "application/json");
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const ID: (&str, &str) = ("strongroom-id", "aWQ");

fn stored(server: &Running, data: &[u8]) -> String {
    let answer = server.send("POST /v1/store", &[OCTETS, ID], data);
    answer.is(201);
    answer.json()["key"].as_str().unwrap().to_owned()
}

fn records(server: &Running) -> Value {
    server.json("/v1/stats", &json!({})).json()["records"].clone()
}

fn other_key() -> String {
    RecordKey::generate().unwrap().to_text().to_string()
}

#[test]
fn a_record_is_taken_as_json_and_as_bytes() {
    let server = encryption(&config());
    for len in [0, 100, 20_000, 1_000_000] {
        let data: Vec<u8> = (0..=250).cycle().take(len).collect();
        for is_json in [true, false] {
            let key = stored(&server, &data);
            let take = |key: &str| match is_json {
                true => server.json("/v1/take", &json!({"id": "id", "key": key})),
                false => server.send("POST /v1/take", &[OCTETS, ID, ("strongroom-key", key)], b""),
            };
            take(&other_key()).is_problem(404, 1, "NotFound");
            assert_eq!(records(&server), 1, "a wrong key takes nothing");
            let answer = take(&key);
            answer.is(200);
            let found = match is_json {
                true => base64(&answer),
                false => answer.body.clone(),
            };
            assert!(found == data);
            take(&key).is_problem(404, 1, "NotFound");
            assert_eq!(records(&server), 0);
        }
    }
}

fn base64(answer: &Answer) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    Base64::decode_vec(answer.json()["data"].as_str().unwrap()).unwrap()
}

#[test]
fn a_refused_take_consumes_nothing() {
    let mut config = config();
    config.limits.json_bytes = 4000;
    let server = encryption(&config);
    let key = stored(&server, &[7; 5000]);
    let body = json!({"id": "id", "key": key});
    server.json("/v1/take", &body).is_problem(413, 8, "TooLarge");
    for (name, value) in
        [("data", json!("")), ("new_key", json!(other_key())), ("expires_in", json!(5)), ("pad", json!(true))]
    {
        let mut body = body.clone();
        body[name] = value;
        server.json("/v1/take", &body).is_problem(400, 19, "InvalidArgument");
    }
    let named = |headers: &[(&str, &str)], body: &[u8]| {
        server.send("POST /v1/take", &[&[OCTETS, ID, ("strongroom-key", &key)], headers].concat(), body)
    };
    named(&[], b"x").is_problem(400, 19, "InvalidArgument");
    named(&[("strongroom-pad", "true")], b"").is_problem(400, 19, "InvalidArgument");
    named(&[("strongroom-expires-in", "5")], b"").is_problem(400, 19, "InvalidArgument");
    named(&[("strongroom-namespace", "!")], b"").is_problem(400, 19, "InvalidArgument");
    assert_eq!(records(&server), 1);
    assert_eq!(named(&[], b"").body, [7; 5000]);
}

/// The storage fails at each read after the record is taken: the client must not think that nothing has changed.
#[test]
fn a_failure_after_a_take_is_indeterminate() {
    for reads in 0..2 {
        let memory: Shared = Arc::new(MemoryStorage::new());
        let left = AtomicUsize::new(usize::MAX);
        let storage = hooked(&memory, move |method, _| {
            match method {
                "rename" => left.store(reads, Ordering::Relaxed),
                "read_at" if left.load(Ordering::Relaxed) == 0 => {
                    return Err(storage::Error::Backend("the storage is away".into()));
                }
                "read_at" => drop(left.fetch_sub(1, Ordering::Relaxed)),
                _ => {}
            }
            Ok(())
        });
        let server = encryption_over(storage, &config());
        let key = stored(&server, &vec![7; 600_000]);
        let answer = server.send("POST /v1/take", &[OCTETS, ID, ("strongroom-key", &key)], b"");
        answer.is_problem(502, 15, "Indeterminate");
        assert_eq!(records(&server), 0, "it is taken");
    }
}

/// The client cannot mend that, and its own token is valid.
#[test]
fn a_storage_that_denies_access_does_not_deny_it_to_the_client() {
    let memory: Shared = Arc::new(MemoryStorage::new());
    let denies = Arc::new(AtomicBool::new(false));
    let denied = Arc::clone(&denies);
    let storage = hooked(&memory, move |_, _| match denied.load(Ordering::Relaxed) {
        true => Err(storage::Error::AccessDenied("the token has expired".into())),
        false => Ok(()),
    });
    let server = encryption_over(storage, &config());
    let key = stored(&server, b"data");
    denies.store(true, Ordering::Relaxed);
    let record = [OCTETS, ID, ("strongroom-key", &*key)];
    for answer in [
        server.send("POST /v1/store", &[OCTETS, ID], b"data"),
        server.send("POST /v1/retrieve", &record, b""),
        server.send("POST /v1/take", &record, b""),
        server.json("/v1/contains", &json!({"id": "id"})),
        server.json("/v1/erase", &json!({"id": "id"})),
    ] {
        answer.is_problem(502, 14, "Storage");
        assert!(!answer.json()["detail"].as_str().unwrap().contains("expired"));
    }
    denies.store(false, Ordering::Relaxed);
    assert_eq!(server.send("POST /v1/retrieve", &record, b"").body, b"data");
}

#[test]
fn a_record_is_sealed_again() {
    let server = encryption(&config());
    for len in [0, 100, 1_000_000] {
        let data: Vec<u8> = (0..=250).cycle().take(len).collect();
        let (old, new) = (stored(&server, &data), other_key());
        let rekey = |key: &str, new: Option<&str>| {
            let mut body = json!({"id": "id", "key": key});
            new.into_iter().for_each(|new| body["new_key"] = json!(new));
            server.json("/v1/rekey", &body)
        };
        rekey(&other_key(), None).is_problem(404, 1, "NotFound");
        rekey(&other_key(), Some(&new)).is_problem(404, 1, "NotFound");
        for _ in 0..2 {
            let answer = rekey(&old, Some(&new)); // a repetition succeeds
            answer.is(200);
            assert_eq!(answer.json()["key"], new);
        }
        rekey(&old, None).is_problem(404, 1, "NotFound");
        let answer = rekey(&new, None);
        answer.is(200);
        let key = answer.json()["key"].as_str().unwrap().to_owned();
        let found = server.send("POST /v1/take", &[OCTETS, ID, ("strongroom-key", &key)], b"");
        assert!(found.body == data);
    }
    let key = stored(&server, b"data");
    for body in
        [json!({"id": "id"}), json!({"id": "id", "key": key, "data": ""}), json!({"id": "id", "key": key, "limit": 1})]
    {
        server.json("/v1/rekey", &body).is_problem(400, 19, "InvalidArgument");
    }
}

#[test]
fn padding_is_a_field_and_a_header() {
    let memory = Arc::new(MemoryStorage::new());
    let server = encryption_over(memory.clone(), &config());
    let check = |answer: Answer, expected| {
        answer.is(201);
        assert_eq!(memory.list(None, 1).unwrap()[0].info.head.as_bytes()[2] == 1, expected);
        server.json("/v1/erase", &json!({"id": "id"})).is(200);
    };
    check(server.json("/v1/store", &json!({"id": "id", "data": ""})), false);
    for pad in [true, false] {
        check(server.json("/v1/store", &json!({"id": "id", "data": "", "pad": pad})), pad);
        let many = json!({"records": [{"id": "id", "data": "", "pad": pad}]});
        check(server.json("/v1/store-many", &many), pad);
        check(server.send("POST /v1/store", &[OCTETS, ID, ("strongroom-pad", &pad.to_string())], b"data"), pad);
    }
    server.send("POST /v1/store", &[OCTETS, ID, ("strongroom-pad", "1")], b"").is_problem(400, 19, "InvalidArgument");
    server.json("/v1/store", &json!({"id": "id", "data": "", "pad": 1})).is_problem(400, 19, "InvalidArgument");
    server.json("/v1/retrieve", &json!({"id": "id", "key": other_key(), "pad": true})).is_problem(
        400,
        19,
        "InvalidArgument",
    );
    assert_eq!(records(&server), 0);
}

/// A client has all operations of the library, with the same results.
#[test]
fn a_client_takes_rekeys_and_pads_in_a_namespace() {
    let memory = Arc::new(MemoryStorage::new());
    let server = encryption_over(memory.clone(), &config());
    let client = Strongroom::connect(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap();
    let space = client.namespace("tenant").unwrap();
    for data in [vec![], vec![1; 100], vec![2; 3_000_000]] {
        let old = space.store_reader_with("id", &data[..], WriteOptions::new().pad()).unwrap();
        assert!(!client.contains("id").unwrap() && space.contains("id").unwrap());
        assert!(matches!(client.take("id", &old), Err(Error::NotFound)));
        let new = space.rekey("id", &old).unwrap();
        assert_eq!(memory.list(None, 1).unwrap()[0].info.head.as_bytes()[2], 1);
        assert!(matches!(space.rekey("id", &old), Err(Error::NotFound)));
        assert!(space.take("id", &new).unwrap() == data);
        assert!(matches!(space.take("id", &new), Err(Error::NotFound)));

        let key = space.padded().store("id", &data).unwrap();
        let mut reader = space.take_record("id", &key).unwrap();
        assert!(matches!(space.take_record("id", &key), Err(Error::NotFound)));
        assert_eq!(reader.len().unwrap(), data.len() as u64);
        let mut found = Vec::new();
        reader.read_to_end(&mut found).unwrap();
        assert!(found == data);
    }
    let keys = space.store_many(&[("one", b"1")]).unwrap();
    assert_eq!(space.retrieve_many(&[("one", &keys[0])]).unwrap().remove(0).unwrap(), b"1");
    assert!(matches!(client.retrieve_many(&[("one", &keys[0])]).unwrap()[0], Err(Error::NotFound)));
    assert_eq!(space.purge(1).unwrap(), 0);
    space.delete("one", &keys[0]).unwrap();
    assert_eq!(client.stats().unwrap().records, 0);
}

/// Many callers through an encryption server whose store is in a storage service.
#[test]
fn one_of_many_callers_of_a_chain_gets_the_data() {
    const CALLERS: usize = 64;
    let service = storage(Arc::new(MemoryStorage::new()));
    let remote = RemoteStorage::open(&Endpoint::new(&format!("http://{}", service.address)).unwrap()).unwrap();
    let server = encryption_over(Arc::new(remote), &config());
    let client = Strongroom::connect(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap();
    let (rounds, barrier) = (rounds(10, 1000), Barrier::new(CALLERS));
    let keys: Vec<_> = (0..rounds).map(|n| client.store(format!("{n}"), vec![7; n * 977 % 300_000]).unwrap()).collect();
    let taken: Vec<Vec<bool>> = thread::scope(|scope| {
        let caller = || {
            (keys.iter().enumerate())
                .map(|(n, key)| {
                    barrier.wait();
                    match client.take(format!("{n}"), key) {
                        Ok(data) => data == vec![7; n * 977 % 300_000],
                        Err(error) => {
                            assert!(matches!(error, Error::NotFound), "{error:?}");
                            false
                        }
                    }
                })
                .collect()
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join_within(DEADLINE * 4)).collect()
    });
    for round in 0..rounds {
        assert_eq!(taken.iter().filter(|taken| taken[round]).count(), 1, "round {round}");
    }
    assert_eq!(client.stats().unwrap().records, 0);
}

/// Random operations on a live storage service are those of a plain map.
#[test]
fn a_store_in_a_storage_service_is_a_map() {
    let service = storage(Arc::new(MemoryStorage::new()));
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    let place = Place::new(move || Strongroom::builder().endpoint(endpoint.clone()));
    check_model(&place, rounds(20, 100));
    check_model_of_threads(&place, rounds(5, 30));
}

struct Tokens {
    server: Running,
    lines: Vec<NewToken>,
    _folder: tempfile::TempDir,
}

/// A server with a token of all scopes, one bound to the namespace `tenant`, and one with the scope `take` alone.
fn with_tokens() -> Tokens {
    let all = || vec![Scope::Store, Scope::Retrieve, Scope::Take, Scope::Erase];
    let lines = vec![
        NewToken::generate(all()).unwrap(),
        NewToken::generate(all()).unwrap().bound_to(b"tenant"),
        NewToken::generate(vec![Scope::Take]).unwrap(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, lines.iter().map(|token| token.line() + "\n").collect::<String>()).unwrap();
    let mut config = config();
    config.tokens = Some(path);
    Tokens { server: encryption_over(Arc::new(MemoryStorage::new()), &config), lines, _folder: folder }
}

impl Tokens {
    fn send(&self, token: usize, path: &str, namespace: Option<&str>, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.lines[token].text());
        let namespace = namespace.map(|name| ("strongroom-namespace", name));
        let headers: Vec<_> = [JSON, ("authorization", &bearer)].into_iter().chain(namespace).collect();
        self.server.send(&format!("POST {path}"), &headers, body.to_string().as_bytes())
    }
}

/// `tenant` and `other` in base64url.
const TENANT: Option<&str> = Some("dGVuYW50");
const OTHER: Option<&str> = Some("b3RoZXI");

#[test]
fn a_bound_token_reaches_its_namespace_alone() {
    let tokens = with_tokens();
    let (any, bound) = (0, 1);
    let record = json!({"id": "id", "data": "QQ=="});
    let key = |answer: Answer| {
        answer.is(201);
        answer.json()["key"].as_str().unwrap().to_owned()
    };
    let default = key(tokens.send(any, "/v1/store", None, &record));
    let other = key(tokens.send(any, "/v1/store", OTHER, &record));
    let own = key(tokens.send(bound, "/v1/store", None, &record));
    let retrieve =
        |token, namespace, key: &str| tokens.send(token, "/v1/retrieve", namespace, &json!({"id": "id", "key": key}));
    for namespace in [None, TENANT] {
        retrieve(bound, namespace, &own).is(200);
        retrieve(bound, namespace, &default).is_problem(404, 1, "NotFound");
        retrieve(bound, namespace, &other).is_problem(404, 1, "NotFound");
    }
    for (namespace, key) in [(OTHER, &other), (Some(""), &default)] {
        for path in ["/v1/retrieve", "/v1/take", "/v1/delete", "/v1/rekey"] {
            let answer = tokens.send(bound, path, namespace, &json!({"id": "id", "key": key}));
            answer.is_problem(403, 21, "AccessDenied");
        }
        for path in ["/v1/contains", "/v1/erase"] {
            tokens.send(bound, path, namespace, &json!({"id": "id"})).is_problem(403, 21, "AccessDenied");
        }
    }
    // The whole store.
    for (path, body) in [("/v1/stats", json!({})), ("/v1/purge", json!({"limit": 1}))] {
        tokens.send(bound, path, None, &body).is_problem(403, 21, "AccessDenied");
        tokens.send(any, path, TENANT, &body).is_problem(400, 19, "InvalidArgument");
        tokens.send(any, path, None, &body).is(200);
    }
    for (namespace, key) in [(None, &default), (OTHER, &other), (TENANT, &own), (Some(""), &default)] {
        retrieve(any, namespace, key).is(200);
    }
    let long = strongroom::protocol::base64url::encode(&[7; 256]);
    tokens.send(any, "/v1/contains", Some(&long), &json!({"id": "id"})).is_problem(400, 19, "InvalidArgument");
    tokens.send(any, "/v1/contains", long.get(..340), &json!({"id": "id"})).is(200);
}

#[test]
fn a_take_has_its_own_scope() {
    let tokens = with_tokens();
    let stored = tokens.send(0, "/v1/store", None, &json!({"id": "id", "data": "QQ=="}));
    let body = json!({"id": "id", "key": stored.json()["key"]});
    for path in ["/v1/retrieve", "/v1/delete", "/v1/rekey"] {
        tokens.send(2, path, None, &body).is_problem(403, 21, "AccessDenied");
    }
    let answer = tokens.send(2, "/v1/take", None, &body);
    answer.is(200);
    assert_eq!(answer.json()["data"], "QQ==");
}

#[test]
fn a_storage_service_has_no_namespaces() {
    let token = NewToken::generate(vec![Scope::Storage]).unwrap().bound_to(b"tenant");
    let free = NewToken::generate(vec![Scope::Storage]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("{}\n{}\n", token.line(), free.line())).unwrap();
    let mut config = config();
    config.tokens = Some(path);
    let server = start(strongroom_server::Service::storage(Arc::new(MemoryStorage::new()), &config).unwrap(), &config);
    let get = |token: &NewToken, headers: &[(&str, &str)]| {
        let bearer = format!("Bearer {}", token.text());
        server.send("GET /v1/settings", &[&[("authorization", bearer.as_str())], headers].concat(), b"")
    };
    get(&token, &[]).is_problem(403, 21, "AccessDenied");
    get(&free, &[("strongroom-namespace", "")]).is_problem(400, 19, "InvalidArgument");
    assert_ne!(get(&free, &[]).status, 403);
}
