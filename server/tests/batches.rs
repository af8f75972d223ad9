//! Many records in one request to the encryption server, as raw requests and from the client.

use crate::support;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use strongroom::protocol::limits::BATCH_RECORDS;
use strongroom::storage::{MemoryStorage, PutMode, Storage};
use strongroom::{Endpoint, Error, RecordKey, Strongroom, WriteOptions};
use strongroom_server::Scope;

use crate::support::{Running, config, encryption, encryption_over, token};

fn new_key() -> String {
    RecordKey::generate().unwrap().to_text().to_string()
}

fn connect(server: &Running) -> Strongroom {
    Strongroom::connect(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap()
}

/// A server whose batches have at most 100,000 bytes.
fn with_small_batches(storage: Arc<MemoryStorage>) -> Running {
    let mut config = config();
    config.limits.batch_bytes = 100_000;
    encryption_over(storage, &config)
}

fn store_many(server: &Running, records: &Value) -> support::Answer {
    server.json("/v1/store-many", &json!({"records": records}))
}

fn retrieve_many(server: &Running, records: &Value) -> support::Answer {
    server.json("/v1/retrieve-many", &json!({"records": records}))
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config());
    let own = new_key();
    let batch = json!([{"id": "a", "data": "YQ=="}, {"id_base64": "Yg==", "data": "", "key": own}]);
    let stored = store_many(&server, &batch);
    stored.is(201);
    let keys = stored.json()["keys"].clone();
    assert_eq!((keys.as_array().unwrap().len(), &keys[1]), (2, &json!(own)));

    store_many(&server, &json!([{"id": "c", "data": "Yw=="}, {"id": "a", "data": "YQ=="}])).is_problem(
        409,
        2,
        "AlreadyExists",
    );
    store_many(&server, &json!([{"id": "c", "data": "Yw=="}, {"id": "c", "data": "Yw=="}])).is_problem(
        409,
        2,
        "AlreadyExists",
    );
    assert_eq!(storage.stats(0).unwrap().records, 2);
    server.json("/v1/contains", &json!({"id": "a"})).is(200);
    assert_eq!(server.json("/v1/contains", &json!({"id": "a"})).json(), json!({"contains": true}));
    assert_eq!(server.json("/v1/contains", &json!({"id": "c"})).json(), json!({"contains": false}));

    let found = retrieve_many(
        &server,
        &json!([{"id": "b", "key": own}, {"id": "a", "key": keys[0]}, {"id": "a", "key": own}, {"id": "c", "key": own}]),
    );
    found.is(200);
    let missing = json!({"code": 1, "title": "NotFound"});
    assert_eq!(found.json(), json!({"records": [{"data": ""}, {"data": "YQ=="}, missing, missing]}));
    assert_eq!(retrieve_many(&server, &json!([])).json(), json!({"records": []}));
    assert_eq!(store_many(&server, &json!([])).json(), json!({"keys": []}));
}

#[test]
fn a_batch_under_the_clients_keys_may_be_repeated() {
    let server = encryption(&config());
    let [first, second, other] = [new_key(), new_key(), new_key()];
    let batch = |data: &str, key: &str| json!([{"id": "a", "data": "YQ==", "key": first}, {"id": "b", "data": data, "key": key}]);
    store_many(&server, &batch("Yg==", &second)).is(201);
    let repeated = store_many(&server, &batch("Yg==", &second));
    repeated.is(201);
    assert_eq!(repeated.json(), json!({"keys": [first, second]}));
    store_many(&server, &batch("Yw==", &second)).is_problem(409, 2, "AlreadyExists");
    store_many(&server, &batch("Yg==", &other)).is_problem(409, 2, "AlreadyExists");
}

/// The answers of the longest batches are longer than those of other requests.
#[test]
fn the_longest_batch_is_stored_and_retrieved() {
    let server = encryption(&config());
    let store = connect(&server);
    let ids: Vec<_> = (0..BATCH_RECORDS).map(|n| n.to_string()).collect();
    let items: Vec<_> = ids.iter().map(|id| (id, id)).collect();
    let keys = store.store_many(&items).unwrap();
    let found = store.retrieve_many(&ids.iter().zip(&keys).collect::<Vec<_>>()).unwrap();
    for (id, data) in ids.iter().zip(found) {
        assert_eq!(data.unwrap(), id.as_bytes());
    }
    let more: Vec<_> = (0..=BATCH_RECORDS).map(|n| (format!("more {n}"), "")).collect();
    assert!(matches!(store.store_many(&more), Err(Error::TooLarge)));
}

#[test]
fn a_damaged_record_is_one_outcome_among_many() {
    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config());
    let store = connect(&server);
    let keys = store.store_many(&[("a", vec![1; 100]), ("b", vec![2; 100]), ("c", vec![3; 100])]).unwrap();
    let damage = |place: usize| {
        let locator = storage.list(None, 1).unwrap()[0].locator;
        let mut record = storage.get(&locator).unwrap().unwrap();
        record[place] ^= 1;
        storage.put(&locator, &record, PutMode::Overwrite).unwrap();
    };
    let codes = || -> Vec<u8> {
        let items: Vec<_> = ["a", "b", "c"].into_iter().zip(&keys).collect();
        let found = store.retrieve_many(&items).unwrap();
        let mut codes: Vec<_> = found.iter().map(|found| found.as_ref().map_or_else(Error::code, |_| 0)).collect();
        codes.sort_unstable();
        codes
    };
    assert_eq!(codes(), [0, 0, 0]);
    for (place, code) in [(100, 4), (20, 1), (0, 7)] {
        damage(place);
        assert_eq!(codes(), [0, 0, code], "{place}");
        damage(place);
    }
}

#[test]
fn a_batch_has_limits() {
    let server = with_small_batches(Arc::default());
    let data = |len: usize| Base64::encode_string(&vec![1; len]);
    store_many(&server, &json!([{"id": "long", "data": data(80_000)}])).is_problem(413, 8, "TooLarge");
    let stored = store_many(&server, &json!([{"id": "a", "data": data(40_000)}]));
    let key = stored.json()["keys"][0].clone();
    let one = json!({"id": "a", "key": key});
    retrieve_many(&server, &json!([one])).is(200);
    retrieve_many(&server, &json!([one, one])).is_problem(413, 8, "TooLarge");

    let server = encryption(&config());
    let many = format!("{{\"records\":[{}{{}}]}}", "{},".repeat(32_768));
    let json = [("content-type", "application/json")];
    for path in ["/v1/store-many", "/v1/retrieve-many"] {
        server.send(&format!("POST {path}"), &json, many.as_bytes()).is_problem(413, 8, "TooLarge");
        server.send(&format!("POST {path}"), &json, &many.as_bytes()[..many.len() - 1]).is_problem(
            400,
            19,
            "InvalidArgument",
        );
        for body in [json!({}), json!([]), json!({"records": 1}), json!({"records": [1]}), json!({"records": [[]]})] {
            server.json(path, &body).is_problem(400, 19, "InvalidArgument");
        }
        for record in [json!({}), json!({"id": "a"}), json!({"id": "a", "data": "", "new_key": new_key()})] {
            server.json(path, &json!({"records": [record]})).is_problem(400, 19, "InvalidArgument");
        }
    }
    server.json("/v1/contains", &json!({"id": "a", "key": new_key()})).is_problem(400, 19, "InvalidArgument");
}

#[test]
fn the_client_retrieves_more_than_a_batch() {
    let server = with_small_batches(Arc::default());
    let store = connect(&server);
    let ids: Vec<_> = (0..20).map(|n| format!("id {n}")).collect();
    let data = |n: usize| vec![u8::try_from(n).unwrap(); n * 1000];
    let keys: Vec<_> = (0..20).map(|n| store.store(&ids[n], data(n)).unwrap()).collect();
    let long = store.store("long", vec![9; 300_000]).unwrap();
    let items: Vec<_> = ids.iter().zip(&keys).map(|(id, key)| (id.as_str(), key)).chain([("long", &long)]).collect();
    let found = store.retrieve_many(&items).unwrap();
    assert_eq!(found.len(), 21);
    for (n, found) in found.iter().enumerate() {
        let expected = if n == 20 { vec![9; 300_000] } else { data(n) };
        assert!(*found.as_ref().unwrap() == expected, "{n}");
    }
    let long = [("other", vec![1; 100_000])];
    assert!(matches!(store.store_many(&long), Err(Error::TooLarge)));
    assert!(!store.contains("other").unwrap());
}

#[test]
fn many_records_have_their_own_keys() {
    let server = encryption(&config());
    let store = connect(&server);
    let own = RecordKey::generate().unwrap();
    let options = WriteOptions::new().key(&own);
    let keys = store.store_many_with(&[("a", "1", options), ("b", "2", WriteOptions::new())]).unwrap();
    assert!(keys[0].ct_eq(&own));
    assert_eq!(store.retrieve("b", &keys[1]).unwrap(), b"2");
    assert!(matches!(store.store_many(&[("c", "3"), ("a", "1")]), Err(Error::AlreadyExists)));
    assert!(!store.contains("c").unwrap());
    assert!(matches!(store.store_many(&[("", "3")]), Err(Error::InvalidId)));
    assert!(store.store_many_with(&[("a", "1", options)]).is_ok(), "a repetition");
}

#[test]
fn each_route_needs_its_scope() {
    let mut config = config();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = [Scope::Store, Scope::Retrieve, Scope::Erase].map(|scope| token(&file, &[scope]));
    config.tokens = Some(file);
    let server = encryption(&config);
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap();
    let [store, retrieve, erase] = tokens.map(|token| Strongroom::connect(&endpoint.clone().token(token)).unwrap());
    let keys = store.store_many(&[("a", "1")]).unwrap();
    assert!(store.contains("a").unwrap());
    assert_eq!(retrieve.retrieve_many(&[("a", &keys[0])]).unwrap()[0].as_ref().unwrap(), b"1");
    for other in [&retrieve, &erase] {
        assert!(matches!(other.contains("a"), Err(Error::AccessDenied(_))));
        assert!(matches!(other.store_many(&[("b", "1")]), Err(Error::AccessDenied(_))));
    }
    for other in [&store, &erase] {
        assert!(matches!(other.retrieve_many(&[("a", &keys[0])]), Err(Error::AccessDenied(_))));
    }
}
