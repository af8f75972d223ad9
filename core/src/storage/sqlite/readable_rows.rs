//! Reading past damaged pages of a table or an index. Nothing else has to be readable, because several pages may be
//! damaged.

use rusqlite::{Connection, OptionalExtension, Row, Statement};

use super::error::{Fault, Outcome};
use super::rows::check_interrupt;
use super::verify::row;
use crate::storage::Error;

/// A table.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// All columns, the id first, then the integers, then the blobs.
    pub(super) names: &'static str,
    pub(super) integers: usize,
    pub(super) blobs: usize,
    pub(super) ids: Order,
}

pub(super) const RECORDS: Table = Table {
    name: "record",
    names: row::COLUMNS,
    integers: 5,
    blobs: 3,
    ids: Order { column: "id", of: "record NOT INDEXED", low: 0, steps: IDS },
};
pub(super) const SEGMENTS: Table = Table {
    name: "segment",
    names: "id, object, n, checksum, data",
    integers: 3,
    blobs: 1,
    ids: Order { column: "id", of: "segment NOT INDEXED", low: 0, steps: IDS },
};

/// An inner page has fewer children, so that no readable page beside an unreadable inner page is passed over.
const IDS: u64 = 1024;

/// The prefixes in the index of the records. They are far apart, so that more steps would take long.
const PREFIXES: Order = Order { column: "prefix", of: "record INDEXED BY record_prefix", low: i64::MIN, steps: 64 };

/// The integers by which the rows of a table or an index are sorted.
#[derive(Clone, Copy)]
pub(super) struct Order {
    column: &'static str,
    of: &'static str,
    /// The lowest integer that rows usually have.
    low: i64,
    /// Each step of a search is longer than the last by this part of the way.
    steps: u64,
}

/// The first row behind damage.
pub(super) struct Next {
    /// The row's integer; `None` if no row can be found.
    pub(super) at: Option<i64>,
    /// Whether other rows may lie before it.
    pub(super) is_gap: bool,
}

impl Order {
    /// The first row behind `after`, up to `end`, that can be found: by growing steps, and by halving the last one.
    pub(super) fn next(&self, connection: &Connection, after: i64, end: i64) -> Outcome<Next> {
        let Self { column, of, low, steps } = self;
        let sql = format!("SELECT {column} FROM {of} WHERE {column} >= ?1 ORDER BY {column} LIMIT 1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut first = |from: i64| -> Outcome<Option<Option<i64>>> {
            check_interrupt()?;
            let found: Option<Option<i64>> = readable(statement.query_row([from], |row| row.get(0)).optional())?;
            // A page in the place of another may lead back, or past others.
            Ok(found.filter(|found| found.is_none_or(|found| found >= from && found <= end)))
        };
        let Some(start) = after.checked_add(1).filter(|start| *start <= end) else {
            return Ok(Next { at: None, is_gap: false });
        };
        let origin = start.max(*low).min(end);
        let (mut bad, mut good, mut found) = (start, start, first(start)?);
        while found.is_none() {
            if good == end {
                return Ok(Next { at: None, is_gap: true });
            }
            bad = good;
            good = match bad < origin {
                true => origin,
                false => bad.saturating_add_unsigned(1 + bad.abs_diff(origin) / steps).min(end),
            };
            found = first(good)?;
        }
        while good.abs_diff(bad) > 1 {
            let middle = bad.saturating_add_unsigned(good.abs_diff(bad) / 2);
            match first(middle)? {
                None => bad = middle,
                nearer => (good, found) = (middle, nearer),
            }
        }
        Ok(Next { at: found.flatten(), is_gap: good > start })
    }
}

/// Passes all readable rows of a table to `visit`, in the order of their ids, and to `damaged` the ids of those that
/// are not readable completely. `false` if there may be other rows.
pub(super) fn each_readable_row(
    connection: &Connection,
    table: Table,
    mut visit: impl FnMut(&Row<'_>) -> Outcome<()>,
    mut damaged: impl FnMut(i64),
) -> Outcome<bool> {
    let Table { name, names, ids, .. } = table;
    let mut scan = connection.prepare(&format!("SELECT {names} FROM {name} NOT INDEXED WHERE id >= ?1 ORDER BY id"))?;
    let mut find = connection.prepare(&format!("SELECT {names} FROM {name} NOT INDEXED WHERE id = ?1"))?;
    let (mut from, mut is_whole) = (Some(i64::MIN), true);
    while let Some(start) = from {
        let mut last = None;
        let is_end = each_row(&mut scan, start, |row| {
            let id = row.get(0)?;
            is_whole &= id >= start && last < Some(id);
            if id >= start {
                last = Some(id); // a page in the place of another may lead back
            }
            visit(row)
        })?;
        if is_end {
            break;
        }
        let next = ids.next(connection, last.unwrap_or(start.saturating_sub(1)), i64::MAX)?;
        let mut is_damaged = false;
        if let Some(id) = next.at {
            match readable(find.query([id])?.next())?.flatten() {
                Some(row) => visit(row)?,
                None => {
                    damaged(id);
                    is_damaged = true;
                }
            }
        }
        is_whole &= is_damaged && !next.is_gap;
        from = next.at.and_then(|id| id.checked_add(1));
    }
    Ok(is_whole)
}

/// Calls `visit` with the prefix and the id of each readable row of the index. `false` if there may be other ones.
pub(super) fn each_row_of_index(
    connection: &Connection,
    mut visit: impl FnMut(i64, i64) -> Outcome<()>,
) -> Outcome<bool> {
    let sql = "SELECT prefix, id FROM record INDEXED BY record_prefix WHERE prefix >= ?1 ORDER BY prefix, id";
    let mut scan = connection.prepare(sql)?;
    let (mut from, mut is_whole) = (Some(i64::MIN), true);
    while let Some(start) = from {
        let mut last = None;
        let is_end = each_row(&mut scan, start, |row| {
            let (Ok(prefix), Ok(id)) = (row.get(0), row.get(1)) else {
                is_whole = false;
                return Ok(());
            };
            is_whole &= last < Some((prefix, id));
            if prefix >= start {
                last = Some((prefix, id)); // a page in the place of another may lead back
            }
            visit(prefix, id)
        })?;
        if is_end {
            break;
        }
        is_whole = false;
        from = PREFIXES.next(connection, last.map_or(start, |(prefix, _)| prefix), i64::MAX)?.at;
    }
    Ok(is_whole)
}

/// Passes the rows of a scan from `start` on to `visit`, up to damage. `true` at the end.
fn each_row(scan: &mut Statement<'_>, start: i64, mut visit: impl FnMut(&Row<'_>) -> Outcome<()>) -> Outcome<bool> {
    let mut rows = scan.query([start])?;
    while let Some(row) = readable(rows.next())? {
        check_interrupt()?;
        let Some(row) = row else { return Ok(true) };
        visit(row)?;
    }
    Ok(false)
}

/// `None` for what is not readable.
pub(super) fn readable<T>(outcome: rusqlite::Result<T>) -> Outcome<Option<T>> {
    match outcome.map_err(Fault::from) {
        Ok(value) => Ok(Some(value)),
        Err(Fault(Error::Corrupt)) => Ok(None),
        Err(error) => Err(error),
    }
}
