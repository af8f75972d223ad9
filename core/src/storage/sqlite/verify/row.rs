//! The check of one record: the checksums and lengths of its row and of its segments.

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::checksum;
use super::super::error::{Fault, Outcome};
use super::super::rows::{blob, expiry_column, length, prefix, read_blob, unsigned};
use super::super::scan;
use crate::storage::{DamageKind, Error, HEAD_LEN, Head, Locator};

/// The columns that [`check`] reads.
pub(crate) const COLUMNS: &str = "id, prefix, len, expires_at, object, checksum, locator, head, body";

/// The place of damage in a row.
pub(crate) const PLACE: &str = "row";

/// The place of a lost row. Only the first bytes of its locator are known, from the index.
pub(crate) fn place_of_lost(prefix: i64) -> String {
    format!("row of {:016x}...", prefix.cast_unsigned() ^ (1 << 63))
}

/// A record whose row is intact.
pub(crate) struct Record {
    pub(crate) locator: Locator,
    pub(crate) len: u64,
    pub(crate) object: Option<i64>,
    /// The bytes in the row, and in each segment but the last.
    pub(crate) first_len: u64,
    /// Whether this version knows its header.
    pub(crate) is_supported: bool,
}

/// Checks a row with [`COLUMNS`].
pub(crate) fn check(row: &Row<'_>) -> Result<Record, (Option<Locator>, DamageKind)> {
    let locator = scan::locator(row, 6).map_err(|_| (None, DamageKind::Malformed))?;
    check_columns(row, locator).unwrap_or(Err(DamageKind::Malformed)).map_err(|kind| (Some(locator), kind))
}

/// The outer error is that of a column with a wrong type.
fn check_columns(row: &Row<'_>, locator: Locator) -> Outcome<Result<Record, DamageKind>> {
    let (len, object, expected): (i64, Option<i64>, u32) = (row.get(2)?, row.get(4)?, row.get(5)?);
    let (head, body) = (blob(row, 7)?, blob(row, 8)?);
    let (stored_prefix, expires_at): (i64, Option<i64>) = (row.get(1)?, row.get(3)?);
    if checksum::of_record(&locator, len, object, head, body) != expected {
        return Ok(Err(DamageKind::Checksum));
    }
    let Some(head) = Head::of(head).filter(|_| head.len() == HEAD_LEN) else { return Ok(Err(DamageKind::Length)) };
    if stored_prefix != prefix(&locator) || expires_at != head.expires_at().map(expiry_column) {
        return Ok(Err(DamageKind::Mismatch));
    }
    let first_len = (HEAD_LEN + body.len()) as u64;
    let is_supported = head.is_supported();
    Ok(Ok(Record { locator, len: unsigned(row, 2)?, object, first_len, is_supported }))
}

/// The segments of a record.
pub(crate) struct Segments {
    pub(crate) locator: Option<Locator>,
    object: i64,
    /// How many there must be.
    pub(crate) count: i64,
    /// The length of each but the last.
    full_len: u64,
    last_len: u64,
}

impl Segments {
    /// The segments of a record; `None` if it has none.
    pub(crate) fn of(record: &Record) -> Result<Option<Self>, DamageKind> {
        let rest = record.len.checked_sub(record.first_len).ok_or(DamageKind::Length)?;
        match (record.object, rest) {
            (None, 0) => Ok(None),
            (None, _) | (Some(_), 0) => Err(DamageKind::Length),
            (Some(object), rest) => {
                let count = i64::try_from(rest.div_ceil(record.first_len)).map_err(|_| DamageKind::Length)?;
                let last_len = (rest - 1) % record.first_len + 1;
                Ok(Some(Self { locator: Some(record.locator), object, count, full_len: record.first_len, last_len }))
            }
        }
    }

    /// The segments of the record in this row, whose row a step before has checked. `None` if it has changed since.
    pub(crate) fn resume(connection: &Connection, id: i64) -> Outcome<Option<Self>> {
        let sql = "SELECT locator, len, object, octet_length(body) FROM record NOT INDEXED WHERE id = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let first_len = unsigned(row, 3)?.saturating_add(HEAD_LEN as u64);
        let (locator, len, object) = (scan::locator(row, 0)?, unsigned(row, 1)?, row.get(2)?);
        Ok(Self::of(&Record { locator, len, object, first_len, is_supported: true }).unwrap_or(None))
    }

    /// The length of segment `n`, if it is intact. `buffer` is only there to be used again: fresh memory for each
    /// segment costs more time than its checksum.
    pub(crate) fn check(
        &self,
        connection: &Connection,
        n: i64,
        buffer: &mut Vec<u8>,
    ) -> Outcome<Result<u64, DamageKind>> {
        let sql = "SELECT checksum, id, octet_length(data) FROM segment WHERE object = ?1 AND n = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query((self.object, n))?;
        let mut check = || {
            let Some(row) = rows.next()? else { return Ok(Err(DamageKind::Missing)) };
            let expected: u32 = row.get(0)?;
            buffer.resize(length(row, 2)?, 0);
            read_blob(connection, "segment", "data", row.get(1)?, 0, buffer)?;
            let data = &**buffer;
            let len = if n + 1 == self.count { self.last_len } else { self.full_len };
            Ok(match data.len() as u64 {
                _ if checksum::of_segment(self.object, n, data) != expected => Err(DamageKind::Checksum),
                found if found == len => Ok(len),
                _ => Err(DamageKind::Length),
            })
        };
        match check() {
            Err(Fault(Error::Corrupt)) => Ok(Err(DamageKind::Malformed)),
            outcome => outcome,
        }
    }

    /// Whether there are segments that are not part of the record.
    pub(crate) fn has_more(&self, connection: &Connection) -> Outcome<bool> {
        let sql = "SELECT 1 FROM segment WHERE object = ?1 AND (n >= ?2 OR n < 0)";
        let found = connection.prepare_cached(sql)?.query_row((self.object, self.count), |_| Ok(())).optional();
        match found.map_err(Fault::from) {
            Err(Fault(Error::Corrupt)) => Ok(true),
            outcome => Ok(outcome?.is_some()),
        }
    }
}
