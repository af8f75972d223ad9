//! Records in pieces: writers, readers, ranges, and failures halfway.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::intercept::Intercepted;
use crate::support::{SIZES, each_store, memory_store, open_over, pattern, record_key};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use strongroom::storage::{Durability, MemoryStorage, PutMode, SqliteStorage, Storage};
use strongroom::{Error, RecordKey, RecordReader, Strongroom, WriteOptions};

/// The error of a reader or writer.
#[track_caller]
fn inner(error: io::Error) -> Error {
    error.downcast().unwrap()
}

fn read_all(reader: &mut RecordReader) -> Vec<u8> {
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    data
}

#[test]
fn streams_and_values_are_the_same_records() {
    each_store(|store| {
        for size in SIZES.into_iter().chain([1 << 20, 3_000_000]) {
            let data = pattern(size);
            let (streamed, whole) = (format!("streamed {size}"), format!("whole {size}"));
            let key = store.store_reader(&streamed, &*data).unwrap();
            assert!(store.retrieve(&streamed, &key).unwrap() == data, "{size} bytes");
            let whole_key = store.store(&whole, &data).unwrap();
            let mut reader = store.open_record(&whole, &whole_key).unwrap();
            assert!(read_all(&mut reader) == data, "{size} bytes");
            assert_eq!(reader.len().unwrap(), size as u64);
            assert_eq!(reader.is_empty().unwrap(), size == 0);

            let key =
                store.replace_reader(&whole, &whole_key, data.iter().rev().copied().collect::<Vec<_>>().as_slice());
            let mut reversed = store.retrieve(&whole, &key.unwrap()).unwrap();
            reversed.reverse();
            assert!(reversed == data);
        }
    });
}

#[test]
fn a_record_is_invisible_until_finished() {
    each_store(|store| {
        let mut writer = store.create_record("id").unwrap();
        for n in 0..30 {
            writer.write_all(&pattern(100_000)).unwrap();
            writer.flush().unwrap();
            assert_eq!(writer.bytes_written(), (n + 1) * 100_000);
            assert!(!store.contains("id").unwrap());
        }
        let text = writer.key().to_text();
        let key = writer.finish().unwrap();
        assert_eq!(key.to_text(), text);
        assert_eq!(store.open_record("id", &key).unwrap().len().unwrap(), 3_000_000);

        let mut writer = store.replace_record("id", &key).unwrap();
        writer.write_all(&pattern(3_000_000)).unwrap();
        drop(writer);
        assert_eq!(store.open_record("id", &key).unwrap().len().unwrap(), 3_000_000);
        let mut writer = store.create_record("other").unwrap();
        writer.write_all(&pattern(3_000_000)).unwrap();
        drop(writer);
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

#[test]
fn of_two_writers_the_first_to_finish_wins() {
    each_store(|store| {
        let mut writers: Vec<_> = (0..2).map(|_| store.create_record("id").unwrap()).collect();
        for (n, writer) in writers.iter_mut().enumerate() {
            writer.write_all(&vec![u8::try_from(n).unwrap(); 2_000_000]).unwrap();
        }
        let second = writers.pop().unwrap();
        let key = second.finish().unwrap();
        assert!(matches!(writers.pop().unwrap().finish().unwrap_err(), Error::AlreadyExists));
        assert!(matches!(store.create_record("id").unwrap_err(), Error::AlreadyExists));
        assert!(store.retrieve("id", &key).unwrap() == vec![1; 2_000_000]);

        let writer = store.replace_record("id", &key).unwrap();
        let new_key = store.replace("id", &key, "meanwhile").unwrap();
        assert!(matches!(writer.finish().unwrap_err(), Error::Conflict));
        assert_eq!(store.retrieve("id", &new_key).unwrap(), b"meanwhile");

        let made = RecordKey::generate().unwrap();
        let mut writer = store.replace_record_with("id", &new_key, WriteOptions::new().key(&made)).unwrap();
        writer.write_all(b"under a key of the caller's").unwrap();
        assert!(writer.finish().unwrap().ct_eq(&made));
        assert_eq!(store.retrieve("id", &made).unwrap(), b"under a key of the caller's");
        let outcome = store.replace_record_with("id", &new_key, WriteOptions::new().key(&record_key(1)));
        assert!(matches!(outcome.unwrap_err(), Error::WrongKey));
        let outcome = store.replace_record_with("id", &made, WriteOptions::new().key(&made));
        assert!(matches!(outcome.unwrap_err(), Error::InvalidArgument(_)));
    });
}

#[test]
fn a_repeated_store_under_a_callers_key_succeeds() {
    each_store(|store| {
        let data = pattern(2_000_000);
        let key = RecordKey::generate().unwrap();
        for _ in 0..2 {
            store.store_reader_with("id", &*data, WriteOptions::new().key(&key)).unwrap();
        }
        let others = [&data[..1_999_999], &[&data[..], b"x"].concat(), &data[1..], b""];
        for other in others {
            let outcome = store.store_reader_with("id", other, WriteOptions::new().key(&key));
            assert!(matches!(outcome.unwrap_err(), Error::AlreadyExists));
        }
        let outcome = store.store_reader_with("id", &*data, WriteOptions::new().key(&record_key(1)));
        assert!(matches!(outcome.unwrap_err(), Error::AlreadyExists));
        let mut writer = store.create_record_with("other", WriteOptions::new().key(&key)).unwrap();
        writer.write_all(b"data").unwrap();
        assert!(writer.finish().unwrap().ct_eq(&key));
    });
}

#[test]
fn open_record_reports_each_error() {
    each_store(|store| {
        let key = store.store("id", "data").unwrap();
        assert!(matches!(store.open_record("other", &key).unwrap_err(), Error::NotFound));
        assert!(matches!(store.open_record("id", &record_key(1)).unwrap_err(), Error::WrongKey));
        assert!(matches!(store.open_record("", &key).unwrap_err(), Error::InvalidId));
        assert!(matches!(store.replace_record("id", &record_key(1)).unwrap_err(), Error::WrongKey));
        assert!(matches!(store.retrieve_range("id", &record_key(1), 0..1).unwrap_err(), Error::WrongKey));
    });
}

/// Ranges at the start, at the end, across chunks, empty, and past the end.
#[test]
fn ranges_are_clipped_to_the_data() {
    each_store(|store| {
        for size in [0, 1, 16_384, 16_385, 40_000] {
            let (id, data) = (format!("{size}"), pattern(size));
            let key = store.store(&id, &data).unwrap();
            let edges = [0, 1, 16_383, 16_384, 16_385, 32_768, 39_999, 40_000, 40_001, usize::MAX];
            for (start, end) in edges.into_iter().flat_map(|start| edges.map(|end| (start, end))) {
                let found = store.retrieve_range(&id, &key, start as u64..end as u64).unwrap();
                let expected = data.get(start.min(size)..end.min(size)).unwrap_or_default();
                assert!(found == expected, "{start}..{end} of {size}");
            }
        }
    });
}

#[test]
fn seeking_behaves_as_in_a_file() {
    each_store(|store| {
        let key = store.store("id", pattern(100_000)).unwrap();
        let mut reader = store.open_record("id", &key).unwrap();
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 99_999);
        assert_eq!(read_all(&mut reader), [pattern(100_000)[99_999]]);
        assert_eq!(reader.seek(SeekFrom::End(50)).unwrap(), 100_050);
        assert!(read_all(&mut reader).is_empty());
        assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
        assert!(matches!(inner(reader.seek(SeekFrom::Current(1)).unwrap_err()), Error::InvalidArgument(_)));
        assert!(matches!(inner(reader.seek(SeekFrom::End(-100_001)).unwrap_err()), Error::InvalidArgument(_)));
        assert_eq!(reader.stream_position().unwrap(), u64::MAX, "a refused seek moves nothing");
        reader.rewind().unwrap();
        let mut line = Vec::new();
        reader.read_until(200, &mut line).unwrap();
        assert_eq!(line, pattern(201));
    });
}

/// A record, and its storage for the test.
fn hostile(data: &[u8]) -> (Strongroom, Arc<MemoryStorage>, RecordKey) {
    let (store, storage) = memory_store();
    let key = store.store("id", data).unwrap();
    (store, storage, key)
}

fn alter(storage: &MemoryStorage, change: impl FnOnce(&mut Vec<u8>)) {
    let locator = storage.list(None, 1).unwrap()[0].locator;
    let mut record = storage.get(&locator).unwrap().unwrap();
    change(&mut record);
    storage.put(&locator, &record, PutMode::Overwrite).unwrap();
}

#[test]
fn chunks_before_an_altered_one_are_read_then_corrupt() {
    let data = pattern(200_000);
    for altered in 0..13 {
        let (store, storage, key) = hostile(&data);
        alter(&storage, |record| record[68 + altered * 16_400 + 100] ^= 1);
        for buffer_len in [1000, 16_384, 50_000] {
            let mut reader = store.open_record("id", &key).unwrap();
            let (mut found, mut buffer) = (Vec::new(), vec![0; buffer_len]);
            let error = loop {
                match reader.read(&mut buffer) {
                    Ok(len) => found.extend_from_slice(&buffer[..len]),
                    Err(error) => break error,
                }
            };
            assert!(found == data[..altered * 16_384], "chunk {altered}");
            assert!(matches!(inner(error), Error::Corrupt));
            for _ in 0..3 {
                buffer.fill(0xa5);
                assert!(matches!(inner(reader.read(&mut buffer).unwrap_err()), Error::Corrupt));
                let as_it_was_or_wiped = buffer.iter().all(|byte| [0, 0xa5].contains(byte));
                assert!(as_it_was_or_wiped, "something of an altered chunk came out");
            }
        }
        let mut reader = store.open_record("id", &key).unwrap();
        let proved = if altered == 12 { reader.len().is_err() } else { reader.len().unwrap() == 200_000 };
        assert!(proved);
    }
}

#[test]
fn a_truncated_record_fails_before_its_end_is_read() {
    let (store, storage, key) = hostile(&pattern(200_000));
    alter(&storage, |record| record.truncate(68 + 5 * 16_400 + 500));
    let mut reader = store.open_record("id", &key).unwrap();
    assert!(matches!(reader.len().unwrap_err(), Error::Corrupt));
    assert!(matches!(inner(reader.seek(SeekFrom::End(0)).unwrap_err()), Error::Corrupt));
    assert!(matches!(store.retrieve_range("id", &key, 0..10).unwrap_err(), Error::Corrupt));
    let mut found = Vec::new();
    assert!(matches!(inner(reader.read_to_end(&mut found).unwrap_err()), Error::Corrupt));
    assert!(found == pattern(5 * 16_384));
    // A record with an impossible length cannot be opened.
    alter(&storage, |record| record.truncate(68 + 5 * 16_400));
    assert!(matches!(store.open_record("id", &key).unwrap_err(), Error::Corrupt));
}

/// The final chunk proves the length, also if it is empty, and if several cores read the record.
#[test]
fn parts_of_a_record_add_up_to_it() {
    let chunks = [0, 1, 2, 15, 16, 17, 31, 32, 33].map(|chunks| chunks * 16_384);
    let lens = chunks.into_iter().flat_map(|len: usize| [len.saturating_sub(1), len, len + 1]);
    for len in lens.chain([17 << 20]) {
        let (data, key, memory) = (pattern(len), record_key(1), Arc::new(MemoryStorage::new()));
        let store = open_over(Arc::new(Intercepted::in_parts(memory.clone())));
        store.store_with("id", &data, WriteOptions::new().key(&key)).unwrap();
        let mut buffer = vec![0xa5; len + 1];
        assert!(store.retrieve("id", &key).unwrap() == data, "{len}");
        assert_eq!(store.retrieve_into("id", &key, &mut buffer).unwrap(), len);
        assert!(buffer[..len] == data && buffer[len] == 0xa5, "{len}");
        if let Some(shorter) = len.checked_sub(1) {
            assert!(matches!(store.retrieve_into("id", &key, &mut vec![0; shorter]).unwrap_err(), Error::TooLarge));
        }
        let locator = memory.list(None, 1).unwrap()[0].locator;
        let record = memory.get(&locator).unwrap().unwrap();
        let is_corrupt = |what: &str, record: &[u8]| {
            memory.put(&locator, record, PutMode::Overwrite).unwrap();
            assert!(matches!(store.retrieve("id", &key).unwrap_err(), Error::Corrupt), "{len}, {what}");
            let mut buffer = vec![0; len];
            assert!(
                matches!(store.retrieve_into("id", &key, &mut buffer).unwrap_err(), Error::Corrupt),
                "{len}, {what}"
            );
            assert!(buffer.iter().all(|byte| *byte == 0), "{len}, {what}: something came out");
        };
        for place in [68, record.len() / 2, record.len() - 1].into_iter().filter(|place| *place >= 68) {
            let mut altered = record.clone();
            altered[place] ^= 1;
            is_corrupt("altered", &altered);
        }
        for cut in [1, 16, 17, 16_400, 16_401, record.len() - 84]
            .into_iter()
            .filter(|cut| (1..=record.len() - 84).contains(cut))
        {
            is_corrupt("cut", &record[..record.len() - cut]);
        }
    }
}

/// A row of the database is missing: the data before it can be read, and each read after it is `Corrupt`.
#[test]
fn data_before_a_missing_part_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let data = pattern(8_000_000);
    let store = Strongroom::open(&path).unwrap();
    let key = store.store("id", &data).unwrap();
    store.close().unwrap();
    let missing = "DELETE FROM segment WHERE n = 20";
    assert_eq!(rusqlite::Connection::open(&path).unwrap().execute(missing, ()).unwrap(), 1);

    let store = Strongroom::open(&path).unwrap();
    let mut reader = store.open_record("id", &key).unwrap();
    let (mut read, mut buffer) = (Vec::new(), vec![0; 10_000]);
    let failure = loop {
        match reader.read(&mut buffer) {
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(failure) => break failure,
        }
    };
    assert!(matches!(inner(failure), Error::Corrupt));
    // The record's own row and 20 segments, of 16 chunks each, without the chunk that the header shifts into the next.
    assert!(data.starts_with(&read) && read.len() == (21 * 16 - 1) * 16_384, "{}", read.len());
    for _ in 0..3 {
        assert!(matches!(inner(reader.read(&mut buffer).unwrap_err()), Error::Corrupt));
    }
    reader.rewind().unwrap();
    reader.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer, data[..10_000]);
}

#[test]
fn a_reader_never_mixes_two_versions() {
    each_store(|store| {
        let key = store.store("id", pattern(3_000_000)).unwrap();
        let mut replaced = store.open_record("id", &key).unwrap();
        let mut start = vec![0; 20_000];
        replaced.read_exact(&mut start).unwrap();
        assert_eq!(start, pattern(20_000));
        let new_key = store.replace("id", &key, vec![9; 3_000_000]).unwrap();
        let mut removed = store.open_record("id", &new_key).unwrap();
        store.erase("id").unwrap();
        for reader in [&mut replaced, &mut removed] {
            reader.seek(SeekFrom::Start(2_000_000)).unwrap();
            for _ in 0..3 {
                assert!(matches!(inner(reader.read(&mut [0; 10]).unwrap_err()), Error::Conflict));
            }
        }
        // This remains so, even if the record is restored.
        store.store_with("id", pattern(3_000_000), WriteOptions::new().key(&key)).unwrap();
        assert!(matches!(inner(replaced.read(&mut [0; 10]).unwrap_err()), Error::Conflict));
    });
}

/// Several cores read a long record, which is replaced between finding and reading it.
#[test]
fn a_concurrent_replace_never_mixes_versions() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(SqliteStorage::open(folder.path().join("db"), Durability::Full).unwrap());
    for (n, into) in [false, true].into_iter().enumerate() {
        let (fast, key, id) = (open_over(open()), record_key(1), format!("id {n}"));
        fast.store_with(&id, pattern(1_000_000), WriteOptions::new().key(&key)).unwrap();
        let (other_id, other_key) = (id.clone(), record_key(1));
        let meanwhile = move || {
            fast.erase(&other_id).unwrap();
            fast.store_with(&other_id, vec![9; 900_000], WriteOptions::new().key(&other_key)).unwrap();
        };
        let slow = open_over(Arc::new(Intercepted::after_long(open(), meanwhile)));
        let data = if into {
            let mut buffer = vec![0; 1_000_000];
            let len = slow.retrieve_into(&id, &key, &mut buffer).unwrap();
            buffer.truncate(len);
            buffer
        } else {
            slow.retrieve(&id, &key).unwrap()
        };
        assert!(data == vec![9; 900_000]);
    }
}

/// If a storage withdraws each version during the read, the number of attempts is limited, and the whole record is not
/// requested.
#[test]
fn an_ever_replaced_version_is_a_conflict() {
    let (store, inner) = memory_store();
    let key = store.store("id", pattern(3_000_000)).unwrap();
    let storage = Arc::new(Intercepted::without_parts(inner));
    let store = open_over(Arc::clone(&storage));
    assert!(matches!(store.retrieve("id", &key).unwrap_err(), Error::Conflict));
    assert!(matches!(store.retrieve_into("id", &key, &mut [0; 10]).unwrap_err(), Error::Conflict));
    assert_eq!(storage.bytes_read(), 0);
}

/// Returns some bytes, then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"));
        }
        let len = buffer.len().min(self.0);
        self.0 -= len;
        Ok(len)
    }
}

#[test]
fn a_failing_source_leaves_nothing() {
    each_store(|store| {
        let key = store.store("there", "data").unwrap();
        for len in [0, 100, 5_000_000] {
            let error = store.store_reader("id", Failing(len)).unwrap_err();
            assert!(matches!(&error, Error::Storage(source) if source.to_string().contains("could not be read")));
            assert!(matches!(store.replace_reader("there", &key, Failing(len)).unwrap_err(), Error::Storage(_)));
            assert!(!store.contains("id").unwrap());
        }
        assert_eq!(store.retrieve("there", &key).unwrap(), b"data");
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

#[test]
fn a_failing_storage_leaves_nothing() {
    for fail_at in 0.. {
        let storage = Arc::new(Intercepted::failing_upload(Arc::new(MemoryStorage::new()), fail_at));
        let store = open_over(Arc::clone(&storage));
        match store.store_reader("id", &*pattern(2_000_000)) {
            Ok(key) => {
                assert!(fail_at > 5, "the storage was hardly asked");
                assert!(store.retrieve("id", &key).unwrap() == pattern(2_000_000));
                break;
            }
            Err(error) => assert!(matches!(error, Error::StorageFull)),
        }
        assert_eq!(store.stats().unwrap().records, 0);

        let mut writer = open_over(storage).create_record("id").unwrap();
        let failure =
            inner((0..30).find_map(|_| writer.write_all(&pattern(100_000)).err()).unwrap_or(Error::StorageFull.into()));
        assert!(matches!(failure, Error::StorageFull));
        if fail_at < 5 {
            assert!(matches!(inner(writer.write(b"more").unwrap_err()), Error::InvalidArgument(_)));
            assert!(matches!(writer.finish().unwrap_err(), Error::InvalidArgument(_)));
        }
    }
}

/// A short record in pieces is one `put`, which shares its commit with others. A longer one needs an upload, which
/// fails here.
#[test]
fn short_records_need_no_upload() {
    let store = open_over(Arc::new(Intercepted::failing_upload(Arc::new(MemoryStorage::new()), 0)));
    let mut old = store.store("old", "before").unwrap();
    for (len, is_short) in [(0, true), (1024, true), (255 << 10, true), (300 << 10, false)] {
        let data = pattern(len);
        assert_eq!(store.store_reader(format!("{len}, read"), &*data).is_ok(), is_short, "{len} bytes");
        let mut writer = store.create_record(format!("{len}, written")).unwrap();
        let written = writer.write_all(&data).map_err(inner).and_then(|()| writer.finish());
        assert_eq!(written.is_ok(), is_short, "{len} bytes");
        match store.replace_reader("old", &old, &*data) {
            Ok(new) if is_short => old = new,
            outcome => assert!(outcome.is_err() && !is_short, "{len} bytes"),
        }
    }
}

/// A short range far inside a long record costs few reads. The record has repeating bytes, and needs no space.
#[test]
fn a_distant_range_reads_few_parts() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStorage::open(folder.path().join("records.db"), Durability::Relaxed);
    let storage = Arc::new(Intercepted::hostile(Arc::new(sqlite.unwrap())));
    let store = open_over(Arc::clone(&storage));
    let size = 50_000_000;
    let key = store.store_reader("id", &*pattern(size)).unwrap();
    let start = 40_000_000 - 50;
    let before = storage.bytes_read();
    let found = store.retrieve_range("id", &key, start..start + 100).unwrap();
    assert_eq!(found, pattern(size)[40_000_000 - 50..40_000_000 + 50]);
    let read = storage.bytes_read() - before;
    assert!(read <= 3 * 16_400, "{read} bytes were read");
    // The same with a reader: without the proof of the length, one chunk less.
    let before = storage.bytes_read();
    let mut reader = store.open_record("id", &key).unwrap();
    reader.seek(SeekFrom::Start(start)).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    let read = storage.bytes_read() - before;
    assert!(read <= 3 * 16_400, "{read} bytes were read");
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    ReadExactly(usize),
    FillAndConsume(usize),
    Start(u64),
    End(i64),
    Current(i64),
    Range(u64, u64),
}

fn steps(size: usize) -> impl Strategy<Value = Vec<Step>> {
    let size = i64::try_from(size).unwrap();
    let place = 0..(size + 20_000).unsigned_abs();
    let step = prop_oneof![
        (0..40_000_usize).prop_map(Step::Read),
        (0..40_000_usize).prop_map(Step::ReadExactly),
        (0..20_000_usize).prop_map(Step::FillAndConsume),
        place.clone().prop_map(Step::Start),
        (-size - 5..100).prop_map(Step::End),
        (-size..=size).prop_map(Step::Current),
        (place.clone(), place).prop_map(|(start, end)| Step::Range(start, end)),
    ];
    prop::collection::vec(step, 1..40)
}

fn case() -> impl Strategy<Value = (Vec<usize>, Vec<Step>)> {
    let pieces = prop::collection::vec(prop_oneof![0..100_usize, 16_300..16_500_usize, 0..300_000_usize], 0..8);
    pieces.prop_flat_map(|pieces| {
        let size = pieces.iter().sum();
        (Just(pieces), steps(size))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// A reader behaves like a `Cursor` over the same bytes.
    #[test]
    fn readers_and_writers_follow_the_model((pieces, steps) in case()) {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let (memory, _storage) = memory_store();
        let folder = tempfile::tempdir().unwrap();
        let store = if RUNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            memory
        } else {
            Strongroom::open(folder.path().join("records.db")).unwrap()
        };
        let mut model = Vec::new();
        let mut writer = store.create_record("id").unwrap();
        for (n, len) in pieces.iter().enumerate() {
            let piece = vec![u8::try_from(n).unwrap() ^ 0x5a; *len];
            writer.write_all(&piece).unwrap();
            if n % 2 == 0 {
                writer.flush().unwrap();
            }
            model.extend_from_slice(&piece);
        }
        let key = writer.finish().unwrap();
        let mut reader = store.open_record("id", &key).unwrap();
        let mut cursor = Cursor::new(&model);
        for step in steps {
            match step {
                Step::Read(len) => {
                    let mut found = vec![0; len];
                    let read = reader.read(&mut found).unwrap();
                    let mut expected = vec![0; read];
                    cursor.read_exact(&mut expected).unwrap();
                    prop_assert_eq!(&found[..read], &expected);
                    let at_end = cursor.position() >= model.len() as u64;
                    prop_assert!(read > 0 || len == 0 || at_end, "nothing was read before the end");
                }
                Step::ReadExactly(len) => {
                    let (mut found, mut expected) = (vec![0; len], vec![0; len]);
                    let enough = cursor.position() + len as u64 <= model.len() as u64;
                    prop_assert_eq!(reader.read_exact(&mut found).is_ok(), enough || len == 0);
                    if enough {
                        cursor.read_exact(&mut expected).unwrap();
                        prop_assert_eq!(found, expected);
                    } else {
                        cursor.set_position(reader.stream_position().unwrap());
                    }
                }
                Step::FillAndConsume(len) => {
                    let there = reader.fill_buf().unwrap();
                    let rest = cursor.fill_buf().unwrap();
                    prop_assert!(rest.starts_with(there) && there.is_empty() == rest.is_empty());
                    let len = len.min(there.len());
                    reader.consume(len);
                    cursor.consume(len);
                }
                Step::Start(position) => {
                    prop_assert_eq!(reader.seek(SeekFrom::Start(position)).unwrap(), position);
                    cursor.set_position(position);
                }
                Step::End(distance) => {
                    prop_assert_eq!(reader.seek(SeekFrom::End(distance)).ok(), cursor.seek(SeekFrom::End(distance)).ok());
                }
                Step::Current(distance) => {
                    let expected = cursor.seek(SeekFrom::Current(distance)).ok();
                    prop_assert_eq!(reader.seek(SeekFrom::Current(distance)).ok(), expected);
                }
                Step::Range(start, end) => {
                    let cut = |place: u64| usize::try_from(place).unwrap().min(model.len());
                    let expected = model.get(cut(start)..cut(end)).unwrap_or_default();
                    prop_assert_eq!(store.retrieve_range("id", &key, start..end).unwrap(), expected);
                }
            }
            prop_assert_eq!(reader.stream_position().unwrap(), cursor.position());
        }
        prop_assert_eq!(reader.len().unwrap(), model.len() as u64);
    }
}
