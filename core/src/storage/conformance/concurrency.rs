//! Promises to concurrent callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Open, entry, error, head, locator, record, with_storage};
use crate::storage::{Error, HEAD_LEN, PutMode, Storage};

/// Writes versions 1 to 8 from 8 concurrent threads, and returns the version that is stored afterwards.
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

pub fn of_concurrent_creates_one_wins(open: Open<'_>) {
    with_storage(open, |storage| {
        for _ in 0..10 {
            let winner = race(storage, PutMode::Create);
            assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(winner, 100 + usize::from(winner))));
            storage.delete(&locator(1), None).unwrap();
        }
    });
}

pub fn of_concurrent_replaces_one_wins(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(99, 100), PutMode::Create).unwrap();
        for _ in 0..10 {
            let there = head(&storage.get(&locator(1)).unwrap().unwrap());
            let winner = race(storage, PutMode::ReplaceIf(there));
            let found = storage.get(&locator(1)).unwrap().unwrap();
            assert_eq!(found, record(winner, 100 + usize::from(winner)));
            // The stored version must have a head that the next round does not use.
            storage.put(&locator(1), &record(99, 100), PutMode::Overwrite).unwrap();
        }
    });
}

pub fn of_concurrent_uploads_one_wins(open: Open<'_>) {
    with_storage(open, |storage| {
        for len in [100, 600_000] {
            let uploads: Vec<_> = (1..5)
                .map(|version| {
                    let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
                    upload.write(&record(version, len)).unwrap();
                    upload
                })
                .collect();
            let outcomes: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = uploads.into_iter().map(|upload| scope.spawn(|| upload.commit())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let winner = outcomes.iter().position(Result::is_ok).unwrap();
            for (n, outcome) in outcomes.into_iter().enumerate().filter(|(n, _)| *n != winner) {
                assert!(matches!(error(outcome), Error::AlreadyExists), "{n} and {winner}");
            }
            assert!(storage.get(&locator(1)).unwrap() == Some(record(winner as u8 + 1, len)));
            storage.delete(&locator(1), None).unwrap();
        }
    });
}

pub fn of_a_delete_and_a_replace_one_wins(open: Open<'_>) {
    with_storage(open, |storage| {
        let (first, second) = (record(1, 100), record(2, 100));
        for _ in 0..10 {
            storage.put(&locator(1), &first, PutMode::Create).unwrap();
            let (deleted, replaced) = thread::scope(|scope| {
                let delete = scope.spawn(|| storage.delete(&locator(1), Some(&head(&first))));
                let replaced = storage.put(&locator(1), &second, PutMode::ReplaceIf(head(&first)));
                (delete.join().unwrap(), replaced)
            });
            match (deleted, replaced) {
                (Ok(true), Err(Error::Conflict)) => assert_eq!(storage.get(&locator(1)).unwrap(), None),
                (Err(Error::Conflict), Ok(())) => {
                    assert_eq!(storage.get(&locator(1)).unwrap().as_ref(), Some(&second));
                    storage.delete(&locator(1), None).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

pub fn overlapping_batches_are_whole(open: Open<'_>) {
    with_storage(open, |storage| {
        if storage.limits().batch_bytes == 0 {
            return;
        }
        // Each batch has one separate locator and two that all batches share, in different orders.
        let batch = |n: u8| [[n, 100, 101], [101, n, 100], [100, 101, n]][usize::from(n % 3)];
        let create = |n: u8| {
            let record = record(n, 100);
            storage.create_many(&batch(n).map(|number| (locator(number), record.as_slice())))
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (1..7).map(|n| scope.spawn(move || create(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = (1..7).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| n).collect();
        assert_eq!(winners.len(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert!(matches!(error(outcome), Error::AlreadyExists | Error::Busy));
        }
        let mut expected = batch(winners[0]).map(|n| entry(locator(n), &record(winners[0], 100)));
        expected.sort_by_key(|entry| entry.locator);
        assert_eq!(storage.list(None, 10).unwrap(), expected);
    });
}

pub fn readers_see_whole_records(open: Open<'_>) {
    with_storage(open, |storage| {
        let len = |version: u8| usize::from(version) + if version.is_multiple_of(2) { 90 } else { 2 << 20 };
        storage.put(&locator(1), &record(0, len(0)), PutMode::Create).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = Stop(&done);
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
        });
    });
}

/// Stops the readers, also after a failed write.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
