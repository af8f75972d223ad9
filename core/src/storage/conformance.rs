//! The suite that every storage passes: one test for each promise of [`Storage`].
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use strongroom::storage::{MemoryStorage, Storage};
//!
//! // Opens the storage that lies in this folder, and makes it where there is none.
//! fn open(_folder: &Path) -> Arc<dyn Storage> {
//!     Arc::new(MemoryStorage::new())
//! }
//!
//! // One `#[test]` for each promise. Without `volatile`, also that records survive closing and opening again.
//! strongroom::storage_conformance!(open, volatile);
//! # fn main() {}
//! ```

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test suite: it fails by panicking")]
#![expect(clippy::cast_possible_truncation, reason = "patterns of bytes")]
#![expect(missing_docs, clippy::missing_panics_doc, reason = "each test's name is its promise")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Entry, Error, Fetched, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator, PutMode, Stats, Storage};

/// Opens the storage that lies in a folder, and makes it where there is none.
pub type Open = fn(&Path) -> Arc<dyn Storage>;

/// Writes one `#[test]` for each promise of [`Storage`](crate::storage::Storage): see
/// [`conformance`](crate::storage::conformance).
#[macro_export]
macro_rules! storage_conformance {
    ($open:expr) => {
        $crate::storage_conformance!($open, volatile);
        $crate::storage_conformance!(@tests $open, records_survive_reopening check_value_survives_reopening);
    };
    ($open:expr, volatile) => {
        $crate::storage_conformance!(@tests $open,
            a_created_record_is_there
            create_refuses_a_taken_locator
            overwrite_writes_in_any_case
            replace_if_needs_the_head
            a_missing_record_is_none
            every_length_comes_back
            too_short_records_are_refused
            create_many_writes_all
            create_many_writes_all_or_none
            get_up_to_spares_long_records
            get_many_keeps_the_order
            info_tells_head_and_length
            read_at_reads_any_range
            read_at_refuses_ranges_past_the_end
            read_at_is_pinned_to_a_head
            an_upload_is_invisible_until_committed
            an_upload_comes_back_however_it_was_cut
            a_dropped_upload_leaves_nothing
            an_uploads_mode_counts_at_its_commit
            a_too_short_upload_is_refused
            maintenance_spares_what_is_under_way
            delete_removes
            delete_heeds_the_expected_head
            locators_are_compared_whole
            list_is_in_order_and_paged
            the_first_check_value_stays
            stats_count_records_and_bytes
            a_closed_storage_does_nothing
            of_concurrent_creates_one_wins
            of_concurrent_replaces_one_wins
            readers_see_whole_records
        );
    };
    (@tests $open:expr, $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::storage::conformance::$promise($open);
            }
        )*
    };
}

/// Lengths around every limit that a storage may have inside: the shortest record, pages, chunks, rows of 1 MiB.
const LENGTHS: [usize; 20] = [
    HEAD_LEN,
    HEAD_LEN + 1,
    100,
    4_095,
    4_096,
    4_097,
    16_412,
    65_536,
    262_399,
    262_400,
    262_401,
    (1 << 20) - 1_025,
    (1 << 20) - 1_024,
    (1 << 20) - 1_023,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (2 << 20) - 2_048,
    (2 << 20) - 2_047,
    (5 << 20) + 7,
];

fn with_storage(open: Open, test: impl FnOnce(&Arc<dyn Storage>)) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    test(&storage);
    storage.close().unwrap();
}

fn locator(number: u8) -> Locator {
    Locator::from_bytes([number; LOCATOR_LEN])
}

/// A record whose bytes tell its version and their own places.
fn record(version: u8, len: usize) -> Vec<u8> {
    let mut record: Vec<u8> = (0..len).map(|i| ((i / 251 + i) % 256) as u8 ^ version).collect();
    record[..4].copy_from_slice(&[1, 1, 0, 0]);
    record
}

fn head(record: &[u8]) -> Head {
    Head::of(record).unwrap()
}

/// What `outcome` failed with.
#[track_caller]
fn error<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Error {
    outcome.unwrap_err()
}

pub fn a_created_record_is_there(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
        assert_eq!(storage.get(&locator(2)).unwrap(), None);
    });
}

pub fn create_refuses_a_taken_locator(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        let outcome = storage.put(&locator(1), &record(2, 200), PutMode::Create);
        assert!(matches!(error(outcome), Error::AlreadyExists));
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
    });
}

pub fn overwrite_writes_in_any_case(open: Open) {
    with_storage(open, |storage| {
        for (version, len) in [(1, 100), (2, 3 << 20), (3, 70), (4, 4 << 20), (5, 2 << 20)] {
            storage.put(&locator(1), &record(version, len), PutMode::Overwrite).unwrap();
            assert!(storage.get(&locator(1)).unwrap() == Some(record(version, len)));
        }
        assert_eq!(storage.stats().unwrap(), Stats { records: 1, bytes: 2 << 20 });
    });
}

pub fn replace_if_needs_the_head(open: Open) {
    with_storage(open, |storage| {
        let (first, second) = (record(1, 100), record(2, 2 << 20));
        let outcome = storage.put(&locator(1), &second, PutMode::ReplaceIf(head(&first)));
        assert!(matches!(error(outcome), Error::Conflict), "there is nothing to replace");
        storage.put(&locator(1), &first, PutMode::Create).unwrap();
        storage.put(&locator(1), &second, PutMode::ReplaceIf(head(&first))).unwrap();
        assert!(storage.get(&locator(1)).unwrap().as_ref() == Some(&second));
        let outcome = storage.put(&locator(1), &first, PutMode::ReplaceIf(head(&first)));
        assert!(matches!(error(outcome), Error::Conflict));
        assert!(storage.get(&locator(1)).unwrap() == Some(second));
    });
}

pub fn a_missing_record_is_none(open: Open) {
    with_storage(open, |storage| {
        assert_eq!(storage.get(&locator(1)).unwrap(), None);
        assert_eq!(storage.info(&locator(1)).unwrap(), None);
        assert_eq!(storage.get_many(&[locator(1), locator(2)]).unwrap(), [None, None]);
        assert!(!storage.delete(&locator(1), None).unwrap());
        assert!(!storage.delete(&locator(1), Some(&head(&record(1, 100)))).unwrap());
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn every_length_comes_back(open: Open) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
        }
        for (number, len) in (0..).zip(LENGTHS) {
            assert!(storage.get(&locator(number)).unwrap() == Some(record(number, len)), "{len} bytes");
        }
    });
}

pub fn too_short_records_are_refused(open: Open) {
    with_storage(open, |storage| {
        for len in [0, 1, HEAD_LEN - 1] {
            let short = vec![1; len];
            let outcome = storage.put(&locator(1), &short, PutMode::Overwrite);
            assert!(matches!(error(outcome), Error::InvalidArgument(_)));
            let outcome = storage.create_many(&[(locator(2), record(1, 100)), (locator(1), short)]);
            assert!(matches!(error(outcome), Error::InvalidArgument(_) | Error::Unsupported(_)));
        }
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn create_many_writes_all(open: Open) {
    with_storage(open, |storage| {
        let records: Vec<_> = (0..50).map(|n| (locator(n), record(n, 100 + 30_000 * usize::from(n)))).collect();
        match storage.create_many(&records) {
            Ok(()) => {
                for (locator, record) in &records {
                    assert!(storage.get(locator).unwrap().as_ref() == Some(record));
                }
                storage.create_many(&[]).unwrap();
            }
            Err(Error::Unsupported(_)) => assert_eq!(storage.list(None, 10).unwrap(), []),
            Err(other) => panic!("{other}"),
        }
    });
}

pub fn create_many_writes_all_or_none(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(3), &record(9, 100), PutMode::Create).unwrap();
        let taken = [1, 2, 3, 4].map(|n| (locator(n), record(n, 100)));
        let twice = [1, 2, 1].map(|n| (locator(n), record(n, 100)));
        for records in [&taken[..], &twice[..]] {
            let outcome = storage.create_many(records);
            assert!(matches!(error(outcome), Error::AlreadyExists | Error::Unsupported(_)));
            assert_eq!(storage.list(None, 10).unwrap(), [Entry { locator: locator(3), len: 100 }]);
        }
        assert_eq!(storage.get(&locator(3)).unwrap(), Some(record(9, 100)));
    });
}

pub fn get_up_to_spares_long_records(open: Open) {
    with_storage(open, |storage| {
        assert_eq!(storage.get_up_to(&locator(1), 100).unwrap(), None);
        for (number, len) in (0..).zip(LENGTHS) {
            let (locator, record) = (locator(number), record(number, len));
            storage.put(&locator, &record, PutMode::Create).unwrap();
            for most in [0, len - 1, len, len + 1] {
                match storage.get_up_to(&locator, most as u64).unwrap().unwrap() {
                    Fetched::Record(found) => assert!(found == record),
                    Fetched::Long(info) => {
                        assert!(len > most);
                        assert_eq!(info, Info { head: head(&record), len: len as u64 });
                    }
                }
            }
        }
    });
}

pub fn get_many_keeps_the_order(open: Open) {
    with_storage(open, |storage| {
        for n in [1, 2, 3] {
            storage.put(&locator(n), &record(n, 100), PutMode::Create).unwrap();
        }
        let found = storage.get_many(&[3, 9, 1, 3, 2].map(locator)).unwrap();
        let expected = [Some(3), None, Some(1), Some(3), Some(2)].map(|n| n.map(|n| record(n, 100)));
        assert_eq!(found, expected);
        assert_eq!(storage.get_many(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    });
}

pub fn info_tells_head_and_length(open: Open) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            let record = record(number, len);
            storage.put(&locator(number), &record, PutMode::Create).unwrap();
            let info = Info { head: head(&record), len: len as u64 };
            assert_eq!(storage.info(&locator(number)).unwrap(), Some(info));
        }
    });
}

pub fn read_at_reads_any_range(open: Open) {
    with_storage(open, |storage| {
        for len in [HEAD_LEN, 100, 40_000, (3 << 20) + 5] {
            let record = record(1, len);
            storage.put(&locator(1), &record, PutMode::Overwrite).unwrap();
            let edges = LENGTHS.iter().flat_map(|edge| [edge - 1, *edge]);
            let edges = || edges.clone().chain([0, 1, len - 1, len]).filter(|edge| *edge <= len);
            for (start, end) in edges().flat_map(|start| edges().map(move |end| (start, end))) {
                if start <= end {
                    let mut part = vec![0; end - start];
                    storage.read_at(&locator(1), &head(&record), start as u64, &mut part).unwrap();
                    assert!(part == record[start..end], "{start}..{end} of {len}");
                }
            }
        }
    });
}

pub fn read_at_refuses_ranges_past_the_end(open: Open) {
    with_storage(open, |storage| {
        for len in [100, 2 << 20] {
            let record = record(1, len);
            storage.put(&locator(1), &record, PutMode::Overwrite).unwrap();
            for (offset, size) in [(len as u64, 1), (len as u64 - 1, 2), (u64::MAX, 1), (u64::MAX, 0), (1 << 63, 9)] {
                let outcome = storage.read_at(&locator(1), &head(&record), offset, &mut vec![0; size]);
                assert!(matches!(error(outcome), Error::InvalidArgument(_)), "{size} bytes at {offset} of {len}");
            }
        }
    });
}

pub fn read_at_is_pinned_to_a_head(open: Open) {
    with_storage(open, |storage| {
        let (first, second) = (record(1, 100), record(2, 100));
        let read = |head: &Head| storage.read_at(&locator(1), head, 0, &mut [0; 10]);
        assert!(matches!(error(read(&head(&first))), Error::Conflict), "there is no record");
        storage.put(&locator(1), &first, PutMode::Create).unwrap();
        read(&head(&first)).unwrap();
        storage.put(&locator(1), &second, PutMode::Overwrite).unwrap();
        assert!(matches!(error(read(&head(&first))), Error::Conflict), "it was replaced");
        read(&head(&second)).unwrap();
        storage.delete(&locator(1), None).unwrap();
        assert!(matches!(error(read(&head(&second))), Error::Conflict), "it is gone");
    });
}

pub fn an_upload_is_invisible_until_committed(open: Open) {
    with_storage(open, |storage| {
        let record = record(1, 4 << 20);
        let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
        for piece in record.chunks(300_000) {
            upload.write(piece).unwrap();
            assert_eq!(storage.get(&locator(1)).unwrap(), None);
            assert_eq!(storage.info(&locator(1)).unwrap(), None);
            assert_eq!(storage.list(None, 10).unwrap(), []);
            assert_eq!(storage.stats().unwrap(), Stats::default());
        }
        upload.commit().unwrap();
        assert!(storage.get(&locator(1)).unwrap() == Some(record));
        assert_eq!(storage.stats().unwrap(), Stats { records: 1, bytes: 4 << 20 });
    });
}

pub fn an_upload_comes_back_however_it_was_cut(open: Open) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            for piece_len in [len, 16_400, 1 << 20, 1_000_003] {
                let record = record(number, len);
                let mut upload = Arc::clone(storage).upload(&locator(number), PutMode::Overwrite).unwrap();
                upload.write(&[]).unwrap();
                for piece in record.chunks(piece_len) {
                    upload.write(piece).unwrap();
                }
                upload.commit().unwrap();
                assert!(storage.get(&locator(number)).unwrap() == Some(record), "{len} bytes by {piece_len}");
            }
        }
    });
}

pub fn a_dropped_upload_leaves_nothing(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        for len in [0, 100, 5 << 20] {
            let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Overwrite).unwrap();
            upload.write(&vec![7; len]).unwrap();
            drop(upload);
            assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
            assert_eq!(storage.stats().unwrap(), Stats { records: 1, bytes: 100 });
        }
    });
}

pub fn an_uploads_mode_counts_at_its_commit(open: Open) {
    with_storage(open, |storage| {
        let start = |mode| Arc::clone(storage).upload(&locator(1), mode);
        let (first, second, third) = (record(1, 100), record(2, 2 << 20), record(3, 200));
        let outcome = start(PutMode::ReplaceIf(head(&first)));
        assert!(matches!(error(outcome), Error::Conflict));
        let mut late = start(PutMode::Create).unwrap();
        late.write(&second).unwrap();
        storage.put(&locator(1), &first, PutMode::Create).unwrap();
        assert!(matches!(error(late.commit()), Error::AlreadyExists));
        assert!(matches!(error(start(PutMode::Create)), Error::AlreadyExists));

        let mut winner = start(PutMode::ReplaceIf(head(&first))).unwrap();
        let mut loser = start(PutMode::ReplaceIf(head(&first))).unwrap();
        winner.write(&second).unwrap();
        loser.write(&third).unwrap();
        winner.commit().unwrap();
        assert!(matches!(error(loser.commit()), Error::Conflict));
        assert!(storage.get(&locator(1)).unwrap() == Some(second));
    });
}

pub fn a_too_short_upload_is_refused(open: Open) {
    with_storage(open, |storage| {
        for len in [0, HEAD_LEN - 1] {
            let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
            upload.write(&vec![1; len]).unwrap();
            assert!(matches!(error(upload.commit()), Error::InvalidArgument(_)));
        }
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn maintenance_spares_what_is_under_way(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 3 << 20), PutMode::Create).unwrap();
        let whole = record(2, 4 << 20);
        let (start, end) = whole.split_at(3 << 20);
        let mut upload = Arc::clone(storage).upload(&locator(2), PutMode::Create).unwrap();
        upload.write(start).unwrap();
        storage.maintain().unwrap();
        upload.write(end).unwrap();
        upload.commit().unwrap();
        storage.maintain().unwrap();
        assert!(storage.get(&locator(1)).unwrap() == Some(record(1, 3 << 20)));
        assert!(storage.get(&locator(2)).unwrap() == Some(whole));
    });
}

pub fn delete_removes(open: Open) {
    with_storage(open, |storage| {
        for len in [100, 3 << 20] {
            storage.put(&locator(1), &record(1, len), PutMode::Create).unwrap();
            storage.put(&locator(2), &record(2, len), PutMode::Overwrite).unwrap();
            assert!(storage.delete(&locator(1), None).unwrap());
            assert_eq!(storage.get(&locator(1)).unwrap(), None);
            assert!(!storage.delete(&locator(1), None).unwrap());
            assert!(storage.get(&locator(2)).unwrap() == Some(record(2, len)));
        }
    });
}

pub fn delete_heeds_the_expected_head(open: Open) {
    with_storage(open, |storage| {
        let (first, second) = (record(1, 100), record(2, 100));
        storage.put(&locator(1), &first, PutMode::Create).unwrap();
        let outcome = storage.delete(&locator(1), Some(&head(&second)));
        assert!(matches!(error(outcome), Error::Conflict));
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(first.clone()));
        assert!(storage.delete(&locator(1), Some(&head(&first))).unwrap());
        assert_eq!(storage.get(&locator(1)).unwrap(), None);
    });
}

/// Locators that differ in one byte, wherever it is.
fn near_locators() -> Vec<Locator> {
    let mut locators = vec![[0; LOCATOR_LEN], [0x7f; LOCATOR_LEN], [0x80; LOCATOR_LEN], [0xff; LOCATOR_LEN]];
    for place in 0..LOCATOR_LEN {
        for byte in [1, 0x7f, 0x80, 0xff] {
            let mut near = [0; LOCATOR_LEN];
            near[place] = byte;
            locators.push(near);
        }
    }
    locators.into_iter().map(Locator::from_bytes).collect()
}

pub fn locators_are_compared_whole(open: Open) {
    with_storage(open, |storage| {
        let locators = near_locators();
        for (n, locator) in locators.iter().enumerate() {
            storage.put(locator, &record(1, 100 + n), PutMode::Create).unwrap();
        }
        for (n, locator) in locators.iter().enumerate() {
            assert_eq!(storage.get(locator).unwrap(), Some(record(1, 100 + n)));
            assert!(storage.delete(locator, None).unwrap());
            assert_eq!(storage.stats().unwrap().records, (locators.len() - n - 1) as u64);
        }
    });
}

pub fn list_is_in_order_and_paged(open: Open) {
    with_storage(open, |storage| {
        let mut locators = near_locators();
        for (n, locator) in locators.iter().enumerate() {
            storage.put(locator, &record(1, 100 + n), PutMode::Create).unwrap();
        }
        let mut expected: Vec<_> =
            (100..).zip(&locators).map(|(len, locator)| Entry { locator: *locator, len }).collect();
        expected.sort_by_key(|entry| entry.locator);
        locators.sort();
        assert_eq!(storage.list(None, usize::MAX).unwrap(), expected);
        assert_eq!(storage.list(None, 0).unwrap(), []);
        for page in [1, 7, 100] {
            let mut all: Vec<Entry> = Vec::new();
            loop {
                let entries = storage.list(all.last().map(|entry| &entry.locator), page).unwrap();
                assert!(entries.len() <= page);
                if entries.is_empty() {
                    break;
                }
                all.extend(entries);
            }
            assert_eq!(all, expected);
        }
        // A page may start behind a locator that is not there.
        storage.delete(&locators[5], None).unwrap();
        assert_eq!(storage.list(Some(&locators[5]), 1).unwrap()[0].locator, locators[6]);
    });
}

pub fn the_first_check_value_stays(open: Open) {
    with_storage(open, |storage| {
        assert_eq!(storage.check_value().unwrap(), None);
        let values: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                (1..9).map(|n| scope.spawn(move || storage.init_check_value(&[n; 16]).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(values.iter().all(|value| *value == values[0]));
        assert_eq!(storage.check_value().unwrap(), Some(values[0]));
        assert_eq!(storage.init_check_value(&[99; 16]).unwrap(), values[0]);
    });
}

pub fn stats_count_records_and_bytes(open: Open) {
    with_storage(open, |storage| {
        assert_eq!(storage.stats().unwrap(), Stats::default());
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        storage.put(&locator(2), &record(2, 3_000_000), PutMode::Create).unwrap();
        assert_eq!(storage.stats().unwrap(), Stats { records: 2, bytes: 3_000_100 });
        storage.delete(&locator(2), None).unwrap();
        assert_eq!(storage.stats().unwrap(), Stats { records: 1, bytes: 100 });
    });
}

pub fn a_closed_storage_does_nothing(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let record = record(1, 100);
    storage.put(&locator(1), &record, PutMode::Create).unwrap();
    let mut upload = Arc::clone(&storage).upload(&locator(2), PutMode::Create).unwrap();
    upload.write(&record).unwrap();
    storage.close().unwrap();
    storage.close().unwrap();
    assert!(matches!(error(storage.put(&locator(1), &record, PutMode::Overwrite)), Error::Closed));
    assert!(matches!(error(storage.create_many(&[(locator(3), record.clone())])), Error::Closed));
    assert!(matches!(error(storage.get(&locator(1))), Error::Closed));
    assert!(matches!(error(storage.get_many(&[locator(1)])), Error::Closed));
    assert!(matches!(error(storage.info(&locator(1))), Error::Closed));
    assert!(matches!(error(storage.read_at(&locator(1), &head(&record), 0, &mut [0])), Error::Closed));
    assert!(matches!(error(Arc::clone(&storage).upload(&locator(4), PutMode::Create)), Error::Closed));
    assert!(matches!(error(upload.commit()), Error::Closed));
    assert!(matches!(error(storage.delete(&locator(1), None)), Error::Closed));
    assert!(matches!(error(storage.list(None, 1)), Error::Closed));
    assert!(matches!(error(storage.check_value()), Error::Closed));
    assert!(matches!(error(storage.init_check_value(&[1; 16])), Error::Closed));
    assert!(matches!(error(storage.stats()), Error::Closed));
    assert!(matches!(error(storage.maintain()), Error::Closed));
}

/// Lets 8 threads at once write version 1 to 8, and returns the one that won.
fn race(storage: &Arc<dyn Storage>, mode: PutMode) -> u8 {
    let outcomes: Vec<_> = thread::scope(|scope| {
        let put = |n| storage.put(&locator(1), &record(n, 100 + usize::from(n)), mode);
        let threads: Vec<_> = (1..9).map(|n| scope.spawn(move || (n, put(n)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, outcome)| outcome.is_ok());
    assert_eq!(won.len(), 1);
    for (_, outcome) in lost {
        assert!(matches!(error(outcome), Error::AlreadyExists | Error::Conflict));
    }
    won[0].0
}

pub fn of_concurrent_creates_one_wins(open: Open) {
    with_storage(open, |storage| {
        for _ in 0..10 {
            let winner = race(storage, PutMode::Create);
            assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(winner, 100 + usize::from(winner))));
            storage.delete(&locator(1), None).unwrap();
        }
    });
}

pub fn of_concurrent_replaces_one_wins(open: Open) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(99, 100), PutMode::Create).unwrap();
        for _ in 0..10 {
            let there = head(&storage.get(&locator(1)).unwrap().unwrap());
            let winner = race(storage, PutMode::ReplaceIf(there));
            let found = storage.get(&locator(1)).unwrap().unwrap();
            assert_eq!(found, record(winner, 100 + usize::from(winner)));
            // So that the next round's versions all have other heads.
            storage.put(&locator(1), &record(99, 100), PutMode::Overwrite).unwrap();
        }
    });
}

pub fn readers_see_whole_records(open: Open) {
    with_storage(open, |storage| {
        let len = |version: u8| usize::from(version) + if version.is_multiple_of(2) { 90 } else { 2 << 20 };
        storage.put(&locator(1), &record(0, len(0)), PutMode::Create).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let found = storage.get(&locator(1)).unwrap().unwrap();
                        let version = found[20] ^ record(0, HEAD_LEN)[20];
                        assert!(found == record(version, len(version)), "a mix of versions");
                        let mut end = [0; 10];
                        let offset = found.len() - end.len();
                        match storage.read_at(&locator(1), &head(&found), offset as u64, &mut end) {
                            Ok(()) => assert!(found.ends_with(&end)),
                            Err(other) => assert!(matches!(other, Error::Conflict)),
                        }
                    }
                });
            }
            for version in 1..40 {
                storage.put(&locator(1), &record(version, len(version)), PutMode::Overwrite).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

pub fn records_survive_reopening(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    for (number, len) in (0..).zip(LENGTHS) {
        storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
    }
    let mut upload = Arc::clone(&storage).upload(&locator(200), PutMode::Create).unwrap();
    upload.write(&record(200, 3 << 20)).unwrap();
    upload.commit().unwrap();
    storage.delete(&locator(0), None).unwrap();
    let stats = storage.stats().unwrap();
    storage.close().unwrap();
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.get(&locator(0)).unwrap(), None);
    for (number, len) in (0..).zip(LENGTHS).skip(1) {
        assert!(storage.get(&locator(number)).unwrap() == Some(record(number, len)));
    }
    assert!(storage.get(&locator(200)).unwrap() == Some(record(200, 3 << 20)));
    assert_eq!(storage.stats().unwrap(), stats);
}

pub fn check_value_survives_reopening(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    storage.init_check_value(&[5; 16]).unwrap();
    storage.close().unwrap();
    drop(storage);
    assert_eq!(open(folder.path()).check_value().unwrap(), Some([5; 16]));
}
