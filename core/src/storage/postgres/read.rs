//! Reads of records. A long record is read by the number of its upload, whose segments never change: a reader gets all
//! of one version, or learns that it is gone.

use tokio_postgres::Row;

use super::statement::{Statement, column, head, unsigned};
use super::{PostgresStorage, SEGMENT_LEN};
use crate::storage::{Error, Fetched, HEAD_LEN, Head, Info, Locator};
use crate::util::interrupt::is_interrupted;

/// The most segments of one statement, and their bytes.
const SEGMENTS: i64 = 8;
const STEP_BYTES: usize = 8 * SEGMENT_LEN;
/// How often a record is replaced while it is read, before the reader gives up.
const MAX_ROUNDS: usize = 100;

const FIND: &str = "SELECT head, len, upload, CASE WHEN len <= $2 THEN body END FROM @.records WHERE locator = $1";

const FIND_MANY: &str = "
    SELECT head, len, upload, CASE WHEN sum(len) OVER () <= $2 THEN body END, locator FROM @.records
    WHERE locator = ANY ($1)";

const SEGMENT_PAGE: &str = "
    SELECT bytes FROM @.segments WHERE upload = $1 AND n >= $2 AND n < $3 ORDER BY n";

/// The bytes of the range from `low` to `high`: of the body, which follows the head, or of the segments.
const RANGE: &str = "
    SELECT r.head, r.len, r.upload, s.n, CASE
        WHEN r.upload IS NULL
        THEN substr(r.body, (greatest(low - 68, 0) + 1)::int4, (greatest(high - 68, 0) - greatest(low - 68, 0))::int4)
        ELSE substr(s.bytes, (greatest(low - s.n * 1048576, 0) + 1)::int4,
            (least(high - s.n * 1048576, 1048576) - greatest(low - s.n * 1048576, 0))::int4)
        END
    FROM (SELECT *, {low} AS low, {high} AS high FROM @.records WHERE locator = $1{pinned}) r
    LEFT JOIN @.segments s
        ON s.upload = r.upload AND s.n >= r.low / 1048576 AND s.n * 1048576 < r.high
    ORDER BY s.n";

/// A row without its data.
pub(super) struct Found {
    pub(super) info: Info,
    upload: Option<i64>,
}

/// The columns `head, len, upload`.
pub(super) fn found(row: &Row) -> Result<Found, Error> {
    let info = Info { head: head(row, 0)?, len: unsigned(row, 1)? };
    if info.len < HEAD_LEN as u64 {
        return Err(Error::Corrupt);
    }
    Ok(Found { info, upload: column(row, 2)? })
}

impl PostgresStorage {
    pub(super) fn find_info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        let rows = self.read(&self.statement(FIND).frequent().bytes(locator.as_bytes()).int(-1))?;
        Ok(rows.first().map(found).transpose()?.map(|found| found.info))
    }

    pub(super) fn fetch(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        let most = i64::try_from(max_len).unwrap_or(i64::MAX);
        for _ in 0..MAX_ROUNDS {
            let rows = self.read(&self.statement(FIND).frequent().bytes(locator.as_bytes()).int(most))?;
            let Some(row) = rows.first() else { return Ok(None) };
            let found = found(row)?;
            if found.info.len > max_len {
                return Ok(Some(Fetched::Long { info: found.info, start: Vec::new() }));
            }
            if let Some(record) = self.whole(&found, column(row, 3)?)? {
                return Ok(Some(Fetched::Record(record)));
            }
            // It was replaced meanwhile. If not, segments are missing.
            if self.is_still(locator, &found)? {
                return Err(Error::Corrupt);
            }
        }
        Err(Error::Busy)
    }

    pub(super) fn fetch_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let most = i64::try_from(max_len).unwrap_or(i64::MAX);
        'again: for _ in 0..MAX_ROUNDS {
            let rows = self.read(&self.statement(FIND_MANY).locators(locators.iter()).int(most))?;
            let mut records = std::collections::BTreeMap::new();
            for row in &rows {
                records.insert(super::statement::locator(row, 4)?, (found(row)?, row));
            }
            let len = |locator| records.get(locator).map_or(0, |(found, _)| found.info.len);
            if locators.iter().fold(0_u64, |sum, locator| sum.saturating_add(len(locator))) > max_len {
                return Err(Error::TooLarge);
            }
            let mut all = Vec::with_capacity(locators.len());
            for locator in locators {
                let Some((found, row)) = records.get(locator) else {
                    all.push(None);
                    continue;
                };
                match self.whole(found, column(row, 3)?)? {
                    Some(record) => all.push(Some(record)),
                    None if self.is_still(locator, found)? => return Err(Error::Corrupt),
                    None => continue 'again,
                }
            }
            return Ok(all);
        }
        Err(Error::Busy)
    }

    /// The whole record of a row; `None` if its segments are gone.
    fn whole(&self, found: &Found, body: Option<&[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let len = usize::try_from(found.info.len).map_err(|_| Error::TooLarge)?;
        let Some(upload) = found.upload else {
            let record = [&found.info.head.as_bytes()[..], body.ok_or(Error::Corrupt)?].concat();
            return if record.len() == len { Ok(Some(record)) } else { Err(Error::Corrupt) };
        };
        let mut record = Vec::new();
        record.try_reserve_exact(len).map_err(|_| Error::TooLarge)?;
        let mut n = 0;
        while record.len() < len {
            if is_interrupted() {
                return Err(Error::Busy);
            }
            let page = self.statement(SEGMENT_PAGE).int(upload).int(n).int(n + SEGMENTS);
            let rows = self.read(&page)?;
            for row in &rows {
                record.extend_from_slice(column(row, 0)?);
            }
            if rows.is_empty() || record.len() > len {
                return Ok(None);
            }
            n += SEGMENTS;
        }
        Ok(Some(record))
    }

    /// Whether the record is still this version.
    pub(super) fn is_still(&self, locator: &Locator, found: &Found) -> Result<bool, Error> {
        Ok(self.find_info(locator)?.is_some_and(|info| info == found.info))
    }

    pub(super) fn fill(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let ends_before = || Error::InvalidArgument("the record ends before this range".into());
        let fits = |end: &u64| *end < 1 << 62; // the statement adds to it
        let Some(end) = offset.checked_add(buffer.len() as u64).filter(fits) else {
            let there = self.find_info(locator)?;
            return Err(if there.is_some_and(|info| info.head == *head) { ends_before() } else { Error::Conflict });
        };
        let mut low = offset;
        for part in buffer.chunks_mut(STEP_BYTES) {
            let high = low + part.len() as u64;
            self.fill_part(locator, head, (low, high, end), part)?;
            low = high;
        }
        if buffer.is_empty() {
            self.fill_part(locator, head, (offset, offset, end), &mut [])?;
        }
        Ok(())
    }

    fn fill_part(&self, locator: &Locator, head: &Head, range: (u64, u64, u64), part: &mut [u8]) -> Result<(), Error> {
        let (low, high, end) = range;
        let statement = self.range("$3::int8", "$4::int8", " AND head = $2").bytes(locator.as_bytes());
        let column = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let rows = self.read(&statement.bytes(head.as_bytes()).int(column(low)).int(column(high)))?;
        let found = found(rows.first().ok_or(Error::Conflict)?)?;
        if end > found.info.len {
            return Err(Error::InvalidArgument("the record ends before this range".into()));
        }
        let bytes = bytes_of(&found, &rows, low, high)?;
        if bytes.len() != part.len() {
            return Err(Error::Corrupt);
        }
        part.copy_from_slice(&bytes);
        Ok(())
    }

    pub(super) fn fetch_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let most = i64::try_from(len.min(STEP_BYTES)).unwrap_or(i64::MAX);
        let statement = self.range("greatest(len - $2::int8, 0)", "len", "").bytes(locator.as_bytes()).int(most);
        let rows = self.read(&statement)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let found = found(row)?;
        let wanted = found.info.len.min(len as u64);
        let low = found.info.len - wanted;
        let near = found.info.len - wanted.min(most.unsigned_abs());
        let mut end = bytes_of(&found, &rows, near, found.info.len)?;
        if near > low {
            let mut start = vec![0; usize::try_from(near - low).map_err(|_| Error::TooLarge)?];
            self.fill(locator, &found.info.head, low, &mut start)?;
            start.append(&mut end);
            end = start;
        }
        if end.len() as u64 == wanted { Ok(Some((found.info, end))) } else { Err(Error::Corrupt) }
    }

    fn range(&self, low: &str, high: &str, pinned: &str) -> Statement {
        self.statement(&RANGE.replace("{low}", low).replace("{high}", high).replace("{pinned}", pinned))
    }
}

/// The bytes that the rows of [`RANGE`] hold. The head is not in the body.
fn bytes_of(found: &Found, rows: &[Row], low: u64, high: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    if found.upload.is_none() {
        let end = |at: u64| usize::try_from(at).map_or(HEAD_LEN, |at| at.min(HEAD_LEN));
        bytes.extend_from_slice(found.info.head.as_bytes().get(end(low)..end(high)).unwrap_or_default());
    }
    for row in rows {
        bytes.extend_from_slice(column::<Option<&[u8]>>(row, 4)?.unwrap_or_default());
    }
    Ok(bytes)
}
