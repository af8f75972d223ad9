//! The search for damage: records in the order of their locators, in short steps; then rows without a locator, and
//! segments without a record.

use tokio_postgres::Row;

use super::change::expiry_column;
use super::read::found;
use super::statement::{column, locator, unsigned};
use super::{PostgresStorage, SEGMENT_LEN};
use crate::storage::{
    Damage, DamageKind, Error, HEAD_LEN, Head, LOCATOR_LEN, Locator, Verified, VerifyPosition, checksum,
};
use crate::util::interrupt::is_interrupted;

/// The most records and bytes of a step.
const STEP_RECORDS: usize = 1000;
const STEP_BYTES: u64 = 8 << 20;
/// The most damage of a step.
const STEP_DAMAGE: usize = 100;

const PLACE: &str = "row";

/// Records of at most 8 MiB, or one.
const PAGE: &str = "
    SELECT head, len, upload, expires_at, checksum, body, locator FROM (
        SELECT *, sum(octet_length(coalesce(body, ''))) OVER (ORDER BY locator) - octet_length(coalesce(body, '')) AS before
        FROM (
            SELECT * FROM @.records
            WHERE locator >= $1 AND locator <= $2 AND octet_length(locator) = 32 ORDER BY locator LIMIT $3
        ) r
    ) p WHERE before < 8388608 ORDER BY locator";

const SEGMENTS: &str = "
    SELECT n, checksum, bytes FROM @.segments WHERE upload = $1 AND n >= $2 ORDER BY n LIMIT $3";

/// Rows whose locator has another length: no position is after them.
const MALFORMED: &str = "
    SELECT left(encode(locator, 'hex'), 128) FROM @.records WHERE octet_length(locator) <> 32 LIMIT $1";

const ORPHANS: &str = "
    SELECT DISTINCT s.upload FROM @.segments s
    WHERE NOT EXISTS (SELECT FROM @.records r WHERE r.upload = s.upload)
        AND NOT EXISTS (SELECT FROM @.uploads u WHERE u.upload = s.upload)
    LIMIT $1";

/// A position within a record. Its text is `all.<locator>.<segment>`, or `only.<locator>.<segment>` if no other record
/// is to be checked.
struct Within {
    locator: Locator,
    segment: i64,
    is_only: bool,
}

impl Within {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let is_only = match parts.next()? {
            "all" => false,
            "only" => true,
            _ => return None,
        };
        let locator = Locator::from_hex(parts.next()?)?;
        let segment = parts.next()?.parse().ok().filter(|n| *n >= 0)?;
        parts.next().is_none().then_some(Self { locator, segment, is_only })
    }

    fn position(&self) -> VerifyPosition {
        let kind = if self.is_only { "only" } else { "all" };
        VerifyPosition::Storage(format!("{kind}.{}.{}", self.locator.to_hex(), self.segment))
    }
}

/// A long record whose row is intact.
struct Long {
    locator: Locator,
    upload: i64,
    len: u64,
}

impl PostgresStorage {
    pub(super) fn verify_step(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let limit = limit.clamp(1, STEP_RECORDS);
        let (first, last) = ([0; LOCATOR_LEN], [0xff; LOCATOR_LEN]);
        match position {
            None => self.verify_rows(&first, &last, limit),
            Some(VerifyPosition::After(locator)) => match next(locator) {
                Some(first) => self.verify_rows(&first, &last, limit),
                None => Ok(Verified::default()),
            },
            Some(VerifyPosition::Record(locator)) => self.verify_rows(locator.as_bytes(), locator.as_bytes(), 1),
            Some(VerifyPosition::Structure) => self.verify_structure(),
            Some(VerifyPosition::Storage(text)) => {
                let within = Within::parse(text).ok_or_else(VerifyPosition::unknown)?;
                self.resume(&within)
            }
        }
    }

    fn verify_rows(&self, first: &[u8], last: &[u8], limit: usize) -> Result<Verified, Error> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.read(&self.statement(PAGE).bytes(first).bytes(last).int(most))?;
        let is_only = first == last;
        let mut step = Verified::default();
        for row in &rows {
            let at = locator(row, 6)?;
            match check_row(row, &at) {
                Ok((len, long, is_supported)) => {
                    step.bytes += len;
                    if !is_supported {
                        step.damage.push(Damage::new(Some(at), PLACE, DamageKind::Unsupported));
                    }
                    if let Some(long) = long {
                        self.verify_segments(&mut step, &long, Within { locator: at, segment: 0, is_only })?;
                        if step.next.is_some() {
                            return Ok(step);
                        }
                    }
                }
                Err(kind) => step.damage.push(Damage::new(Some(at), PLACE, kind)),
            }
            step.records += 1;
            step.next = None;
            if step.bytes >= STEP_BYTES || step.damage.len() >= STEP_DAMAGE {
                step.next = (!is_only).then_some(VerifyPosition::After(at));
                return Ok(step);
            }
        }
        let next = rows.last().map(|row| locator(row, 6)).transpose()?;
        step.next = next.filter(|_| !is_only).map(VerifyPosition::After);
        Ok(step)
    }

    /// Goes on within a record, whose row an earlier step has checked.
    fn resume(&self, within: &Within) -> Result<Verified, Error> {
        let mut step = Verified::default();
        if let Some(long) = self.long_record(&within.locator)? {
            let from = Within { locator: within.locator, segment: within.segment, is_only: within.is_only };
            self.verify_segments(&mut step, &long, from)?;
            if step.next.is_some() {
                return Ok(step);
            }
            step.records = 1;
        }
        step.next = (!within.is_only).then_some(VerifyPosition::After(within.locator));
        Ok(step)
    }

    fn long_record(&self, at: &Locator) -> Result<Option<Long>, Error> {
        let sql = "SELECT head, len, upload FROM @.records WHERE locator = $1";
        let rows = self.read(&self.statement(sql).bytes(at.as_bytes()))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let upload: Option<i64> = column(row, 2)?;
        let len = found(row)?.info.len;
        Ok(upload.map(|upload| Long { locator: *at, upload, len }))
    }

    /// Checks segments until the record ends, or the step is full: then `step.next` is set.
    fn verify_segments(&self, step: &mut Verified, long: &Long, from: Within) -> Result<(), Error> {
        let count = i64::try_from(long.len.div_ceil(SEGMENT_LEN as u64)).map_err(|_| Error::Corrupt)?;
        let (mut n, mut found) = (from.segment, Vec::new());
        while n < count {
            if step.bytes >= STEP_BYTES {
                step.next = Some(Within { segment: n, ..from }.position());
                break;
            }
            if is_interrupted() {
                return Err(Error::Busy);
            }
            let rows = self.read(&self.statement(SEGMENTS).int(long.upload).int(n).int(4))?;
            let at = rows.first().map(|row| column::<i64>(row, 0)).transpose()?;
            if at != Some(n) {
                found.push(Damage::new(Some(long.locator), format!("segment {n}"), DamageKind::Missing));
                break;
            }
            for row in &rows {
                if column::<i64>(row, 0)? != n || n >= count {
                    break;
                }
                let bytes: &[u8] = column(row, 2)?;
                step.bytes += bytes.len() as u64;
                let start = u64::try_from(n).unwrap_or(0) * SEGMENT_LEN as u64;
                let kind = if i64::from(checksum::of_segment(long.upload, n, bytes)) != column::<i64>(row, 1)? {
                    Some(DamageKind::Checksum)
                } else if bytes.len() as u64 != (long.len - start).min(SEGMENT_LEN as u64) {
                    Some(DamageKind::Length)
                } else {
                    None
                };
                found.extend(kind.map(|kind| Damage::new(Some(long.locator), format!("segment {n}"), kind)));
                n += 1;
            }
        }
        // The record may have been replaced meanwhile, which removes the segments.
        if !found.is_empty() && self.long_record(&long.locator)?.is_some_and(|there| there.upload == long.upload) {
            step.damage.append(&mut found);
        }
        Ok(())
    }

    fn verify_structure(&self) -> Result<Verified, Error> {
        let most = i64::try_from(STEP_DAMAGE).unwrap_or(i64::MAX);
        let mut step = Verified::default();
        for row in &self.read_long(&self.statement(MALFORMED).int(most))? {
            let place = format!("{PLACE} {}", column::<&str>(row, 0)?);
            step.damage.push(Damage::new(None, place, DamageKind::Malformed));
        }
        let rows = self.read_long(&self.statement(ORPHANS).int(most))?;
        for row in &rows {
            let place = format!("segments of upload {}", column::<i64>(row, 0)?);
            step.damage.push(Damage::new(None, place, DamageKind::Orphan));
        }
        Ok(step)
    }
}

/// Checks a row. The length that was checked, the record if segments hold it, and whether this version knows its
/// header.
fn check_row(row: &Row, at: &Locator) -> Result<(u64, Option<Long>, bool), DamageKind> {
    let malformed = |_: Error| DamageKind::Malformed;
    let head_bytes: &[u8] = column(row, 0).map_err(malformed)?;
    let (len, upload) = (column::<i64>(row, 1).map_err(malformed)?, column::<Option<i64>>(row, 2).map_err(malformed)?);
    let expires_at: Option<i64> = column(row, 3).map_err(malformed)?;
    let body: Option<&[u8]> = column(row, 5).map_err(malformed)?;
    let expected: i64 = column(row, 4).map_err(malformed)?;
    let actual = checksum::of_record(at, len, upload, head_bytes, body.unwrap_or_default());
    if i64::from(actual) != expected {
        return Err(DamageKind::Checksum);
    }
    let head = Head::of(head_bytes).filter(|_| head_bytes.len() == HEAD_LEN).ok_or(DamageKind::Length)?;
    if expires_at != head.expires_at().map(expiry_column) {
        return Err(DamageKind::Mismatch);
    }
    let len = unsigned(row, 1).map_err(malformed)?;
    match (upload, body) {
        (Some(upload), None) if len > HEAD_LEN as u64 => {
            Ok((0, Some(Long { locator: *at, upload, len }), head.is_supported()))
        }
        (None, Some(body)) if len == (HEAD_LEN + body.len()) as u64 => Ok((len, None, head.is_supported())),
        _ => Err(DamageKind::Length),
    }
}

/// The first possible locator after this one.
fn next(locator: &Locator) -> Option<[u8; LOCATOR_LEN]> {
    let mut next = *locator.as_bytes();
    for byte in next.iter_mut().rev() {
        let (sum, overflows) = byte.overflowing_add(1);
        *byte = sum;
        if !overflows {
            return Some(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back() {
        let locator = Locator::from_bytes([0xab; LOCATOR_LEN]);
        for is_only in [false, true] {
            let within = Within { locator, segment: 7, is_only };
            let VerifyPosition::Storage(text) = within.position().to_string().parse().unwrap() else { panic!() };
            let back = Within::parse(&text).unwrap();
            assert_eq!((back.locator, back.segment, back.is_only), (locator, 7, is_only));
        }
        for wrong in ["all", "all.00.1", "some.", "all.x.1", "only..1"] {
            assert!(Within::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_next_locator_carries() {
        let mut bytes = [0; LOCATOR_LEN];
        bytes[LOCATOR_LEN - 1] = 0xff;
        let mut expected = [0; LOCATOR_LEN];
        expected[LOCATOR_LEN - 2] = 1;
        assert_eq!(next(&Locator::from_bytes(bytes)), Some(expected));
        assert_eq!(next(&Locator::from_bytes([0xff; LOCATOR_LEN])), None);
    }
}
