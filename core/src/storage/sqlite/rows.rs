//! The tables' rows: every statement on records, each run inside a transaction of the caller's.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, Row, params};

use super::error::{Fault, Outcome};
use super::garbage::{self, Garbage};
use crate::storage::{Entry, Error, Fetched, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator, PutMode, Stats};
use crate::util::interrupt::is_interrupted;
use crate::util::random;

/// The most bytes of a record that one row holds. To find a place in a row SQLite goes through all pages before it, so
/// whoever reads a part of a record wants short rows; 16 sealed chunks are what a core takes at once.
pub(super) const SEGMENT_LEN: usize = 262_400;

/// A record's row, without its data.
pub(super) struct RecordRow {
    id: i64,
    object: Option<i64>,
    /// The length of the row's own data, and of each segment but the last.
    segment_len: usize,
    pub(super) info: Info,
}

/// Where a record lies.
pub(super) fn find(connection: &Connection, locator: &Locator) -> Outcome<Option<RecordRow>> {
    // Of a short record the head comes along; of a long one SQLite would read the whole row for it.
    let sql = "SELECT id, len, object, octet_length(data), CASE WHEN len < 4096 THEN substr(data, 1, 68) END
        FROM record WHERE prefix = ?1 AND locator = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![prefix(locator), locator.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let id = row.get(0)?;
    let head = match row.get_ref(4)? {
        ValueRef::Null => {
            let mut head = [0; HEAD_LEN];
            read_blob(connection, "record", id, 0, &mut head)?;
            Head::of(&head)
        }
        head => Head::of(head.as_blob().map_err(|_| Error::Corrupt)?),
    };
    let info = Info { head: head.ok_or(Error::Corrupt)?, len: unsigned(row.get(1)?)? };
    let segment_len = usize::try_from(row.get::<_, i64>(3)?).map_err(|_| Error::Corrupt)?;
    if segment_len < HEAD_LEN || info.len < HEAD_LEN as u64 {
        return Err(Error::Corrupt.into());
    }
    Ok(Some(RecordRow { id, object: row.get(2)?, segment_len, info }))
}

/// The record that is there, if `mode` allows a write.
pub(super) fn check(connection: &Connection, locator: &Locator, mode: PutMode) -> Outcome<Option<RecordRow>> {
    let found = find(connection, locator)?;
    let head = found.as_ref().map(|row| row.info.head);
    match mode {
        PutMode::Create if head.is_some() => Err(Error::AlreadyExists.into()),
        PutMode::ReplaceIf(expected) if head != Some(expected) => Err(Error::Conflict.into()),
        _ => Ok(found),
    }
}

/// Writes a record that is in memory.
pub(super) fn put(connection: &Connection, locator: &Locator, record: &[u8], mode: PutMode) -> Outcome<Garbage> {
    let (data, rest) = record.split_at_checked(SEGMENT_LEN).unwrap_or((record, &[]));
    let object = if rest.is_empty() {
        None
    } else {
        check(connection, locator, mode)?; // before much is written in vain
        Some(new_object()?)
    };
    for (n, segment) in (0..).zip(rest.chunks(SEGMENT_LEN)) {
        put_segment(connection, object, n, segment)?;
    }
    put_record(connection, locator, mode, data, object, record.len() as u64)
}

/// Writes a record's row; its segments, if any, are there.
pub(super) fn put_record(
    connection: &Connection,
    locator: &Locator,
    mode: PutMode,
    data: &[u8],
    object: Option<i64>,
    len: u64,
) -> Outcome<Garbage> {
    let len = i64::try_from(len).map_err(|_| Error::TooLarge)?;
    match check(connection, locator, mode)? {
        None => {
            let sql = "INSERT INTO record (prefix, len, object, locator, data) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = connection.prepare_cached(sql)?;
            statement.execute(params![prefix(locator), len, object, locator.as_bytes(), data])?;
            Ok(None)
        }
        Some(old) => {
            let sql = "UPDATE record SET len = ?2, object = ?3, data = ?4 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![old.id, len, object, data])?;
            release(connection, &old)
        }
    }
}

/// A name for segments: random, so that none is ever used twice.
pub(super) fn new_object() -> Outcome<i64> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes).map_err(|error| Error::Backend(error.into()))?;
    Ok(i64::from_le_bytes(bytes))
}

pub(super) fn put_segment(connection: &Connection, object: Option<i64>, n: i64, data: &[u8]) -> Outcome<()> {
    check_interrupt()?;
    let sql = "INSERT INTO segment (object, n, data) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![object, n, data])?;
    Ok(())
}

/// For each segment of many.
fn check_interrupt() -> Outcome<()> {
    if is_interrupted() { Err(Error::Busy.into()) } else { Ok(()) }
}

/// Leaves the segments of a record that is gone to be reclaimed: many records may go in one transaction.
fn release(connection: &Connection, old: &RecordRow) -> Outcome<Garbage> {
    if let Some(object) = old.object {
        garbage::add_dead(connection, object)?;
    }
    Ok(old.object)
}

/// From this length on, a record is read into its buffer piece by piece: together with its row, SQLite would make a copy of
/// the whole first.
const LONG_LEN: i64 = 64 << 10;

pub(super) fn get(connection: &Connection, locator: &Locator) -> Outcome<Option<Vec<u8>>> {
    Ok(match get_up_to(connection, locator, u64::MAX)? {
        Some(Fetched::Record(record)) => Some(record),
        _ => None,
    })
}

/// The record, or the info of one that is longer than `most`, of one moment: the first statement stays open while the
/// segments are read.
pub(super) fn get_up_to(connection: &Connection, locator: &Locator, most: u64) -> Outcome<Option<Fetched>> {
    let sql = "SELECT len, CASE WHEN len < ?3 THEN data END, object, id, octet_length(data)
        FROM record WHERE prefix = ?1 AND locator = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((prefix(locator), locator.as_bytes(), LONG_LEN))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let len = length(row, 0)?;
    // Most records are short, and whole in their row.
    if let ValueRef::Blob(record) = row.get_ref(1)?
        && record.len() == len
        && len as u64 <= most
    {
        return Ok(Some(Fetched::Record(record.to_vec())));
    }
    let (object, id) = (row.get::<_, Option<i64>>(2)?, row.get(3)?);
    if len as u64 > most {
        let mut head = [0; HEAD_LEN];
        read_blob(connection, "record", id, 0, &mut head)?;
        let head = Head::of(&head).ok_or(Error::Corrupt)?;
        return Ok(Some(Fetched::Long(Info { head, len: len as u64 })));
    }
    let first_len = length(row, 4)?;
    // The lengths are the file's claim: believed only where the rows add up to it.
    let rest_len = object.map_or(Ok(0), |object| segment_bytes(connection, object))?;
    if first_len.checked_add(rest_len) != Some(len) {
        return Err(Error::Corrupt.into());
    }
    let mut record = Vec::new();
    record.try_reserve_exact(len).map_err(|_| Error::TooLarge)?;
    record.resize(first_len, 0);
    read_blob(connection, "record", id, 0, &mut record)?;
    if let Some(object) = object {
        let sql = "SELECT id, octet_length(data) FROM segment WHERE object = ?1 ORDER BY n";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([object])?;
        while let Some(row) = rows.next()? {
            check_interrupt()?;
            let start = record.len();
            record.resize(start + length(row, 1)?, 0);
            let part = record.get_mut(start..).unwrap_or_default();
            read_blob(connection, "segment", row.get(0)?, 0, part)?;
        }
    }
    if record.len() == len { Ok(Some(Fetched::Record(record))) } else { Err(Error::Corrupt.into()) }
}

/// A column that is a length in memory.
fn length(row: &Row<'_>, column: usize) -> Outcome<usize> {
    Ok(usize::try_from(row.get::<_, i64>(column)?).map_err(|_| Error::Corrupt)?)
}

fn segment_bytes(connection: &Connection, object: i64) -> Outcome<usize> {
    let sql = "SELECT coalesce(sum(octet_length(data)), 0) FROM segment WHERE object = ?1";
    let bytes: i64 = connection.prepare_cached(sql)?.query_row([object], |row| row.get(0))?;
    Ok(usize::try_from(bytes).map_err(|_| Error::Corrupt)?)
}

/// Fills `buffer` with the record's bytes from `offset` on.
pub(super) fn read_at(
    connection: &Connection,
    locator: &Locator,
    head: &Head,
    offset: u64,
    buffer: &mut [u8],
) -> Outcome<()> {
    let row = find(connection, locator)?.filter(|row| row.info.head == *head);
    let row = row.ok_or(Error::Conflict)?;
    let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= row.info.len);
    if end.is_none() {
        return Err(Error::InvalidArgument("the record ends before this range".into()).into());
    }
    let mut offset = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
    let mut buffer = buffer;
    while !buffer.is_empty() {
        let (n, start) = (offset / row.segment_len, offset % row.segment_len);
        let take = buffer.len().min(row.segment_len - start);
        let (part, rest) = buffer.split_at_mut_checked(take).ok_or(Error::Corrupt)?;
        read_segment(connection, &row, n, start, part)?;
        offset += take;
        buffer = rest;
    }
    Ok(())
}

/// Fills `part` from the `n`th piece of the record: the row's own data is piece 0, segment 0 is piece 1.
fn read_segment(connection: &Connection, row: &RecordRow, n: usize, start: usize, part: &mut [u8]) -> Outcome<()> {
    match (n.checked_sub(1), row.object) {
        (None, _) => read_blob(connection, "record", row.id, start, part),
        (Some(n), Some(object)) => {
            let n = i64::try_from(n).map_err(|_| Error::Corrupt)?;
            let sql = "SELECT id FROM segment WHERE object = ?1 AND n = ?2";
            let id = connection.prepare_cached(sql)?.query_row((object, n), |row| row.get(0));
            read_blob(connection, "segment", id.optional()?.ok_or(Error::Corrupt)?, start, part)
        }
        (Some(_), None) => Err(Error::Corrupt.into()),
    }
}

/// Fills `part` from the column `data`. Incremental: only the pages of this part are read.
fn read_blob(connection: &Connection, table: &str, id: i64, start: usize, part: &mut [u8]) -> Outcome<()> {
    let blob = connection.blob_open(MAIN_DB, table, "data", id, true)?;
    blob.read_at_exact(part, start).map_err(|error| match error {
        rusqlite::Error::BlobSizeError => Error::Corrupt.into(),
        other => Fault::from(other),
    })
}

/// Removes a record. `None` where there is none.
pub(super) fn delete(connection: &Connection, locator: &Locator, expected: Option<&Head>) -> Outcome<Option<Garbage>> {
    let Some(row) = find(connection, locator)? else { return Ok(None) };
    if expected.is_some_and(|expected| *expected != row.info.head) {
        return Err(Error::Conflict.into());
    }
    connection.prepare_cached("DELETE FROM record WHERE id = ?1")?.execute([row.id])?;
    Ok(Some(release(connection, &row)?))
}

pub(super) fn list(connection: &Connection, after: Option<&Locator>, limit: usize) -> Outcome<Vec<Entry>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(if after.is_some() {
        "SELECT locator, len FROM record WHERE prefix >= ?1 AND (prefix, locator) > (?1, ?2)
            ORDER BY prefix, locator LIMIT ?3"
    } else {
        "SELECT locator, len FROM record ORDER BY prefix, locator LIMIT ?1"
    })?;
    let mut rows = match after {
        Some(after) => statement.query(params![prefix(after), after.as_bytes(), limit])?,
        None => statement.query([limit])?,
    };
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let locator = <[u8; LOCATOR_LEN]>::try_from(blob(row, 0)?).map_err(|_| Error::Corrupt)?;
        entries.push(Entry { locator: Locator::from_bytes(locator), len: unsigned(row.get(1)?)? });
    }
    Ok(entries)
}

pub(super) fn check_value(connection: &Connection) -> Outcome<Option<[u8; 16]>> {
    let sql = "SELECT value FROM meta WHERE name = 'index key check'";
    let mut statement = connection.prepare_cached(sql)?;
    let value: Option<Vec<u8>> = statement.query_row((), |row| row.get(0)).optional()?;
    Ok(value.map(|value| <[u8; 16]>::try_from(value).map_err(|_| Error::Corrupt)).transpose()?)
}

pub(super) fn init_check_value(connection: &Connection, value: &[u8; 16]) -> Outcome<[u8; 16]> {
    let sql = "INSERT INTO meta (name, value) VALUES ('index key check', ?1) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute([value])?;
    Ok(check_value(connection)?.ok_or(Error::Corrupt)?)
}

pub(super) fn stats(connection: &Connection) -> Outcome<Stats> {
    let sql = "SELECT count(*), coalesce(sum(len), 0) FROM record";
    let (records, bytes) = connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Stats { records: unsigned(records)?, bytes: unsigned(bytes)? })
}

/// The locator's first 8 bytes as an integer of the same order: big-endian, with the sign bit flipped.
fn prefix(locator: &Locator) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *locator.as_bytes();
    i64::from_be_bytes([a ^ 0x80, b, c, d, e, f, g, h])
}

/// A column that must be a blob.
fn blob<'r>(row: &'r Row<'_>, column: usize) -> Outcome<&'r [u8]> {
    Ok(row.get_ref(column)?.as_blob().map_err(|_| Error::Corrupt)?)
}

fn unsigned(value: i64) -> Outcome<u64> {
    Ok(u64::try_from(value).map_err(|_| Error::Corrupt)?)
}

// The head is read by SQL, which knows its length as a number.
const _: () = assert!(HEAD_LEN == 68);
