//! The storage in object stores beyond the trait's promises: unsuitable servers, lost answers, moves that are cut off,
//! long records.

mod damage;
mod foreign_objects;
mod interrupted_moves;
mod killed;
mod leaks;
mod lost_answers;
mod repair;
mod segments;
mod unsuitable;
mod versioned;

#[path = "../../../server/tests/support/proxy.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod proxy;

use strongroom::EndpointOptions;
use strongroom::storage::{BucketUrl, Head, Locator, ObjectStorage};

use std::time::Duration;

/// As far as a storage without transactions can: it has no `store_many`.
#[test]
fn the_script_of_operations_runs() {
    use crate::support::fake_s3::{Server, start, url};
    let builder = strongroom::Strongroom::builder().bucket(url(start(Server::Correct), "script"));
    let store = builder.index_key(crate::support::index_key()).open().unwrap();
    crate::script::run_script(store, &crate::script::first_part());
}

fn locator(number: u8) -> Locator {
    Locator::from_bytes([number; 32])
}

/// A record whose bytes depend on its number.
fn record(number: u8, len: usize) -> Vec<u8> {
    let mut record: Vec<u8> = crate::support::pattern(len).iter().map(|byte| byte ^ number).collect();
    record[..12].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    record
}

fn head(record: &[u8]) -> Head {
    Head::of(record).unwrap()
}

fn with_timeout(url: BucketUrl, timeout: Duration) -> BucketUrl {
    let mut options = EndpointOptions::default();
    options.timeout = Some(timeout);
    url.with_options(options).unwrap()
}

fn open(url: &BucketUrl) -> ObjectStorage {
    ObjectStorage::open(url).unwrap()
}
