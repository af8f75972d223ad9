//! Measurements of the object store beside plain requests of the same client, for `benches/README.md`. They run on
//! request:
//!
//! `STRONGROOM_MEASURE_URL=s3://... cargo test --release -p strongroom --features object-store --lib -- --ignored
//! --nocapture storage::object::tests`, with the credentials in the environment.

use std::fs;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, WriteMultipart};

use super::body::{Move, NewObject, new_id};
use super::bucket::Condition;
use super::*;
use crate::key::IndexKey;
use crate::strongroom::Strongroom;

const SHORT: usize = 1024;
const LONG: u64 = 1 << 30;
const PART: usize = 8 << 20;
const PARALLEL: usize = 4;

/// The most memory of the process since the last call, in MiB, less what it has now.
struct Peak(u64);

impl Peak {
    fn start() -> Self {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        Self(Self::status("VmRSS:"))
    }

    fn status(name: &str) -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    fn end(self) -> u64 {
        Self::status("VmHWM:") - self.0
    }
}

fn per_call(calls: u32, mut call: impl FnMut(u32)) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(&mut call);
    start.elapsed() / calls
}

fn rate(start: Instant) -> u64 {
    LONG / 1_000_000 * 1000 / u64::try_from(start.elapsed().as_millis()).unwrap()
}

#[test]
#[ignore = "a measurement"]
fn short_and_long_records() {
    let url = std::env::var("STRONGROOM_MEASURE_URL").unwrap();
    let url: BucketUrl = format!("{}/{}", url.split('?').next().unwrap(), crate::util::hex::to_hex(&new_id().unwrap()))
        .parse::<BucketUrl>()
        .map(|parsed| BucketUrl { endpoint: url.parse::<BucketUrl>().unwrap().endpoint, ..parsed })
        .unwrap();
    let storage = Arc::new(ObjectStorage::open(&url).unwrap());
    let index_key = IndexKey::generate().unwrap();
    let store = Strongroom::builder().storage(Arc::<ObjectStorage>::clone(&storage)).index_key(index_key);
    let store = store.open().unwrap();

    let (calls, data) = (1000, vec![7; SHORT]);
    for round in 0..3 {
        let put = per_call(calls, |n| {
            let name = format!("plain/{round}/{n}");
            let object = NewObject::new(&name, Kind::Record, Move::None, &data).unwrap();
            storage
                .write(move |records| async move { Ok(records.bucket.put_once(&name, &object, &Condition::Absent).await?) })
                .unwrap();
        });
        let mut keys = Vec::new();
        let stored = per_call(calls, |n| keys.push(store.store(format!("{round}/{n}"), &data).unwrap()));
        let get = per_call(calls, |n| {
            let name = format!("plain/{round}/{n}");
            storage
                .read(move |records| async move { records.bucket.get(&name, 0..4096, None).await })
                .unwrap()
                .unwrap();
        });
        let retrieved = per_call(calls, |n| {
            store.retrieve(format!("{round}/{n}"), &keys[n as usize]).unwrap();
        });
        println!("1 KiB: PUT {put:.2?}, store {stored:.2?}; GET {get:.2?}, retrieve {retrieved:.2?}");
    }

    for round in 0..2 {
        let start = Instant::now();
        let path = object_store::path::Path::from(format!("plain/{round}"));
        let at = path.clone();
        storage
            .write(move |records| async move {
                let upload = records.bucket.objects.put_multipart(&at).await.unwrap();
                let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
                for _ in 0..LONG / PART as u64 {
                    upload.wait_for_capacity(PARALLEL).await.unwrap();
                    upload.write(&vec![7; PART]);
                }
                upload.finish().await.unwrap();
                Ok(())
            })
            .unwrap();
        let plain_in = rate(start);

        let (peak, start) = (Peak::start(), Instant::now());
        let mut writer = store.create_record(format!("long{round}")).unwrap();
        for _ in 0..LONG / PART as u64 {
            writer.write_all(&[7; PART]).unwrap();
        }
        let key = writer.finish().unwrap();
        let (stored, memory_in) = (rate(start), peak.end());

        let start = Instant::now();
        storage
            .read(move |records| async move {
                let read = |range: Range<u64>| {
                    let (objects, path) = (Arc::clone(&records.bucket.objects), path.clone());
                    async move { Ok::<_, Error>(objects.get_range(&path, range).await.unwrap().len()) }
                };
                let ranges = (0..LONG / PART as u64).map(|n| n * PART as u64..(n + 1) * PART as u64);
                stream::iter(ranges.map(read)).buffered(PARALLEL).try_collect::<Vec<_>>().await
            })
            .unwrap();
        let plain_out = rate(start);

        let (peak, start) = (Peak::start(), Instant::now());
        let mut reader = store.open_record(format!("long{round}"), &key).unwrap();
        let (mut buffer, mut len) = (vec![0; 1 << 20], 0);
        loop {
            let read = reader.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            len += read as u64;
        }
        assert_eq!(len, LONG);
        let (retrieved, memory_out) = (rate(start), peak.end());
        println!(
            "1 GiB: multipart {plain_in} MB/s, store {stored} MB/s ({memory_in} MiB); ranged reads {plain_out} MB/s, \
             retrieve {retrieved} MB/s ({memory_out} MiB)"
        );
    }
}
