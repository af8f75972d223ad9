//! The requests of long records.

use std::io::Read;
use std::sync::Arc;

use strongroom::Strongroom;
use strongroom::storage::{Error, Locator, PutMode, Storage};

use super::{head, locator, open, record};
use crate::support::fake_s3::{Objects, Seen, Server, start, start_recording, start_with, url};
use crate::support::{index_key, pattern};

/// Segments end in any order, and each makes room for the next one.
#[test]
fn a_slow_segment_delays_no_other() {
    let storage: Arc<dyn Storage> = Arc::new(open(&url(start(Server::HoldsTheFirstSegment), "store")));
    let record = record(1, 42 << 20);
    let mut upload = Arc::clone(&storage).upload(&locator(1), PutMode::Create).unwrap();
    upload.write(&record).unwrap();
    upload.commit().unwrap();
    assert!(storage.get(&locator(1)).unwrap().unwrap() == record);
}

/// The requests for data in this folder.
fn requests(seen: &Seen, folder: &str) -> usize {
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    seen.matches(&format!("GET /strongroom-test/store/{folder}/")).count()
}

/// Each part of a reader is one request for data, and one for the pointer.
#[test]
fn a_sequential_reader_makes_few_requests() {
    let (address, seen) = start_recording(Server::Correct);
    let store = Strongroom::builder().bucket(url(address, "store")).index_key(index_key()).open().unwrap();
    let parts = 3;
    let data = pattern(parts * 447 * 16_384);
    let key = store.store("id", &data).unwrap();
    seen.lock().unwrap().clear();
    let mut found = Vec::new();
    store.open_record("id", &key).unwrap().read_to_end(&mut found).unwrap();
    assert!(found == data);
    let requests = |folder| requests(&seen, folder);
    // The reads grow within the first segment: 1, 13, 169 and 264 chunks. The end is read first; its chunk is empty.
    let expected = parts + 3 + 1;
    assert!(requests("s") <= expected + 1 && requests("r") <= expected + 2, "{} {}", requests("s"), requests("r"));
}

/// The lengths of long records are known before any of them is read.
#[test]
fn a_batch_reads_no_more_than_its_limit() {
    let (address, seen) = start_recording(Server::Correct);
    let storage = open(&url(address, "store"));
    let len = |number| if number > 16 { 100 } else { 1_100_000 };
    let (locators, records): (Vec<_>, Vec<_>) =
        (1..=20).map(|number| (locator(number), record(number, len(number)))).unzip();
    for (locator, record) in locators.iter().zip(&records) {
        storage.put(locator, record, PutMode::Create).unwrap();
    }
    let all: u64 = records.iter().map(|record| record.len() as u64).sum();
    let get_many = |locators: &[Locator], max_len| {
        seen.lock().unwrap().clear();
        storage.get_many(locators, max_len)
    };
    for max_len in [1_100_000, all - 1] {
        let outcome = get_many(&locators, max_len);
        assert!(matches!(outcome, Err(Error::TooLarge)), "{max_len}");
        assert_eq!(requests(&seen, "s"), 0);
    }
    let found = get_many(&locators, all).unwrap();
    assert!(found.into_iter().map(Option::unwrap).eq(records.iter().cloned()));
    assert_eq!(requests(&seen, "s"), 16);
    get_many(&locators[16..], 400).unwrap();
    assert_eq!(requests(&seen, "r"), 4, "a short record is one request");
}

#[test]
fn a_missing_segment_is_damage() {
    let objects = Objects::default();
    let url = url(start_with(Server::Correct, &Seen::default(), &objects), "store");
    let (knows_the_pointer, knows_nothing) = (open(&url), open(&url));
    let (record, at) = (record(1, 2 << 20), locator(1));
    knows_the_pointer.put(&at, &record, PutMode::Create).unwrap();
    assert!(knows_the_pointer.get(&at).unwrap().unwrap() == record);
    objects.lock().unwrap().retain(|key, _| !key.contains("/s/"));
    for storage in [knows_the_pointer, knows_nothing] {
        let outcomes = [
            storage.read_at(&at, &head(&record), 1 << 20, &mut [0; 100]),
            storage.get_end(&at, 100).map(drop),
            storage.get(&at).map(drop),
            storage.get_many(&[at], u64::MAX).map(drop),
        ];
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Corrupt))), "{outcomes:?}");
    }
}
