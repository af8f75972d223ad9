//! The storage service as a storage keeps every promise of the trait, over the network.

use crate::support;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom::storage::{Durability, MemoryStorage, RemoteStorage, SqliteStorage, Storage};
use strongroom::{Endpoint, IndexKey, Strongroom};

use crate::support::Running;

/// The services run until the tests end, because an opened storage does not own its service.
static SERVICES: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn served(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    let service = support::storage(storage);
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    SERVICES.lock().unwrap().push(service);
    Arc::new(RemoteStorage::open(&endpoint).unwrap())
}

mod over_sqlite {
    use super::*;

    fn open(folder: &Path) -> Arc<dyn Storage> {
        served(Arc::new(SqliteStorage::open(folder.join("records.db"), Durability::Full).unwrap()))
    }

    strongroom::storage_conformance!(open);
}

mod over_memory {
    use super::*;

    fn open(_: &Path) -> Arc<dyn Storage> {
        served(Arc::new(MemoryStorage::new()))
    }

    strongroom::storage_conformance!(open, volatile);
}

/// The number of requests for records that `work` makes, according to the service.
fn requests(service: &Running, work: impl FnOnce()) -> u64 {
    let count = || -> u64 {
        let metrics = service.send("GET /metrics", &[], b"").body;
        let lines = str::from_utf8(&metrics).unwrap().lines();
        let counts =
            lines.filter(|line| line.starts_with("strongroom_requests_total{") && line.contains("/v1/records"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let before = count();
    work();
    count() - before
}

/// Each request costs a round trip.
#[test]
fn a_long_record_takes_few_requests() {
    const MIB: usize = 1 << 20;
    let service = support::storage(Arc::new(MemoryStorage::new()));
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    let index_key = IndexKey::from_bytes(&[7; 32]).unwrap();
    let store = Strongroom::builder().endpoint(endpoint).index_key(index_key).open().unwrap();
    let data: Vec<u8> = (0..20 * MIB).map(|n| (n / 251 + n) as u8).collect();
    let (short, ten, long) = (
        store.store("short", &data[..1024]).unwrap(),
        store.store("ten", &data[..10 * MIB]).unwrap(),
        store.store("long", &data).unwrap(),
    );
    let range = |range: std::ops::Range<usize>| {
        let found = store.retrieve_range("long", &long, range.start as u64..range.end as u64).unwrap();
        assert!(found == data[range]);
    };
    assert_eq!(requests(&service, || assert!(store.retrieve("short", &short).unwrap() == data[..1024])), 1);
    let read = |mut buffer: Vec<u8>| {
        store.open_record("short", &short).unwrap().read_to_end(&mut buffer).unwrap();
        assert!(buffer == data[..1024]);
    };
    assert_eq!(requests(&service, || read(Vec::new())), 1);
    assert_eq!(requests(&service, || assert!(store.retrieve("ten", &ten).unwrap() == data[..10 * MIB])), 3);
    assert!(requests(&service, || range(7 * MIB..7 * MIB + 100)) <= 2);
    assert_eq!(requests(&service, || range(20 * MIB - 100..20 * MIB)), 1, "the end comes along");
    assert!(requests(&service, || range(4 * MIB + 5..14 * MIB + 5)) <= 4);
    let from_front_to_back = || {
        let mut reader = store.open_record("ten", &ten).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == data[..10 * MIB]);
        assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), 10 * MIB as u64);
    };
    assert!(requests(&service, from_front_to_back) <= 7);
}
