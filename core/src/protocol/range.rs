//! Parts of a body: `Range` and `Content-Range` (RFC 9110 section 14), with a single range in bytes.

use std::ops::Range;

use hyper::header::HeaderValue;

/// The part that a valid `Range` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// From one byte to another (inclusive) or to the end.
    From(u64, Option<u64>),
    /// At most this many of the last bytes.
    Last(u64),
}

impl RangeSpec {
    /// The part that a `Range` requests; `None` if the header must be ignored, because it has another unit, no valid
    /// range, or several ranges.
    #[must_use]
    pub fn parse(range: &HeaderValue) -> Option<Self> {
        let (unit, ranges) = range.to_str().ok()?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
        let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
        // A number that overflows `u64` is beyond the end of any record.
        let number = |text: &str| match text {
            "" => Some(None),
            text if text.bytes().all(|digit| digit.is_ascii_digit()) => Some(Some(text.parse().unwrap_or(u64::MAX))),
            _ => None,
        };
        let (first, last) = range.split_once('-')?;
        match (number(first)?, number(last)?) {
            (Some(first), Some(last)) if last < first => None,
            (Some(first), last) => Some(Self::From(first, last)),
            (None, Some(count)) => Some(Self::Last(count)),
            (None, None) => None,
        }
    }

    /// The first byte and the number of bytes of the part, within `len`; `None` if it is empty.
    #[must_use]
    pub fn within(self, len: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::Last(count) => (len.saturating_sub(count), len),
            Self::From(first, None) => (first, len),
            Self::From(first, Some(last)) => (first, last.saturating_add(1).min(len)),
        };
        end.checked_sub(start).filter(|count| *count > 0).map(|count| (start, count))
    }
}

/// The `Range` of the bytes from `first` to `last` inclusive, or to the end.
#[must_use]
pub fn range(first: u64, last: Option<u64>) -> HeaderValue {
    let last = last.map_or(String::new(), |last| last.to_string());
    let value = HeaderValue::try_from(format!("bytes={first}-{last}"));
    value.unwrap_or(HeaderValue::from_static("bytes=0-")) // digits are valid in a header
}

/// The `Range` of the last `count` bytes.
#[must_use]
pub fn last_bytes(count: u64) -> HeaderValue {
    let value = HeaderValue::try_from(format!("bytes=-{count}"));
    value.unwrap_or(HeaderValue::from_static("bytes=0-")) // digits are valid in a header
}

/// The `Content-Range` of `count` bytes from `start` on, of `len`.
#[must_use]
pub fn content_range(start: u64, count: u64, len: u64) -> String {
    format!("bytes {start}-{}/{len}", start.saturating_add(count).saturating_sub(1))
}

/// The `Content-Range` of the answer to a range beyond the `len` bytes.
#[must_use]
pub fn unsatisfied_range(len: u64) -> String {
    format!("bytes */{len}")
}

/// The part in a `Content-Range`, and the length of the whole.
#[must_use]
pub fn parse_content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (part, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    Some((number(first)?..number(last)?.checked_add(1)?, number(whole)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_end_and_ignored_where_it_is_not_valid() {
        let within = |text: &'static str, len| RangeSpec::parse(&HeaderValue::from_static(text)).unwrap().within(len);
        assert_eq!(within("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(within("bytes=2-5", 10), Some((2, 4)));
        assert_eq!(within("Bytes=2-", 10), Some((2, 8)));
        assert_eq!(within("bytes=-3", 10), Some((7, 3)));
        assert_eq!(within("bytes=-30", 10), Some((0, 10)));
        assert_eq!(within("bytes=9-99999999999999999999999", 10), Some((9, 1)));
        assert_eq!(within("bytes= ,2-5 ,", 10), Some((2, 4)));
        for beyond in ["bytes=10-", "bytes=10-11", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(within(beyond, 10), None, "{beyond}");
        }
        assert_eq!(within("bytes=0-", 0), None);
        for ignored in ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=1", "x", ""] {
            assert_eq!(RangeSpec::parse(&HeaderValue::from_static(ignored)), None, "{ignored}");
        }
    }

    #[test]
    fn a_printed_range_parses() {
        assert_eq!(RangeSpec::parse(&range(2, Some(5))), Some(RangeSpec::From(2, Some(5))));
        assert_eq!(RangeSpec::parse(&range(u64::MAX, None)), Some(RangeSpec::From(u64::MAX, None)));
        assert_eq!(RangeSpec::parse(&last_bytes(7)), Some(RangeSpec::Last(7)));
        assert_eq!(content_range(2, 4, 10), "bytes 2-5/10");
        assert_eq!(unsatisfied_range(10), "bytes */10");
        assert_eq!(parse_content_range("bytes 2-5/10"), Some((2..6, 10)));
        let beyond = "bytes 0-18446744073709551615/1";
        for wrong in
            [&unsatisfied_range(10), "bytes 2-5/*", "bytes 2-5", "2-5/10", "bytes +2-5/10", "bytes -5/10", beyond]
        {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }
}
