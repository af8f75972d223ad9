//! The search for damage: records in short steps, in the order of their rows, so that the file is read sequentially;
//! then the database as a whole.

pub(super) mod row;
pub(super) mod structure;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Fault, Outcome};
use super::readable_rows::{RECORDS, readable};
use super::rows::{self, check_interrupt};
use super::scan;
use crate::storage::{Damage, DamageKind, Error, Locator, Verified, VerifyPosition};
use row::Segments;

/// The bytes after which a step stops, so that no transaction is long.
pub(super) const STEP_BYTES: u64 = 8 << 20;
/// The place of damage that hides rows.
const TABLE: &str = "table record";
/// The most damaged rows of one step. One more is the result of a row that cannot be read.
const STEP_DAMAGE: usize = 100;
/// The rows behind the last row to check that a search looks at: more than a page has.
const LOOK_AHEAD: u64 = 256;

/// A position between rows, or within a record. Its text is `row.<id>.<end>` or `row.<id>.<end>.<segment>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowPosition {
    /// The last finished row, or the row whose record is being checked.
    id: i64,
    /// The last row to check, so that writers that add records do not prolong the search.
    end: i64,
    /// The next segment of the record being checked.
    segment: Option<i64>,
}

impl RowPosition {
    pub(super) fn first(connection: &Connection) -> Self {
        Self { id: i64::MIN, end: last_row(connection), segment: None }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("row.")?.split('.').map(|part| part.parse().ok());
        let (id, end, segment) = (parts.next()??, parts.next()??, parts.next());
        let segment = segment.map_or(Some(None), |segment| segment.filter(|n| *n >= 0).map(Some))?;
        parts.next().is_none().then_some(Self { id, end, segment })
    }

    fn text(self) -> String {
        let segment = self.segment.map_or(String::new(), |n| format!(".{n}"));
        format!("row.{}.{}{segment}", self.id, self.end)
    }
}

/// A step of the search for damaged records.
#[derive(Default)]
pub(super) struct Step {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) found: Vec<Found>,
    /// The rows that the step finished.
    pub(super) rows: Vec<i64>,
    pub(super) next: Option<RowPosition>,
}

/// Damage, and the row in which it is, if that row exists.
pub(super) struct Found {
    pub(super) row: Option<i64>,
    pub(super) damage: Damage,
}

impl Step {
    fn is_full(&self, limit: u64) -> bool {
        self.records >= limit || self.bytes >= STEP_BYTES || self.found.len() >= STEP_DAMAGE
    }

    fn finish_row(&mut self, id: i64) {
        self.records += 1;
        self.rows.push(id);
    }

    fn add(&mut self, row: Option<i64>, locator: Option<Locator>, place: impl Into<String>, kind: DamageKind) {
        self.found.push(Found { row, damage: Damage::new(locator, place, kind) });
    }
}

pub(super) fn verify(connection: &Connection, position: Option<&VerifyPosition>, limit: usize) -> Outcome<Verified> {
    let start = match position {
        None => RowPosition::first(connection),
        Some(VerifyPosition::After(locator)) => {
            let missing = || Error::InvalidArgument("there is no record with the locator of this position".into());
            let row = rows::find(connection, locator)?.ok_or_else(missing)?;
            RowPosition { id: row.id, end: last_row(connection), segment: None }
        }
        Some(VerifyPosition::Record(locator)) => match rows::find(connection, locator) {
            Ok(None) => return Ok(Verified::default()),
            Ok(Some(row)) => RowPosition { id: row.id.saturating_sub(1), end: row.id, segment: None },
            Err(Fault(Error::Corrupt)) => {
                let damage = vec![Damage::new(Some(*locator), row::PLACE, DamageKind::Malformed)];
                return Ok(Verified { records: 1, damage, ..Verified::default() });
            }
            Err(error) => return Err(error),
        },
        Some(VerifyPosition::Structure) => {
            let damage = structure::check(connection)?.damage;
            return Ok(Verified { damage, ..Verified::default() });
        }
        Some(VerifyPosition::Storage(text)) => RowPosition::parse(text).ok_or_else(VerifyPosition::unknown)?,
    };
    let step = check_rows(connection, start, limit)?;
    let damage = step.found.into_iter().map(|found| found.damage).collect();
    let next = step.next.map(|next| VerifyPosition::Storage(next.text()));
    Ok(Verified { records: step.records, bytes: step.bytes, damage, next })
}

/// The id of the last row, or the highest one if the last page is damaged, or in the place of another.
fn last_row(connection: &Connection) -> i64 {
    let sql = "SELECT last FROM (SELECT max(id) AS last FROM record NOT INDEXED)
        WHERE NOT EXISTS (SELECT 1 FROM record NOT INDEXED WHERE id > last)";
    connection.query_row(sql, (), |row| row.get(0)).unwrap_or(None).unwrap_or(i64::MAX)
}

/// Checks the records in the order of their rows.
pub(super) fn check_rows(connection: &Connection, start: RowPosition, limit: usize) -> Outcome<Step> {
    let limit = limit.max(1) as u64;
    let (mut step, mut at) = (Step::default(), start);
    if start.segment.is_some() {
        if let Some(segments) = Segments::resume(connection, start.id)? {
            finish(connection, &mut step, at, &segments)?;
        }
        if step.next.is_some() {
            return Ok(step);
        }
        at.segment = None;
    }
    let Some(first) = at.id.checked_add(1) else { return Ok(step) };
    let sql = format!("SELECT {} FROM record NOT INDEXED WHERE id >= ?1 ORDER BY id", row::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([first])?;
    let mut behind_end = 0;
    loop {
        // The search of one record looks at no other row, which may be damaged.
        if first >= at.end && at.id >= at.end {
            return Ok(step);
        }
        if step.is_full(limit) {
            step.next = Some(at);
            return Ok(step);
        }
        check_interrupt()?;
        match readable(rows.next())? {
            Some(None) => return Ok(step),
            Some(Some(row)) => {
                let id = row.get(0)?;
                if id > at.end {
                    // Writers added it, unless its id is damaged, or a page is in the place of another.
                    behind_end += 1;
                    if behind_end > LOOK_AHEAD {
                        return Ok(step);
                    }
                    continue;
                }
                if id <= start.id {
                    // A page in the place of another leads back: each step must go on, or the search would not end.
                    return skip_damage(connection, step, at, limit);
                }
                if id <= at.id || behind_end > 0 {
                    step.add(None, None, TABLE, DamageKind::Malformed);
                }
                (at.id, behind_end) = (id, 0);
                check_row(connection, &mut step, at, row)?;
                if step.next.is_some() {
                    return Ok(step);
                }
            }
            None => return skip_damage(connection, step, at, limit),
        }
    }
}

/// Checks the record in a row.
fn check_row(connection: &Connection, step: &mut Step, at: RowPosition, row: &Row<'_>) -> Outcome<()> {
    match row::check(row) {
        Ok(record) => {
            step.bytes = step.bytes.saturating_add(record.first_len);
            if !record.is_supported {
                step.add(Some(at.id), Some(record.locator), row::PLACE, DamageKind::Unsupported);
            }
            match Segments::of(&record) {
                Ok(None) => step.finish_row(at.id),
                Ok(Some(segments)) => finish(connection, step, RowPosition { segment: Some(0), ..at }, &segments)?,
                Err(kind) => {
                    step.finish_row(at.id);
                    step.add(Some(at.id), Some(record.locator), row::PLACE, kind);
                }
            }
        }
        Err((locator, kind)) => {
            step.finish_row(at.id);
            step.add(Some(at.id), locator, row::PLACE, kind);
        }
    }
    Ok(())
}

/// Checks segments until the record ends, or the step is full.
fn finish(connection: &Connection, step: &mut Step, at: RowPosition, segments: &Segments) -> Outcome<()> {
    let (mut n, mut buffer) = (at.segment.unwrap_or(0), Vec::new());
    while n < segments.count {
        if step.bytes >= STEP_BYTES {
            step.next = Some(RowPosition { segment: Some(n), ..at });
            return Ok(());
        }
        check_interrupt()?;
        match segments.check(connection, n, &mut buffer)? {
            Ok(len) => step.bytes = step.bytes.saturating_add(len),
            Err(kind) => {
                step.add(Some(at.id), segments.locator, format!("segment {n}"), kind);
                if kind == DamageKind::Missing || step.found.len() >= STEP_DAMAGE {
                    break; // the length in a damaged row has no limit
                }
            }
        }
        n += 1;
    }
    if n >= segments.count && segments.has_more(connection)? {
        step.add(Some(at.id), segments.locator, format!("segment {n}"), DamageKind::Length);
    }
    step.finish_row(at.id);
    Ok(())
}

/// Goes on behind damage of the table, up to the next readable row.
fn skip_damage(connection: &Connection, mut step: Step, mut at: RowPosition, limit: u64) -> Outcome<Step> {
    step.add(None, None, TABLE, DamageKind::Malformed);
    let sql = format!("SELECT {} FROM record NOT INDEXED WHERE id = ?1", row::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    // The locator is at the beginning of the row.
    let mut find_locator = connection.prepare_cached("SELECT locator FROM record NOT INDEXED WHERE id = ?1")?;
    let mut is_readable = false;
    while !is_readable && !step.is_full(limit) {
        let Some(id) = RECORDS.ids.next(connection, at.id, at.end)?.at else { return Ok(step) };
        at.id = id;
        if let Some(row) = readable(statement.query([id])?.next())?.flatten() {
            is_readable = true;
            check_row(connection, &mut step, at, row)?;
        } else {
            let locator = find_locator.query_row([id], |row| Ok(scan::locator(row, 0).ok())).optional();
            step.finish_row(id);
            step.add(Some(id), readable(locator)?.flatten().flatten(), row::PLACE, DamageKind::Malformed);
        }
    }
    step.next = step.next.or((at.id < at.end).then_some(at));
    Ok(step)
}
