//! Statements on many records: lists, counts, expired ones.

use rusqlite::{Connection, Row};

use super::compact::free_bytes;
use super::error::{Fault, Outcome};
use super::garbage::Garbage;
use super::rows::{self, blob, check_interrupt, head, prefix, unsigned};
use crate::storage::{Entry, Error, Head, Info, LOCATOR_LEN, Locator, Stats};

/// By the index on the prefix alone: sorting by the rest of the locator in SQL would cost a third of the time.
pub(super) fn list(connection: &Connection, after: Option<&Locator>, limit: usize) -> Outcome<Vec<Entry>> {
    let behind = if after.is_some() { "WHERE prefix >= ?1" } else { "" };
    let sql = format!("SELECT locator, len, head, prefix FROM record {behind} ORDER BY prefix");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = match after {
        Some(after) => statement.query([prefix(after)])?,
        None => statement.query(())?,
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut last_prefix = after.map_or(i64::MIN, prefix);
    loop {
        let is_full = entries.len() >= limit;
        let row = match rows.next() {
            // The next page reports this.
            Err(_) if is_full => break,
            row => row?,
        };
        let Some(row) = row else { break };
        // The page ends between two prefixes, because rows with the same one come in any order.
        let row_prefix: i64 = row.get(3)?;
        if row_prefix < last_prefix {
            return Err(Error::Corrupt.into()); // a damaged page of the index leads back, and passes rows over
        }
        last_prefix = row_prefix;
        if is_full && entries.last().is_none_or(|last| prefix(&last.locator) != row_prefix) {
            break;
        }
        let entry = entry(row)?;
        // A row with a wrong prefix would hide the rows between its position and the right one.
        if row_prefix != prefix(&entry.locator) {
            return Err(Error::Corrupt.into());
        }
        if after.is_none_or(|after| *after < entry.locator) {
            entries.push(entry);
        }
    }
    entries.sort_unstable_by_key(|entry| entry.locator);
    entries.truncate(limit);
    Ok(entries)
}

/// Fails if the index, by which lists and searches find the rows, lacks rows of the table, as one with a damaged page
/// can that SQLite reads without an error. Equal numbers suffice, because a list compares each entry with its row.
/// Fails also if a record has two rows, of which each search finds only one.
pub(super) fn check_index(connection: &Connection) -> Outcome<()> {
    let sql = "SELECT prefix, id FROM record INDEXED BY record_prefix ORDER BY prefix, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(())?;
    let (mut last, mut entries, mut has_equal_prefixes) = (None, 0_u64, false);
    while let Some(row) = rows.next()? {
        let entry: (i64, i64) = (row.get(0)?, row.get(1)?);
        if last.is_some_and(|last| last >= entry) {
            return Err(Error::Corrupt.into());
        }
        has_equal_prefixes |= last.is_some_and(|(prefix, _)| prefix == entry.0);
        (last, entries) = (Some(entry), entries + 1);
    }
    if has_equal_prefixes && has_doubles(connection)? {
        return Err(Error::Corrupt.into());
    }
    // Not count(*), which no interrupt ends.
    let mut statement = connection.prepare_cached("SELECT count(id) FROM record NOT INDEXED")?;
    let mut rows = statement.query(())?;
    let row = rows.next()?.ok_or(Error::Corrupt)?;
    if unsigned(row, 0)? == entries { Ok(()) } else { Err(Error::Corrupt.into()) }
}

/// Whether the index shows two rows of a record. It lacked one of them when the other was created.
pub(super) fn has_doubles(connection: &Connection) -> Outcome<bool> {
    let sql = "SELECT 1 FROM record INDEXED BY record_prefix
        WHERE prefix IN (SELECT prefix FROM record INDEXED BY record_prefix GROUP BY prefix HAVING count(*) > 1)
        GROUP BY locator HAVING min(id) < max(id)";
    Ok(connection.prepare(sql)?.exists(())?)
}

/// Whether the table has two rows of a record, whatever the index shows.
pub(super) fn has_doubles_in_table(connection: &Connection) -> Outcome<bool> {
    let sql = "SELECT 1 FROM record NOT INDEXED GROUP BY locator HAVING min(id) < max(id)";
    Ok(connection.prepare(sql)?.exists(())?)
}

fn entry(row: &Row<'_>) -> Outcome<Entry> {
    Ok(Entry { locator: locator(row, 0)?, info: Info { head: head(row, 2)?, len: unsigned(row, 1)? } })
}

pub(super) fn list_expired(connection: &Connection, now: u64, limit: usize) -> Outcome<Vec<Entry>> {
    let mut entries = Vec::new();
    each_expired(connection, "locator, len, head", now, entry, |entry| {
        if entries.len() < limit && is_due(&entry.info.head, now) {
            entries.push(entry);
        }
        entries.len() < limit
    })?;
    Ok(entries)
}

/// The most records that one step of a purge removes, for which other writers wait.
const PURGE_STEP: usize = 8;
/// The bytes of records after which a step of a purge stops.
const PURGE_STEP_BYTES: u64 = 1 << 20;

/// Removes at most `limit` records that have expired.
pub(super) fn purge(connection: &Connection, now: u64, limit: usize) -> Outcome<Vec<Garbage>> {
    check_interrupt()?;
    let limit = limit.min(PURGE_STEP);
    let (mut due, mut bytes) = (Vec::new(), 0_u64);
    each_expired(connection, "id, len, object, octet_length(body), head", now, rows::record_row, |row| {
        if due.len() < limit && is_due(&row.info.head, now) {
            bytes = bytes.saturating_add(row.info.len);
            due.push(row);
        }
        due.len() < limit && bytes < PURGE_STEP_BYTES
    })?;
    due.iter().map(|row| rows::delete_row(connection, row)).collect()
}

/// The column may be damaged, and has no times after the largest integer of SQLite.
fn is_due(head: &Head, now: u64) -> bool {
    head.expires_at().is_some_and(|time| time <= now)
}

/// The rows that expire at or before `now`, the earliest first, until `take` returns false. The partial index on
/// `expires_at` gives the order, and contains only records that expire. Damaged rows are skipped, so that they do not
/// block others; a verification reports them.
fn each_expired<T>(
    connection: &Connection,
    columns: &str,
    now: u64,
    read: impl Fn(&Row<'_>) -> Outcome<T>,
    mut take: impl FnMut(T) -> bool,
) -> Outcome<()> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let sql = format!("SELECT {columns} FROM record WHERE expires_at <= ?1 ORDER BY expires_at");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([now])?;
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(row) => {
                if !take(row) {
                    break;
                }
            }
            Err(Fault(Error::Corrupt)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn stats(connection: &Connection, now: u64) -> Outcome<Stats> {
    let sql =
        "SELECT count(*), coalesce(sum(len), 0), (SELECT count(*) FROM record WHERE expires_at <= ?1) FROM record";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([i64::try_from(now).unwrap_or(i64::MAX)])?;
    let row = rows.next()?.ok_or(Error::Corrupt)?;
    let (records, bytes, expired) = (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?);
    Ok(Stats { records, bytes, expired, free: free_bytes(connection)? })
}

pub(super) fn locator(row: &Row<'_>, column: usize) -> Outcome<Locator> {
    let bytes = <[u8; LOCATOR_LEN]>::try_from(blob(row, column)?).map_err(|_| Error::Corrupt)?;
    Ok(Locator::from_bytes(bytes))
}
