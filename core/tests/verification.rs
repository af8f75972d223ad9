//! The search for damage, and the repair from a copy.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use strongroom::storage::{Damage, SqliteStorage, Storage};
use strongroom::{Durability, Error, RecordKey, Strongroom, VerifyOptions, VerifyReport, WriteOptions, repair, verify};

use crate::support::rounds::rounds;
use crate::support::{index_key, pattern};

/// The bytes of a page of a database.
const PAGE: usize = 8192;

struct Sample {
    _folder: tempfile::TempDir,
    /// An intact database without a log.
    whole: PathBuf,
    /// The database to damage.
    path: PathBuf,
    records: Vec<(String, RecordKey, Vec<u8>)>,
}

impl Sample {
    /// Records of all kinds: short, with overflow pages, with segments, expiring; and pages that removed ones left.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (whole, path) = (folder.path().join("whole.db"), folder.path().join("records.db"));
        let store = open(&whole).unwrap();
        let mut records = Vec::new();
        let lens = (0..1500).map(|n| n % 400).chain([8_000, 20_000, 70_000, 262_400, 300_000, 900_000, 1_500_000]);
        for (n, len) in lens.enumerate() {
            let (id, data) = (format!("id {n}"), pattern(len + n));
            let key = RecordKey::generate().unwrap();
            let lives = std::time::Duration::from_secs(1_000_000 + n as u64);
            let options = WriteOptions::new().key(&key);
            let options = if n % 3 == 0 { options.expires_in(lives) } else { options };
            store.store_with(&id, &data, options).unwrap();
            records.push((id, key, data));
        }
        for n in 0..100 {
            let key = store.store(format!("removed {n}"), &pattern(3000)).unwrap();
            store.delete(format!("removed {n}"), &key).unwrap();
        }
        store.close().unwrap();
        fs::copy(&whole, &path).unwrap();
        Self { _folder: folder, whole, path, records }
    }

    fn restore(&self) {
        for suffix in ["-wal", "-shm", ".uploads"] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            let _ = fs::remove_file(name);
        }
        fs::copy(&self.whole, &self.path).unwrap();
    }

    fn copy(&self) -> SqliteStorage {
        SqliteStorage::open_read_only(&self.whole).unwrap()
    }

    fn damaged(&self) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open_existing(&self.path, Durability::Relaxed).unwrap())
    }

    /// Runs SQL on the closed database, without the checks of the tables.
    fn change(&self, sql: &str) {
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
    }

    /// The records that a store does not return unchanged, and whether another read notices damage.
    fn noticed(&self, store: &Strongroom) -> (Vec<&str>, bool) {
        let is_wrong = |(id, key, data): &&(String, RecordKey, Vec<u8>)| {
            !(store.retrieve(id, key).is_ok_and(|found| found == *data)
                && store.contains(id).is_ok_and(|found| found)
                && store.retrieve_range(id, key, 0..u64::MAX).is_ok_and(|found| found == *data))
        };
        let wrong: Vec<_> = self.records.iter().filter(is_wrong).map(|(id, ..)| id.as_str()).collect();
        let storage = self.damaged();
        let (damaged, whole) = (&storage, self.copy());
        let lists = |storage: &dyn Storage| {
            let some = [storage.list(None, usize::MAX), storage.list_expired(u64::MAX, usize::MAX)];
            some.map(|list| list.map_err(|error| error.to_string()))
        };
        let counts = |storage: &dyn Storage| storage.stats(u64::MAX >> 1).map_err(|error| error.to_string());
        let other = lists(&**damaged) != lists(&whole) || counts(&**damaged) != counts(&whole);
        (wrong, other)
    }
}

fn open(path: &Path) -> Result<Strongroom, Error> {
    Strongroom::builder().path(path).index_key(index_key()).durability(Durability::Relaxed).open()
}

fn search(storage: &dyn Storage) -> Result<(VerifyReport, Vec<Damage>), Error> {
    let mut found = Vec::new();
    let report = verify(storage, &VerifyOptions::new(), |step| {
        found.extend_from_slice(step.damage);
        ControlFlow::Continue(())
    })?;
    assert_eq!(report.damaged + report.unsupported, found.len() as u64);
    Ok((report, found))
}

/// What a page of a database is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Header,
    Records,
    Segments,
    Index,
    Other,
}

/// The use of each page, by the trees of its tables and indexes (SQLite's file format).
fn uses(path: &Path) -> Vec<Use> {
    let file = fs::read(path).unwrap();
    let mut uses = vec![Use::Other; file.len() / PAGE];
    let connection = Connection::open(path).unwrap();
    let mut roots = connection.prepare("SELECT type, name, rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
    let roots = roots.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    for (kind, name, root) in roots.map(Result::<(String, String, u32), _>::unwrap) {
        let of = match (&*kind, &*name) {
            ("index", _) => Use::Index,
            (_, "record") => Use::Records,
            (_, "segment") => Use::Segments,
            _ => continue,
        };
        mark(&file, root as usize, of, &mut uses);
    }
    uses[0] = Use::Header;
    uses
}

fn mark(file: &[u8], page: usize, of: Use, uses: &mut [Use]) {
    uses[page - 1] = of;
    let bytes = &file[(page - 1) * PAGE..page * PAGE];
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (is_interior, is_table) = (matches!(bytes[0], 2 | 5), matches!(bytes[0], 5 | 13));
    let cells = (0..u16_at(3)).map(|n| u16_at(if is_interior { 12 } else { 8 } + 2 * n));
    for cell in cells {
        if is_interior {
            mark(file, u32_at(cell), of, uses);
        } else if is_table {
            let (len, at) = varint(bytes, cell);
            let (_, at) = varint(bytes, at);
            if len > PAGE - 35 {
                let min = (PAGE - 12) * 32 / 255 - 23;
                let rest = min + (len - min) % (PAGE - 4);
                let local = if rest <= PAGE - 35 { rest } else { min };
                let mut next = u32_at(at + local);
                while next != 0 {
                    uses[next - 1] = of;
                    let start = (next - 1) * PAGE;
                    next = u32::from_be_bytes(file[start..start + 4].try_into().unwrap()) as usize;
                }
            }
        }
    }
    if is_interior {
        mark(file, u32_at(8), of, uses);
    }
}

fn varint(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let mut value = 0;
    loop {
        value = value << 7 | usize::from(bytes[at] & 0x7f);
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (value, at);
        }
    }
}

/// The outcome of one flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store refuses to open.
    Refused,
    /// No read notices it, and neither does the search.
    Unused,
    /// The search finds what no read notices.
    FoundAlone,
    Found,
}

/// Flips a bit, searches, repairs.
fn flip(sample: &Sample, bit: usize, of: Use) -> Outcome {
    sample.restore();
    let mut file = fs::read(&sample.path).unwrap();
    file[bit / 8] ^= 1 << (bit % 8);
    fs::write(&sample.path, file).unwrap();
    let store = match open(&sample.path) {
        Ok(store) => store,
        Err(error) => {
            let expected = [Error::Corrupt.code(), Error::InvalidArgument("".into()).code()];
            let expected = [&expected[..], &[Error::IndexKeyMismatch.code(), Error::Unsupported("".into()).code()]];
            assert!(expected.concat().contains(&error.code()), "{error:?}");
            return Outcome::Refused;
        }
    };
    let (wrong, other) = sample.noticed(&store);
    drop(store);
    let storage = sample.damaged();
    let (report, found) = search(&*storage).unwrap();
    assert_eq!(report.unsupported, 0, "{found:?}");
    if found.is_empty() {
        assert!(wrong.is_empty() && !other, "{wrong:?}, {other}");
        return Outcome::Unused;
    }
    let is_of = |damage: &Damage| match of {
        Use::Records => damage.place.starts_with("row") || is_structure(damage),
        Use::Segments => damage.place.starts_with("segment") || is_structure(damage),
        Use::Index => damage.place.starts_with("index") || is_structure(damage),
        Use::Header | Use::Other => damage.locator.is_none(),
    };
    assert!(found.iter().any(is_of), "{of:?}: {found:?}");
    // Damage in one record names this record.
    if found.iter().all(|damage| damage.locator.is_some()) {
        assert!(wrong.len() <= 1, "{wrong:?}: {found:?}");
    }
    let repaired = repair(&storage, &sample.copy()).unwrap_or_else(|error| panic!("{error:?}: {found:?}"));
    assert_eq!(repaired.lost, []);
    let (report, left) = search(&*storage).unwrap();
    assert!(report.is_clean(), "{found:?}, {left:?}");
    drop(storage);
    assert_eq!(report.records, sample.records.len() as u64);
    let store = open(&sample.path).unwrap();
    assert_eq!(sample.noticed(&store), (Vec::new(), false), "{found:?}");
    if wrong.is_empty() && !other { Outcome::FoundAlone } else { Outcome::Found }
}

fn is_structure(damage: &Damage) -> bool {
    let place = &damage.place;
    place.starts_with("page") || place.starts_with("table") || place == "database" || place == "free pages"
}

/// xorshift64*
fn next_random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16).unwrap()
}

/// A bit in any page, in a page with structure (the first bytes of a page, and its cells), in the header.
#[test]
fn each_flipped_bit_is_found_and_repaired() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let bits = fs::metadata(&sample.whole).unwrap().len() as usize * 8;
    let mut state = 0x5eed_5eed_5eed_5eed;
    let mut outcomes: BTreeMap<_, usize> = BTreeMap::new();
    for round in 0..rounds(40, 1000) {
        let any = next_random(&mut state) % bits;
        let of = |of: Use, n: usize| {
            let pages: Vec<_> = uses.iter().enumerate().filter(|(_, found)| **found == of).map(|(n, _)| n).collect();
            pages[n % pages.len()] * PAGE * 8
        };
        let bit = match round % 8 {
            0 => of(Use::Index, any) + any % (PAGE * 8),
            1 => of(Use::Records, any) + any % (PAGE * 8),
            2 => of(Use::Records, any) + any % 512,
            3 => of(Use::Index, any) + any % 512,
            4 => any % (PAGE * 8 / if round % 16 == 4 { 1 } else { 64 }),
            5 => of(Use::Segments, any) + any % 512,
            _ => any,
        };
        let used = uses[bit / 8 / PAGE];
        let outcome = catch_unwind(AssertUnwindSafe(|| flip(&sample, bit, used)));
        let outcome = outcome.unwrap_or_else(|_| panic!("byte {}, bit {} ({used:?})", bit / 8, bit % 8));
        *outcomes.entry((used, outcome)).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes.iter().any(|((_, outcome), _)| *outcome == Outcome::Found));
}
