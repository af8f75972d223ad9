//! Many records in one body: the request of `create-many` and the answer of `get-many`.

use std::collections::TryReserveError;
use std::mem;

use bytes::{BufMut, Bytes};

use crate::locator::{LOCATOR_LEN, Locator};

/// The length that represents a missing record.
const ABSENT: u64 = u64::MAX;
/// Bytes of a length, little endian.
const LENGTH_LEN: usize = 8;
/// Bytes before each record of a `create-many` request.
const RECORD_HEAD_LEN: usize = LOCATOR_LEN + LENGTH_LEN;
/// Shorter parts of a body are joined.
const PART_LEN: usize = 16 << 10;
/// Counted towards the limit for each record, because an empty one needs memory, too.
const BYTES_PER_RECORD: u64 = 128;
/// A batch may have this many records at any limit.
const MIN_RECORDS: u64 = 1024;

/// The reason why a body is not an acceptable batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidBatch {
    /// It is truncated, or a length is wrong.
    Malformed,
    /// It has more records or longer ones than the limit allows, or does not fit in memory.
    TooLarge,
}

/// The body of `create-many`: for each record its locator, its length and itself.
///
/// # Errors
///
/// It does not fit in memory.
pub fn encode_create_many<R: AsRef<[u8]>>(records: &[(Locator, R)]) -> Result<Bytes, TryReserveError> {
    let len = records.iter().map(|(_, record)| RECORD_HEAD_LEN.saturating_add(record.as_ref().len()));
    let mut body = Vec::new();
    body.try_reserve_exact(len.fold(0, usize::saturating_add))?;
    for (locator, record) in records {
        body.put_slice(locator.as_bytes());
        body.put_u64_le(record.as_ref().len() as u64);
        body.put_slice(record.as_ref());
    }
    Ok(body.into())
}

/// Decodes the body of `create-many` in pieces of any size.
#[derive(Debug)]
pub struct CreateManyDecoder {
    max_bytes: u64,
    max_records: u64,
    /// The beginning of a locator and length.
    head: Vec<u8>,
    /// The number of missing bytes of the last record.
    missing: usize,
    records: Vec<(Locator, Vec<u8>)>,
}

impl CreateManyDecoder {
    /// A decoder of a body that has at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let max_records = (max_bytes / BYTES_PER_RECORD).max(MIN_RECORDS);
        Self { max_bytes, max_records, head: Vec::new(), missing: 0, records: Vec::new() }
    }

    /// Decodes the next bytes of the body.
    ///
    /// # Errors
    ///
    /// [`InvalidBatch::TooLarge`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), InvalidBatch> {
        while !bytes.is_empty() {
            let taken = match self.records.last_mut() {
                Some((_, record)) if self.missing > 0 => {
                    let (more, _) = bytes.split_at(self.missing.min(bytes.len()));
                    if record.capacity() - record.len() < more.len() {
                        // An announced length reserves nothing: memory grows with the data, to that length at most.
                        let room = record.len().max(more.len()).min(self.missing);
                        record.try_reserve_exact(room).map_err(|_| InvalidBatch::TooLarge)?;
                    }
                    record.extend_from_slice(more);
                    self.missing -= more.len();
                    more.len()
                }
                _ => self.push_head(bytes)?,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Consumes the bytes of the next record's locator and length, and returns their number.
    fn push_head(&mut self, bytes: &[u8]) -> Result<usize, InvalidBatch> {
        let (more, _) = bytes.split_at(bytes.len().min(RECORD_HEAD_LEN - self.head.len()));
        self.head.extend_from_slice(more);
        let Some((locator, len)) = self.head.split_first_chunk() else { return Ok(more.len()) };
        let Some(len) = len.first_chunk().map(|len| u64::from_le_bytes(*len)) else { return Ok(more.len()) };
        // The same error as for a body whose length is announced.
        if len > self.max_bytes || self.records.len() as u64 >= self.max_records {
            return Err(InvalidBatch::TooLarge);
        }
        self.missing = usize::try_from(len).map_err(|_| InvalidBatch::TooLarge)?;
        self.records.push((Locator::from_bytes(*locator), Vec::new()));
        self.head.clear();
        Ok(more.len())
    }

    /// The records of a body that has ended.
    ///
    /// # Errors
    ///
    /// [`InvalidBatch::Malformed`] if it ends within a record.
    pub fn finish(self) -> Result<Vec<(Locator, Vec<u8>)>, InvalidBatch> {
        if self.head.is_empty() && self.missing == 0 { Ok(self.records) } else { Err(InvalidBatch::Malformed) }
    }
}

/// The body of a `get-many` request: the locators.
#[must_use]
pub fn encode_locators(locators: &[Locator]) -> Bytes {
    locators.iter().flat_map(Locator::as_bytes).copied().collect()
}

/// The locators in the body of a `get-many` request; `None` if the last one is truncated.
#[must_use]
pub fn decode_locators(body: &[u8]) -> Option<Vec<Locator>> {
    let (locators, []) = body.as_chunks() else { return None };
    Some(locators.iter().copied().map(Locator::from_bytes).collect())
}

/// The body of a `get-many` answer in parts: each record's length and itself. Long records are not copied.
#[must_use]
pub fn encode_get_many(records: Vec<Option<Vec<u8>>>) -> Vec<Bytes> {
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    for record in records {
        part.extend_from_slice(&record.as_ref().map_or(ABSENT, |record| record.len() as u64).to_le_bytes());
        match record {
            Some(record) if record.len() >= PART_LEN => {
                parts.push(mem::take(&mut part).into());
                parts.push(record.into());
            }
            Some(record) => part.extend_from_slice(&record),
            None => {}
        }
        if part.len() >= PART_LEN {
            parts.push(mem::take(&mut part).into());
        }
    }
    parts.push(part.into());
    parts
}

/// The bytes of the lengths in a `get-many` answer with `count` records.
#[must_use]
pub fn lengths_len(count: usize) -> u64 {
    (count as u64).saturating_mul(size_of::<u64>() as u64)
}

/// The `count` records in the body of a `get-many` answer; `None` if it has more or fewer.
#[must_use]
pub fn decode_get_many(mut body: &[u8], count: usize) -> Option<Vec<Option<&[u8]>>> {
    let mut next = || {
        let (len, behind) = body.split_first_chunk()?;
        let (record, behind) = match u64::from_le_bytes(*len) {
            ABSENT => (None, behind),
            len => {
                let (record, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
                (Some(record), behind)
            }
        };
        body = behind;
        Some(record)
    };
    let records: Option<Vec<_>> = (0..count).map(|_| next()).collect();
    records.filter(|_| body.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_however_the_body_is_cut() {
        let record = |byte: u8, len: usize| (Locator::from_bytes([byte; 32]), vec![byte; len]);
        let records = vec![record(1, 0), record(2, 1), record(3, 100), record(4, 0)];
        let body = encode_create_many(&records).unwrap();
        assert_eq!(body.len(), 4 * 40 + 101);
        for len in 1..=body.len() {
            let mut batch = CreateManyDecoder::new(1000);
            body.chunks(len).for_each(|bytes| batch.push(bytes).unwrap());
            assert_eq!(batch.finish().unwrap(), records, "{len}");
        }
        for len in [1, 39, 40, 41, 80, body.len() - 1] {
            let mut batch = CreateManyDecoder::new(1000);
            batch.push(&body[..len]).unwrap();
            assert_eq!(batch.finish().is_ok(), len == 40, "{len}");
        }
        let mut long = CreateManyDecoder::new(1000);
        let head = [[0; 32].as_slice(), &1001_u64.to_le_bytes()].concat();
        assert_eq!(long.push(&head), Err(InvalidBatch::TooLarge));
        let mut many = CreateManyDecoder::new(0);
        (0..1024).for_each(|_| many.push(&[0; 40]).unwrap());
        assert_eq!(many.push(&[0; 40]), Err(InvalidBatch::TooLarge));
    }

    #[test]
    fn an_announced_length_reserves_no_memory() {
        let len = 1 << 40;
        let mut batch = CreateManyDecoder::new(len);
        batch.push(&[[1; 32].as_slice(), &len.to_le_bytes()].concat()).unwrap();
        batch.push(&[1; 1000]).unwrap();
        assert!(batch.records[0].1.capacity() < 10_000);

        let len = 100_000_usize;
        let mut batch = CreateManyDecoder::new(len as u64);
        batch.push(&[[1; 32].as_slice(), &(len as u64).to_le_bytes()].concat()).unwrap();
        for piece in vec![1; len].chunks(777) {
            batch.push(piece).unwrap();
            assert!(batch.records[0].1.capacity() <= len);
        }
    }

    #[test]
    fn short_records_share_a_part_and_long_ones_are_not_copied() {
        let long = vec![1; PART_LEN];
        let address = long.as_ptr();
        let parts = encode_get_many(vec![Some(vec![2; 3]), None, Some(long), Some(vec![3; PART_LEN - 8]), None]);
        let lens: Vec<_> = parts.iter().map(Bytes::len).collect();
        assert_eq!(lens, [3 * 8 + 3, PART_LEN, PART_LEN, 8]);
        assert_eq!(parts[1].as_ptr(), address);
    }

    #[test]
    fn records_come_back_as_they_are() {
        let records =
            vec![Some(vec![1; 3]), None, Some(vec![2; PART_LEN]), Some(Vec::new()), Some(vec![3; PART_LEN - 1])];
        let body = encode_get_many(records.clone()).concat();
        let decoded = decode_get_many(&body, records.len()).unwrap();
        assert!(decoded.into_iter().eq(records.iter().map(Option::as_deref)));
        assert_eq!(decode_get_many(&body, records.len() - 1), None);
        assert_eq!(decode_get_many(&body, records.len() + 1), None);
        assert_eq!(decode_get_many(&body[..body.len() - 1], records.len()), None);
        assert_eq!(decode_get_many(&(u64::MAX - 1).to_le_bytes(), 1), None);
        assert_eq!(decode_get_many(&[], 0), Some(Vec::new()));
    }

    #[test]
    fn locators_come_back() {
        let locators = [1, 2, 3].map(|byte| Locator::from_bytes([byte; 32]));
        let body = encode_locators(&locators);
        assert_eq!(decode_locators(&body).unwrap(), locators);
        assert_eq!(decode_locators(&body[1..]), None);
        assert_eq!(decode_locators(&[]), Some(Vec::new()));
    }
}
