//! Arguments and results of the search for damage, and their text forms, which are the same in every interface.

use std::fmt;
use std::str::FromStr;

use super::Error;
use crate::locator::Locator;

/// Where a step of [`Storage::verify`](super::Storage::verify) begins, or what it checks.
///
/// It has a text form, to continue later:
///
/// ```
/// use strongroom::storage::VerifyPosition;
///
/// let text = "0102".repeat(16); // a locator: the records after it
/// let position: VerifyPosition = text.parse()?;
/// assert!(matches!(position, VerifyPosition::After(_)));
/// assert_eq!(position.to_string(), text);
/// # Ok::<(), strongroom::storage::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyPosition {
    /// The records after this one: `<locator>`.
    After(Locator),
    /// Only this record: `record.<locator>`.
    Record(Locator),
    /// Everything outside records, such as indexes: `structure`. This is one step, after which `next` is `None`.
    Structure,
    /// A position that the storage chose, as [`Verified::next`]: any other text of lower-case letters, digits, `-` and
    /// `.`, with at least one dot.
    Storage(String),
}

const RECORD: &str = "record.";
const STRUCTURE: &str = "structure";
const MAX_POSITION_LEN: usize = 128;

impl fmt::Display for VerifyPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(locator) => write!(f, "{}", locator.to_hex()),
            Self::Record(locator) => write!(f, "{RECORD}{}", locator.to_hex()),
            Self::Structure => f.write_str(STRUCTURE),
            Self::Storage(text) => f.write_str(text),
        }
    }
}

impl FromStr for VerifyPosition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidArgument("the position is not one of a verification".into());
        if let Some(locator) = Locator::from_hex(text) {
            return Ok(Self::After(locator));
        }
        if let Some(locator) = text.strip_prefix(RECORD) {
            return Locator::from_hex(locator).map(Self::Record).ok_or_else(invalid);
        }
        let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        match text {
            STRUCTURE => Ok(Self::Structure),
            text if text.len() <= MAX_POSITION_LEN && text.contains('.') && text.bytes().all(is_valid) => {
                Ok(Self::Storage(text.to_owned()))
            }
            _ => Err(invalid()),
        }
    }
}

impl VerifyPosition {
    /// Whether a step from `start` may end here: otherwise the steps may have no end.
    pub(super) fn is_after(&self, start: Option<&Self>) -> bool {
        match (start, self) {
            (Some(Self::After(start)), Self::After(end)) => start < end,
            (start, end) => start != Some(end),
        }
    }

    /// The error of a storage that did not choose this position.
    pub(super) fn unknown() -> Error {
        Error::InvalidArgument("the position is not one of this storage".into())
    }
}

/// The kind of a [`Damage`]. Its text form is its name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// The bytes do not match their checksum.
    Checksum,
    /// The length differs from the recorded one.
    Length,
    /// A part is missing.
    Missing,
    /// Two parts contradict each other, such as an index and its table.
    Mismatch,
    /// The data belongs to no record, and only takes space.
    Orphan,
    /// The structure is not readable.
    Malformed,
    /// The record is intact, but its version, suite or flags are unknown: a newer version may have written it.
    Unsupported,
}

impl DamageKind {
    const ALL: [Self; 7] =
        [Self::Checksum, Self::Length, Self::Missing, Self::Mismatch, Self::Orphan, Self::Malformed, Self::Unsupported];

    /// The kind's name, such as `checksum`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Length => "length",
            Self::Missing => "missing",
            Self::Mismatch => "mismatch",
            Self::Orphan => "orphan",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Damage that [`Storage::verify`](super::Storage::verify) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The damaged record, if the damage is in a record, and its locator is readable. If the damage is in the locator
    /// itself, this is the damaged one.
    pub locator: Option<Locator>,
    /// The place, in the storage's words: `row`, `segment 3`, `index record_prefix`, `page 17`.
    pub place: String,
    /// The kind.
    pub kind: DamageKind,
}

impl Damage {
    /// Damage at this place.
    #[must_use]
    pub fn new(locator: Option<Locator>, place: impl Into<String>, kind: DamageKind) -> Self {
        Self { locator, place: place.into(), kind }
    }
}

/// `<locator> <place>: <kind>`, with `-` if no locator is known.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.locator {
            Some(locator) => write!(f, "{} {}: {}", locator.to_hex(), self.place, self.kind),
            None => write!(f, "- {}: {}", self.place, self.kind),
        }
    }
}

/// The result of one step of [`Storage::verify`](super::Storage::verify). A storage begins with the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many records the step finished.
    pub records: u64,
    /// The bytes that it checked.
    pub bytes: u64,
    /// The damage that it found.
    pub damage: Vec<Damage>,
    /// Where the next step begins; `None` if this step was the last.
    pub next: Option<VerifyPosition>,
}

/// The result of [`Storage::repair`](super::Storage::repair). A storage begins with the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "records may be lost"]
#[non_exhaustive]
pub struct Repaired {
    /// The records that were restored from the copy.
    pub restored: Vec<Locator>,
    /// Damage that could not be read and is not in the copy: its records are not in the storage any more. Also each
    /// record that had two rows: of its two versions, only the one that users saw is in the storage.
    pub lost: Vec<Damage>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locator::LOCATOR_LEN;

    #[test]
    fn positions_have_one_text() {
        let locator = Locator::from_bytes([0xa1; LOCATOR_LEN]);
        for position in [
            VerifyPosition::After(locator),
            VerifyPosition::Record(locator),
            VerifyPosition::Structure,
            VerifyPosition::Storage("row.-7.9".into()),
        ] {
            assert_eq!(position.to_string().parse::<VerifyPosition>().unwrap(), position);
        }
        for wrong in ["", "A", "a", "record.", "record.a1", "a. b", ".\n", &".".repeat(129)] {
            assert!(matches!(wrong.parse::<VerifyPosition>(), Err(Error::InvalidArgument(_))), "{wrong}");
        }
    }

    /// Otherwise the steps of a storage that alternates would have no end.
    #[test]
    fn a_step_goes_on() {
        let [low, high] = [1, 2].map(|byte| VerifyPosition::After(Locator::from_bytes([byte; LOCATOR_LEN])));
        let row = VerifyPosition::Storage("row.1".into());
        assert!(
            low.is_after(None) && high.is_after(Some(&low)) && row.is_after(Some(&high)) && low.is_after(Some(&row))
        );
        assert!(!low.is_after(Some(&high)) && !low.is_after(Some(&low)) && !row.is_after(Some(&row)));
    }

    #[test]
    fn kinds_have_names() {
        for kind in DamageKind::ALL {
            assert_eq!(DamageKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(DamageKind::from_name("other"), None);
    }
}
