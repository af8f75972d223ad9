//! No request to the server shows an id, a namespace, a key or data: neither an object's name, nor a header or a body.

use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::{PutMode, Storage};
use strongroom::{IndexKey, Strongroom, WriteOptions};

use super::{locator, open};
use crate::support::fake_s3::{ACCESS_KEY, Server, start_recording, url};
use crate::support::scanner::Scanner;

#[test]
fn no_request_shows_a_secret() {
    let (address, seen) = start_recording(Server::Correct);
    let storage: Arc<dyn Storage> = Arc::new(open(&url(address, "store")));
    let index_key = IndexKey::generate().unwrap();
    let mut scanner = Scanner::default();
    scanner.add("the index key", index_key.expose_bytes());
    scanner.add("the secret of the credentials", ACCESS_KEY.1.as_bytes());
    let store = Strongroom::builder().storage(Arc::clone(&storage)).index_key(index_key).open().unwrap();

    for (n, len) in [100, 5_000, 3_000_000, 0].into_iter().enumerate() {
        let (id, namespace) = (format!("patient-{n}@clinic.example"), format!("customer-{n}-of-clinic"));
        let data: Vec<u8> =
            format!("diagnosis {n} is confidential; ").into_bytes().into_iter().cycle().take(len).collect();
        scanner.add("an id", id.as_bytes());
        scanner.add("a namespace", namespace.as_bytes());
        scanner.add("data", format!("diagnosis {n} is confidential; ").as_bytes());
        let options = WriteOptions::new().expires_in(Duration::from_secs(3600));
        let keys = [
            store.store(&id, &data).unwrap(),
            store.namespace(&namespace).unwrap().store_with(&id, &data, options).unwrap(),
            store.namespace(&namespace).unwrap().padded().store(format!("{id}-padded"), &data).unwrap(),
        ];
        for key in &keys {
            scanner.add("a record key", key.expose_bytes());
        }
        let new = store.replace(&id, &keys[0], &data).unwrap();
        scanner.add("a record key", new.expose_bytes());
        assert_eq!(store.take(&id, &new).unwrap().as_slice(), data);
        let namespace = store.namespace(&namespace).unwrap();
        assert_eq!(namespace.retrieve(&id, &keys[1]).unwrap().as_slice(), data);
        namespace.delete(&id, &keys[1]).unwrap();
    }
    assert_eq!(scanner.find(&seen.lock().unwrap()), None);
    assert!(seen.lock().unwrap().len() > 9_000_000, "the data came through this server");

    // The scan finds a secret in a body, and one in a name.
    let mut planted = Scanner::default();
    let body = [&super::record(1, 100)[..], b"diagnosis 0 is confidential; "].concat();
    planted.add("a body", b"diagnosis 0 is confidential; ");
    storage.put(&locator(7), &body, PutMode::Create).unwrap();
    assert!(planted.find(&seen.lock().unwrap()).is_some());
    let mut planted = Scanner::default();
    planted.add("a name", &[7; 32]);
    assert!(planted.find(&seen.lock().unwrap()).is_some());
}
