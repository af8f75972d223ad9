//! The requests of long records.

use std::io::Read;
use std::sync::Arc;

use strongroom::Strongroom;
use strongroom::storage::{PutMode, Storage};

use super::{locator, open, record};
use crate::support::fake_s3::{Server, start, start_recording, url};
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
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    let requests = |folder: &str| seen.matches(&format!("GET /strongroom-test/store/{folder}/")).count();
    // The reads grow within the first segment: 1, 13, 169 and 264 chunks. The end is read first; its chunk is empty.
    let expected = parts + 3 + 1;
    assert!(requests("s") <= expected + 1 && requests("r") <= expected + 2, "{} {}", requests("s"), requests("r"));
}
