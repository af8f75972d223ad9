//! Records that move through several storages and back: `engines RECORDS [LOCATION...]`. A new SQLite database with
//! records of 1 KiB is copied to each location in turn, and from the last one to a second database. In the end, both
//! have the same heads, and 1,000 records open. Locations are named as for the program, and must be empty.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::path::Path;
use std::time::Instant;

use strongroom::storage::{Entry, Locator, Storage};
use strongroom::transfer::{CopyOptions, copy};
use strongroom::{Location, RecordKey, Strongroom, WriteOptions};

const BATCH: usize = 10_000;
const LEN: usize = 1024;
const OPENED: u64 = 1_000;

fn fill(path: &Path, records: u64, key: &RecordKey) {
    let store = Strongroom::open(path).unwrap();
    let ids: Vec<_> = (0..records).collect();
    for batch in ids.chunks(BATCH) {
        let items: Vec<_> =
            batch.iter().map(|n| (n.to_le_bytes(), [0x5a; LEN], WriteOptions::new().key(key))).collect();
        store.store_many_with(&items).unwrap();
    }
    store.close().unwrap();
}

/// All entries, page by page.
fn entries(storage: &dyn Storage) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after: Option<Locator> = entries.last().map(|entry| entry.locator);
        let page = storage.list(after.as_ref(), BATCH).unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().unwrap().parse().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let [first, last] = ["first.db", "last.db"].map(|name| folder.path().join(name));
    let key = RecordKey::from_bytes(&[7; 32]).unwrap();
    fill(&first, records, &key);

    let between = arguments.map(|location| Location::parse(location).unwrap());
    let places: Vec<_> = std::iter::once(Location::parse(&first).unwrap())
        .chain(between)
        .chain([Location::parse(&last).unwrap()])
        .collect();
    println!("| {records} records of 1 KiB, from | to | seconds | in a second |");
    println!("|---|---|---|---|");
    for pair in places.windows(2) {
        let [from, to] = pair else { continue };
        let begun = Instant::now();
        let copied = copy(from, to, CopyOptions::new(), &mut |_| ()).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        assert!(copied.is_complete() && copied.records == records, "{copied:?}");
        let kind = |place: &Location| place.open_existing_storage().unwrap().kind();
        println!("| {} | {} | {seconds:.1} | {:.0} |", kind(from), kind(to), records as f64 / seconds);
    }

    let [here, there] = [&first, &last].map(|path| Location::parse(path).unwrap().open_existing_storage().unwrap());
    let [before, after] = [entries(&*here), entries(&*there)];
    assert!(before == after && before.len() as u64 == records, "the heads differ");
    let store = Strongroom::builder().path(&last).index_key_file(first.with_file_name("first.db.index-key"));
    let store = store.open().unwrap();
    for n in 0..OPENED.min(records) {
        let n = n * (records / OPENED).max(1);
        assert_eq!(store.retrieve(n.to_le_bytes(), &key).unwrap(), [0x5a; LEN]);
    }
    println!("\nAll {records} heads are equal, and {} records open.", OPENED.min(records));
}
