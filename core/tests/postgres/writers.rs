//! Writers that work while a server fails: acknowledged writes are there afterwards, and others happened or did not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{Error, Head, Locator, PostgresStorage, PutMode, Storage};

use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};

const WRITERS: usize = 16;

pub(crate) fn record(version: u64, len: usize) -> Vec<u8> {
    let mut record = vec![0x5a; len];
    record[..4].copy_from_slice(&[1, 1, 0, 0]);
    record[4..12].fill(0);
    record[12..20].copy_from_slice(&version.to_le_bytes());
    record
}

pub(crate) fn head(record: &[u8]) -> Head {
    Head::of(record).unwrap()
}

pub(crate) fn locator(writer: usize, n: u64) -> Locator {
    let mut bytes = [writer as u8; 32];
    bytes[8..16].copy_from_slice(&n.to_be_bytes());
    Locator::from_bytes(bytes)
}

/// A writer's knowledge of a record: the heads that it may have now; `None` is no record.
type Known = BTreeMap<Locator, Vec<Option<Head>>>;

/// Writes, replaces and deletes until `stop`, and returns what must be true afterwards.
fn write_until(
    storage: &PostgresStorage,
    (writer, round): (usize, u64),
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Known {
    let mut known = Known::new();
    for n in round << 20.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let at = locator(writer, n / 4);
        let before = known.get(&at).cloned().unwrap_or(vec![None]);
        let new = record((writer as u64) << 32 | n, 100 + (n as usize % 7) * 1000);
        let (outcome, after) = match (n % 4, before.as_slice()) {
            (1, [Some(old)]) => (storage.put(&at, &new, PutMode::ReplaceIf(*old)), Some(head(&new))),
            (2, _) => (storage.put(&at, &new, PutMode::Overwrite), Some(head(&new))),
            (3, [Some(old)]) if n % 8 == 3 => (storage.delete(&at, Some(old)).map(drop), None),
            (0, [None]) => (storage.put(&at, &new, PutMode::Create), Some(head(&new))),
            _ => continue,
        };
        match outcome {
            Ok(()) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                known.insert(at, vec![after]);
            }
            Err(Error::Indeterminate(_)) => {
                let mut may = before;
                may.push(after);
                known.insert(at, may);
            }
            // Nothing was changed.
            Err(Error::Backend(_) | Error::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    known
}

/// Lets all writers write, then runs `failure`, waits until writes are acknowledged again, and checks all records.
/// Returns the time without acknowledged writes.
pub(crate) fn check_failure(storage: &PostgresStorage, round: u64, failure: impl FnOnce()) -> Duration {
    let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let wait_until = |most| wait_for(|| (acknowledged.load(Ordering::Relaxed) > most).then_some(()));
    let (known, outage) = thread::scope(|scope| {
        let write = |writer| {
            let (stop, acknowledged) = (&stop, &acknowledged);
            scope.spawn(move || write_until(storage, (writer, round), stop, acknowledged))
        };
        let _stop = StopOnDrop(&stop);
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        wait_until(50 + (round as usize * 37) % 500);
        let begun = Instant::now();
        failure();
        wait_until(acknowledged.load(Ordering::Relaxed) + WRITERS);
        let outage = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        (writers.into_iter().map(|writer| writer.join_within(DEADLINE)).collect::<Vec<_>>(), outage)
    });
    for (locator, heads) in known.into_iter().flatten() {
        let there = storage.info(&locator).unwrap().map(|info| info.head);
        assert!(heads.contains(&there), "{heads:?} {there:?}");
    }
    assert!(storage.verify(None, 1000).unwrap().damage.is_empty());
    outage
}
