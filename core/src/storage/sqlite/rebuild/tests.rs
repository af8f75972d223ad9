//! Tests of the rebuild: rows and versions that stay, are restored or are removed, interrupts, tables of others.

use std::fs;

use super::super::error::Fault;
use super::super::rows::SEGMENT_LEN;
use super::super::tests::{add_row, add_row_with, damage_page_with, locator, pages_of, record, storage};
use super::*;
use crate::storage::{LOCATOR_LEN, PutMode};
use crate::util::files::with_suffix;
use crate::util::interrupt::Cancellation;

const RECORDS: u8 = 60;

/// A record with one segment, whose beginning is unique.
fn marked(number: u8) -> Vec<u8> {
    let mut record = record(SEGMENT_LEN + 30_000);
    record[SEGMENT_LEN..SEGMENT_LEN + 32].fill(0x80 | number);
    record
}

/// A closed store of some records.
fn closed_store() -> (tempfile::TempDir, std::path::PathBuf) {
    let (folder, storage) = storage();
    storage.swap_settings(None, b"ours").unwrap();
    let records: Vec<_> = (0..RECORDS).map(|number| (locator(number), marked(number))).collect();
    let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, &**record)).collect();
    storage.create_many(&records).unwrap();
    storage.close().unwrap();
    let path = folder.path().join("records.db");
    (folder, path)
}

/// The copy has none of the records, so that only rows of the damaged database can be kept.
#[test]
fn rows_behind_a_damaged_page_are_kept() {
    let (_folder, path) = closed_store();
    let (_other, copy) = storage();
    copy.swap_settings(None, b"theirs").unwrap();
    let whole = fs::read(&path).unwrap();
    let number = RECORDS / 2;
    for (unique, of_record) in [([number; LOCATOR_LEN], true), ([0x80 | number; 32], false)] {
        fs::write(&path, &whole).unwrap();
        damage_page_with(&path, &unique);
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        let repaired = storage.rebuild(&copy).unwrap();
        assert_eq!(storage.settings().unwrap().as_deref(), Some(&b"ours"[..]));
        let is_kept = |number| storage.get(&locator(number)).is_ok_and(|found| found == Some(marked(number)));
        let (kept, gone): (Vec<u8>, Vec<u8>) = (0..RECORDS).partition(|number| is_kept(*number));
        assert!(gone.contains(&number) && kept.len() > usize::from(RECORDS) - 10, "{gone:?}");
        assert_eq!(repaired.lost.len(), if of_record { gone.len() } else { 0 });
        storage.close().unwrap();
    }
}

/// The checkpoint of the old log does not look like a change by others. If the file was cut off, SQLite refuses it.
#[test]
fn the_first_attempt_after_a_crash_succeeds() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &record(1_000_000), PutMode::Create).unwrap();
    storage.maintain().unwrap();
    storage.put(&locator(2), &record(1000), PutMode::Create).unwrap();
    for is_cut_off in [false, true] {
        let (other, copy) = self::storage();
        let crashed = other.path().join("crashed.db");
        for suffix in ["", "-wal"] {
            let name = |path: &Path| with_suffix(path, suffix);
            fs::copy(name(storage.path()), name(&crashed)).unwrap();
        }
        if is_cut_off {
            fs::File::options().write(true).open(&crashed).unwrap().set_len(500_000).unwrap();
        }
        let crashed = SqliteStorage::open(&crashed, Durability::Full).unwrap();
        let repaired = crashed.try_rebuild(&copy).unwrap().unwrap();
        assert_eq!(crashed.get(&locator(2)).unwrap(), Some(record(1000)));
        match crashed.get(&locator(1)) {
            Ok(found) if is_cut_off => assert_eq!((found, repaired.lost.len()), (None, 1)),
            Ok(found) => assert_eq!(found, Some(record(1_000_000))),
            Err(error) => assert!(is_cut_off && matches!(error, Error::Corrupt), "{error:?}"),
        }
        assert!(crashed.try_rebuild(&copy).unwrap().is_some());
    }
}

#[test]
fn an_interrupted_replacement_changes_nothing() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
    let (_other, new) = self::storage();
    let replace =
        || new.database.snapshot(|new| storage.database.with_writer(|writer| writer.replace_content(new, || Ok(true))));
    let interrupted = Cancellation::default();
    interrupted.cancel();
    assert!(matches!(interrupted.run(replace), Err(Fault(Error::Busy))));
    assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(100)));
    storage.put(&locator(2), &record(100), PutMode::Create).unwrap();
    assert!(replace().unwrap());
    assert_eq!(storage.get(&locator(1)).unwrap(), None);
}

/// A page in the place of another can hide the visible row from the scan of the table, which shows an earlier one.
#[test]
fn the_visible_row_comes_from_the_index_if_the_scan_passes_over_it() {
    let [(_folder, old), (_other, new)] = [storage(), storage()];
    for number in 1..=2 {
        old.put(&locator(number), &record(100), PutMode::Create).unwrap();
        new.put(&locator(number), &record(100), PutMode::Create).unwrap();
    }
    add_row(old.path(), 1, -5);
    let visible = old.info(&locator(1)).unwrap().unwrap();
    let connection = Connection::open(old.path()).unwrap();
    for _ in 0..2 {
        let mut copied = CopiedRows::default();
        copy_rows_of_index(&connection, &new, &mut copied).unwrap();
        assert_eq!((copied.removed, copied.lost), (BTreeSet::from([locator(1)]), BTreeSet::new()));
        let list = new.list(None, 10).unwrap();
        assert_eq!((list.len(), list[0].info), (2, visible));
    }
}

#[test]
fn the_intact_one_of_two_rows_of_a_version_stays() {
    for id in [-5, 5] {
        let [(_folder, storage), (_other, copy)] = [storage(), storage()];
        storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
        add_row_with(storage.path(), 1, id, "head, zeroblob(length(body))");
        let repaired = storage.rebuild(&copy).unwrap();
        assert_eq!(repaired.lost, []);
        assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(100)));
        assert_eq!(storage.stats(0).unwrap().records, 1);
    }
}

/// A record whose body is on several pages, of which one, not the last, has the bytes `[number; 32]`.
fn on_pages(number: u8) -> Vec<u8> {
    let mut record = record(25_000);
    record[9_000..9_032].fill(0x80 | number);
    record
}

/// Damages the page on which the file `whole` has these bytes.
fn damage_page_of(whole: &Path, bytes: [u8; 32], path: &Path) {
    let page = fs::read(whole).unwrap().windows(32).rposition(|window| window == bytes).unwrap() / 8192 * 8192;
    let mut file = fs::read(path).unwrap();
    file[page..page + 8192].fill(0xa5);
    fs::write(path, file).unwrap();
}

fn damage_index(path: &Path) {
    let mut file = fs::read(path).unwrap();
    file[pages_of(path, "record_prefix")[0]] = 0;
    fs::write(path, file).unwrap();
}

/// The only row of a query on the records, without its id.
fn read_row(path: &Path, condition: &str) -> Vec<Value> {
    let read = |row: &Row<'_>| (1..9).map(|column| row.get(column)).collect::<Result<_, _>>();
    let sql = format!("SELECT * FROM record {condition}");
    Connection::open(path).unwrap().query_row(&sql, (), read).unwrap()
}

/// Inserts the row under this id, and not into the index of the prefixes.
fn insert_without_index(path: &Path, id: i64, row: Vec<Value>) {
    const OF_INDEX: &str = "FROM sqlite_schema WHERE name = 'record_prefix'";
    let connection = Connection::open(path).unwrap();
    let columns = |row: &Row<'_>| (0..5).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>();
    let entry = connection.query_row(&format!("SELECT * {OF_INDEX}"), (), columns).unwrap();
    connection.execute_batch(&format!("PRAGMA writable_schema = ON; DELETE {OF_INDEX}")).unwrap();
    drop(connection); // the next one reads the schema again
    let row = std::iter::once(Value::Integer(id)).chain(row);
    let sql = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    Connection::open(path).unwrap().execute(sql, params_from_iter(row)).unwrap();
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA writable_schema = ON").unwrap();
    connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", params_from_iter(entry)).unwrap();
}

/// A closed store with ten records on several pages, the path of the database, and a copy.
fn on_pages_with_copy() -> (tempfile::TempDir, std::path::PathBuf, SqliteStorage) {
    let (folder, storage) = storage();
    for number in 0..10 {
        storage.put(&locator(number), &on_pages(number), PutMode::Create).unwrap();
    }
    storage.close().unwrap();
    let (path, whole) = (folder.path().join("records.db"), folder.path().join("whole.db"));
    fs::copy(&path, &whole).unwrap();
    (folder, path, SqliteStorage::open_read_only(&whole).unwrap())
}

#[test]
fn adjacent_damaged_rows_are_all_restored() {
    let (_folder, path, copy) = on_pages_with_copy();
    for has_index in [true, false] {
        fs::copy(copy.path(), &path).unwrap();
        (4..7).for_each(|number| damage_page_of(copy.path(), [0x80 | number; 32], &path));
        if !has_index {
            damage_index(&path);
        }
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        let repaired = storage.rebuild(&copy).unwrap();
        assert_eq!((repaired.restored.len(), repaired.lost), (3, vec![]), "{has_index}");
        for number in 0..10 {
            assert_eq!(storage.get(&locator(number)).unwrap(), Some(on_pages(number)), "{number}");
        }
        storage.close().unwrap();
    }
}

/// The locator in a damaged row names its record.
#[test]
fn a_damaged_row_that_the_index_lacks_is_restored() {
    let (_folder, path, copy) = on_pages_with_copy();
    let row = read_row(&path, "WHERE id = 5");
    Connection::open(&path).unwrap().execute("DELETE FROM record WHERE id = 5", ()).unwrap();
    insert_without_index(&path, 5, row);
    damage_page_of(&path, [0x84; 32], &path);
    let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
    assert_eq!(storage.rebuild(&copy).unwrap().restored, [locator(4)]);
    assert_eq!(storage.get(&locator(4)).unwrap(), Some(on_pages(4)));
}

/// A damaged index had hidden the first version when the second one was stored.
#[test]
fn a_hidden_version_does_not_take_the_place_of_a_damaged_visible_one() {
    const NUMBER: u8 = 50;
    let version = |version: u8| [&[1, 1, 0, 0, version], &on_pages(NUMBER)[5..]].concat();
    let (folder, storage) = storage();
    storage.put(&locator(NUMBER), &version(1), PutMode::Create).unwrap();
    let path = folder.path().join("records.db");
    let hidden = read_row(&path, "");
    storage.delete(&locator(NUMBER), None).unwrap();
    for number in 0..40 {
        storage.put(&locator(number), &record(1000), PutMode::Create).unwrap();
    }
    storage.put(&locator(NUMBER), &version(2), PutMode::Create).unwrap();
    storage.close().unwrap();
    let whole = folder.path().join("whole.db");
    fs::copy(&path, &whole).unwrap();
    insert_without_index(&path, -5, hidden);
    let with_both = fs::read(&path).unwrap();
    let copy = SqliteStorage::open_read_only(&whole).unwrap();
    let (_other, empty) = self::storage();
    for of_page in [[NUMBER; LOCATOR_LEN], [0x80 | NUMBER; LOCATOR_LEN]] {
        for has_copy in [true, false] {
            fs::write(&path, &with_both).unwrap();
            damage_page_of(&whole, of_page, &path);
            let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
            let repaired = storage.rebuild(if has_copy { &copy } else { &empty }).unwrap();
            let expected = has_copy.then(|| version(2));
            assert_eq!(storage.get(&locator(NUMBER)).unwrap(), expected, "{of_page:?}");
            assert!(repaired.lost.iter().any(|damage| damage.locator == Some(locator(NUMBER))));
            storage.close().unwrap();
        }
    }
}

#[test]
fn a_database_with_tables_of_others_is_not_built_again() {
    let (_folder, path) = closed_store();
    let (_other, copy) = storage();
    let rebuild = |sql: &str| {
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        storage.rebuild(&copy).map(|repaired| repaired.lost.len())
    };
    assert_eq!(rebuild("ANALYZE").unwrap(), 0);
    let Err(Fault(Error::Unsupported(text))) = rebuild("CREATE TABLE note (text)") else { panic!("it was lost") };
    assert!(text.contains("\"note\""), "{text}");
}
