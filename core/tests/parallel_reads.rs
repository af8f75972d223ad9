//! Parts of a record that are read at the same time, from a storage to whose service each read takes a while.

use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::hooked::hooked_with;
use crate::support::{index_key, pattern};
use strongroom::interrupt::interruptible;
use strongroom::storage::{Error as StorageError, Limits, MemoryStorage, Storage};
use strongroom::{Error, RecordKey, Strongroom};

const DEADLINE: Duration = Duration::from_secs(30);
const CHUNK_LEN: usize = 16_384;
const PART: usize = 64 * CHUNK_LEN;
const PARALLEL: usize = 4;

/// Reads that wait until `awaited` of them have begun.
#[derive(Default)]
struct Gate {
    awaited: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn close(&self, reads: usize) {
        *self.awaited.lock().unwrap() = (reads, false);
    }

    fn read(&self) {
        let mut state = self.awaited.lock().unwrap();
        state.0 = state.0.saturating_sub(1);
        self.changed.notify_all();
        let (mut state, waited) = self.changed.wait_timeout_while(state, DEADLINE, |(left, _)| *left > 0).unwrap();
        state.1 |= waited.timed_out();
    }

    /// Whether as many reads as the gate awaited were under way at the same time.
    fn has_opened(&self) -> bool {
        let (left, too_late) = *self.awaited.lock().unwrap();
        left == 0 && !too_late
    }
}

fn store(parts: usize) -> (Strongroom, Arc<Gate>, RecordKey) {
    let gate = Arc::new(Gate::default());
    let mut limits = Limits::default();
    (limits.part_len, limits.parallel_parts) = (64 * 16_400, PARALLEL);
    let hook = Arc::clone(&gate);
    let inner: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let storage = hooked_with(&inner, limits, move |method, _| {
        if method == "read_at" {
            hook.read();
        }
        Ok(())
    });
    let store = Strongroom::builder().storage(storage).index_key(index_key()).open().unwrap();
    let key = store.store("id", pattern(parts * PART)).unwrap();
    (store, gate, key)
}

#[test]
fn a_sequential_reader_reads_several_parts_at_once() {
    let (store, gate, key) = store(9);
    let expected = pattern(9 * PART);
    let mut reader = store.open_record("id", &key).unwrap();
    let mut read = |from: usize, len: usize| {
        let mut data = vec![0; len];
        reader.seek(SeekFrom::Start(from as u64)).unwrap();
        reader.read_exact(&mut data).unwrap();
        assert!(data == expected[from..from + len], "{len} bytes from {from}");
    };
    // The parts grow until the first of the whole ones, which begins with chunk 64.
    read(0, 63 * CHUNK_LEN);
    gate.close(PARALLEL);
    read(63 * CHUNK_LEN, CHUNK_LEN + 1);
    assert!(gate.has_opened(), "one part for the caller, and three in advance");
    // A jump makes the other parts useless, and the next ones are in order again.
    read(7 * PART - 5, 10);
    read(5, 3 * PART);
    read(3 * PART + 5, 6 * PART - 5);
}

#[test]
fn a_retrieve_reads_several_parts_at_once() {
    let (store, gate, key) = store(6);
    gate.close(PARALLEL);
    assert!(store.retrieve("id", &key).unwrap() == pattern(6 * PART));
    assert!(gate.has_opened(), "even with fewer cores");
}

/// A part that has begun ends, but no other begins.
#[test]
fn a_retrieve_that_fails_or_is_interrupted_reads_no_further_parts() {
    const PARTS: usize = 40;
    for fails in [false, true] {
        let mut limits = Limits::default();
        (limits.part_len, limits.parallel_parts) = (64 * 16_400, PARALLEL);
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let inner: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let storage = hooked_with(&inner, limits, move |method, _| {
            if method != "read_at" {
                return Ok(());
            }
            let read = count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(60)); // longer than the interval of the checks
            if fails && read == 2 { Err(StorageError::Busy) } else { Ok(()) }
        });
        let store = Strongroom::builder().storage(storage).index_key(index_key()).open().unwrap();
        let key = store.store("id", pattern(PARTS * PART)).unwrap();
        let retrieve = || store.retrieve("id", &key);
        let outcome = if fails { retrieve() } else { interruptible(|| true, retrieve) };
        assert!(matches!(outcome, Err(Error::Busy)));
        assert!(reads.load(Ordering::Relaxed) < PARTS / 2, "{reads:?}");
    }
}
