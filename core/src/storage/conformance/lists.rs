//! Promises about many records: order, expiry, verification, counts.

use std::sync::Arc;

use super::{LENGTHS, Open, contents, entry, locator, record, with_storage};
use crate::storage::{Entry, Error, LOCATOR_LEN, Locator, PutMode, Stats, Storage, VerifyPosition};

/// Locators that differ in one byte, at each position.
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

pub fn locators_are_compared_whole(open: Open<'_>) {
    with_storage(open, |storage| {
        let locators = near_locators();
        for (n, locator) in locators.iter().enumerate() {
            storage.put(locator, &record(1, 100 + n), PutMode::Create).unwrap();
        }
        for (n, locator) in locators.iter().enumerate() {
            assert_eq!(storage.get(locator).unwrap(), Some(record(1, 100 + n)));
            assert!(storage.delete(locator, None).unwrap());
            assert_eq!(storage.stats(0).unwrap().records, (locators.len() - n - 1) as u64);
        }
    });
}

pub fn list_is_in_order_and_paged(open: Open<'_>) {
    with_storage(open, |storage| {
        let mut locators = near_locators();
        for (n, locator) in locators.iter().enumerate() {
            storage.put(locator, &record(1, 100 + n), PutMode::Create).unwrap();
        }
        let mut expected: Vec<_> =
            (100..).zip(&locators).map(|(len, locator)| entry(*locator, &record(1, len))).collect();
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
        // A page may start after a locator that does not exist.
        storage.delete(&locators[5], None).unwrap();
        assert_eq!(storage.list(Some(&locators[5]), 1).unwrap()[0].locator, locators[6]);
    });
}

/// Records that expire, by their numbers: the times of each.
const EXPIRING: [(u8, u64); 6] = [(1, 500), (2, 0), (3, 100), (4, u64::MAX), (5, 300), (6, 200)];

fn expiring(number: u8, time: u64) -> Vec<u8> {
    let mut record = record(number, 100 + usize::from(number));
    record[4..12].copy_from_slice(&time.to_le_bytes());
    record
}

fn put_expiring(storage: &Arc<dyn Storage>) {
    for (number, time) in EXPIRING {
        storage.put(&locator(number), &expiring(number, time), PutMode::Create).unwrap();
    }
}

pub fn list_expired_gives_those_that_are_due(open: Open<'_>) {
    with_storage(open, |storage| {
        put_expiring(storage);
        let due = |now, limit| match storage.list_expired(now, limit) {
            Err(Error::Unsupported(_)) => None,
            outcome => Some(outcome.unwrap()),
        };
        let expected = |numbers: &[u8]| -> Vec<Entry> {
            let time = |number| EXPIRING.iter().find(|(other, _)| *other == number).unwrap().1;
            numbers.iter().map(|n| entry(locator(*n), &expiring(*n, time(*n)))).collect()
        };
        let Some(none) = due(99, 10) else { return };
        assert_eq!(none, []);
        assert_eq!(due(100, 10).unwrap(), expected(&[3]));
        assert_eq!(due(499, 10).unwrap(), expected(&[3, 6, 5]));
        assert_eq!(due(499, 2).unwrap(), expected(&[3, 6]), "the earliest first");
        assert_eq!(due(1 << 40, 10).unwrap(), expected(&[3, 6, 5, 1]));
        // A new version has its own expiry, even if an upload wrote it.
        storage.put(&locator(3), &expiring(7, 0), PutMode::Overwrite).unwrap();
        let mut upload = Arc::clone(storage).upload(&locator(6), PutMode::Overwrite).unwrap();
        upload.write(&expiring(8, 600)).unwrap();
        upload.commit().unwrap();
        storage.delete(&locator(5), None).unwrap();
        let locators = |entries: Vec<Entry>| entries.iter().map(|entry| entry.locator).collect::<Vec<_>>();
        assert_eq!(locators(due(599, 10).unwrap()), [locator(1)]);
        assert_eq!(locators(due(600, 10).unwrap()), [locator(1), locator(6)]);
    });
}

pub fn purge_removes_those_that_are_due(open: Open<'_>) {
    with_storage(open, |storage| {
        put_expiring(storage);
        let purge = |now, limit| storage.purge(now, limit).unwrap();
        if matches!(storage.purge(99, 10), Err(Error::Unsupported(_))) {
            return;
        }
        assert_eq!((purge(99, 10), purge(400, 0)), (0, 0));
        assert_eq!(purge(400, 1), 1);
        assert!(storage.info(&locator(3)).unwrap().is_none(), "the earliest first");
        let (mut removed, mut steps) = (0, 0);
        while steps < 3 {
            removed += purge(500, 10);
            steps += 1;
        }
        assert_eq!(removed, 3);
        let left: Vec<_> = storage.list(None, 10).unwrap().iter().map(|entry| entry.locator).collect();
        assert_eq!(left, [locator(2), locator(4)], "those that expire later or never");
        // A long record, whose space is freed too.
        let mut upload = Arc::clone(storage).upload(&locator(7), PutMode::Create).unwrap();
        upload.write(&expiring(7, 600)).unwrap();
        upload.write(&vec![7; 3_000_000]).unwrap();
        upload.commit().unwrap();
        assert_eq!((purge(599, 10), purge(600, 10), purge(600, 10)), (0, 1, 0));
        assert_eq!(storage.stats(0).unwrap().records, 2);
    });
}

/// All steps from `position` on, in steps of `limit` records: the number of records and of bytes. `None` if the storage
/// has no checksums.
fn verify_from(storage: &Arc<dyn Storage>, position: Option<VerifyPosition>, limit: usize) -> Option<(u64, u64)> {
    let (mut records, mut bytes, mut position) = (0, 0, position);
    loop {
        let step = match storage.verify(position.as_ref(), limit) {
            Err(Error::Unsupported(_)) => return None,
            outcome => outcome.unwrap(),
        };
        assert!(step.records <= limit as u64);
        assert_eq!(step.damage, []);
        assert!(step.next.is_none() || step.next != position, "each step goes on");
        (records, bytes) = (records + step.records, bytes + step.bytes);
        match step.next {
            // A position has a text form, to go on later.
            Some(next) => position = Some(next.to_string().parse().unwrap()),
            None => return Some((records, bytes)),
        }
    }
}

pub fn verify_looks_at_every_record(open: Open<'_>) {
    with_storage(open, |storage| {
        let mut bytes = 0;
        for (number, len) in (0..).zip(LENGTHS) {
            storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
            bytes += len as u64;
        }
        for limit in [1, 7, LENGTHS.len(), usize::MAX] {
            let Some(all) = verify_from(storage, None, limit) else { return };
            assert_eq!(all, (LENGTHS.len() as u64, bytes), "by {limit}");
        }
        assert_eq!(verify_from(storage, Some(VerifyPosition::Structure), 1), Some((0, 0)));
    });
}

pub fn verify_of_one_record_looks_at_no_other(open: Open<'_>) {
    with_storage(open, |storage| {
        for (number, len) in [(1, 100), (2, 9_000_000), (3, 5_000)] {
            storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
        }
        for (number, expected) in [(1, (1, 100)), (2, (1, 9_000_000)), (3, (1, 5_000)), (4, (0, 0))] {
            let Some(one) = verify_from(storage, Some(VerifyPosition::Record(locator(number))), 10) else { return };
            assert_eq!(one, expected, "{number}");
        }
    });
}

pub fn verify_goes_on_after_a_record(open: Open<'_>) {
    with_storage(open, |storage| {
        for number in 1..=5 {
            storage.put(&locator(number), &record(number, 100), PutMode::Create).unwrap();
        }
        let mut left = Vec::new();
        for number in 1..=5 {
            let Some((records, _)) = verify_from(storage, Some(VerifyPosition::After(locator(number))), 2) else {
                return;
            };
            left.push(records);
        }
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 4], "each record has a place in the order");
        let foreign = VerifyPosition::Storage("a.position.of.no.storage".into());
        assert!(matches!(storage.verify(Some(&foreign), 1), Err(Error::InvalidArgument(_))));
    });
}

pub fn stats_count_records_and_bytes(open: Open<'_>) {
    with_storage(open, |storage| {
        assert_eq!(contents(&**storage, 0), Stats::default());
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        storage.put(&locator(2), &record(2, 3_000_000), PutMode::Create).unwrap();
        assert_eq!(contents(&**storage, 0), Stats::new(2, 3_000_100, 0));
        storage.delete(&locator(2), None).unwrap();
        assert_eq!(contents(&**storage, 0), Stats::new(1, 100, 0));
    });
}

pub fn stats_count_expired_records(open: Open<'_>) {
    with_storage(open, |storage| {
        let expired = |now| storage.stats(now).unwrap().expired;
        put_expiring(storage);
        assert_eq!([0, 99, 100, 499, 500, 1 << 40].map(expired), [0, 0, 1, 3, 4, 4]);
    });
}
