//! Objects of other programs below the store's prefix change nothing: the markers of folders, and names that this
//! library never writes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use strongroom::storage::{BucketUrl, MemoryStorage, Storage};
use strongroom::transfer::{CopyOptions, copy_storage};
use strongroom::{Strongroom, WriteOptions};

use super::open;
use super::repair::search;
use super::versioned::s3;
use crate::support::fake_s3::{BUCKET, Objects, Seen, Server, start_with, url};
use crate::support::object_store::{ObjectServer, hash};
use crate::support::wait::Join;
use crate::support::{index_key, pattern};

const DEADLINE: Duration = Duration::from_secs(120);
/// All records have expired.
const LATER: u64 = u64::MAX / 2;
const LEN: usize = 2_000_000;

struct Bucket {
    address: SocketAddr,
    prefix: String,
}

impl Bucket {
    /// The names below the prefix.
    fn names(&self) -> Vec<String> {
        let list = s3(self.address, "GET", &format!("{BUCKET}?list-type=2&prefix={}%2F", self.prefix), "");
        let names = list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0.to_owned());
        names.collect()
    }

    fn put(&self, name: &str) {
        s3(self.address, "PUT", &format!("{BUCKET}/{name}"), "");
    }

    /// Writes the marker of each folder.
    fn mark_folders(&self) {
        let names = self.names();
        let folders: BTreeSet<_> =
            names.iter().flat_map(|name| name.match_indices('/').map(|(end, _)| &name[..=end])).collect();
        assert!(folders.iter().any(|folder| folder.matches('/').count() == 4), "of an upload: {folders:?}");
        folders.into_iter().for_each(|folder| self.put(folder));
    }

    /// The names of the objects in the folders of uploads.
    fn segments(&self) -> Vec<String> {
        let is_segment = |name: &String| name.contains("/s/") && !name.ends_with('/') && !name.contains("//");
        self.names().into_iter().filter(is_segment).collect()
    }
}

fn store_records(storage: &Arc<dyn Storage>) -> Strongroom {
    let store = Strongroom::builder().storage(Arc::clone(storage)).index_key(index_key()).open().unwrap();
    for (id, len) in [("long", LEN), ("short", 10)] {
        store.store_with(id, pattern(len), WriteOptions::new().expires_in(Duration::from_secs(3600))).unwrap();
    }
    store
}

/// Reads, lists, checks and removes the records of a store with foreign objects.
fn use_records(storage: &Arc<dyn Storage>, store: &Strongroom, bucket: &Bucket) {
    let listed = storage.list(None, 10).unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(storage.list(None, 1).unwrap(), listed[..1]);
    assert_eq!(storage.list(Some(&listed[0].locator), 1).unwrap(), listed[1..]);
    assert_eq!(storage.list(Some(&listed[1].locator), 1).unwrap(), []);
    let stats = storage.stats(LATER).unwrap();
    assert_eq!((stats.records, stats.expired), (2, 2));
    for limit in [1, 2] {
        assert_eq!(storage.list_expired(LATER, limit).unwrap().len(), limit);
    }
    let found = search(&**storage);
    assert!(found.is_clean() && found.records == 2, "{found:?}");
    storage.maintain().unwrap();
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert!(copy_storage(storage, &copy, CopyOptions::new(), &mut |_| ()).unwrap().is_complete());
    assert_eq!(copy.list(None, 10).unwrap(), listed);

    assert!(store.erase("long").unwrap());
    assert_eq!(bucket.segments(), Vec::<String>::new());
    store.store_with("long", pattern(LEN), WriteOptions::new().expires_in(Duration::from_secs(3600))).unwrap();
    bucket.mark_folders();
    assert_eq!(storage.purge(LATER, 1).unwrap() + storage.purge(LATER, 10).unwrap(), 2);
    assert_eq!(bucket.segments(), Vec::<String>::new());
    assert!(search(&**storage).is_clean());
}

#[test]
fn markers_of_folders_change_nothing() {
    let bucket = Bucket { address: ObjectServer::shared().address(), prefix: hash(&("markers", std::process::id())) };
    let url: BucketUrl = ObjectServer::shared().url(&bucket.prefix);
    let test = move || {
        let storage: Arc<dyn Storage> = Arc::new(open(&url));
        let store = store_records(&storage);
        bucket.mark_folders();
        use_records(&storage, &store, &bucket);
    };
    thread::spawn(test).join_within(DEADLINE);
}

#[test]
fn names_of_other_programs_change_nothing() {
    let objects = Objects::default();
    let address = start_with(Server::ListsAsOld, &Seen::default(), &objects);
    let bucket = Bucket { address, prefix: "store".to_owned() };
    let test = move || {
        let storage: Arc<dyn Storage> = Arc::new(open(&url(address, "store")));
        let store = store_records(&storage);
        bucket.mark_folders();
        for name in bucket.names().iter().filter(|name| !name.ends_with('/')) {
            bucket.put(&format!("{name}/"));
            bucket.put(&format!("{name}//copy"));
        }
        let upload = bucket.segments()[0].rsplit_once('/').unwrap().0.to_owned();
        for name in ["r/a//b", "r/backup-2/", "r/backup/", "r//", "s/a//b", "e//", "e/.a", "e/.b", "e/.c", "e/.d"] {
            bucket.put(&format!("store/{name}"));
        }
        bucket.put(&format!("{upload}/a~"));
        use_records(&storage, &store, &bucket);

        // The segments of a record that is gone.
        store.store("long", pattern(LEN)).unwrap();
        bucket.mark_folders();
        objects.lock().unwrap().retain(|name, _| !name.starts_with("store/r/"));
        assert!(!bucket.segments().is_empty());
        storage.maintain().unwrap();
        assert_eq!(bucket.segments(), Vec::<String>::new());
    };
    thread::spawn(test).join_within(DEADLINE);
}

/// A server may answer a delete with success and keep the object, as under a legal hold.
#[test]
fn an_object_that_stays_does_not_block_an_erase() {
    let objects = Objects::default();
    let address = start_with(Server::KeepsSegments, &Seen::default(), &objects);
    let bucket = Bucket { address, prefix: "store".to_owned() };
    let test = move || {
        let storage: Arc<dyn Storage> = Arc::new(open(&url(address, "store")));
        let store = store_records(&storage);
        assert!(store.erase("long").unwrap());
        assert_eq!(bucket.segments().len(), 1);
        assert_eq!(storage.list(None, 10).unwrap().len(), 1);
    };
    thread::spawn(test).join_within(DEADLINE);
}
