//! The storage service as a storage keeps every promise of the trait, over the network.

use crate::support;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom::protocol::limits::BATCH_RECORDS;
use strongroom::storage::{Durability, Error, Locator, MemoryStorage, PutMode, RemoteStorage, SqliteStorage, Storage};
use strongroom::{Endpoint, IndexKey, Strongroom};

use crate::support::Running;
use crate::support::proxy::{Plan, Proxy};
use crate::support::wait::DEADLINE;

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

/// The service accepts 32,768 locators in a request.
#[test]
fn many_locators_take_few_requests() {
    const COUNT: usize = BATCH_RECORDS + 1;
    let service = support::storage(Arc::new(MemoryStorage::new()));
    let proxy = Proxy::new(service.address);
    let endpoint = Endpoint::new(&proxy.url()).unwrap().timeout(DEADLINE);
    let store = Strongroom::builder().endpoint(endpoint.clone()).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    let store = store.open().unwrap();
    let remote = RemoteStorage::open(&endpoint).unwrap();
    let [there, missing] = [1, 2].map(|byte| Locator::from_bytes([byte; 32]));
    remote.put(&there, &[7; 100], PutMode::Create).unwrap();
    let mut locators = vec![missing; COUNT];
    (locators[0], locators[COUNT - 1]) = (there, there);
    proxy.plan(Plan::next([]));
    for max_len in [200, u64::MAX] {
        let found = remote.get_many(&locators, max_len).unwrap();
        assert!(found.len() == COUNT && found[1..COUNT - 1].iter().all(Option::is_none));
        assert!([0, COUNT - 1].map(|place| found[place].as_deref()) == [Some(&[7; 100][..]); 2]);
    }
    assert!(matches!(remote.get_many(&locators, 199), Err(Error::TooLarge)), "together");
    assert_eq!(proxy.passed().len(), 3 * 2);
    assert_eq!(remote.get_many(&[], 0).unwrap(), [None; 0]);

    let key = store.store("id", b"data").unwrap();
    proxy.plan(Plan::next([]));
    let found = store.retrieve_many(&vec![("id", &key); COUNT]).unwrap();
    assert!(found.len() == COUNT && found.iter().all(|data| data.as_ref().is_ok_and(|data| data == b"data")));
    let requests = proxy.passed().len();
    assert!(requests < 10, "{requests}");
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
