//! Copies of damaged stores, and to a destination that damages.

use super::*;
use crate::support::root_of_index;

/// Damages a database while it is closed, and opens it again.
pub(super) fn damage(folder: &Path, name: &str, storage: Shared, sql: &str, locator: &Locator) -> Shared {
    storage.close().unwrap();
    let connection = Connection::open(folder.join(name)).unwrap();
    assert_eq!(connection.execute(sql, [locator.as_bytes()]).unwrap(), 1, "{sql}");
    drop((connection, storage));
    database(folder, name)
}

#[test]
fn damaged_records_are_named_and_the_rest_is_copied() {
    // Another byte in the place of the 21st.
    let flip = |column| {
        let other = format!("CASE substr({column}, 21, 1) WHEN x'00' THEN x'01' ELSE x'00' END");
        let value = format!("CAST(substr({column}, 1, 20) || {other} || substr({column}, 22) AS BLOB)");
        format!("UPDATE record SET {column} = {value} WHERE locator = ?1")
    };
    let [flip, head] = ["body", "head"].map(flip);
    let short = "UPDATE record SET body = substr(body, 2) WHERE locator = ?1";
    let segment = "UPDATE segment SET data = zeroblob(length(data)) WHERE n = 2
        AND object = (SELECT object FROM record WHERE locator = ?1)";
    let missing = "DELETE FROM segment WHERE n = 2 AND object = (SELECT object FROM record WHERE locator = ?1)";
    let length = "UPDATE record SET len = len + 1 WHERE locator = ?1";
    let prefix = "UPDATE record SET prefix = prefix + 1 WHERE locator = ?1";
    let text = "UPDATE record SET head = x'00' WHERE locator = ?1";
    for (sql, len) in [
        (&*flip, 1000),
        (&*head, 1000),
        (short, 1000),
        (segment, 3_000_000),
        (missing, 3_000_000),
        (length, 1000),
        (prefix, 1000),
        (text, 1000),
        (length, 3_000_000),
    ] {
        for others in [3, 3000_u32] {
            let folder = tempfile::tempdir().unwrap();
            let from = database(folder.path(), "from.db");
            let source = open(&from);
            let items: Vec<_> = (0..others).map(|n| (n.to_le_bytes(), pattern(100))).collect();
            drop(source.store_many(&items).unwrap());
            let locator = locator_of(&from, || store(&source, "damaged", len));
            let (to, earlier) = (memory(), memory());
            assert_eq!(run(&from, &earlier, false).unwrap().records, u64::from(others) + 1);
            let all = contents(&earlier);

            let from = damage(folder.path(), "from.db", from, sql, &locator);
            for _ in 0..2 {
                let copied = run(&from, &to, true).unwrap();
                assert!(!copied.is_complete());
                let place = |locator: &Locator| locator.as_bytes()[..6].to_vec();
                let damaged: Vec<_> = copied.damaged.iter().map(place).collect();
                assert_eq!(damaged, [place(&locator)], "{sql}");
                assert_eq!(copied.records + copied.unchanged, u64::from(others), "{sql}");
                assert_eq!(to.info(&locator).unwrap(), None);
            }
            let expected: BTreeMap<_, _> =
                all.iter().filter(|(other, _)| **other != locator).map(|(l, r)| (*l, r.clone())).collect();
            assert!(contents(&to) == expected, "{sql}");
            // An earlier copy of it is kept, whatever the source lists, even by a mirror.
            let _ = run(&from, &earlier, true).unwrap();
            assert!(contents(&earlier) == all, "{sql}");
        }
    }
}

#[test]
fn records_beside_damaged_pages_are_copied() {
    // The search for the end of a gap passes over a few records that lie between two gaps.
    for (pages, most_lost) in [(1, 0), (10, 5)] {
        assert_beside_damaged_pages(pages, most_lost);
    }
}

fn assert_beside_damaged_pages(pages: usize, most_lost: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("from.db");
    let (from, to) = (database(folder.path(), "from.db"), memory());
    let items: Vec<_> = (0..3000_u32).map(|n| (n.to_le_bytes(), pattern(500))).collect();
    drop(open(&from).store_many(&items).unwrap());
    let all = contents(&from);
    from.close().unwrap();
    drop(from);
    // Pages of the table, with a few records each.
    let mut bytes = fs::read(&path).unwrap();
    let page_count = bytes.len() / 8192;
    for n in 1..=pages {
        let page = page_count * n / (pages + 1) * 8192;
        bytes[page..page + 8192].fill(0xff);
    }
    fs::write(&path, bytes).unwrap();
    let from = database(folder.path(), "from.db");
    assert!(matches!(from.list(None, 3000), Err(StorageError::Corrupt)));
    let copied = run(&from, &to, true).unwrap();
    assert!(!copied.damaged.is_empty());
    let mut intact = all;
    intact.retain(|locator, _| matches!(from.get(locator), Ok(Some(_))));
    assert!((2700..3000).contains(&intact.len()), "{}", intact.len());
    let copied = contents(&to);
    let before = intact.len();
    intact.retain(|locator, _| copied.contains_key(locator));
    assert!(before - intact.len() <= most_lost, "{pages} pages: {} lost", before - intact.len());
    assert!(copied == intact);
}

/// Flips single bits at the beginning of the root page of the index by which a database lists its records. SQLite reads
/// many such pages without an error, and passes records over.
#[test]
fn records_that_a_damaged_index_hides_are_neither_deleted_nor_forgotten() {
    // The only page, with the places of its entries; and an inner one, with their number and the last child.
    for (records, bits) in [(6, 4..160), (1000, 24..96)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("from.db");
        let from = database(folder.path(), "from.db");
        let items: Vec<_> = (0..records).map(|n: u32| (n.to_le_bytes(), pattern(100))).collect();
        drop(open(&from).store_many(&items).unwrap());
        let backup = memory();
        assert!(run(&from, &backup, false).unwrap().is_complete());
        let all = contents(&from);
        from.close().unwrap();
        drop(from);
        let page = root_of_index(&path);
        let whole = fs::read(&path).unwrap();
        let mut incomplete = 0;
        for bit in bits.step_by(5) {
            let mut bytes = whole.clone();
            bytes[page + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let from = database(folder.path(), "from.db");
            let to = memory();
            let (mirrored, first) = (run(&from, &backup, true), run(&from, &to, false));
            let what = format!("{records} records, bit {bit}: {mirrored:?}, {first:?}");
            assert!(contents(&backup) == all, "{what}");
            match first {
                Ok(copied) if copied.is_complete() => assert!(contents(&to) == all, "{what}"),
                _ => incomplete += 1,
            }
        }
        assert!(incomplete >= 5, "{incomplete}");
    }
}

/// The versions of all rows of a closed database, in the order of their locators.
fn rows(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT locator, head FROM record NOT INDEXED ORDER BY locator";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Each search finds one of two rows of a record, and nobody knows which of them is the later version.
#[test]
fn a_record_with_two_rows_is_damage_at_both_ends() {
    for (records, column) in [(6, "id + 1000"), (6, "id - 1000"), (5000, "id + 10000")] {
        let folder = tempfile::tempdir().unwrap();
        let from = database(folder.path(), "from.db");
        let items: Vec<_> = (0..records).map(|n: u32| (n.to_le_bytes(), pattern(100))).collect();
        drop(open(&from).store_many(&items).unwrap());
        let sql = format!(
            "INSERT INTO record SELECT {column}, prefix, len, expires_at, object, checksum, locator,
                CAST(substr(head, 1, 67) || x'01' AS BLOB), body FROM record WHERE locator = ?1"
        );
        let locator = from.list(None, 3).unwrap()[2].locator;
        let from = damage(folder.path(), "from.db", from, &sql, &locator);
        let to = memory();
        for _ in 0..2 {
            let copied = run(&from, &to, true).unwrap();
            assert!(!copied.is_complete(), "{copied:?}");
        }
        let copied = run(&to, &from, true);
        assert!(copied.unwrap_err().full_message().contains("the destination is damaged"));
    }
}

/// The same at the destination, where new versions of such records would become second rows, and removed ones stay.
#[test]
fn records_that_a_damaged_index_hides_at_the_destination_are_not_written_again() {
    for (records, bits) in [(6, 4..160), (1000, 24..96)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("to.db");
        let (from, to) = (memory(), database(folder.path(), "to.db"));
        let source = open(&from);
        (0..records).for_each(|n: u32| store(&source, n.to_le_bytes(), 100));
        assert!(run(&from, &to, false).unwrap().is_complete());
        to.close().unwrap();
        drop(to);
        source.erase(0_u32.to_le_bytes()).unwrap();
        (1..records).for_each(|n: u32| drop(source.replace(n.to_le_bytes(), &key(), pattern(200)).unwrap()));
        let (page, whole, before) = (root_of_index(&path), fs::read(&path).unwrap(), rows(&path));
        let version = |(locator, record): (Locator, Vec<u8>)| (locator.as_bytes().to_vec(), record[..68].to_vec());
        let after: Vec<_> = contents(&from).into_iter().map(version).collect();
        let mut refused = 0;
        for bit in bits.step_by(5) {
            let mut bytes = whole.clone();
            bytes[page + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let to = database(folder.path(), "to.db");
            let copied = run(&from, &to, true);
            to.close().unwrap();
            drop(to);
            let (found, what) = (rows(&path), format!("{records} records, bit {bit}: {copied:?}"));
            match copied {
                Ok(copied) => assert!(copied.is_complete() && found == after, "{what}"),
                Err(error) => {
                    assert!(error.full_message().contains("the destination is damaged"), "{what}");
                    // A page may be readable, and refuse only a change.
                    assert!(found.is_sorted_by(|(one, _), (next, _)| one < next), "{what}");
                    refused += u32::from(found == before);
                }
            }
        }
        assert!(refused >= 5, "{refused}");
    }
}

#[test]
fn damage_at_the_destination_is_not_that_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (memory(), database(folder.path(), "to.db"));
    let source = open(&from);
    let locator = locator_of(&from, || store(&source, "id", 1000));
    let _ = run(&from, &to, false).unwrap();
    let sql = "UPDATE record SET head = x'00' WHERE locator = ?1";
    let to = damage(folder.path(), "to.db", to, sql, &locator);
    let error = run(&from, &to, false).unwrap_err();
    assert!(error.full_message().contains("the destination is damaged"), "{error:?}");
}

/// A destination that acknowledges a record and returns another one.
#[test]
fn what_the_destination_returns_is_compared() {
    let from = memory();
    store(&open(&from), "id", 1000);
    for (lies, name) in [(false, "a success"), (true, "Storage")] {
        let inner = memory();
        let altered = Arc::clone(&inner);
        let was_put = AtomicBool::new(false);
        let to = hooked(&inner, move |method, bytes| {
            if method == "put" {
                was_put.store(true, Ordering::Relaxed);
            }
            if method == "get" && was_put.load(Ordering::Relaxed) && lies {
                let locator = Locator::from_bytes(bytes.try_into().unwrap());
                let mut record = altered.get(&locator)?.unwrap();
                record[500] ^= 1;
                altered.put(&locator, &record, PutMode::Overwrite)?;
            }
            Ok(())
        });
        let outcome = run(&from, &to, false);
        assert_eq!(outcome.map_or_else(|error| error.name(), |_| "a success"), name);
    }
}

#[test]
fn a_storage_that_loses_outcomes_fails_the_copy() {
    let source: Shared = Arc::new(MemoryStorage::new());
    (0..3).for_each(|n| store(&open(&source), format!("{n}"), 100));
    let losing: Shared = Arc::new(Intercepted::losing_outcomes(Arc::clone(&source)));
    let copied = run(&losing, &memory(), false);
    assert!(matches!(copied, Err(Error::Storage(_))), "{copied:?}");
    let losing: Shared = Arc::new(Intercepted::losing_outcomes(memory()));
    let copied = run(&source, &losing, false);
    assert!(matches!(copied, Err(Error::Storage(_))), "{copied:?}");
}
