//! Parsing of durations (`30d`) and times (`2026-12-31`) on the command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Parses numbers with units, such as `30d` or `1h30m`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "a duration is a number of seconds, or numbers with the units s, m, h, d and w: 30d, 1h30m";

    if let Some(seconds) = number(text) {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut rest, mut seconds) = (text, 0_u64);
    loop {
        let (count, after) = rest.split_once(|char: char| !char.is_ascii_digit()).ok_or(WRONG)?;
        let unit = match rest.as_bytes().get(count.len()) {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 60 * 60,
            Some(b'd') => 24 * 60 * 60,
            Some(b'w') => 7 * 24 * 60 * 60,
            _ => return Err(WRONG),
        };
        let part = number(count).ok_or(WRONG)?.checked_mul(unit);
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or("the duration is too long")?;
        if after.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
        rest = after;
    }
}

/// Parses a time in RFC 3339, a date, which means its start in UTC, or `@` with the Unix time in seconds.
pub(crate) fn time(text: &str) -> Result<SystemTime, &'static str> {
    const WRONG: &str = "a time is written as 2026-12-31T23:59:59Z, 2026-12-31 or @1798761599";
    const DATE_LEN: usize = 10;

    let since_1970 = match text.strip_prefix('@') {
        Some(seconds) => Duration::from_secs(number(seconds).ok_or(WRONG)?),
        None => {
            let midnight = if text.len() == DATE_LEN { "T00:00:00Z" } else { "" };
            let time = OffsetDateTime::parse(&format!("{text}{midnight}"), &Rfc3339).map_err(|_| WRONG)?;
            // A time before 1970 is past like 1970 itself.
            u64::try_from(time.unix_timestamp()).map_or(Duration::ZERO, |s| Duration::new(s, time.nanosecond()))
        }
    };
    UNIX_EPOCH.checked_add(since_1970).ok_or("the time is too late")
}

/// The time in seconds since 1970, by which the library's functions on a storage tell what has expired.
pub(crate) fn now() -> u64 {
    // An earlier clock is not set: nothing has expired.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since_1970| since_1970.as_secs())
}

/// A time in seconds since 1970 as text, in UTC.
#[cfg(feature = "server")]
pub(crate) fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(time) = time else { return "never".into() };
    let (date, month) = (time.date(), u8::from(time.month()));
    let (hour, minute, second) = time.to_hms();
    format!("{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", date.year(), date.day())
}

/// The number if the text has only digits: `str::parse` also accepts a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "server")]
    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(u64::MAX), "never");
    }

    #[test]
    fn durations_are_parsed() {
        const HOUR: u64 = 60 * 60;
        for (text, seconds) in [
            ("90", 90),
            ("0", 0),
            ("90s", 90),
            ("15m", 15 * 60),
            ("12h", 12 * HOUR),
            ("30d", 30 * 24 * HOUR),
            ("2w", 14 * 24 * HOUR),
            ("1h30m", HOUR + 30 * 60),
            ("1w1d1h1m1s", 8 * 24 * HOUR + HOUR + 61),
            ("007s", 7),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551614s1s", u64::MAX),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_errors() {
        let texts = concat!(
            "| |s|-5|-5s|+5|+5s|5 s|5s | 5s|1.5h|1h30|1hm|5x|5S|1y|5µ|５s|18446744073709551616|",
            "18446744073709551616s|18446744073709551615m|18446744073709551615s1s|99999999999999999w",
        );
        for text in texts.split('|') {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_parsed() {
        for (text, seconds) in [
            ("@0", 0),
            ("@1798761599", 1_798_761_599),
            ("1970-01-01", 0),
            ("2026-12-31", 1_798_675_200),
            ("2026-12-31T23:59:59Z", 1_798_761_599),
            ("2026-12-31t23:59:59z", 1_798_761_599),
            ("2027-01-01T01:29:59+01:30", 1_798_761_599),
            ("2026-12-31T18:59:59-05:00", 1_798_761_599),
            ("2028-02-29", 1_835_395_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("1969-12-31T23:59:59.5Z", 0),
            ("0001-01-01", 0),
        ] {
            assert_eq!(time(text), Ok(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
        }
        let half = UNIX_EPOCH + Duration::from_millis(1_798_761_599_500);
        assert_eq!(time("2026-12-31T23:59:59.5Z"), Ok(half));
    }

    #[test]
    fn invalid_times_are_errors() {
        let texts = concat!(
            "|@|@-5|@+5|@1.5|@ 5|1798761599|tomorrow|2026-13-01|2026-00-01|2026-02-30|2027-02-29|",
            "2026-12-32|2026-1-1|20261231|+026-12-31|26-12-31|2026-12-31 |2026-12-31T|",
            "2026-12-31T23:59:59|2026-12-31T23:59Z|2026-12-31T24:00:00Z|2026-12-31T23:60:00Z|",
            "2026-12-31T23:59:59+25:00|10000-01-01T00:00:00Z|2026-12-３1|@18446744073709551615|",
            "@18446744073709551616",
        );
        for text in texts.split('|') {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
