//! Promises of reads.

use super::{LENGTHS, Open, error, head, info_of, locator, record, with_storage};
use crate::storage::{Error, Fetched, HEAD_LEN, Head, PutMode};

pub fn a_missing_record_is_none(open: Open<'_>) {
    with_storage(open, |storage| {
        assert_eq!(storage.get(&locator(1)).unwrap(), None);
        assert_eq!(storage.info(&locator(1)).unwrap(), None);
        assert_eq!(storage.get_many(&[locator(1), locator(2)], 0).unwrap(), [None, None]);
        assert!(!storage.delete(&locator(1), None).unwrap());
        assert!(!storage.delete(&locator(1), Some(&head(&record(1, 100)))).unwrap());
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn every_length_comes_back(open: Open<'_>) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
        }
        for (number, len) in (0..).zip(LENGTHS) {
            assert!(storage.get(&locator(number)).unwrap() == Some(record(number, len)), "{len} bytes");
        }
    });
}

pub fn get_up_to_spares_long_records(open: Open<'_>) {
    with_storage(open, |storage| {
        assert_eq!(storage.get_up_to(&locator(1), 100).unwrap(), None);
        for (number, len) in (0..).zip(LENGTHS) {
            let (locator, record) = (locator(number), record(number, len));
            storage.put(&locator, &record, PutMode::Create).unwrap();
            for max_len in [0, len - 1, len, len + 1] {
                match storage.get_up_to(&locator, max_len as u64).unwrap().unwrap() {
                    Fetched::Record(found) => assert!(found == record),
                    Fetched::Long { info, start } => {
                        assert!(len > max_len);
                        assert_eq!(info, info_of(&record));
                        assert!(start.len() <= max_len && record.starts_with(&start));
                    }
                }
            }
        }
    });
}

pub fn get_many_keeps_the_order(open: Open<'_>) {
    with_storage(open, |storage| {
        for n in [1, 2, 3] {
            storage.put(&locator(n), &record(n, 100), PutMode::Create).unwrap();
        }
        let found = storage.get_many(&[3, 9, 1, 3, 2].map(locator), 400).unwrap();
        let expected = [Some(3), None, Some(1), Some(3), Some(2)].map(|n| n.map(|n| record(n, 100)));
        assert_eq!(found, expected);
        assert_eq!(storage.get_many(&[], 0).unwrap(), Vec::<Option<Vec<u8>>>::new());
    });
}

pub fn get_many_refuses_more_than_asked_for(open: Open<'_>) {
    with_storage(open, |storage| {
        for (n, len) in [(1, 100), (2, 40_000), (3, 3 << 20)] {
            storage.put(&locator(n), &record(n, len), PutMode::Create).unwrap();
        }
        for (numbers, len) in [(vec![1], 100), (vec![9, 2, 1, 2], 80_100), (vec![1, 3], 100 + (3 << 20))] {
            let locators: Vec<_> = numbers.into_iter().map(locator).collect();
            assert!(storage.get_many(&locators, len).is_ok());
            assert!(matches!(error(storage.get_many(&locators, len - 1)), Error::TooLarge), "{len}");
        }
    });
}

pub fn get_end_gives_the_last_bytes(open: Open<'_>) {
    with_storage(open, |storage| {
        assert_eq!(storage.get_end(&locator(1), 100).unwrap(), None);
        for (number, len) in (0..).zip(LENGTHS) {
            let record = record(number, len);
            storage.put(&locator(number), &record, PutMode::Create).unwrap();
            for wanted in [0, 1, 100, 16_400, len, len + 1] {
                let (info, end) = storage.get_end(&locator(number), wanted).unwrap().unwrap();
                assert_eq!(info, info_of(&record));
                assert!(end.len() == wanted.min(len) && record.ends_with(&end), "{wanted} of {len} bytes");
            }
        }
    });
}

pub fn info_tells_head_and_length(open: Open<'_>) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            let record = record(number, len);
            storage.put(&locator(number), &record, PutMode::Create).unwrap();
            assert_eq!(storage.info(&locator(number)).unwrap(), Some(info_of(&record)));
        }
    });
}

pub fn read_at_reads_any_range(open: Open<'_>) {
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

pub fn read_at_refuses_ranges_past_the_end(open: Open<'_>) {
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

pub fn read_at_is_pinned_to_a_head(open: Open<'_>) {
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
