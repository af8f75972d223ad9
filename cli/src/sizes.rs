//! Parsing of numbers of bytes on the command line, such as `64M`.

use std::num::NonZero;

/// Parses a number of bytes with a unit, as coreutils do: `50M` and `50MiB` are powers of 1,024, `50MB` of 1,000.
pub(crate) fn size(text: &str) -> Result<NonZero<u64>, &'static str> {
    const WRONG: &str = "a size is a whole number from 1, with a unit if needed: 500K, 50M, 50MiB, 50MB, 2G";
    const UNITS: &str = "KMGT";

    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = text.strip_prefix(digits).ok_or(WRONG)?;
    let mut chars = unit.chars();
    let power = match chars.next().map(|unit| unit.to_ascii_uppercase()) {
        None => 0,
        Some(unit) => UNITS.find(unit).ok_or(WRONG)? + 1,
    };
    let base: u64 = match chars.as_str() {
        "" | "iB" | "ib" => 1024,
        "B" | "b" => 1000,
        _ => return Err(WRONG),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten().ok_or(WRONG)?;
    let scale = u32::try_from(power).ok().and_then(|power| base.checked_pow(power));
    let bytes = scale.and_then(|scale| number.checked_mul(scale)).ok_or("the size is too large")?;
    NonZero::new(bytes).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [
            ("1", 1),
            ("007", 7),
            ("500K", 500 << 10),
            ("500k", 500 << 10),
            ("50M", 50 << 20),
            ("50MiB", 50 << 20),
            ("50MB", 50_000_000),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
            ("16777215T", 16_777_215 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text).map(NonZero::get), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_errors() {
        let texts = "|0|0M|M|-1|+1|1.5M|1 M|M1|1X|1MX|1iB|1B|1MBs|１M|16777216T|18446744073709551616|1K1";
        for text in texts.split('|') {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
