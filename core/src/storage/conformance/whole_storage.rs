//! Promises of the storage as a whole: settings, limits, closing, reopening.

use std::sync::Arc;
use std::thread;

use super::{LENGTHS, Open, error, head, locator, record, with_storage};
use crate::storage::{Error, MAX_SETTINGS_LEN, PutMode};

pub fn settings_are_compared_and_swapped(open: Open<'_>) {
    with_storage(open, |storage| {
        assert_eq!(storage.settings().unwrap(), None);
        assert!(matches!(error(storage.swap_settings(Some(b"one"), b"two")), Error::Conflict));
        let documents: Vec<_> = (1..9).map(|n| vec![n; 100]).collect();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let swap = |document| scope.spawn(move || storage.swap_settings(None, document));
            let threads: Vec<_> = documents.iter().map(|document| swap(document)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let there = storage.settings().unwrap().unwrap();
        for (document, outcome) in documents.iter().zip(outcomes) {
            match outcome {
                Ok(()) => assert_eq!(*document, there),
                Err(error) => assert!(matches!(error, Error::Conflict) && *document != there),
            }
        }
        assert!(matches!(error(storage.swap_settings(None, b"new")), Error::Conflict));
        assert!(matches!(error(storage.swap_settings(Some(b"other"), b"new")), Error::Conflict));
        assert_eq!(storage.settings().unwrap().as_ref(), Some(&there));
        storage.swap_settings(Some(&there), &[7; MAX_SETTINGS_LEN]).unwrap();
        assert_eq!(storage.settings().unwrap(), Some(vec![7; MAX_SETTINGS_LEN]));
        let longer = storage.swap_settings(Some(&[7; MAX_SETTINGS_LEN]), &[8; MAX_SETTINGS_LEN + 1]);
        assert!(matches!(error(longer), Error::InvalidArgument(_)));
        assert_eq!(storage.settings().unwrap(), Some(vec![7; MAX_SETTINGS_LEN]));
    });
}

pub fn limits_are_kept(open: Open<'_>) {
    with_storage(open, |storage| {
        let limits = storage.limits();
        assert!(limits.part_len > 0 && limits.parallel_parts > 0 && limits.record_bytes > 0);
        let outcome = storage.create_many(&[(locator(1), &record(1, 100))]);
        match limits.batch_bytes {
            0 => assert!(matches!(error(outcome), Error::Unsupported(_))),
            _ => outcome.unwrap(),
        }
    });
}

pub fn a_closed_storage_does_nothing(open: Open<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let record = record(1, 100);
    storage.put(&locator(1), &record, PutMode::Create).unwrap();
    let mut upload = Arc::clone(&storage).upload(&locator(2), PutMode::Create).unwrap();
    upload.write(&record).unwrap();
    storage.close().unwrap();
    storage.close().unwrap();
    assert!(matches!(error(storage.put(&locator(1), &record, PutMode::Overwrite)), Error::Closed));
    assert!(matches!(error(storage.create_many(&[(locator(3), &record)])), Error::Closed));
    assert!(matches!(error(storage.get(&locator(1))), Error::Closed));
    assert!(matches!(error(storage.get_end(&locator(1), 1)), Error::Closed));
    assert!(matches!(error(storage.get_many(&[locator(1)], u64::MAX)), Error::Closed));
    assert!(matches!(error(storage.info(&locator(1))), Error::Closed));
    assert!(matches!(error(storage.read_at(&locator(1), &head(&record), 0, &mut [0])), Error::Closed));
    for mode in [PutMode::Create, PutMode::Overwrite, PutMode::ReplaceIf(head(&record))] {
        assert!(matches!(error(Arc::clone(&storage).upload(&locator(4), mode)), Error::Closed));
    }
    assert!(matches!(error(upload.commit()), Error::Closed));
    assert!(matches!(error(storage.delete(&locator(1), None)), Error::Closed));
    assert!(matches!(error(storage.list(None, 1)), Error::Closed));
    assert!(matches!(error(storage.rename(&locator(1), &head(&record), &locator(5))), Error::Closed));
    assert!(matches!(error(storage.list_expired(0, 1)), Error::Closed));
    assert!(matches!(error(storage.purge(0, 1)), Error::Closed));
    assert!(matches!(error(storage.settings()), Error::Closed));
    assert!(matches!(error(storage.swap_settings(None, b"settings")), Error::Closed));
    assert!(matches!(error(storage.verify(None, 1)), Error::Closed));
    assert!(matches!(error(storage.stats(0)), Error::Closed));
    assert!(matches!(error(storage.maintain()), Error::Closed));
}

pub fn records_survive_reopening(open: Open<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    for (number, len) in (0..).zip(LENGTHS) {
        storage.put(&locator(number), &record(number, len), PutMode::Create).unwrap();
    }
    let mut upload = Arc::clone(&storage).upload(&locator(200), PutMode::Create).unwrap();
    upload.write(&record(200, 3 << 20)).unwrap();
    upload.commit().unwrap();
    storage.delete(&locator(0), None).unwrap();
    let stats = storage.stats(0).unwrap();
    storage.close().unwrap();
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.get(&locator(0)).unwrap(), None);
    for (number, len) in (0..).zip(LENGTHS).skip(1) {
        assert!(storage.get(&locator(number)).unwrap() == Some(record(number, len)));
    }
    assert!(storage.get(&locator(200)).unwrap() == Some(record(200, 3 << 20)));
    assert_eq!(storage.stats(0).unwrap(), stats);
}

pub fn settings_survive_reopening(open: Open<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    storage.swap_settings(None, b"settings").unwrap();
    storage.close().unwrap();
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.settings().unwrap().as_deref(), Some(&b"settings"[..]));
    storage.close().unwrap();
}
