//! Async calls over services: many at the same time, and cancellation at random points.

use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::MemoryStorage;
use strongroom::{Endpoint, Error, IndexKey, RecordKey, Strongroom, WriteOptions, aio};
use strongroom_server::Service;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::leftovers::check_database;
use crate::rounds::rounds;
use crate::support::wait::DEADLINE;
use crate::support::{Running, config, start, storage};

fn endpoint(server: &Running) -> Endpoint {
    Endpoint::new(&format!("http://{}", server.address)).unwrap()
}

/// Runs `test` on an encryption server and on a storage service, on a runtime of two threads.
fn each_service(test: impl AsyncFn(aio::Strongroom, &Running)) {
    let run = |open: Result<Strongroom, Error>, server: &Running| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = aio::Strongroom::new(open.unwrap());
        runtime.block_on(async { timeout(10 * DEADLINE, test(store, server)).await.expect("it does not end") });
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let builder = || Strongroom::builder().index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    let store = Arc::new(builder().path(&path).open().unwrap());
    let server = start(Service::encryption(store, &config()).unwrap(), &config());
    run(Strongroom::connect(&endpoint(&server)), &server);
    drop(server);
    check_database(&path, builder());
    let service = storage(Arc::new(MemoryStorage::new()));
    run(builder().endpoint(endpoint(&service)).open(), &service);
}

#[test]
fn a_thousand_calls_at_the_same_time_succeed() {
    each_service(async |store, _| {
        let mut calls = JoinSet::new();
        for n in 0..1000_usize {
            let store = store.clone();
            calls.spawn(async move {
                let (id, data) = (format!("record {n}"), vec![7; n]);
                let key = store.store(&id, &data).await?;
                assert!(store.retrieve(&id, &key).await? == data);
                Ok::<_, Error>(())
            });
        }
        while let Some(outcome) = calls.join_next().await {
            outcome.unwrap().unwrap();
        }
        assert_eq!(store.stats().await.unwrap().records, 1000);
    });
}

/// Each record of a cancelled call is complete or absent, and its key is known.
#[test]
fn a_cancelled_write_is_complete_or_absent() {
    each_service(async |store, server| {
        let mut expected = Vec::new();
        let mut tasks = JoinSet::new();
        for n in 0..rounds(1500_u64, 10_000) {
            let (id, key) = (format!("record {n}"), RecordKey::generate().unwrap());
            let is_stream = n % 50 == 0;
            let data = vec![u8::try_from(n % 251).unwrap(); if is_stream { 600_000 } else { 2000 }];
            let (handle, inner) = (store.clone(), (id.clone(), key.duplicate(), data.clone()));
            let write = async move {
                let ((id, key, data), options) = (inner, WriteOptions::new());
                if is_stream {
                    let mut writer = handle.create_record_with(&id, options.key(&key)).await.unwrap();
                    writer.write_all(&data).await.unwrap();
                    writer.finish().await.unwrap();
                } else {
                    handle.store_with(&id, &data, options.key(&key)).await.unwrap();
                }
            };
            // Arbitrary times around that of a call.
            tasks.spawn(timeout(Duration::from_micros(n * 7919 % 60_000), write));
            expected.push((id, key, data));
            while tasks.len() >= 40 {
                tasks.join_next().await.unwrap().unwrap().ok();
            }
        }
        tasks.join_all().await;
        // The service may still work on the last requests.
        server.wait_for_metric("strongroom_requests_in_flight", |requests| requests <= 1);
        let mut before = None;
        while before != Some(store.stats().await.unwrap().records) {
            before = Some(store.stats().await.unwrap().records);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut found = 0;
        for (id, key, data) in &expected {
            match store.retrieve(id, key).await {
                Ok(stored) => {
                    assert!(stored == *data, "{id} is incomplete");
                    found += 1;
                }
                Err(Error::NotFound) => {}
                Err(error) => panic!("{id}: {}", error.full_message()),
            }
        }
        println!("{found} of {} records", expected.len());
        assert!(found < expected.len() as u64, "no call was cancelled");
        assert_eq!(store.stats().await.unwrap().records, found, "there are records without a known key");
        // The same writes may be repeated.
        for (id, key, data) in expected.iter().take(20) {
            store.store_with(id, data, WriteOptions::new().key(key)).await.unwrap();
        }
    });
}
