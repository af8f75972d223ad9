//! The statements that read or write a record, each inside the caller's transaction. Each value that is read is
//! checked: its type, range and length.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, Row, params};

use super::checksum;
use super::error::{Fault, Outcome};
use super::garbage::{self, Garbage};
use crate::storage::{Error, Fetched, HEAD_LEN, Head, Info, Locator, PutMode};
use crate::util::interrupt::is_interrupted;
use crate::util::random;

/// The most bytes of a record in one row, and the length of each segment but the last. To find an offset in a row,
/// SQLite reads all pages before it, so a reader of parts needs short rows. It is 16 sealed chunks.
pub(super) const SEGMENT_LEN: usize = 262_400;

/// A record's row, without its data.
pub(super) struct RecordRow {
    pub(super) id: i64,
    object: Option<i64>,
    /// The length of the row's own part of the record, and of each segment but the last.
    segment_len: usize,
    pub(super) info: Info,
}

/// The row of a record.
pub(super) fn find(connection: &Connection, locator: &Locator) -> Outcome<Option<RecordRow>> {
    let sql = "SELECT id, len, object, octet_length(body), head FROM record WHERE prefix = ?1 AND locator = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![prefix(locator), locator.as_bytes()])?;
    rows.next()?.map(record_row).transpose()
}

/// The columns `id, len, object, octet_length(body), head`.
pub(super) fn record_row(row: &Row<'_>) -> Outcome<RecordRow> {
    let info = Info { head: head(row, 4)?, len: unsigned(row, 1)? };
    if info.len < HEAD_LEN as u64 {
        return Err(Error::Corrupt.into());
    }
    let segment_len = length(row, 3)?.checked_add(HEAD_LEN).ok_or(Error::Corrupt)?;
    Ok(RecordRow { id: row.get(0)?, object: row.get(2)?, segment_len, info })
}

/// The row of the stored record, if `mode` allows a write.
pub(super) fn check(connection: &Connection, locator: &Locator, mode: PutMode) -> Outcome<Option<RecordRow>> {
    let found = find(connection, locator)?;
    mode.check(found.as_ref().map(|row| row.info.head))?;
    Ok(found)
}

/// Writes a record that is in memory.
pub(super) fn put(connection: &Connection, locator: &Locator, record: &[u8], mode: PutMode) -> Outcome<Garbage> {
    let (first, rest) = record.split_at_checked(SEGMENT_LEN).unwrap_or((record, &[]));
    let object = if rest.is_empty() {
        None
    } else {
        check(connection, locator, mode)?; // fails before the segments are written
        let object = new_object()?;
        for (n, segment) in (0..).zip(rest.chunks(SEGMENT_LEN)) {
            put_segment(connection, object, n, segment)?;
        }
        Some(object)
    };
    put_record(connection, locator, mode, first, object, record.len() as u64)
}

/// Writes a record's row, which holds `first`. The segments of `object` exist already.
pub(super) fn put_record(
    connection: &Connection,
    locator: &Locator,
    mode: PutMode,
    first: &[u8],
    object: Option<i64>,
    len: u64,
) -> Outcome<Garbage> {
    let len = i64::try_from(len).map_err(|_| Error::TooLarge)?;
    let (head, body) = (Head::require(first)?, first.get(HEAD_LEN..).unwrap_or_default());
    let expires_at = head.expires_at().map(expiry_column);
    let head = head.as_bytes();
    let checksum = checksum::of_record(locator, len, object, head, body);
    match check(connection, locator, mode)? {
        None => {
            let sql = "INSERT INTO record (prefix, len, expires_at, object, checksum, locator, head, body)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let mut statement = connection.prepare_cached(sql)?;
            let locator_bytes = locator.as_bytes();
            statement.execute(params![
                prefix(locator),
                len,
                expires_at,
                object,
                checksum,
                locator_bytes,
                head,
                body
            ])?;
            Ok(None)
        }
        Some(old) => {
            let sql = "UPDATE record SET len = ?2, expires_at = ?3, object = ?4, checksum = ?5, head = ?6, body = ?7
                WHERE id = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            statement.execute(params![old.id, len, expires_at, object, checksum, head, body])?;
            release(connection, &old)
        }
    }
}

/// A time that exceeds SQLite's integers is treated as never.
pub(super) fn expiry_column(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// A new object number: random, so that none is used twice.
pub(super) fn new_object() -> Outcome<i64> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes).map_err(|error| Error::Backend(error.into()))?;
    Ok(i64::from_le_bytes(bytes))
}

pub(super) fn put_segment(connection: &Connection, object: i64, n: i64, data: &[u8]) -> Outcome<()> {
    check_interrupt()?;
    let sql = "INSERT INTO segment (object, n, checksum, data) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![object, n, checksum::of_segment(object, n, data), data])?;
    Ok(())
}

/// Checks for an interrupt. Called for each segment of a long record.
pub(super) fn check_interrupt() -> Outcome<()> {
    if is_interrupted() { Err(Error::Busy.into()) } else { Ok(()) }
}

/// Leaves the segments of a removed record to garbage collection: one transaction may remove many records.
fn release(connection: &Connection, old: &RecordRow) -> Outcome<Garbage> {
    if let Some(object) = old.object {
        garbage::add_dead(connection, object)?;
    }
    Ok(old.object)
}

/// The minimum length of a record that is read into its buffer in pieces: SQLite would copy the whole record if it were
/// read together with its row.
const LONG_LEN: i64 = 64 << 10;

/// The record, or the head and length of one that is longer than `max_len`. All reads see one state, because the first
/// statement stays open while the segments are read.
pub(super) fn get_up_to(connection: &Connection, locator: &Locator, max_len: u64) -> Outcome<Option<Fetched>> {
    let sql = "SELECT len, head, CASE WHEN len < ?3 THEN body END, object, id, octet_length(body)
        FROM record WHERE prefix = ?1 AND locator = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((prefix(locator), locator.as_bytes(), LONG_LEN))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let len = unsigned(row, 0)?;
    if len > max_len {
        return Ok(Some(Fetched::Long { info: Info { head: head(row, 1)?, len }, start: Vec::new() }));
    }
    let len = usize::try_from(len).map_err(|_| Error::TooLarge)?;
    // Most records are short, and their row contains them completely.
    if let ValueRef::Blob(body) = row.get_ref(2)? {
        let record = [blob(row, 1)?, body].concat();
        if record.len() == len {
            return Ok(Some(Fetched::Record(record)));
        }
    }
    let head = head(row, 1)?;
    let (object, id) = (row.get::<_, Option<i64>>(3)?, row.get(4)?);
    let first_len = length(row, 5)?.checked_add(HEAD_LEN).ok_or(Error::Corrupt)?;
    // The lengths in the file are trusted only if they match the sum of the rows.
    let rest_len = object.map_or(Ok(0), |object| segment_bytes(connection, object))?;
    if first_len.checked_add(rest_len) != Some(len) {
        return Err(Error::Corrupt.into());
    }
    let mut record = Vec::new();
    record.try_reserve_exact(len).map_err(|_| Error::TooLarge)?;
    record.extend_from_slice(head.as_bytes());
    record.resize(first_len, 0);
    read_blob(connection, "record", "body", id, 0, record.get_mut(HEAD_LEN..).unwrap_or_default())?;
    if let Some(object) = object {
        let sql = "SELECT id, octet_length(data) FROM segment WHERE object = ?1 ORDER BY n";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([object])?;
        while let Some(row) = rows.next()? {
            check_interrupt()?;
            let start = record.len();
            record.resize(start + length(row, 1)?, 0);
            let part = record.get_mut(start..).unwrap_or_default();
            read_blob(connection, "segment", "data", row.get(0)?, 0, part)?;
        }
    }
    if record.len() == len { Ok(Some(Fetched::Record(record))) } else { Err(Error::Corrupt.into()) }
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
    read(connection, &row.ok_or(Error::Conflict)?, offset, buffer)
}

/// The record's head and length, and at most its last `len` bytes.
pub(super) fn get_end(connection: &Connection, locator: &Locator, len: usize) -> Outcome<Option<(Info, Vec<u8>)>> {
    let Some(row) = find(connection, locator)? else { return Ok(None) };
    let len = usize::try_from(row.info.len).map_or(len, |all| all.min(len));
    let mut end = vec![0; len];
    read(connection, &row, row.info.len - len as u64, &mut end)?;
    Ok(Some((row.info, end)))
}

/// Fills `buffer` with the bytes of the record in this row from `offset` on.
fn read(connection: &Connection, row: &RecordRow, offset: u64, buffer: &mut [u8]) -> Outcome<()> {
    let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= row.info.len);
    if end.is_none() {
        return Err(Error::InvalidArgument("the record ends before this range".into()).into());
    }
    let mut offset = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
    let mut buffer = buffer;
    while !buffer.is_empty() {
        let take = if let Some(head) = row.info.head.as_bytes().get(offset..).filter(|head| !head.is_empty()) {
            let take = buffer.len().min(head.len());
            buffer.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
            take
        } else {
            let (n, start) = (offset / row.segment_len, offset % row.segment_len);
            let take = buffer.len().min(row.segment_len - start);
            read_segment(connection, row, n, start, buffer.get_mut(..take).ok_or(Error::Corrupt)?)?;
            take
        };
        offset += take;
        buffer = buffer.get_mut(take..).unwrap_or_default();
    }
    Ok(())
}

/// Fills `part` from the `n`th piece of the record: the record's own row is piece 0, segment 0 is piece 1.
fn read_segment(connection: &Connection, row: &RecordRow, n: usize, start: usize, part: &mut [u8]) -> Outcome<()> {
    match (n.checked_sub(1), row.object) {
        (None, _) => {
            let start = start.checked_sub(HEAD_LEN).ok_or(Error::Corrupt)?;
            read_blob(connection, "record", "body", row.id, start, part)
        }
        (Some(n), Some(object)) => {
            let n = i64::try_from(n).map_err(|_| Error::Corrupt)?;
            let sql = "SELECT id FROM segment WHERE object = ?1 AND n = ?2";
            let id = connection.prepare_cached(sql)?.query_row((object, n), |row| row.get(0));
            read_blob(connection, "segment", "data", id.optional()?.ok_or(Error::Corrupt)?, start, part)
        }
        (Some(_), None) => Err(Error::Corrupt.into()),
    }
}

/// Fills `part` from a column. Only the pages of this part are read (incremental I/O).
pub(super) fn read_blob(
    connection: &Connection,
    table: &str,
    column: &str,
    id: i64,
    start: usize,
    part: &mut [u8],
) -> Outcome<()> {
    let blob = connection.blob_open(MAIN_DB, table, column, id, true)?;
    blob.read_at_exact(part, start).map_err(|error| match error {
        rusqlite::Error::BlobSizeError => Error::Corrupt.into(),
        other => Fault::from(other),
    })
}

/// Removes a record; `None` if there is no record.
pub(super) fn delete(connection: &Connection, locator: &Locator, expected: Option<&Head>) -> Outcome<Option<Garbage>> {
    let Some(row) = find(connection, locator)? else { return Ok(None) };
    if expected.is_some_and(|expected| *expected != row.info.head) {
        return Err(Error::Conflict.into());
    }
    delete_row(connection, &row).map(Some)
}

pub(super) fn delete_row(connection: &Connection, row: &RecordRow) -> Outcome<Garbage> {
    connection.prepare_cached("DELETE FROM record WHERE id = ?1")?.execute([row.id])?;
    release(connection, row)
}

/// Moves a version of a record to another locator.
pub(super) fn rename(connection: &Connection, from: &Locator, head: &Head, to: &Locator) -> Outcome<()> {
    let is_this = |row: &RecordRow| row.info.head == *head;
    let there = find(connection, to)?;
    let Some(row) = find(connection, from)? else {
        return there.filter(is_this).map(drop).ok_or(Error::Conflict.into()); // a retry
    };
    match (is_this(&row), there) {
        (false, _) => Err(Error::Conflict.into()),
        (true, _) if from == to => Ok(()),
        (true, Some(_)) => Err(Error::AlreadyExists.into()),
        (true, None) => {
            let sql = "SELECT checksum FROM record WHERE id = ?1";
            let checksum = connection.prepare_cached(sql)?.query_row([row.id], |row| row.get(0))?;
            let checksum = checksum::renamed(checksum, from, to);
            let sql = "UPDATE record SET prefix = ?2, locator = ?3, checksum = ?4 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![row.id, prefix(to), to.as_bytes(), checksum])?;
            Ok(())
        }
    }
}

/// Begins the read of a transaction, on a page that must be readable in any case.
pub(super) fn begin_read(connection: &Connection) -> Outcome<()> {
    Ok(connection.prepare_cached("SELECT count(*) FROM sqlite_schema")?.query_row((), |_| Ok(()))?)
}

pub(super) fn settings(connection: &Connection) -> Outcome<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT document FROM settings")?;
    Ok(statement.query_row((), |row| row.get(0)).optional()?)
}

pub(super) fn swap_settings(connection: &Connection, expected: Option<&[u8]>, new: &[u8]) -> Outcome<()> {
    if settings(connection)?.as_deref() != expected {
        return Err(Error::Conflict.into());
    }
    connection.prepare_cached("INSERT OR REPLACE INTO settings (id, document) VALUES (1, ?1)")?.execute([new])?;
    Ok(())
}

/// The locator's first 8 bytes as an integer of the same order: big-endian, with the sign bit flipped.
pub(super) fn prefix(locator: &Locator) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *locator.as_bytes();
    i64::from_be_bytes([a ^ 0x80, b, c, d, e, f, g, h])
}

/// A column that holds a head.
pub(super) fn head(row: &Row<'_>, column: usize) -> Outcome<Head> {
    let head = blob(row, column)?;
    Ok(Head::of(head).filter(|_| head.len() == HEAD_LEN).ok_or(Error::Corrupt)?)
}

/// A column that holds a length, as a `usize`.
pub(super) fn length(row: &Row<'_>, column: usize) -> Outcome<usize> {
    Ok(usize::try_from(row.get::<_, i64>(column)?).map_err(|_| Error::Corrupt)?)
}

/// A column that must be a blob.
pub(super) fn blob<'r>(row: &'r Row<'_>, column: usize) -> Outcome<&'r [u8]> {
    Ok(row.get_ref(column)?.as_blob().map_err(|_| Error::Corrupt)?)
}

/// A column that must not be negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Outcome<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).map_err(|_| Error::Corrupt)?)
}
