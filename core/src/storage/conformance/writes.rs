//! Promises of single writes, batches, removals and renames.

use super::{Open, borrowed, contents, entry, error, head, locator, record, with_storage};
use crate::storage::{Error, HEAD_LEN, Head, PutMode, Stats};

pub fn a_created_record_is_there(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
        assert_eq!(storage.get(&locator(2)).unwrap(), None);
    });
}

pub fn create_refuses_a_taken_locator(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        let outcome = storage.put(&locator(1), &record(2, 200), PutMode::Create);
        assert!(matches!(error(outcome), Error::AlreadyExists));
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
    });
}

pub fn overwrite_writes_in_any_case(open: Open<'_>) {
    with_storage(open, |storage| {
        for (version, len) in [(1, 100), (2, 3 << 20), (3, 70), (4, 4 << 20), (5, 2 << 20)] {
            storage.put(&locator(1), &record(version, len), PutMode::Overwrite).unwrap();
            assert!(storage.get(&locator(1)).unwrap() == Some(record(version, len)));
        }
        assert_eq!(contents(&**storage, 0), Stats::new(1, 2 << 20, 0));
    });
}

pub fn replace_if_needs_the_head(open: Open<'_>) {
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

pub fn too_short_records_are_refused(open: Open<'_>) {
    with_storage(open, |storage| {
        for len in [0, 1, HEAD_LEN - 1] {
            let short = vec![1; len];
            let outcome = storage.put(&locator(1), &short, PutMode::Overwrite);
            assert!(matches!(error(outcome), Error::InvalidArgument(_)));
            let outcome = storage.create_many(&[(locator(2), &record(1, 100)), (locator(1), &short)]);
            assert!(matches!(error(outcome), Error::InvalidArgument(_) | Error::Unsupported(_)));
        }
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn create_many_writes_all(open: Open<'_>) {
    with_storage(open, |storage| {
        let records: Vec<_> = (0..50).map(|n| (locator(n), record(n, 100 + 30_000 * usize::from(n)))).collect();
        match storage.create_many(&borrowed(&records)) {
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

pub fn create_many_writes_all_or_none(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(3), &record(9, 100), PutMode::Create).unwrap();
        let taken = [1, 2, 3, 4].map(|n| (locator(n), record(n, 100)));
        let twice = [1, 2, 1].map(|n| (locator(n), record(n, 100)));
        for records in [&taken[..], &twice[..]] {
            let outcome = storage.create_many(&borrowed(records));
            assert!(matches!(error(outcome), Error::AlreadyExists | Error::Unsupported(_)));
            assert_eq!(storage.list(None, 10).unwrap(), [entry(locator(3), &record(9, 100))]);
        }
        assert_eq!(storage.get(&locator(3)).unwrap(), Some(record(9, 100)));
    });
}

pub fn put_each_writes_what_it_can(open: Open<'_>) {
    with_storage(open, |storage| {
        let old = [2, 3, 5, 6].map(|n| (locator(n), record(9, 100 + 300_000 * usize::from(n % 2))));
        for (locator, record) in &old {
            storage.put(locator, record, PutMode::Create).unwrap();
        }
        let new = [1, 2, 3, 4, 5, 6, 1].map(|n| (locator(n), record(n, 100 + 300_000 * usize::from(n / 4))));
        let modes = [
            PutMode::Create,
            PutMode::Create,
            PutMode::ReplaceIf(head(&old[1].1)),
            PutMode::ReplaceIf(head(&old[1].1)),
            PutMode::Overwrite,
            PutMode::ReplaceIf(head(&new[5].1)),
            PutMode::Create,
        ];
        let writes: Vec<_> = new.iter().zip(modes).map(|((locator, new), mode)| (*locator, &new[..], mode)).collect();
        let outcomes = storage.put_each(&writes);
        assert_eq!(outcomes.len(), 7);
        for (place, outcome) in (0..).zip(outcomes) {
            match place {
                1 => assert!(matches!(error(outcome), Error::AlreadyExists)),
                3 | 5 => assert!(matches!(error(outcome), Error::Conflict)),
                // They have the same locator, and either may be the first.
                0 | 6 => {}
                _ => outcome.unwrap(),
            }
        }
        let is = |number: u8, record: Option<&Vec<u8>>| storage.get(&locator(number)).unwrap().as_ref() == record;
        assert!(is(1, Some(&new[0].1)) || is(1, Some(&new[6].1)));
        assert!(is(2, Some(&old[0].1)) && is(6, Some(&old[3].1)) && is(4, None));
        assert!(is(3, Some(&new[2].1)) && is(5, Some(&new[4].1)));
        assert!(storage.put_each(&[]).is_empty());
    });
}

pub fn delete_removes(open: Open<'_>) {
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

pub fn delete_heeds_the_expected_head(open: Open<'_>) {
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

pub fn rename_moves_one_version(open: Open<'_>) {
    with_storage(open, |storage| {
        for len in [100, 3 << 20] {
            let (first, second) = (record(1, len), record(2, len));
            let rename = |from: u8, head: &Head, to: u8| storage.rename(&locator(from), head, &locator(to));
            assert!(matches!(error(rename(1, &head(&first), 2)), Error::Conflict), "there is nothing");
            storage.put(&locator(1), &first, PutMode::Create).unwrap();
            storage.put(&locator(3), &second, PutMode::Create).unwrap();
            assert!(matches!(error(rename(1, &head(&second), 2)), Error::Conflict), "it is another version");
            assert!(matches!(error(rename(1, &head(&first), 3)), Error::AlreadyExists));
            assert!(storage.get(&locator(1)).unwrap().as_ref() == Some(&first));

            rename(1, &head(&first), 1).unwrap();
            rename(1, &head(&first), 2).unwrap();
            rename(1, &head(&first), 2).unwrap(); // a retry
            assert_eq!(storage.get(&locator(1)).unwrap(), None);
            assert!(storage.get(&locator(2)).unwrap().as_ref() == Some(&first));
            let mut end = [0; 8];
            storage.read_at(&locator(2), &head(&first), len as u64 - 8, &mut end).unwrap();
            assert!(first.ends_with(&end));
            let listed = storage.list(None, 10).unwrap();
            assert_eq!(listed, [entry(locator(2), &first), entry(locator(3), &second)]);
            assert_eq!(storage.verify(None, 10).map_or(Vec::new(), |verified| verified.damage), []);
            for number in [2, 3] {
                assert!(storage.delete(&locator(number), None).unwrap());
            }
        }
    });
}
