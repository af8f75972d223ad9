//! The async calls: many at the same time, streams with back-pressure, cancellation at random points, drops.

use std::io::SeekFrom;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use strongroom::aio::{RecordReader, RecordWriter, Strongroom};
use strongroom::storage::MemoryStorage;
use strongroom::{Error, RecordKey, VerifyOptions, WriteOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::intercept::Intercepted;
use crate::support::leftovers::check_database;
use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::{SIZES, memory_store, open_over, pattern, record_key};

/// A runtime of two threads.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `test` to its end, or fails.
fn run<T>(test: impl Future<Output = T>) -> T {
    runtime().block_on(async { timeout(10 * DEADLINE, test).await.expect("it does not end") })
}

/// Runs `test` in memory and in a database.
fn each_store<F: Future<Output = ()>>(test: impl Fn(Strongroom) -> F) {
    run(test(Strongroom::new(memory_store().0)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    run(async { test(open(&path).await).await });
    check_database(&path, strongroom::Strongroom::builder());
}

async fn open(path: &Path) -> Strongroom {
    Strongroom::open(path).await.unwrap()
}

/// A source of arbitrary numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    let polled = std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    matches!(polled, Poll::Pending)
}

/// The number of records, none of which is damaged or left over.
async fn verified(store: &Strongroom) -> u64 {
    let report = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).await.unwrap();
    assert_eq!(report.damaged, 0);
    report.records
}

#[test]
fn a_thousand_calls_at_the_same_time_succeed() {
    each_store(|store| async move {
        let mut calls = JoinSet::new();
        for n in 0..1000_usize {
            let store = store.clone();
            calls.spawn(async move {
                let (id, data) = (format!("record {n}"), pattern(n * 7));
                let key = store.store(&id, &data).await?;
                assert!(store.retrieve(&id, &key).await? == data);
                if n % 2 == 0 {
                    store.delete(&id, &key).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(outcome) = calls.join_next().await {
            outcome.unwrap().unwrap();
        }
        assert_eq!(store.stats().await.unwrap().records, 500);
        store.close().await.unwrap();
        assert!(matches!(store.contains("id").await, Err(Error::Closed)));
    });
}

#[test]
fn the_future_of_a_call_is_a_task_of_its_own() {
    run(async {
        let store = Strongroom::new(memory_store().0);
        let task = {
            let (id, data) = (String::from("id"), vec![7; 1000]);
            tokio::spawn(store.store(&id, &data))
        };
        let key = task.await.unwrap().unwrap();
        let task = tokio::spawn(store.retrieve_many(&[("id", &key), ("none", &key)]));
        let found = task.await.unwrap().unwrap();
        assert!(matches!(&found[..], [Ok(data), Err(Error::NotFound)] if *data == [7; 1000]));
        assert_eq!(format!("{:?}", store.open_record("id", &key).await), "Ok(RecordReader { position: 0, .. })");
        let task = tokio::spawn(store.store_reader(String::from("stream"), &[7; 1000][..]));
        let key = task.await.unwrap().unwrap();
        let task = tokio::spawn(store.replace_reader(String::from("stream"), &key, &[8; 1000][..]));
        let key = task.await.unwrap().unwrap();
        assert_eq!(store.retrieve("stream", &key).await.unwrap(), [8; 1000]);
    });
    // A handle needs no runtime.
    let store = Strongroom::new(memory_store().0);
    let mut call = Box::pin(store.contains("id"));
    wait_for(|| (!is_pending(&mut call)).then_some(()));
}

#[test]
fn one_thread_does_one_call_at_a_time() {
    run(async {
        let store = Strongroom::with_threads(memory_store().0, NonZero::<usize>::MIN);
        let mut writer = store.create_record("long").await.unwrap();
        writer.write_all(&pattern(3_000_000)).await.unwrap();
        let key = writer.finish().await.unwrap();
        assert!(store.retrieve("long", &key).await.unwrap() == pattern(3_000_000));
        let of_namespace = store.namespace("other").unwrap();
        assert!(!of_namespace.contains("long").await.unwrap());
        assert!(store.padded().contains("long").await.unwrap());
        assert_eq!(of_namespace.identity(), store.identity());
    });
}

#[test]
fn streams_of_all_sizes_come_back() {
    each_store(|store| async move {
        for size in SIZES.into_iter().chain([4095, 4096, 4097, 262_143, 262_144, 262_145, 9_000_000]) {
            let (id, data) = (format!("{size} bytes"), pattern(size));
            let mut writer = store.create_record(&id).await.unwrap();
            for piece in data.chunks(100_001) {
                writer.write_all(piece).await.unwrap();
            }
            assert_eq!(writer.bytes_written(), size as u64);
            writer.shutdown().await.unwrap();
            assert!(!store.contains(&id).await.unwrap(), "only `finish` stores");
            let key = writer.key().duplicate();
            assert!(writer.finish().await.unwrap().ct_eq(&key));

            let mut reader = store.open_record(&id, &key).await.unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).await.unwrap();
            assert!(read == data, "{size} bytes");
            assert_eq!(reader.len().await.unwrap(), size as u64);
            assert_eq!(reader.is_empty().await.unwrap(), size == 0);

            let mut numbers = Numbers(size as u64);
            for _ in 0..20 {
                let place = numbers.below(size as u64 + 2);
                assert_eq!(reader.seek(SeekFrom::Start(place)).await.unwrap(), place);
                let most = usize::try_from(numbers.below(70_000)).unwrap();
                let mut read = vec![0; most];
                let expected = data.get(usize::try_from(place).unwrap()..).unwrap_or_default();
                let expected = &expected[..expected.len().min(most)];
                reader.read_exact(&mut read[..expected.len()]).await.unwrap();
                assert!(read.starts_with(expected), "{size} bytes, {most} from {place}");
                assert_eq!(reader.stream_position().await.unwrap(), place + expected.len() as u64);
            }
            let key = store.replace_reader(&id, &key, &data[..size / 2]).await.unwrap();
            assert!(store.retrieve(&id, &key).await.unwrap() == data[..size / 2]);
        }
    });
}

#[test]
fn seeks_are_relative_to_what_was_read() {
    run(async {
        let store = Strongroom::new(memory_store().0);
        let key = store.store("id", b"one\ntwo\nthree").await.unwrap();
        let mut reader = store.open_record("id", &key).await.unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!((&*line, reader.stream_position().await.unwrap()), ("one\n", 4));
        assert_eq!(reader.seek(SeekFrom::Current(-1)).await.unwrap(), 3);
        assert!(reader.seek(SeekFrom::Current(-4)).await.is_err());
        assert!(reader.seek(SeekFrom::End(-14)).await.is_err());
        assert_eq!(reader.read_u8().await.unwrap(), b'\n', "a failed seek moves nothing");
        assert_eq!(reader.seek(SeekFrom::End(-5)).await.unwrap(), 8);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "three");
    });
}

#[test]
fn a_writer_waits_for_the_storage() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let entered = Arc::new(tokio::sync::Notify::new());
    let inner = Arc::clone(&entered);
    // The storage waits in the first call of the writer's thread.
    let event = move || {
        inner.notify_one();
        let _ = released.recv_timeout(DEADLINE);
    };
    let storage = Intercepted::before_upload(Arc::new(MemoryStorage::new()), event);
    run(async {
        let store = Strongroom::new(open_over(Arc::new(storage)));
        let mut writer = store.create_record("id").await.unwrap();
        let data = pattern(1 << 20);
        let mut write = Box::pin(writer.write_all(&data));
        while is_pending(&mut write) {
            if let Ok(()) = timeout(Duration::from_millis(50), entered.notified()).await {
                break;
            }
        }
        assert!(is_pending(&mut write), "1 MiB is more than a writer gathers");
        drop(write);
        assert!(writer.bytes_written() <= 512 << 10);
        release.send(()).unwrap();
        let rest = &data[usize::try_from(writer.bytes_written()).unwrap()..];
        writer.write_all(rest).await.unwrap();
        let key = writer.finish().await.unwrap();
        assert!(store.retrieve("id", &key).await.unwrap() == data, "a dropped write loses and repeats nothing");
    });
}

#[test]
fn errors_are_those_of_the_blocking_calls() {
    each_store(|store| async move {
        let key = store.store("id", b"data").await.unwrap();
        assert!(matches!(store.store("id", b"data").await, Err(Error::AlreadyExists)));
        assert!(matches!(store.retrieve("id", &record_key(9)).await, Err(Error::WrongKey)));
        assert!(matches!(store.retrieve("", &key).await, Err(Error::InvalidId)));
        let mut short = [0xee; 3];
        assert!(matches!(store.retrieve_into("id", &key, &mut short).await, Err(Error::TooLarge)));
        assert_eq!(short, [0xee; 3]);
        assert!(matches!(store.create_record("id").await, Err(Error::AlreadyExists)));
        assert!(matches!(store.take_record("none", &key).await, Err(Error::NotFound)));
        // A race that the writer loses at its end.
        let mut writer = store.create_record("race").await.unwrap();
        store.store("race", b"first").await.unwrap();
        writer.write_all(b"second").await.unwrap();
        assert!(matches!(writer.finish().await, Err(Error::AlreadyExists)));
        assert_eq!(verified(&store).await, 2);
    });
}

#[test]
fn a_failed_write_fails_the_writer() {
    run(async {
        let storage = Intercepted::failing_upload(Arc::new(MemoryStorage::new()), 1);
        let store = Strongroom::new(open_over(Arc::new(storage)));
        let mut writer = store.create_record("id").await.unwrap();
        let failed = writer.write_all(&pattern(4 << 20)).await.unwrap_err();
        assert!(matches!(failed.downcast::<Error>(), Ok(Error::StorageFull)));
        assert!(matches!(writer.finish().await, Err(Error::InvalidArgument(_))));
        assert!(!store.contains("id").await.unwrap());
    });
}

/// Checks that each record is complete or absent, and that there are no others. Returns their number.
async fn check(store: &Strongroom, expected: &[(String, RecordKey, Vec<u8>)]) -> u64 {
    let mut found = 0;
    for (id, key, data) in expected {
        match store.retrieve(id, key).await {
            Ok(stored) => {
                assert!(stored == *data, "{id} is incomplete");
                found += 1;
            }
            Err(Error::NotFound) => {}
            Err(error) => panic!("{id}: {}", error.full_message()),
        }
    }
    let records = store.stats().await.unwrap().records;
    assert_eq!(records, found, "there are records without a known key");
    found
}

/// Stores records under known keys, and cancels each call after an arbitrary time. Each record is then complete or
/// absent, and nothing else is there.
async fn cancel_stores(store: &Strongroom, calls: u64) {
    let mut numbers = Numbers(calls);
    let mut expected = Vec::new();
    let mut tasks = JoinSet::new();
    for n in 0..calls {
        let (id, key, data) =
            (format!("record {n}"), RecordKey::generate().unwrap(), pattern(usize::try_from(n % 3000).unwrap()));
        let call = store.store_with(&id, &data, WriteOptions::new().key(&key));
        let pause = Duration::from_micros(numbers.below(3000));
        // The first one is never polled, others are dropped at their first poll or later, and some end.
        match n % 50 {
            0 => drop(call),
            1 => drop(is_pending(&mut Box::pin(call))),
            _ => drop(tasks.spawn(timeout(pause, call))),
        }
        expected.push((id, key, data));
        while tasks.len() >= 100 {
            tasks.join_next().await;
        }
    }
    let cancelled = tasks.join_all().await.iter().filter(|outcome| outcome.is_err()).count();
    println!("{cancelled} of the last calls were cancelled");
    // A call that has begun ends soon. A later call of the same threads shows that they are free.
    let found = settled(store, &expected).await;
    assert!(found < calls, "no call was cancelled");
    for (id, key, data) in expected.iter().step_by(50) {
        assert!(matches!(store.retrieve(id, key).await, Err(Error::NotFound)), "{id} was never polled");
        // The same write may be repeated.
        store.store_with(id, data, WriteOptions::new().key(key)).await.unwrap();
    }
}

/// Waits until the cancelled calls have ended, and checks what they left. Returns the number of records.
async fn settled(store: &Strongroom, expected: &[(String, RecordKey, Vec<u8>)]) -> u64 {
    let mut before = None;
    loop {
        let records = store.stats().await.unwrap().records;
        if before == Some(records) {
            break;
        }
        before = Some(records);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    check(store, expected).await
}

#[test]
fn a_cancelled_store_is_complete_or_absent() {
    each_store(|store| async move { cancel_stores(&store, rounds(3000, 10_000)).await });
}

/// The same with streams: cancelled while they are written, while they are finished, or not at all.
async fn cancel_streams(store: &Strongroom, calls: u64) {
    let mut numbers = Numbers(calls);
    let mut expected = Vec::new();
    let mut tasks = JoinSet::new();
    for n in 0..calls {
        let (id, key) = (format!("stream {n}"), RecordKey::generate().unwrap());
        let data = pattern(usize::try_from(numbers.below(1 << 20)).unwrap());
        let (handle, inner_id, inner_key, inner_data) = (store.clone(), id.clone(), key.duplicate(), data.clone());
        let stream = async move {
            let mut source = &inner_data[..];
            handle.store_reader_with(inner_id, &mut source, WriteOptions::new().key(&inner_key)).await.unwrap();
        };
        tasks.spawn(timeout(Duration::from_micros(numbers.below(20_000)), stream));
        expected.push((id, key, data));
        while tasks.len() >= 20 {
            tasks.join_next().await;
        }
    }
    tasks.join_all().await;
    settled(store, &expected).await;
}

#[test]
fn a_cancelled_stream_is_complete_or_absent() {
    each_store(|store| async move {
        cancel_streams(&store, rounds(200, 2000)).await;
        verified(&store).await;
    });
}

#[test]
fn everything_may_be_dropped_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let (id, data) = ("kept", pattern(2_000_000));
    let key = runtime().block_on(async {
        let store = open(&path).await;
        let key = store.store(id, &data).await.unwrap();
        let mut kept: Vec<(RecordWriter, RecordReader)> = Vec::new();
        for n in 0..20 {
            let mut writer = store.create_record(format!("unfinished {n}")).await.unwrap();
            writer.write_all(&data).await.unwrap();
            let mut reader = store.open_record(id, &key).await.unwrap();
            reader.read_u8().await.unwrap();
            kept.push((writer, reader));
        }
        for n in 0..500 {
            tokio::spawn(store.store(format!("running {n}"), &data[..n]));
        }
        key
        // Here all handles, readers and writers are dropped, and then the runtime with its tasks.
    });
    run(async {
        let store = open(&path).await;
        assert!(store.retrieve(id, &key).await.unwrap() == data);
        assert!(!store.contains("unfinished 3").await.unwrap());
        store.maintain().await.unwrap();
        assert!((1..=501).contains(&verified(&store).await));
    });
}

#[test]
fn taken_data_is_removed_after_its_reader() {
    each_store(|store| async move {
        let key = store.store("id", pattern(3_000_000)).await.unwrap();
        let mut reader = store.take_record("id", &key).await.unwrap();
        assert!(!store.contains("id").await.unwrap());
        let mut data = Vec::new();
        reader.read_to_end(&mut data).await.unwrap();
        assert!(data == pattern(3_000_000));
        drop(reader);
        while store.stats().await.unwrap().bytes > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn nothing_shows_a_key() {
    run(async {
        let store = Strongroom::new(memory_store().0);
        let key = RecordKey::from_bytes(&[0x41; 32]).unwrap();
        let writer = store.create_record_with("secret id", WriteOptions::new().key(&key)).await.unwrap();
        let shown = format!("{store:?} {writer:?}");
        for secret in ["AAAA", "65, 65", "4141", "secret id", "srk1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    });
}
