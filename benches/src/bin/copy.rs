//! Copying a store, beside SQLite's own `VACUUM INTO`: `copy [RECORDS]`, by default 1,000,000 records of 1 KiB. Then a
//! copy after 1 % of the records were replaced, one without a change, and one back.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom::transfer::{CopyOptions, copy};
use strongroom::{Location, RecordKey, Strongroom, WriteOptions};

const BATCH: usize = 10_000;
const LEN: usize = 1024;

fn main() {
    let records: u64 = std::env::args().nth(1).map_or(1_000_000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir_in(".").unwrap();
    let [path, vacuumed, backup, restored] =
        ["records.db", "vacuumed.db", "backup.db", "restored.db"].map(|name| folder.path().join(name));
    let store = Strongroom::open(&path).unwrap();
    let key = RecordKey::from_bytes(&[7; 32]).unwrap();
    let ids: Vec<_> = (0..records).collect();
    for batch in ids.chunks(BATCH) {
        let items: Vec<_> =
            batch.iter().map(|n| (n.to_le_bytes(), [0x5a; LEN], WriteOptions::new().key(&key))).collect();
        store.store_many_with(&items).unwrap();
    }
    store.close().unwrap();
    println!("| {records} records of 1 KiB | time | CPU time |");
    println!("|---|---|---|");

    let connection = rusqlite::Connection::open(&path).unwrap();
    let start = Timer::start();
    connection.execute("VACUUM INTO ?1", [vacuumed.to_str().unwrap()]).unwrap();
    row("`VACUUM INTO`, not synced", start.elapsed());
    File::open(&vacuumed).unwrap().sync_all().unwrap();
    row("the same, synced", start.elapsed());
    drop(connection);
    fs::remove_file(&vacuumed).unwrap();

    row("first copy", measure(&path, &backup, records));
    row("copy without a change", measure(&path, &backup, 0));
    let store = Strongroom::open(&path).unwrap();
    for n in (0..records).step_by(100) {
        let _ = store.replace(n.to_le_bytes(), &key, [0xa5; LEN]).unwrap();
    }
    store.close().unwrap();
    row("copy after 1 % was replaced", measure(&path, &backup, records.div_ceil(100)));
    row("copy back", measure(&backup, &restored, records));
}

/// The time of a copy, which must write this number of records.
fn measure(from: &Path, to: &Path, records: u64) -> [Duration; 2] {
    let [from, to] = [from, to].map(|path| Location::parse(path).unwrap());
    let start = Timer::start();
    let copied = copy(&from, &to, CopyOptions::new(), &mut |_| ()).unwrap();
    assert_eq!(copied.records, records);
    start.elapsed()
}

fn row(what: &str, [time, cpu]: [Duration; 2]) {
    println!("| {what} | {time:.2?} | {cpu:.2?} |");
}

/// Measures the time, and the CPU time of the process, which depends less on other programs.
struct Timer {
    start: Instant,
    cpu: Duration,
}

impl Timer {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: Self::cpu() }
    }

    fn elapsed(&self) -> [Duration; 2] {
        [self.start.elapsed(), Self::cpu().saturating_sub(self.cpu)]
    }

    /// The fields `utime` and `stime`, in hundredths of a second.
    fn cpu() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        Duration::from_millis(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
    }
}
