//! Repeated writes under a caller's key: from bytes, from a reader and by a writer, with the same outcomes, and without
//! reading a record with another key.

use std::io::Write;
use std::sync::Arc;

use strongroom::storage::{MemoryStorage, PutMode, Storage};
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use crate::support::intercept::Intercepted;
use crate::support::{each_store, memory_store, open_over, pattern, record_key};

type Store = fn(&Strongroom, &RecordKey, &[u8]) -> Result<(), Error>;
type Replace = fn(&Strongroom, &RecordKey, &RecordKey, &[u8]) -> Result<(), Error>;

const STORE: [Store; 3] = [
    |store, key, data| store.store_with("id", data, WriteOptions::new().key(key)).map(drop),
    |store, key, data| store.store_reader_with("id", data, WriteOptions::new().key(key)).map(drop),
    |store, key, data| written(store.create_record_with("id", WriteOptions::new().key(key))?, key, data),
];
const REPLACE: [Replace; 2] = [
    |store, old, new, data| store.replace_with("id", old, data, WriteOptions::new().key(new)).map(drop),
    |store, old, new, data| written(store.replace_record_with("id", old, WriteOptions::new().key(new))?, new, data),
];

fn written(mut writer: strongroom::RecordWriter, key: &RecordKey, data: &[u8]) -> Result<(), Error> {
    let failed = |error: std::io::Error| error.downcast::<Error>().unwrap();
    data.chunks(70_000).try_for_each(|piece| writer.write_all(piece)).map_err(failed)?;
    assert_eq!(writer.bytes_written(), data.len() as u64);
    assert!(writer.finish()?.ct_eq(key));
    Ok(())
}

/// Data that is not `data`: longer, shorter, and different at the start and at the end.
fn others(data: &[u8]) -> Vec<Vec<u8>> {
    let mut others = vec![[data, b"x"].concat()];
    if let [first, middle @ .., last] = data {
        others.extend([vec![], data[1..].to_vec(), [middle, &[*last]].concat()]);
        others.extend([[&[!first], middle, &[*last]].concat(), [&[*first], middle, &[!last]].concat()]);
    }
    others
}

#[test]
fn a_repeated_store_succeeds_with_the_same_data_alone() {
    each_store(|store| {
        for len in [0, 2, 16_384, 16_385, 300_000, 2_000_000] {
            let (data, key) = (pattern(len), record_key(1));
            for first in STORE {
                first(store, &key, &data).unwrap();
                for again in STORE {
                    again(store, &key, &data).unwrap();
                    for other in others(&data) {
                        let outcome = again(store, &key, &other);
                        assert!(matches!(outcome, Err(Error::AlreadyExists)), "{len}: {outcome:?}");
                    }
                    assert!(matches!(again(store, &record_key(2), &data), Err(Error::AlreadyExists)));
                }
                assert!(store.retrieve("id", &key).unwrap() == data);
                store.delete("id", &key).unwrap();
            }
        }
    });
}

#[test]
fn a_repeated_replace_succeeds_with_the_same_data_alone() {
    each_store(|store| {
        for len in [0, 2, 16_384, 300_000] {
            let (data, new) = (pattern(len), record_key(1));
            for first in REPLACE {
                let old = store.store("id", "old").unwrap();
                first(store, &old, &new, &data).unwrap();
                for again in REPLACE {
                    again(store, &old, &new, &data).unwrap();
                    for other in others(&data) {
                        let outcome = again(store, &old, &new, &other);
                        assert!(matches!(outcome, Err(Error::WrongKey)), "{len}: {outcome:?}");
                    }
                    assert!(matches!(again(store, &old, &record_key(2), &data), Err(Error::WrongKey)));
                    assert!(matches!(again(store, &new, &new, &data), Err(Error::InvalidArgument(_))));
                }
                assert!(store.retrieve("id", &new).unwrap() == data);
                store.delete("id", &new).unwrap();
                assert!(matches!(first(store, &old, &new, &data), Err(Error::NotFound)));
            }
        }
    });
}

/// Without its key, a record is not read; with it, only as much as the compared data.
#[test]
fn a_repeat_reads_no_more_than_it_compares() {
    const MIB: usize = 1 << 20;
    let inner = Arc::new(MemoryStorage::new());
    let key = record_key(1);
    open_over(Arc::clone(&inner)).store_with("id", pattern(20 * MIB), WriteOptions::new().key(&key)).unwrap();
    let storage = Arc::new(Intercepted::hostile(inner));
    let store = open_over(Arc::clone(&storage));
    let read = |write: &dyn Fn() -> Result<(), Error>| {
        let before = storage.bytes_read();
        assert!(matches!(write(), Err(Error::AlreadyExists | Error::WrongKey)));
        storage.bytes_read() - before
    };
    let mut other_end = pattern(20 * MIB);
    other_end[20 * MIB - 1] ^= 1;
    let mut other_start = pattern(20 * MIB);
    other_start[0] ^= 1;
    for write in STORE {
        assert_eq!(read(&|| write(&store, &record_key(2), &pattern(20 * MIB))), 0, "another key");
        assert!(read(&|| write(&store, &key, &other_start)) < 20_000, "other data from the start");
        assert!(read(&|| write(&store, &key, b"short")) < 40_000, "the first and the last chunk at most");
        assert!(read(&|| write(&store, &key, &other_end)) < 21 * MIB, "all of it once");
    }
    let short = || store.store_with("id", "short", WriteOptions::new().key(&key)).map(drop);
    assert_eq!(read(&short), 0, "another length");
    for write in REPLACE {
        assert_eq!(read(&|| write(&store, &record_key(3), &record_key(2), &pattern(20 * MIB))), 0);
        assert!(read(&|| write(&store, &record_key(3), &key, &other_start)) < 20_000);
    }
}

/// Two concurrent writes under one key: the later one gets `Busy`, and its repetition has the outcome.
#[test]
fn the_second_of_two_concurrent_repeats_is_busy() {
    each_store(|store| {
        let key = record_key(1);
        let mut later = store.create_record_with("id", WriteOptions::new().key(&key)).unwrap();
        later.write_all(b"data").unwrap();
        store.store_with("id", "data", WriteOptions::new().key(&key)).unwrap();
        assert!(matches!(later.finish(), Err(Error::Busy)));
        store.store_reader_with("id", &b"data"[..], WriteOptions::new().key(&key)).unwrap();

        let new = record_key(2);
        let later = store.replace_record_with("id", &key, WriteOptions::new().key(&new)).unwrap();
        store.replace_with("id", &key, "new", WriteOptions::new().key(&new)).unwrap();
        assert!(matches!(later.finish(), Err(Error::Busy)));

        let later = store.replace_record_with("id", &new, WriteOptions::new().key(&record_key(3))).unwrap();
        let other = store.replace("id", &new, "of another").unwrap();
        assert!(matches!(later.finish(), Err(Error::Conflict)), "the other's key is another");
        store.delete("id", &other).unwrap();
        let later = store.create_record_with("id", WriteOptions::new().key(&key)).unwrap();
        store.store("id", "of another").unwrap();
        assert!(matches!(later.finish(), Err(Error::AlreadyExists)));
    });
}

#[test]
fn a_repeat_that_fails_goes_on_failing() {
    let (store, storage) = memory_store();
    let key = record_key(1);
    store.store_with("id", pattern(100_000), WriteOptions::new().key(&key)).unwrap();
    let mut writer = store.create_record_with("id", WriteOptions::new().key(&key)).unwrap();
    writer.write_all(&pattern(50_000)).unwrap();
    assert!(writer.write_all(b"other").is_err());
    assert!(writer.write_all(b"more").is_err());
    assert!(matches!(writer.finish(), Err(Error::InvalidArgument(_))));

    // Damage after the first chunk is detected in each form.
    let locator = storage.list(None, 1).unwrap()[0].locator;
    let mut record = storage.get(&locator).unwrap().unwrap();
    record[60_000] ^= 1;
    storage.put(&locator, &record, PutMode::Overwrite).unwrap();
    for write in STORE {
        assert!(matches!(write(&store, &key, &pattern(100_000)), Err(Error::Corrupt)));
    }
}
