//! The test suite for storages: one test for each promise of [`Storage`].
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use strongroom::storage::{MemoryStorage, Storage};
//!
//! // Opens the storage in this folder, and creates it if there is none.
//! fn open(_folder: &Path) -> Arc<dyn Storage> {
//!     Arc::new(MemoryStorage::new())
//! }
//!
//! // One `#[test]` for each promise. Without `volatile`, also tests that records survive closing and reopening.
//! strongroom::storage_conformance!(open, volatile);
//! # fn main() {}
//! ```

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test suite: it fails by panicking")]
#![expect(clippy::cast_possible_truncation, reason = "patterns of bytes")]
#![expect(missing_docs, clippy::missing_panics_doc, reason = "each test's name is its promise")]

mod concurrency;
mod lists;
mod reads;
mod uploads;
mod whole_storage;
mod writes;

use std::path::Path;
use std::sync::Arc;

use super::{Entry, Error, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator, Stats, Storage};

pub use concurrency::*;
pub use lists::*;
pub use reads::*;
pub use uploads::*;
pub use whole_storage::*;
pub use writes::*;

/// Opens the storage in a folder, and creates it if there is none.
pub type Open<'a> = &'a dyn Fn(&Path) -> Arc<dyn Storage>;

/// Generates one `#[test]` for each promise of [`Storage`](crate::storage::Storage): see
/// [`conformance`](crate::storage::conformance).
#[macro_export]
macro_rules! storage_conformance {
    ($open:expr) => {
        $crate::storage_conformance!($open, volatile);
        $crate::storage_conformance!(@durable @tests $open);
    };
    ($open:expr, volatile) => {
        $crate::storage_conformance!(@volatile @tests $open);
    };
    (@durable @$use:ident $($open:expr)?) => {
        $crate::storage_conformance! { @$use ($($open)?) records_survive_reopening settings_survive_reopening }
    };
    (@volatile @$use:ident $($open:expr)?) => {
        $crate::storage_conformance! { @$use ($($open)?)
            a_created_record_is_there
            create_refuses_a_taken_locator
            overwrite_writes_in_any_case
            replace_if_needs_the_head
            too_short_records_are_refused
            create_many_writes_all
            create_many_writes_all_or_none
            put_each_writes_what_it_can
            delete_removes
            delete_heeds_the_expected_head
            rename_moves_one_version
            a_missing_record_is_none
            every_length_comes_back
            get_up_to_spares_long_records
            get_many_keeps_the_order
            get_many_refuses_more_than_asked_for
            get_end_gives_the_last_bytes
            info_tells_head_and_length
            read_at_reads_any_range
            read_at_refuses_ranges_past_the_end
            read_at_is_pinned_to_a_head
            locators_are_compared_whole
            list_is_in_order_and_paged
            list_expired_gives_those_that_are_due
            purge_removes_those_that_are_due
            verify_looks_at_every_record
            verify_of_one_record_looks_at_no_other
            verify_goes_on_after_a_record
            stats_count_records_and_bytes
            stats_count_expired_records
            an_upload_is_invisible_until_committed
            an_upload_comes_back_however_it_was_cut
            a_dropped_upload_leaves_nothing
            an_uploads_mode_counts_at_its_commit
            a_too_short_upload_is_refused
            maintenance_spares_what_is_under_way
            of_concurrent_creates_one_wins
            of_concurrent_replaces_one_wins
            of_concurrent_uploads_one_wins
            of_a_delete_and_a_replace_one_wins
            overlapping_batches_are_whole
            readers_see_whole_records
            settings_are_compared_and_swapped
            limits_are_kept
            a_closed_storage_does_nothing
        }
    };
    (@list () $($promise:ident)*) => {
        &[$((stringify!($promise), $promise)),*]
    };
    (@tests ($open:expr) $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::storage::conformance::$promise(&$open);
            }
        )*
    };
}

/// A promise's name, and its test, which panics if the storage breaks the promise.
pub type Promise = (&'static str, fn(Open<'_>));

/// The promises of every storage, for programs that run the suite themselves.
pub const PROMISES: &[Promise] = storage_conformance!(@volatile @list);

/// The promises of a storage that keeps its records when it is closed.
pub const DURABLE_PROMISES: &[Promise] = storage_conformance!(@durable @list);

/// Lengths around every internal limit that a storage may have: the shortest record, pages, chunks, rows of 1 MiB,
/// segments of 447 sealed chunks after the head, parts of 8 MiB.
const LENGTHS: [usize; 24] = [
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
    HEAD_LEN + 447 * 16_400 - 1,
    HEAD_LEN + 447 * 16_400,
    HEAD_LEN + 447 * 16_400 + 1,
    8 << 20,
];

fn with_storage(open: Open<'_>, test: impl FnOnce(&Arc<dyn Storage>)) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    test(&storage);
    storage.close().unwrap();
}

fn locator(number: u8) -> Locator {
    Locator::from_bytes([number; LOCATOR_LEN])
}

/// A record whose bytes encode its version and their own offsets.
fn record(version: u8, len: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..=255).chain(0..=255).map(|byte: u8| byte ^ version).collect();
    let mut record = Vec::with_capacity(len + 251);
    for start in (0..len).step_by(251) {
        // In pieces, because a loop over bytes is slow without optimisation.
        record.extend_from_slice(&bytes[(start / 251 + start) % 256..][..251]);
    }
    record.truncate(len);
    record[..4].copy_from_slice(&[1, 1, 0, 0]);
    record
}

fn head(record: &[u8]) -> Head {
    Head::of(record).unwrap()
}

/// The error of `outcome`.
#[track_caller]
fn error<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Error {
    outcome.unwrap_err()
}

/// The storage's stats without its free space, which each storage manages in its own way.
fn contents(storage: &dyn Storage, now: u64) -> Stats {
    Stats { free: 0, ..storage.stats(now).unwrap() }
}

fn info_of(record: &[u8]) -> Info {
    Info::new(head(record), record.len() as u64)
}

fn entry(locator: Locator, record: &[u8]) -> Entry {
    Entry::new(locator, info_of(record))
}

fn borrowed(records: &[(Locator, Vec<u8>)]) -> Vec<(Locator, &[u8])> {
    records.iter().map(|(locator, record)| (*locator, record.as_slice())).collect()
}
