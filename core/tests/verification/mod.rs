//! The search for damage, and the repair from a copy.

mod flipped_bits;
mod misplaced_pages;
mod pages;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::interrupt::interruptible;
use strongroom::storage::{Damage, DamageKind, Error as StorageError, Locator, PutMode, SqliteStorage, Storage};
use strongroom::{Durability, Error, RecordKey, Strongroom, VerifyOptions, VerifyReport, WriteOptions, repair, verify};

use self::pages::{PAGE, Use, uses};
use crate::support::hooked::hooked;
use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, Join, StopOnDrop};
use crate::support::{hide_rows, index_key, pattern};

/// The outcome of damage to a database.
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

#[derive(Debug)]
struct Found<'s> {
    outcome: Outcome,
    damage: Vec<Damage>,
    /// The ids of the records that a store did not return unchanged.
    wrong: Vec<&'s str>,
}

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
            let lives = Duration::from_secs(1_000_000 + n as u64);
            let options = WriteOptions::new().key(&key);
            let options = if n % 3 == 0 { options.expires_in(lives) } else { options };
            store.store_with(&id, &data, options).unwrap();
            records.push((id, key, data));
        }
        for n in 0..100 {
            let key = store.store(format!("removed {n}"), pattern(3000)).unwrap();
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
        let counts = |storage: &dyn Storage| match storage.stats(u64::MAX >> 1) {
            Ok(stats) => Ok((stats.records, stats.bytes, stats.expired)),
            Err(error) => Err(error.to_string()),
        };
        let other = lists(&**damaged) != lists(&whole) || counts(&**damaged) != counts(&whole);
        (wrong, other)
    }

    /// Changes the bytes of the database, searches, and repairs everything from the copy.
    fn damage(&self, change: impl FnOnce(&mut [u8])) -> Found<'_> {
        self.restore();
        let mut file = fs::read(&self.path).unwrap();
        change(&mut file);
        fs::write(&self.path, file).unwrap();
        let store = match open(&self.path) {
            Ok(store) => store,
            Err(error) => {
                let expected = [Error::Corrupt.code(), Error::InvalidArgument("".into()).code()];
                let expected = [&expected[..], &[Error::IndexKeyMismatch.code(), Error::Unsupported("".into()).code()]];
                assert!(expected.concat().contains(&error.code()), "{error:?}");
                return Found { outcome: Outcome::Refused, damage: Vec::new(), wrong: Vec::new() };
            }
        };
        let (wrong, other) = self.noticed(&store);
        drop(store);
        let storage = self.damaged();
        let (report, damage) = search(&*storage).unwrap();
        assert_eq!(report.unsupported, 0, "{damage:?}");
        if damage.is_empty() {
            assert!(wrong.is_empty() && !other, "{wrong:?}, {other}");
            return Found { outcome: Outcome::Unused, damage, wrong };
        }
        let repaired = repair(&storage, &self.copy()).unwrap_or_else(|error| panic!("{error:?}: {damage:?}"));
        assert_eq!(repaired.lost, []);
        let (report, left) = search(&*storage).unwrap();
        assert!(report.is_clean(), "{damage:?}, {left:?}");
        drop(storage);
        let store = open(&self.path).unwrap();
        assert_eq!(self.noticed(&store), (Vec::new(), false), "{damage:?}");
        assert_eq!(report.records, self.records.len() as u64);
        let outcome = if wrong.is_empty() && !other { Outcome::FoundAlone } else { Outcome::Found };
        Found { outcome, damage, wrong }
    }
}

/// xorshift64*
fn next_random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16).unwrap()
}

fn open(path: &Path) -> Result<Strongroom, Error> {
    Strongroom::builder().path(path).index_key(index_key()).durability(Durability::Relaxed).open()
}

fn search(storage: &dyn Storage) -> Result<(VerifyReport, Vec<Damage>), Error> {
    let (mut found, mut steps) = (Vec::new(), 0);
    let report = verify(storage, &VerifyOptions::new(), |step| {
        found.extend_from_slice(step.damage);
        steps += 1;
        assert!(steps < 1000, "the search does not end: {found:?}");
        ControlFlow::Continue(())
    })?;
    assert_eq!(report.damaged + report.unsupported, found.len() as u64);
    Ok((report, found))
}

fn is_structure(damage: &Damage) -> bool {
    let place = &damage.place;
    place.starts_with("page") || place.starts_with("table") || place == "database" || place == "free pages"
}

/// Damage by SQL, with checksums that fit where the check is of something else: the places and the kinds.
#[test]
fn damage_has_a_place_and_a_kind() {
    use DamageKind::{Checksum, Length, Malformed, Mismatch, Missing, Orphan};

    let sample = Sample::new();
    let long = "(SELECT object FROM record WHERE id = 1507)";
    let drop_entry = "PRAGMA writable_schema = ON;
        CREATE TABLE stash AS SELECT sql FROM sqlite_schema WHERE name = 'record_expires_at';
        UPDATE sqlite_schema SET sql = replace(sql, 'WHERE', 'WHERE id != 1 AND') WHERE name = 'record_expires_at';
        PRAGMA writable_schema = RESET;
        REINDEX record_expires_at;
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = (SELECT sql FROM stash) WHERE name = 'record_expires_at';
        DROP TABLE stash;
        PRAGMA writable_schema = RESET";
    let cases: [(&str, &str, DamageKind); 12] = [
        ("UPDATE record SET body = zeroblob(length(body)) WHERE id = 700", "row", Checksum),
        ("UPDATE record SET head = zeroblob(68) WHERE id = 700", "row", Checksum),
        ("UPDATE record SET locator = zeroblob(32) WHERE id = 700", "row", Checksum),
        ("UPDATE record SET len = len + 1 WHERE id = 700", "row", Checksum),
        ("UPDATE record SET prefix = prefix + 1 WHERE id = 700", "row", Mismatch),
        ("UPDATE record SET expires_at = expires_at + 1 WHERE id = 1", "row", Mismatch),
        ("UPDATE record SET expires_at = NULL WHERE id = 1", "row", Mismatch),
        (&format!("DELETE FROM segment WHERE object = {long} AND n = 3"), "segment 3", Missing),
        (&format!("UPDATE segment SET data = zeroblob(262400) WHERE object = {long} AND n = 2"), "segment 2", Checksum),
        (&format!("INSERT INTO segment (object, n, checksum, data) VALUES ({long}, 9, 0, x'00')"), "segment 5", Length),
        ("INSERT INTO segment (object, n, checksum, data) VALUES (7, 0, 0, x'00')", "segments of object 7", Orphan),
        (drop_entry, "index record_expires_at", Mismatch),
    ];
    for (sql, place, kind) in cases {
        sample.restore();
        sample.change(sql);
        let storage = sample.damaged();
        let (report, found) = search(&*storage).unwrap();
        let expected = |damage: &Damage| damage.place == place && damage.kind == kind;
        assert!(report.damaged == 1 && found.iter().all(expected), "{sql}: {found:?}");
        let repaired = repair(&storage, &sample.copy()).unwrap();
        assert_eq!(repaired.restored.len(), usize::from(place.starts_with("row") || place.starts_with("segment ")));
        assert!(search(&*storage).unwrap().0.is_clean(), "{sql}");
        drop(storage);
        assert_eq!(sample.noticed(&open(&sample.path).unwrap()), (Vec::new(), false), "{sql}");
    }
    sample.restore();
    sample.change("DELETE FROM settings");
    let storage = sample.damaged();
    assert_eq!(search(&*storage).unwrap().1, [Damage::new(None, "settings", Missing)]);
    let _ = repair(&storage, &sample.copy()).unwrap();
    sample.change("UPDATE settings SET document = x'00'");
    assert_eq!(search(&*storage).unwrap().1, [Damage::new(None, "settings", Malformed)]);
    let _ = repair(&storage, &sample.copy()).unwrap();
    assert!(search(&*storage).unwrap().0.is_clean());
}

/// A header of a newer version is no damage, and a repair leaves it alone.
#[test]
fn a_record_of_a_newer_version_is_unsupported() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("records.db"), folder.path().join("backup.db"));
    open(&path).unwrap().store("id", b"data").unwrap();
    fs::copy(&path, &backup).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(&path, Durability::Relaxed).unwrap());
    let locator = Locator::from_bytes([7; 32]);
    for (at, byte) in [(0, 2), (1, 2), (2, 2), (2, 3), (3, 128)] {
        let mut record = vec![1, 1, 0, 0];
        record.resize(100, 0);
        record[at] = byte;
        storage.put(&locator, &record, PutMode::Overwrite).unwrap();
        let (report, found) = search(&*storage).unwrap();
        assert_eq!(found, [Damage::new(Some(locator), "row", DamageKind::Unsupported)]);
        assert_eq!((report.damaged, report.unsupported, report.is_clean()), (0, 1, false));
        let copy = SqliteStorage::open_read_only(&backup).unwrap();
        assert_eq!(repair(&storage, &copy).unwrap().restored, []);
        assert_eq!(storage.get(&locator).unwrap(), Some(record));
    }
}

#[test]
fn only_intact_records_of_the_same_store_are_used() {
    let sample = Sample::new();
    sample.change("UPDATE record SET body = zeroblob(length(body)) WHERE id IN (600, 700, 800)");
    let storage = sample.damaged();
    let damaged = |id: i64| {
        let sql = "SELECT locator FROM record WHERE id = ?1";
        let locator: [u8; 32] =
            Connection::open(&sample.whole).unwrap().query_row(sql, [id], |row| row.get(0)).unwrap();
        Locator::from_bytes(locator)
    };
    // Another store, the store itself, and a file that is no store.
    let other = sample.path.with_file_name("other.db");
    open(&other).unwrap().store("id", b"data").unwrap();
    let refused = |copy: &dyn Storage| match repair(&storage, copy) {
        Err(Error::InvalidArgument(text)) => text.into_owned(),
        other => panic!("{other:?}"),
    };
    assert!(refused(&SqliteStorage::open_read_only(&other).unwrap()).contains("another store"));
    assert!(refused(&*storage).contains("itself"));
    assert!(refused(&strongroom::storage::MemoryStorage::new()).contains("not a store"));
    // A read-only store.
    let read_only: Arc<dyn Storage> = Arc::new(SqliteStorage::open_read_only(&sample.path).unwrap());
    assert_eq!(search(&*read_only).unwrap().0.damaged, 3);
    assert!(matches!(repair(&read_only, &sample.copy()), Err(Error::Unsupported(_))));
    // A backup in which one of the records is damaged, and another is missing.
    let backup = sample.path.with_file_name("backup.db");
    fs::copy(&sample.whole, &backup).unwrap();
    Connection::open(&backup)
        .unwrap()
        .execute_batch("UPDATE record SET body = x'00' WHERE id = 600; DELETE FROM record WHERE id = 700")
        .unwrap();
    let copy = SqliteStorage::open_read_only(&backup).unwrap();
    assert_eq!(repair(&storage, &copy).unwrap().restored, [damaged(800)]);
    let left = search(&*storage).unwrap().1;
    let expected = [600, 700].map(|id| Damage::new(Some(damaged(id)), "row", DamageKind::Checksum));
    assert_eq!(left, expected);
    assert_eq!(repair(&storage, &copy).unwrap(), strongroom::storage::Repaired::default());
    assert_eq!(repair(&storage, &sample.copy()).unwrap().restored, [damaged(600), damaged(700)]);
    assert!(search(&*storage).unwrap().0.is_clean());
}

/// The second of two damaged records is replaced while the repair works on the first one.
#[test]
fn a_record_that_was_replaced_meanwhile_is_not_restored() {
    let sample = Sample::new();
    sample.change("UPDATE record SET body = zeroblob(length(body)) WHERE id IN (700, 701)");
    let storage = sample.damaged();
    let (_, found) = search(&*storage).unwrap();
    let [first, second] = [0, 1].map(|n| found[n].locator.unwrap());
    let newer = [&[1, 1, 0, 0], &[9; 500][..]].concat();
    let (others, record) = (Arc::clone(&storage), newer.clone());
    let copy: Arc<dyn Storage> = Arc::new(sample.copy());
    let copy = hooked(&copy, move |method, locator| match method {
        "info" if locator == first.as_bytes() => others.put(&second, &record, PutMode::Overwrite),
        _ => Ok(()),
    });
    assert_eq!(repair(&storage, &*copy).unwrap().restored, [first]);
    assert_eq!(storage.get(&second).unwrap(), Some(newer));
    assert!(search(&*storage).unwrap().0.is_clean());
}

/// One check of the structure lists only a part of them.
/// A copy that cannot list a record of a newer version lacks only this one.
#[test]
fn a_copy_with_an_unreadable_list_repairs_what_it_can() {
    let sample = Sample::new();
    sample.change(
        "UPDATE record SET locator = zeroblob(32) WHERE id = 10;
        UPDATE record SET body = zeroblob(length(body)) WHERE id = 20",
    );
    for error in [|| StorageError::Unsupported("a newer record".into()), || StorageError::Corrupt] {
        let copy: Arc<dyn Storage> = Arc::new(sample.copy());
        let copy = hooked(&copy, move |call, _| if call == "list" { Err(error()) } else { Ok(()) });
        let storage = sample.damaged();
        let repaired = repair(&storage, &*copy).unwrap();
        let (report, left) = search(&*storage).unwrap();
        assert!(repaired.restored.len() <= 1, "{repaired:?}");
        assert_eq!((report.damaged, left.len()), (1, 1), "{left:?}");
    }
}

#[test]
fn all_segments_without_a_record_are_removed() {
    let sample = Sample::new();
    let numbers = "WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < 250)";
    sample.change(&format!(
        "{numbers} INSERT INTO segment (object, n, checksum, data) SELECT n, 0, 0, x'00' FROM number"
    ));
    let storage = sample.damaged();
    assert!(search(&*storage).unwrap().0.damaged >= 100);
    let _ = repair(&storage, &sample.copy()).unwrap();
    assert!(search(&*storage).unwrap().0.is_clean());
}

/// A damaged row may name the segments of another record.
#[test]
fn the_segments_that_a_damaged_row_names_are_kept() {
    let sample = Sample::new();
    sample.change("UPDATE record SET object = (SELECT max(object) FROM record) WHERE object IS NOT NULL");
    let storage = sample.damaged();
    assert_eq!(repair(&storage, &sample.copy()).unwrap().restored.len(), 3);
    storage.maintain().unwrap();
    assert!(search(&*storage).unwrap().0.is_clean());
    assert_eq!(sample.noticed(&open(&sample.path).unwrap()), (vec![], false));
}

/// A lost row that the copy lacks is reported: the database itself does not show it afterwards.
#[test]
fn what_is_lost_is_reported() {
    let sample = Sample::new();
    let mut file = fs::read(&sample.path).unwrap();
    // An overflow page begins with the number of the next one.
    let has_next = |page: usize| file[page * PAGE] == 0 && file[page * PAGE..page * PAGE + 4] != [0; 4];
    let uses = uses(&sample.whole);
    let page = (0..uses.len()).rfind(|page| uses[*page] == Use::Records && has_next(*page)).unwrap();
    file[page * PAGE..page * PAGE + 4].copy_from_slice(&[0xff; 4]);
    fs::write(&sample.path, &file).unwrap();
    let storage = sample.damaged();
    let (report, found) = search(&*storage).unwrap();
    assert!(report.damaged > 0 && found.iter().any(is_structure), "{found:?}");
    let backup = sample.path.with_file_name("backup.db");
    fs::copy(&sample.whole, &backup).unwrap();
    Connection::open(&backup).unwrap().execute_batch("DELETE FROM record WHERE id > 1500").unwrap();
    let repaired = repair(&storage, &SqliteStorage::open_read_only(&backup).unwrap()).unwrap();
    let (report, left) = search(&*storage).unwrap();
    assert_eq!(repaired.restored, []);
    assert!(repaired.lost.len() + left.len() == 1, "{repaired:?}, {left:?}");
    assert_eq!(report.records + repaired.lost.len() as u64, 1507);
}

/// The rows that the index lacks: the first ones of the records with two rows, none, the second ones, all.
const HIDDEN: [&str; 4] = ["id <= 4", "0", "id > 6", "1"];

/// A closed store and its backup. The index lacked the rows of four of six records, whose ids were stored again: rows 1
/// to 4, and 7 to 10.
fn store_with_doubles(folder: &Path, len: usize) -> [PathBuf; 2] {
    let [path, backup] = ["records.db", "backup.db"].map(|name| folder.join(name));
    let ids = ["a", "b", "c", "d", "e", "f"];
    let store = open(&path).unwrap();
    ids.iter().for_each(|id| drop(store.store(id, pattern(len)).unwrap()));
    store.close().unwrap();
    fs::copy(&path, &backup).unwrap();
    hide_rows(&path, "id <= 4");
    let store = open(&path).unwrap();
    let stored: Vec<_> = ids.iter().filter(|id| store.store(id, pattern(len + 1)).is_ok()).collect();
    assert_eq!(stored, [&"a", &"b", &"c", &"d"]);
    store.close().unwrap();
    Connection::open(&path).unwrap().execute_batch("REINDEX").unwrap();
    [path, backup]
}

/// The record with each locator.
type Versions = BTreeMap<Locator, Option<Vec<u8>>>;

/// The versions that users of an open database see, for the locators of all its rows.
fn visible(path: &Path, storage: &dyn Storage) -> Versions {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT DISTINCT locator FROM record NOT INDEXED").unwrap();
    let locators = statement.query_map((), |row| Ok(Locator::from_bytes(row.get(0)?))).unwrap();
    let locators = locators.map(Result::unwrap);
    locators.map(|locator| (locator, storage.get(&locator).unwrap())).collect()
}

/// A damaged index hides records, whose ids are stored again. A repair replaces no version that users see, even if it
/// stops: they may write other versions before the next one.
#[test]
fn of_two_rows_of_a_record_the_visible_one_stays() {
    for len in [100, 600_000] {
        let folder = tempfile::tempdir().unwrap();
        let [path, backup] = store_with_doubles(folder.path(), len);
        let copy = SqliteStorage::open_read_only(&backup).unwrap();
        let removed: Vec<_> = {
            let connection = Connection::open(&path).unwrap();
            let sql = "SELECT locator FROM record GROUP BY locator HAVING count(*) = 2 ORDER BY locator";
            let mut statement = connection.prepare(sql).unwrap();
            let locators = statement.query_map((), |row| Ok(Locator::from_bytes(row.get(0)?))).unwrap();
            let damage = |locator| Damage::new(Some(locator), "table record", DamageKind::Mismatch);
            locators.map(|locator| damage(locator.unwrap())).collect()
        };
        assert_eq!(removed.len(), 4);
        let whole = fs::read(&path).unwrap();
        for hidden in HIDDEN {
            fs::write(&path, &whole).unwrap();
            hide_rows(&path, hidden);
            Connection::open(&path).unwrap().execute_batch("CREATE TABLE note (text)").unwrap();
            let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open_existing(&path, Durability::Relaxed).unwrap());
            let before = visible(&path, &*storage);
            let (_, found) = search(&*storage).unwrap();
            let double = Damage::new(None, "table record", DamageKind::Mismatch);
            assert!(found.contains(&double), "{hidden}: {found:?}");

            let refused = repair(&storage, &copy);
            assert!(matches!(refused, Err(Error::Unsupported(_))), "{hidden}: {refused:?}");
            assert!(visible(&path, &*storage) == before, "{hidden}");
            assert_eq!(search(&*storage).unwrap().1, found, "{hidden}");
            Connection::open(&path).unwrap().execute_batch("DROP TABLE note").unwrap();

            let repaired = repair(&storage, &copy).unwrap();
            let after = visible(&path, &*storage);
            for (locator, version) in &after {
                // Without the index, those of the backup are the first ones.
                let expected = before[locator].clone().or_else(|| copy.get(locator).unwrap());
                assert!(expected.is_some() && *version == expected, "{hidden}");
            }
            assert_eq!(repaired.restored, []);
            assert_eq!(repaired.lost, removed, "{hidden}");
            let (report, found) = search(&*storage).unwrap();
            assert_eq!((report.records, found), (6, vec![]), "{hidden}");
            assert_eq!(storage.list(None, 10).unwrap().len(), 6);
            storage.close().unwrap();
        }
    }
}

/// Stops the repair later and later, until it ends before the interrupt.
#[test]
fn an_interrupted_repair_changes_nothing() {
    thread_local! {
        /// How often the repair asks in vain.
        static LEFT: Cell<u32> = const { Cell::new(0) };
    }
    fn is_last() -> bool {
        LEFT.set(LEFT.get().saturating_sub(1));
        LEFT.get() == 0
    }
    let folder = tempfile::tempdir().unwrap();
    let [path, backup] = store_with_doubles(folder.path(), 3_000_000);
    hide_rows(&path, HIDDEN[0]);
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open_existing(&path, Durability::Relaxed).unwrap());
    let copy = SqliteStorage::open_read_only(&backup).unwrap();
    let before = visible(&path, &*storage);
    for asked in (0..20).map(|n| 1 << n) {
        LEFT.set(asked);
        let repaired = interruptible(is_last, || repair(&storage, &copy));
        assert!(visible(&path, &*storage) == before, "asked {asked} times");
        match repaired {
            Err(Error::Busy) => assert_ne!(search(&*storage).unwrap().1, []),
            repaired => {
                assert_eq!(repaired.unwrap().lost.len(), 4);
                return;
            }
        }
    }
    panic!("the repair does not end");
}

/// The temporary folder of a rebuild has the records of the store.
#[cfg(unix)]
#[test]
fn only_the_owner_can_access_the_files_of_a_rebuild() {
    use std::os::unix::fs::PermissionsExt;

    let sample = Sample::new();
    let page = uses(&sample.whole).iter().rposition(|of| *of == Use::Records).unwrap();
    let mut file = fs::read(&sample.path).unwrap();
    file[page * PAGE..(page + 1) * PAGE].fill(0xff);
    fs::write(&sample.path, &file).unwrap();
    let (modes, folder) = (Arc::new(Mutex::new(BTreeMap::new())), sample.path.parent().unwrap().to_owned());
    let seen = Arc::clone(&modes);
    let copy: Arc<dyn Storage> = Arc::new(sample.copy());
    let copy = hooked(&copy, move |_, _| {
        for path in list(&folder).into_iter().filter(|path| path.to_str().unwrap().contains(".strongroom-repair-")) {
            for path in [list(&path), vec![path]].concat() {
                // A file of SQLite may be gone by now.
                if let Ok(found) = fs::symlink_metadata(&path) {
                    seen.lock().unwrap().insert(path, found.permissions().mode() & 0o777);
                }
            }
        }
        Ok(())
    });
    let _ = repair(&sample.damaged(), &*copy).unwrap();
    let modes = modes.lock().unwrap();
    assert!(modes.len() >= 3, "{modes:?}");
    for (path, mode) in &*modes {
        let is_folder = path.extension().is_none();
        assert_eq!(*mode, if is_folder { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

/// The paths of the entries of a folder.
#[cfg(unix)]
fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Damage that concurrent writes seem to cause would be an error of the search.
#[test]
fn writes_of_others_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    let key = RecordKey::generate().unwrap();
    for n in 0..200 {
        store.store_with(format!("kept {n}"), pattern(n * 50), WriteOptions::new().key(&key)).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (path, stop) = (&path, &stop);
                scope.spawn(move || {
                    // A handle of its own, as in another process.
                    let store = open(path).unwrap();
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("{writer} {}", n % 20);
                        let _ = store.erase(&id).unwrap();
                        store.store(&id, pattern([10, 300_000, 9_000, 1_200_000][n % 4])).unwrap();
                        n += 1;
                    }
                    n
                })
            })
            .collect();
        let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
        let searched: Vec<_> = (0..rounds(10, 200)).map(|_| search(&storage)).collect();
        stop.store(true, Ordering::Relaxed);
        let written: usize = writers.into_iter().map(|writer| writer.join_within(DEADLINE)).sum();
        for outcome in searched {
            let (report, found) = outcome.unwrap();
            assert!(found.is_empty() && report.records >= 200, "{found:?}, {report:?}");
        }
        assert!(written > 0);
    });
    for n in 0..200 {
        assert_eq!(store.retrieve(format!("kept {n}"), &key).unwrap(), pattern(n * 50));
    }
}

#[test]
fn a_search_stops_goes_on_and_keeps_to_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    for n in 0..4 {
        store.store(format!("{n}"), pattern(5_000_000)).unwrap();
    }
    let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
    let all = search(&storage).unwrap().0;
    let mut steps = Vec::new();
    let stopped = verify(&storage, &VerifyOptions::new().records_only(), |step| {
        steps.push(step.records);
        ControlFlow::Break(())
    });
    let stopped = stopped.unwrap();
    assert_eq!((steps, stopped.records), (vec![1], 1), "the step ends within the second record");
    let mut last = None;
    let stopped_at_the_end = verify(&storage, &VerifyOptions::new().records_only(), |step| {
        last = step.next.cloned();
        if last.is_none() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((last, stopped_at_the_end.unwrap().next), (None, None));
    let rest = VerifyOptions::new().start_at(stopped.next.unwrap());
    let rest = verify(&storage, &rest, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(stopped.records + rest.records, all.records);
    assert_eq!(stopped.bytes + rest.bytes, all.bytes);

    let second = NonZero::new(all.bytes * 2).unwrap(); // half a second
    let start = Instant::now();
    let slow = verify(&storage, &VerifyOptions::new().bytes_per_second(second), |_| ControlFlow::Continue(()));
    assert_eq!(slow.unwrap(), all);
    assert!(start.elapsed() >= Duration::from_millis(400));
}

/// The storages and the record format know the same headers.
#[cfg(feature = "hazmat")]
#[test]
fn storages_know_the_headers_of_the_format() {
    let mut head = [0; 68];
    for first in 0..=u16::MAX {
        for (at, bytes) in [(0, first.to_le_bytes()), (2, first.to_le_bytes())] {
            head[..4].copy_from_slice(&[1, 1, 0, 0]);
            head[at..at + 2].copy_from_slice(&bytes);
            let is_known = strongroom::record::Header::decode(head.first_chunk().unwrap()).is_ok();
            assert_eq!(strongroom::storage::Head::of(&head).unwrap().is_supported(), is_known, "{first:x}");
        }
    }
}
