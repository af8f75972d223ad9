//! Tests of the search for damage: its positions, the lengths of its steps, what it finds behind damage, and what it
//! reads from SQLite's own check.

use super::super::damage_tests::{
    PAGE, choices, damage_pages, database_of_short_parts, header_of, locator_of, parts_of, readable_rows,
};
use super::super::tests::{damage_page_with, locator, pages_of, record, storage};
use super::super::{Durability, SqliteStorage, checksum};
use super::structure::Structure;
use super::*;
use crate::storage::{LOCATOR_LEN, PutMode, Storage};

/// The sum of all steps.
fn search(storage: &SqliteStorage) -> Verified {
    search_from(storage, None, 1000)
}

fn search_from(storage: &SqliteStorage, mut position: Option<VerifyPosition>, limit: usize) -> Verified {
    let mut sum = Verified::default();
    for _ in 0..100 {
        let step = storage.verify(position.as_ref(), limit).unwrap();
        sum.records += step.records;
        sum.damage.extend(step.damage);
        position = step.next;
        if position.is_none() {
            return sum;
        }
    }
    panic!("the search does not end");
}

#[test]
fn a_position_comes_back() {
    for position in
        [RowPosition { id: i64::MIN, end: i64::MAX, segment: None }, RowPosition { id: 7, end: 9, segment: Some(3) }]
    {
        assert_eq!(RowPosition::parse(&position.text()), Some(position));
    }
    for wrong in ["row", "row.", "row.1", "row.1.x", "row.1.2.", "row.1.2.-1", "row.1.2.3.4", "page.1.2"] {
        assert_eq!(RowPosition::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_step_ends_after_some_bytes() {
    let (_folder, storage) = storage();
    for number in 0..50 {
        storage.put(&locator(number), &record(250_000), PutMode::Create).unwrap();
    }
    let step = storage.verify(None, 1000).unwrap();
    assert_eq!((step.records, step.bytes, step.next.is_some()), (34, 8_500_000, true));
    assert_eq!(search(&storage).records, 50);
}

/// Each damaged segment is reported, but not each that is missing: the length in a damaged row has no limit.
#[test]
fn damaged_segments_are_reported() {
    let (_folder, storage) = storage();
    storage.put(&locator(1), &record(3_000_000), PutMode::Create).unwrap();
    let change = |sql: &str| {
        storage.database.write(|connection| Ok(connection.execute(sql, ())?)).unwrap();
        let found = search(&storage);
        assert_eq!(found.records, 1);
        found.damage.into_iter().map(|damage| (damage.place, damage.kind)).collect::<Vec<_>>()
    };
    let at = |n: i32, kind| (format!("segment {n}"), kind);
    assert_eq!(
        change("UPDATE segment SET data = zeroblob(length(data)) WHERE n IN (1, 3)"),
        [at(1, DamageKind::Checksum), at(3, DamageKind::Checksum)]
    );
    let object = storage
        .database
        .read(|connection| Ok(connection.query_row("SELECT object FROM segment", (), |row| row.get(0))?));
    let checksum = checksum::of_segment(object.unwrap(), 5, &[7; 1000]);
    let short = format!(
        "UPDATE segment SET data = CAST(replace(hex(zeroblob(500)), '0', char(7)) AS BLOB), checksum = {checksum} WHERE n = 5"
    );
    assert_eq!(change(&short).last(), Some(&at(5, DamageKind::Length)));
    assert_eq!(change("DELETE FROM segment WHERE n > 3").last(), Some(&at(4, DamageKind::Missing)));
    assert_eq!(change("DELETE FROM segment"), [at(0, DamageKind::Missing)]);
}

/// More rows than one step takes from the index lie behind the page.
#[test]
fn rows_behind_a_damaged_page_are_checked() {
    const RECORDS: u16 = 400;
    let numbered = |number: u16| {
        let mut bytes = [7; LOCATOR_LEN];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    let record = record(2000);
    let records: Vec<_> = (0..RECORDS).map(|number| (Locator::from_bytes(numbered(number)), &*record)).collect();
    for damaged in [0, RECORDS / 2, RECORDS - 1] {
        let (folder, storage) = storage();
        storage.create_many(&records).unwrap();
        storage.close().unwrap();
        let path = folder.path().join("records.db");
        damage_page_with(&path, &numbered(damaged));
        let storage = SqliteStorage::open(&path, Durability::Full).unwrap();
        let found = search(&storage);
        assert!((u64::from(RECORDS) - 4..u64::from(RECORDS)).contains(&found.records), "{}", found.records);
        let other = found.damage.iter().find(|damage| damage.place != "table record");
        assert_eq!(other, None);

        let structure = storage.verify(Some(&VerifyPosition::Structure), 1).unwrap().damage;
        let lost = structure.iter().filter(|damage| damage.kind == DamageKind::Missing).map(|damage| &*damage.place);
        assert_eq!(lost.clone().count() as u64, u64::from(RECORDS) - found.records);
        assert!(lost.clone().any(|place| place == format!("row of {damaged:04x}{}...", "07".repeat(6))));
    }
}

/// The search needs no index to go on.
#[test]
fn rows_behind_damaged_pages_of_table_and_index_are_checked() {
    const RECORDS: u16 = 150;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    database_of_short_parts(&path, RECORDS);
    let whole = std::fs::read(&path).unwrap();
    let of_indexes = choices(&path, "record_prefix");
    for of_table in choices(&path, "record") {
        for of_index in &of_indexes {
            damage_pages(&path, &whole, &[&of_table[..], of_index].concat());
            let readable = readable_rows(&path, "record", 1..i64::from(RECORDS) + 1);
            let rotted = readable.last().map(|id| u16::try_from(id - 1).unwrap());
            if let Some(number) = rotted {
                let [first, ..] = parts_of(number);
                let mut file = std::fs::read(&path).unwrap();
                let at = file.windows(20).position(|window| window == &first[80..]).unwrap();
                file[at] ^= 1;
                std::fs::write(&path, file).unwrap();
            }
            let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
            let found = search(&storage);
            let what = format!("{of_table:?} {of_index:?}: {found:?}");
            assert_eq!(found.records, readable.len() as u64, "{what}");
            let mut of_records = found.damage.iter().filter(|damage| damage.locator.is_some());
            let expected = rotted.map(|number| Damage::new(Some(locator_of(number)), row::PLACE, DamageKind::Checksum));
            assert_eq!((of_records.next(), of_records.next()), (expected.as_ref(), None), "{what}");
            assert!(found.damage.iter().any(|damage| damage.place == TABLE), "{what}");
            storage.close().unwrap();
        }
    }
}

/// The search of one record looks at no other row, which may be damaged.
#[test]
fn an_intact_record_beside_a_damaged_page_is_intact() {
    const RECORDS: u16 = 150;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    database_of_short_parts(&path, RECORDS);
    let whole = std::fs::read(&path).unwrap();
    for of_table in choices(&path, "record").into_iter().take(3) {
        damage_pages(&path, &whole, &of_table);
        let readable = readable_rows(&path, "record", 1..i64::from(RECORDS) + 1);
        let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
        for id in readable {
            let record = VerifyPosition::Record(locator_of(u16::try_from(id - 1).unwrap()));
            for limit in [1, 10] {
                let found = search_from(&storage, Some(record.clone()), limit);
                assert_eq!((found.records, &*found.damage), (1, &[][..]), "{of_table:?} {id}");
            }
        }
        storage.close().unwrap();
    }
}

/// A page that has the contents of another is sound by itself, and so is a row whose id is damaged: no row is readable
/// with an error, but others are passed over.
#[test]
fn misplaced_pages_and_ids_are_found() {
    const RECORDS: u64 = 40;
    const FIRST_ID: i64 = 20_000; // three bytes
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    database_of_short_parts(&path, 40);
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE record SET id = id + ?1", [FIRST_ID - 1]).unwrap();
    drop(connection);
    let whole = std::fs::read(&path).unwrap();
    let search_in = |file: &[u8]| {
        std::fs::write(&path, file).unwrap();
        let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
        let found = search(&storage);
        storage.close().unwrap();
        found
    };
    assert_eq!(search_in(&whole), Verified { records: RECORDS, ..Verified::default() });

    // In the root's place, a page would be a sound table; the search of the structure compares it with its index.
    let pages = &pages_of(&path, "record")[1..];
    for (from, to) in
        pages.iter().flat_map(|from| pages.iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
    {
        let mut file = whole.clone();
        file.copy_within(*from..from + PAGE, *to);
        assert_ne!(search_in(&file).damage, [], "{from} at {to}");
    }

    for number in 0..40 {
        let [first, ..] = parts_of(number);
        let last_column = whole.windows(32).position(|window| window == &first[68..]).unwrap();
        let header = header_of(&whole, last_column, 6, LOCATOR_LEN + 68);
        for bit in (0..24).filter(|bit| bit % 8 < 7) {
            let mut file = whole.clone();
            file[header.start - 3 + bit / 8] ^= 1 << (bit % 8);
            let found = search_in(&file);
            assert!(found.records == RECORDS || !found.damage.is_empty(), "{number}, {bit}: {found:?}");
        }
    }
}

#[test]
fn the_lines_of_a_check_are_classified() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (a); CREATE INDEX i ON t (a)").unwrap();
    for (line, place, kind, is_page) in [
        ("row 5 missing from index record_prefix", "index record_prefix", DamageKind::Mismatch, false),
        ("wrong # of entries in index record_prefix", "index record_prefix", DamageKind::Mismatch, false),
        ("Tree 2 page 2 cell 0: 2nd reference to page 7", "page 2", DamageKind::Malformed, true),
        ("Tree 3 page 3 cell 0: Rowid 5 out of order", "index i", DamageKind::Malformed, true),
        ("Page 9: never used", "page 9", DamageKind::Malformed, true),
        ("Freelist: size is 5 but should be 6", "free pages", DamageKind::Malformed, true),
        ("something else", "database", DamageKind::Malformed, true),
    ] {
        assert!(structure::is_finding(line));
        let mut found = Structure::default();
        structure::classify(&connection, line, &mut found).unwrap();
        assert_eq!(found.damage, [Damage::new(None, place, kind)]);
        assert_eq!((found.needs_rebuild, found.indexes.len()), (is_page, usize::from(!is_page)), "{line}");
    }
    for line in ["ok", "*** in database main ***", ""] {
        assert!(!structure::is_finding(line), "{line}");
    }
}

#[test]
fn findings_are_limited_and_reported_once() {
    let mut found = Structure::default();
    for n in (0..300).chain(0..300) {
        found.add(format!("page {n}"), DamageKind::Malformed);
    }
    assert_eq!(found.damage.len(), 200);
    found = Structure::default();
    found.add("page 1", DamageKind::Malformed);
    found.add("page 1", DamageKind::Malformed);
    assert_eq!(found.damage.len(), 1);
}
