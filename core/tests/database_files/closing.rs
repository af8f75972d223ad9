//! The end of a store: all records are in the database's file, and no file is beside it, even if reads run meanwhile.

use std::io::Read;
use std::thread;

use super::*;
use crate::support::pattern;

/// How many records a store has.
const RECORDS: u32 = 40;

#[test]
fn nothing_is_left_beside_a_store_that_is_closed_during_reads() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = folder.path().join(format!("{round}.db"));
        let store = open(&path).unwrap();
        let long = store.store_reader("long", &*pattern(3_000_000)).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while store.stats().is_ok() {});
                scope.spawn(|| {
                    while let Ok(mut reader) = store.open_record("long", &long) {
                        let _ = reader.read_to_end(&mut Vec::new());
                    }
                });
            }
            for n in 0..RECORDS {
                let _key = store.store(n.to_le_bytes(), pattern(20_000)).unwrap();
            }
            store.close().unwrap();
        });
        let copy = folder.path().join("copy.db");
        fs::copy(&path, &copy).unwrap();
        drop(store);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let left: Vec<_> = names.iter().filter(|name| name.to_str().unwrap().contains(".db-")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(open(&copy).unwrap().stats().unwrap().records, u64::from(RECORDS) + 1);
        fs::remove_file(&copy).unwrap();
    }
}
