//! The checksums of rows. They detect damage without a key; only encryption protects against an attacker.
//!
//! The algorithm is CRC-32 (ISO 3309, as in gzip: RFC 1952, section 8). A row stores:
//!
//! ```text
//! record:  CRC-32(locator) XOR CRC-32(LE64(len) || LE64(object, or 0) || head || body)
//! segment: CRC-32(LE64(object) || LE64(n) || data)
//! ```
//!
//! A rename therefore does not read the record: it replaces the locator's part.

use crate::storage::Locator;

/// The checksum of a record's row.
pub(super) fn of_record(locator: &Locator, len: i64, object: Option<i64>, head: &[u8], body: &[u8]) -> u32 {
    crc32fast::hash(locator.as_bytes()) ^ of(len, object.unwrap_or(0), &[head, body])
}

/// The checksum of the same row under another locator.
pub(super) fn renamed(checksum: u32, from: &Locator, to: &Locator) -> u32 {
    checksum ^ crc32fast::hash(from.as_bytes()) ^ crc32fast::hash(to.as_bytes())
}

/// The checksum of a segment's row.
pub(super) fn of_segment(object: i64, n: i64, data: &[u8]) -> u32 {
    of(object, n, &[data])
}

fn of(one: i64, other: i64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&one.to_le_bytes());
    hasher.update(&other.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(number: u8) -> Locator {
        Locator::from_bytes([number; 32])
    }

    #[test]
    fn the_checksum_is_the_standard_crc32() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926, "the check value of the catalogue of CRCs");
    }

    #[test]
    fn a_renamed_row_has_the_checksum_of_a_new_one() {
        let of = |number| of_record(&locator(number), 100, Some(7), &[1; 68], &[2; 32]);
        assert_eq!(renamed(of(1), &locator(1), &locator(2)), of(2));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn every_column_counts() {
        let good = of_record(&locator(1), 100, Some(7), &[1; 68], &[2; 32]);
        for other in [
            of_record(&locator(1), 101, Some(7), &[1; 68], &[2; 32]),
            of_record(&locator(1), 100, Some(8), &[1; 68], &[2; 32]),
            of_record(&locator(1), 100, None, &[1; 68], &[2; 32]),
            of_record(&locator(1), 100, Some(7), &[3; 68], &[2; 32]),
            of_record(&locator(1), 100, Some(7), &[1; 68], &[3; 32]),
        ] {
            assert_ne!(other, good);
        }
        assert_ne!(of_segment(1, 2, b"data"), of_segment(2, 1, b"data"));
        assert_ne!(of_segment(1, 2, b"data"), of_segment(1, 2, b"date"));
    }
}
