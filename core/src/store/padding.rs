//! Padding hides the length of data: the plaintext of a padded record is `data || zeros || LE64(len(data))`. Its length
//! is one of few, by the scheme Padmé: at most 12 % more than `len(data) + 8` (Nikitin and others, "Reducing Metadata
//! Leakage from Encrypted Files and Communication with PURBs", section 4.4, PoPETs 2019).

use crate::error::Error;

/// Bytes of the length at the end.
pub(super) const TRAILER_LEN: usize = 8;

/// Zeros are written in pieces of this length.
const ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// The length of the plaintext with `len` bytes of data; `None` if it is not a 64-bit number.
pub(super) fn padded_len(len: u64) -> Option<u64> {
    let len = len.checked_add(TRAILER_LEN as u64)?;
    let exponent = len.ilog2();
    let zero_bits = exponent - (exponent.ilog2() + 1);
    let mask = (1 << zero_bits) - 1;
    Some(len.checked_add(mask)? & !mask)
}

/// The length of the data in a plaintext of `padded` bytes that ends with `trailer`; `None` if there is no such
/// plaintext.
pub(super) fn data_len(padded: u64, trailer: [u8; TRAILER_LEN]) -> Option<u64> {
    let len = u64::from_le_bytes(trailer);
    (padded_len(len)? == padded).then_some(len)
}

/// Passes everything that follows `len` bytes of data to `write`.
pub(super) fn write_after(len: u64, mut write: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let padded = padded_len(len).ok_or(Error::TooLarge)?;
    let mut zeros = padded - TRAILER_LEN as u64 - len;
    while zeros > 0 {
        let piece = usize::try_from(zeros).ok().and_then(|zeros| ZEROS.get(..zeros)).unwrap_or(&ZEROS);
        write(piece)?;
        zeros -= piece.len() as u64;
    }
    write(&len.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least allowed length from `len` on: the paper allows as many significant bits as the exponent has digits.
    fn padme(len: u64) -> u64 {
        let is_allowed = |len: &u64| {
            let binary = format!("{len:b}");
            let digits = format!("{:b}", binary.len() - 1).len();
            binary.chars().skip(1 + digits).all(|bit| bit == '0')
        };
        (len..).find(is_allowed).unwrap()
    }

    #[test]
    fn lengths_are_those_of_the_paper() {
        let around = |bit: u32| [(1 << bit) - 9, (1 << bit) - 8, (1 << bit) - 7, 3 << bit];
        for len in (0..3000).chain((3000..70_000).step_by(997)).chain((17..22).flat_map(around)) {
            let padded = padded_len(len).unwrap();
            assert_eq!(padded, padme(len + 8), "{len}");
            assert!(padded >= len + 8 && padded - len - 8 <= (len + 8) * 12 / 100 + 1, "{len}");
            assert_eq!(data_len(padded, len.to_le_bytes()), Some(len));
        }
        assert_eq!(padded_len(u64::MAX - 7), None);
        assert_eq!(padded_len(u64::MAX - 8), None);
    }

    #[test]
    fn a_wrong_trailer_is_refused() {
        assert_eq!(padded_len(1000), Some(1024));
        for (padded, len, right) in
            [(1024, 1016, Some(1016)), (1024, 1017, None), (1024, 985, Some(985)), (1024, 984, None)]
        {
            assert_eq!(data_len(padded, u64::to_le_bytes(len)), right, "{len}");
        }
        for len in [u64::MAX, u64::MAX - 7, u64::MAX - 8, 1 << 63] {
            assert_eq!(data_len(1024, len.to_le_bytes()), None);
        }
    }

    #[test]
    fn the_rest_of_the_plaintext_is_zeros_and_the_length() {
        for len in [0, 1, 8, 100, 16_384, 1_000_000, 3_000_001] {
            let mut rest = Vec::new();
            write_after(len, |piece| {
                rest.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            assert_eq!(len + rest.len() as u64, padded_len(len).unwrap());
            let (zeros, trailer) = rest.split_at(rest.len() - TRAILER_LEN);
            assert!(zeros.iter().all(|byte| *byte == 0) && trailer == len.to_le_bytes());
        }
        assert!(matches!(write_after(u64::MAX, |_| Ok(())), Err(Error::TooLarge)));
    }
}
