//! Padded records: each way to write and to read them, what the storage sees, the defaults of stores and handles.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use strongroom::storage::{MemoryStorage, PutMode, Storage};
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use crate::support::{SIZES, each_store_with_transactions, index_key, memory_store, pattern, record_key};

const LONG: usize = 3_000_000;

#[track_caller]
fn assert_name<T>(outcome: Result<T, Error>, name: &str) {
    assert_eq!(outcome.err().map_or("a success", |error| error.name()), name);
}

fn sizes() -> impl Iterator<Item = usize> {
    // With the 8 bytes of the length, 16,376 fill a chunk, and 262,136 and 3,014,648 a number of chunks.
    SIZES.into_iter().chain([7, 8, 9, 16_375, 16_376, 16_377, 262_136, 300_000, LONG, 3_014_648])
}

/// Each way to write a record.
type Store = fn(&Strongroom, &[u8], WriteOptions<'_>) -> Result<RecordKey, Error>;
const STORE: [Store; 4] = [
    |store, data, options| store.store_with("id", data, options),
    |store, data, options| store.store_reader_with("id", data, options),
    |store, data, options| Ok(store.store_many_with(&[("id", data, options)])?.remove(0)),
    |store, data, options| {
        let mut writer = store.create_record_with("id", options)?;
        let written = data.chunks(70_001).try_for_each(|piece| writer.write_all(piece));
        written.map_err(|error| error.downcast::<Error>().unwrap())?;
        assert_eq!(writer.bytes_written(), data.len() as u64);
        writer.finish()
    },
];

#[test]
fn padded_data_comes_back_in_each_way() {
    each_store_with_transactions(|store| {
        for (n, size) in sizes().enumerate() {
            // Each way to write is paired with some sizes.
            let write = STORE[n % STORE.len()];
            let data = pattern(size);
            let key = write(store, &data, WriteOptions::new().pad()).unwrap();
            assert!(store.retrieve("id", &key).unwrap() == data, "{size} bytes");
            assert_name(store.retrieve("id", &record_key(9)), "WrongKey");

            let mut buffer = vec![0xee; size + 3];
            assert_eq!(store.retrieve_into("id", &key, &mut buffer).unwrap(), size);
            assert!(buffer[..size] == data && buffer[size..] == [0xee; 3], "{size} bytes");
            assert_eq!(store.retrieve_into("id", &key, &mut buffer[..size]).unwrap(), size);
            let mut short = vec![0xee; size.saturating_sub(1)];
            let outcome = store.retrieve_into("id", &key, &mut short);
            assert!(size == 0 || matches!(outcome, Err(Error::TooLarge)), "{size} bytes");
            assert!(short.iter().all(|byte| *byte == 0xee));

            let many = store.retrieve_many(&[("id", &key)]).unwrap().remove(0);
            assert!(many.unwrap() == data);
            check_reader(store, &key, &data);
            check_ranges(store, &key, &data);
            store.delete("id", &key).unwrap();
        }
    });
}

fn check_reader(store: &Strongroom, key: &RecordKey, data: &[u8]) {
    for piece in [1000, 16_384, 70_000] {
        let (mut reader, mut found) = (store.open_record("id", key).unwrap(), Vec::new());
        let mut buffer = vec![0; piece];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                len => found.extend_from_slice(&buffer[..len]),
            }
        }
        assert!(found == data);
        assert_eq!(reader.len().unwrap(), data.len() as u64);
    }
    let mut reader = store.open_record("id", key).unwrap();
    let from_end = data.len().min(10);
    assert_eq!(reader.seek(SeekFrom::End(-i64::try_from(from_end).unwrap())).unwrap(), (data.len() - from_end) as u64);
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert!(end == data[data.len() - from_end..]);
    reader.seek(SeekFrom::Start(data.len() as u64 + 3)).unwrap();
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0, "the padding is not data");
}

fn check_ranges(store: &Strongroom, key: &RecordKey, data: &[u8]) {
    let len = data.len();
    for start in [0, 1, 16_383, 16_384, len.saturating_sub(1), len, len + 1, len + 9] {
        for count in [0, 1, 20_000, usize::MAX] {
            let end = start.saturating_add(count);
            let expected = &data[start.min(len)..end.min(len)];
            let found = store.retrieve_range("id", key, start as u64..end as u64).unwrap();
            assert!(found == expected, "{len}: {start}..{end}");
        }
    }
}

#[test]
fn the_storage_sees_few_lengths() {
    for write in STORE {
        let (store, storage) = memory_store();
        let stored_len = |size: usize, options| {
            let key = write(&store, &pattern(size), options).unwrap();
            let len = storage.list(None, 1).unwrap()[0].info.len;
            store.delete("id", &key).unwrap();
            len
        };
        let pad = || WriteOptions::new().pad();
        // 2^20 + 8 bytes are padded to a multiple of 2^15.
        let len = (1 << 20) + (1 << 15);
        for size in [1 << 20, (1 << 20) + 1, (1 << 20) + 20_000, len - 8] {
            assert_eq!(stored_len(size, pad()), strongroom_len(len), "{size}");
        }
        assert_eq!(stored_len(len - 7, pad()), strongroom_len(len + (1 << 15)));
        assert_eq!(stored_len(1 << 20, WriteOptions::new()), strongroom_len(1 << 20));
    }
}

/// The length of a record with so many bytes of plaintext.
fn strongroom_len(plaintext: usize) -> u64 {
    (68 + plaintext + 16 * (plaintext / 16_384 + 1)) as u64
}

#[test]
fn a_new_version_is_padded_if_its_write_says_so() {
    let (store, storage) = memory_store();
    let is_padded = || storage.list(None, 1).unwrap()[0].info.head.as_bytes()[2] == 1;
    let key = store.store_with("id", b"data", WriteOptions::new().pad()).unwrap();
    assert!(is_padded());
    let key = store.rekey("id", &key).unwrap();
    assert!(is_padded(), "the same data remains padded");
    let key = store.replace("id", &key, b"other").unwrap();
    assert!(!is_padded());
    let key = store.rekey_with("id", &key, WriteOptions::new().pad()).unwrap();
    assert!(is_padded());
    let key = store.replace_reader_with("id", &key, &pattern(LONG)[..], WriteOptions::new().pad()).unwrap();
    assert!(is_padded());
    let key = store.rekey("id", &key).unwrap();
    assert!(store.retrieve("id", &key).unwrap() == pattern(LONG) && is_padded());
    assert!(store.take("id", &key).unwrap() == pattern(LONG));
    let key = store.padded().namespace("tenant").unwrap().store("id", b"data").unwrap();
    assert!(is_padded(), "a padded handle pads in its namespaces");
    assert_eq!(store.namespace("tenant").unwrap().retrieve("id", &key).unwrap(), b"data");
}

#[test]
fn a_repeated_write_may_be_padded_or_not() {
    each_store_with_transactions(|store| {
        for size in [0, 100, 16_376, LONG] {
            let (data, key) = (pattern(size), record_key(1));
            for first in [WriteOptions::new().key(&key), WriteOptions::new().key(&key).pad()] {
                store.store_with("id", &data, first).unwrap();
                for write in STORE {
                    // A batch compares its records as single writes do.
                    write(store, &data, WriteOptions::new().key(&key)).unwrap();
                    write(store, &data, WriteOptions::new().key(&key).pad()).unwrap();
                    assert_name(write(store, &pattern(size + 1), WriteOptions::new().key(&key)), "AlreadyExists");
                    let zero = [&data[..], &[0]].concat();
                    assert_name(write(store, &zero, WriteOptions::new().key(&key)), "AlreadyExists");
                }
                store.delete("id", &key).unwrap();
            }
        }
    });
}

#[test]
fn the_settings_keep_the_default() {
    let storage = Arc::new(MemoryStorage::new());
    let builder = || Strongroom::builder().storage(storage.clone()).index_key(index_key());
    let is_padded = |store: &Strongroom| {
        let key = store.store("id", b"data").unwrap();
        let is_padded = storage.list(None, 1).unwrap()[0].info.head.as_bytes()[2] == 1;
        store.delete("id", &key).unwrap();
        is_padded
    };
    let before = builder().open().unwrap();
    assert!(!is_padded(&before));
    assert!(is_padded(&builder().pad().open().unwrap()));
    assert!(is_padded(&builder().open().unwrap()), "also without the option");
    assert!(is_padded(&builder().pad().open().unwrap()));
    assert!(!is_padded(&before), "an open handle keeps its setting");
    let wrong = Strongroom::builder().storage(storage.clone()).index_key(strongroom::IndexKey::generate().unwrap());
    assert_name(wrong.pad().open(), "IndexKeyMismatch");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    Strongroom::builder().path(&path).pad().open().unwrap().close().unwrap();
    let store = Strongroom::builder().path(&path).read_only().open().unwrap();
    assert_name(store.store("id", b"data"), "Unsupported");
}

/// Each altered byte and each other length is detected, and no padding is shown.
#[test]
fn an_altered_padded_record_does_not_open() {
    let (store, storage) = memory_store();
    for size in [0, 100, 16_376, 20_000] {
        let key = store.store_with("id", pattern(size), WriteOptions::new().pad()).unwrap();
        let entry = storage.list(None, 1).unwrap().remove(0);
        let record = storage.get(&entry.locator).unwrap().unwrap();
        let opens = |record: &[u8]| {
            storage.put(&entry.locator, record, PutMode::Overwrite).unwrap();
            let whole = store.retrieve("id", &key);
            let mut streamed = Vec::new();
            let read = store.open_record("id", &key).map(|mut reader| reader.read_to_end(&mut streamed).is_ok());
            assert_eq!(whole.is_ok(), read.unwrap_or(false));
            whole.is_ok()
        };
        for at in (0..record.len()).filter(|at| *at < 100 || at % 97 == 0 || *at + 50 > record.len()) {
            let mut altered = record.clone();
            altered[at] ^= 1;
            assert!(!opens(&altered), "{size} bytes, byte {at}");
        }
        for len in (68..record.len()).filter(|len| *len < 200 || len % 97 == 0 || *len + 50 > record.len()) {
            assert!(!opens(&record[..len]), "{size} bytes, cut to {len}");
        }
        assert!(opens(&record));
        store.delete("id", &key).unwrap();
    }
}
