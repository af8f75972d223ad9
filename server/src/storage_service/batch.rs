//! Many records in one body: `create-many` takes them, `get-many` gives them.

use bytes::Bytes;
use strongroom::storage::Locator;

use crate::problem::Problem;

/// The length that says that there is no record.
const NONE: u64 = u64::MAX;
/// Parts of a body that are shorter are joined.
const PART_LEN: usize = 16 << 10;
/// So many bytes of the limit are counted for each record: an empty one needs memory, too.
const BYTES_PER_RECORD: u64 = 128;

/// The records of a body that comes piece by piece: each is its locator (32 bytes), its length (8 bytes) and itself.
#[derive(Debug)]
pub(super) struct Batch {
    most_bytes: u64,
    most_records: u64,
    head: Vec<u8>,
    /// The last one lacks so many bytes.
    missing: usize,
    records: Vec<(Locator, Vec<u8>)>,
}

impl Batch {
    pub(super) fn new(most_bytes: u64) -> Self {
        let most_records = (most_bytes / BYTES_PER_RECORD).max(1024);
        Self { most_bytes, most_records, head: Vec::new(), missing: 0, records: Vec::new() }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            let taken = match self.records.last_mut() {
                Some((_, record)) if self.missing > 0 => {
                    let (more, _) = bytes.split_at(self.missing.min(bytes.len()));
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

    /// Takes what belongs to the next record's locator and length, and gives how much that was.
    fn push_head(&mut self, bytes: &[u8]) -> Result<usize, Problem> {
        let (more, _) = bytes.split_at(bytes.len().min(40 - self.head.len()));
        self.head.extend_from_slice(more);
        let Some((locator, len)) = self.head.split_first_chunk() else { return Ok(more.len()) };
        let Some(len) = len.first_chunk().map(|len| u64::from_le_bytes(*len)) else { return Ok(more.len()) };
        if len > self.most_bytes {
            return Err(invalid());
        }
        if self.records.len() as u64 >= self.most_records {
            return Err(Problem::too_large());
        }
        self.missing = usize::try_from(len).map_err(|_| invalid())?;
        self.records.push((Locator::from_bytes(*locator), Vec::with_capacity(self.missing)));
        self.head.clear();
        Ok(more.len())
    }

    pub(super) fn finish(self) -> Result<Vec<(Locator, Vec<u8>)>, Problem> {
        if self.head.is_empty() && self.missing == 0 { Ok(self.records) } else { Err(invalid()) }
    }
}

fn invalid() -> Problem {
    Problem::bad_request("the body is for each record its locator (32 bytes), its length (8 bytes) and itself")
}

/// A body with each record's length (8 bytes) and itself. Long ones are not copied.
pub(super) fn parts(records: Vec<Option<Vec<u8>>>) -> Vec<Bytes> {
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    for record in records {
        part.extend_from_slice(&record.as_ref().map_or(NONE, |record| record.len() as u64).to_le_bytes());
        match record {
            Some(record) if record.len() >= PART_LEN => {
                parts.push(std::mem::take(&mut part).into());
                parts.push(record.into());
            }
            Some(record) => part.extend_from_slice(&record),
            None => {}
        }
        if part.len() >= PART_LEN {
            parts.push(std::mem::take(&mut part).into());
        }
    }
    parts.push(part.into());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_however_the_body_is_cut() {
        let record = |byte: u8, len: usize| (Locator::from_bytes([byte; 32]), vec![byte; len]);
        let records = vec![record(1, 0), record(2, 1), record(3, 100), record(4, 0)];
        let body = records.iter().flat_map(|(locator, record)| {
            [locator.as_bytes(), &(record.len() as u64).to_le_bytes()[..], record].concat()
        });
        let body: Vec<u8> = body.collect();
        for len in 1..=body.len() {
            let mut batch = Batch::new(1000);
            body.chunks(len).for_each(|bytes| batch.push(bytes).unwrap());
            assert_eq!(batch.finish().unwrap(), records, "{len}");
        }
        for len in [1, 39, 41, 80, body.len() - 1] {
            let mut batch = Batch::new(1000);
            batch.push(&body[..len]).unwrap();
            assert_eq!(batch.finish().is_ok(), len == 0 || len == 40, "{len}");
        }
        let mut long = Batch::new(1000);
        assert_eq!(long.push(&[[0; 32].as_slice(), &1001_u64.to_le_bytes()].concat()).unwrap_err().status, 400);
        let mut many = Batch::new(0);
        (0..1024).for_each(|_| many.push(&[0; 40]).unwrap());
        assert_eq!(many.push(&[0; 40]).unwrap_err().status, 413);
    }

    #[test]
    fn records_are_given_as_they_are() {
        let records =
            vec![Some(vec![1; 3]), None, Some(vec![2; PART_LEN]), Some(Vec::new()), Some(vec![3; PART_LEN - 1])];
        let mut expected = Vec::new();
        for record in &records {
            expected.extend(record.as_ref().map_or(NONE, |record| record.len() as u64).to_le_bytes());
            expected.extend(record.iter().flatten());
        }
        assert!(parts(records).concat() == expected);
    }
}
