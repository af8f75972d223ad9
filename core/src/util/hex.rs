//! Lower-case hexadecimal. Upper case is rejected, so that each value has one text, and paths can be compared and
//! cached.

/// The digits of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `LEN` bytes that `text` encodes; `None` if it is invalid.
pub(crate) fn from_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != LEN {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_text() {
        let bytes = [0x00, 0x19, 0xaf, 0xff];
        assert_eq!(to_hex(&bytes), "0019afff");
        assert_eq!(from_hex("0019afff"), Some(bytes));
        for wrong in ["0019AFFF", "0019aff", "0019afff0", "0019afff00", "0019affg", "", "+019afff", "0019aﬀ"] {
            assert_eq!(from_hex::<4>(wrong), None, "{wrong}");
        }
    }
}
