//! The check of the database as a whole: its pages, its indexes, and segments without a record.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, ffi};

use super::super::error::{Fault, Outcome};
use super::super::garbage;
use super::super::readable_rows::each_row_of_index;
use super::super::rows::check_interrupt;
use super::super::scan;
use super::row::place_of_lost;
use crate::storage::{Damage, DamageKind, Error};

/// The most findings of a kind: a damaged page can cause one for each row.
const MOST: usize = 100;
/// How many objects are compared at once, which bounds the memory to 8 MiB.
const OBJECTS: u32 = 1 << 20;

/// The result of a check, and what it means for a repair.
#[derive(Default)]
pub(crate) struct Structure {
    pub(crate) damage: Vec<Damage>,
    /// Indexes that can be built again from their tables.
    pub(crate) indexes: BTreeSet<String>,
    /// Whether the database must be built again: pages are damaged, so that a write could overwrite an intact record;
    /// or a record has two rows.
    pub(crate) needs_rebuild: bool,
    orphans: Vec<i64>,
}

impl Structure {
    pub(super) fn add(&mut self, place: impl Into<String>, kind: DamageKind) {
        let damage = Damage::new(None, place, kind);
        if self.damage.len() < 2 * MOST && !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }

    fn add_page(&mut self, place: impl Into<String>) {
        self.needs_rebuild = true;
        self.add(place, DamageKind::Malformed);
    }
}

pub(crate) fn check(connection: &Connection) -> Outcome<Structure> {
    let mut found = Structure::default();
    match integrity_check(connection, &mut found) {
        Err(Fault(Error::Corrupt)) => found.add_page("database"),
        outcome => outcome?,
    }
    if !found.damage.is_empty() {
        let mut find = connection.prepare("SELECT 1 FROM record NOT INDEXED WHERE id = ?1")?;
        let rows = each_row_of_index(connection, |prefix, id| {
            match find.exists([id]).map_err(Fault::from) {
                Ok(true) => {}
                Ok(false) | Err(Fault(Error::Corrupt)) => found.add(place_of_lost(prefix), DamageKind::Missing),
                Err(error) => return Err(error),
            }
            Ok(())
        });
        tolerate(rows.map(drop))?;
    }
    tolerate(doubles(connection, &mut found))?;
    tolerate(orphans(connection, &mut found))?;
    Ok(found)
}

/// Finds records with two rows.
fn doubles(connection: &Connection, found: &mut Structure) -> Outcome<()> {
    let has_doubles = match found.indexes.is_empty() {
        true => scan::has_doubles(connection)?,
        false => scan::has_doubles_in_table(connection)?, // the index may lack one of the rows
    };
    if has_doubles {
        found.needs_rebuild = true;
        found.add("table record", DamageKind::Mismatch);
    }
    Ok(())
}

/// Damage that ends one of the other checks is a finding of SQLite's check.
fn tolerate(outcome: Outcome<()>) -> Outcome<()> {
    match outcome {
        Err(Fault(Error::Corrupt)) => Ok(()),
        outcome => outcome,
    }
}

/// SQLite's own check. For a lack of memory, SQLite reports pages that it cannot get, and so others that nothing uses.
/// Damage is what a second check finds, too.
fn integrity_check(connection: &Connection, found: &mut Structure) -> Outcome<()> {
    let mut lines = check_lines(connection)?;
    if lines.iter().any(|line| is_finding(line)) {
        lines = check_lines(connection)?;
    }
    let out_of_memory = [" error code 7", " error code=7"]; // SQLITE_NOMEM
    if lines.iter().any(|line| out_of_memory.iter().any(|text| line.ends_with(text))) {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOMEM), None).into());
    }
    lines.iter().filter(|line| is_finding(line)).try_for_each(|line| classify(connection, line, found))
}

fn check_lines(connection: &Connection) -> Outcome<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
    let mut rows = statement.query(())?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.extend(row.get::<_, String>(0)?.lines().map(str::to_owned));
    }
    Ok(lines)
}

pub(super) fn is_finding(line: &str) -> bool {
    !(line == "ok" || line.starts_with("***") || line.is_empty())
}

/// Adds the finding in one line of SQLite's check.
pub(super) fn classify(connection: &Connection, line: &str, found: &mut Structure) -> Outcome<()> {
    let number_after = |text: &str| {
        let digits: String = line.split_once(text)?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().ok()
    };
    if let Some((_, index)) = line.rsplit_once(" index ") {
        found.indexes.insert(index.to_owned());
        found.add(format!("index {index}"), DamageKind::Mismatch);
        return Ok(());
    }
    if line.starts_with("Tree ") {
        let sql = "SELECT name FROM sqlite_schema WHERE rootpage = ?1 AND type = 'index'";
        let root = number_after("Tree ");
        let index: Option<String> = connection.query_row(sql, [root], |row| row.get(0)).optional()?;
        if let Some(index) = index {
            found.add_page(format!("index {index}"));
            return Ok(());
        }
    }
    match number_after("page ").or_else(|| number_after("Page ")) {
        Some(page) => found.add_page(format!("page {page}")),
        None if line.starts_with("Freelist") => found.add_page("free pages"),
        None => found.add_page("database"),
    }
    Ok(())
}

/// Some objects that belong to no record and no upload.
pub(crate) fn find_orphans(connection: &Connection) -> Outcome<Vec<i64>> {
    let mut found = Structure::default();
    tolerate(orphans(connection, &mut found))?;
    Ok(found.orphans)
}

/// Finds segments that belong to no record and no upload, and pending objects that belong to a record.
fn orphans(connection: &Connection, found: &mut Structure) -> Outcome<()> {
    let pending = match garbage::pending(connection) {
        Err(Fault(Error::Corrupt)) => {
            found.add_page("table pending"); // SQLite's check accepts a page of another table in its place
            return Ok(());
        }
        objects => BTreeSet::from_iter(objects?),
    };
    let sql = "SELECT object FROM record NOT INDEXED WHERE object >= ?1 ORDER BY object LIMIT ?2";
    let mut of_records = connection.prepare(sql)?;
    let sql = "SELECT DISTINCT object FROM segment WHERE object BETWEEN ?1 AND ?2 ORDER BY object";
    let mut of_segments = connection.prepare(sql)?;
    let mut low = i64::MIN;
    loop {
        let known = of_records.query_map((low, OBJECTS), |row| row.get(0))?;
        let known = known.collect::<rusqlite::Result<Vec<i64>>>()?;
        let high = known.last().filter(|_| known.len() == OBJECTS as usize).copied().unwrap_or(i64::MAX);
        for object in of_segments.query_map((low, high), |row| row.get(0))? {
            let object = object?;
            check_interrupt()?;
            if known.binary_search(&object).is_err() && !pending.contains(&object) && found.orphans.len() < MOST {
                found.orphans.push(object);
                found.add(format!("segments of object {object}"), DamageKind::Orphan);
            }
        }
        if pending.range(low..=high).any(|object| known.binary_search(object).is_ok()) {
            found.add("table pending", DamageKind::Mismatch);
        }
        match high.checked_add(1) {
            Some(next) => low = next,
            None => return Ok(()),
        }
    }
}
