//! The names of objects, below the store's prefix. Hexadecimal keeps the order of locators.
//!
//! ```text
//! r/<locator>                           a record, or a pointer to its segments
//! s/<locator>/<upload id>/<number>      a segment; never changed
//! s/<locator>/<upload id>/to.<locator>.<move id>   the segments' record has moved to this locator
//! e/<expiry time, 16 digits>/<locator>  a record with this expiry time is, or was, under this locator
//! settings                              the settings document
//! maintenance, probe/<id>               written to learn the server's time and abilities
//! ```

use super::super::Locator;
use super::body::Id;
use crate::util::hex::{from_hex, to_hex};

pub(super) const RECORDS: &str = "r";
pub(super) const SEGMENTS: &str = "s";
pub(super) const EXPIRY: &str = "e";
pub(super) const SETTINGS: &str = "settings";
pub(super) const MAINTENANCE: &str = "maintenance";

pub(super) fn record(locator: &Locator) -> String {
    format!("{RECORDS}/{}", locator.to_hex())
}

pub(super) fn locator_of(record: &str) -> Option<Locator> {
    Locator::from_hex(record.strip_prefix(RECORDS)?.strip_prefix('/')?)
}

/// The folder of an upload.
pub(super) fn upload(owner: &Locator, upload: &Id) -> String {
    format!("{SEGMENTS}/{}/{}", owner.to_hex(), to_hex(upload))
}

pub(super) fn segment(owner: &Locator, id: &Id, number: u64) -> String {
    format!("{}/{number:08}", upload(owner, id))
}

pub(super) fn moved_to(owner: &Locator, id: &Id, to: &Locator, move_id: &Id) -> String {
    format!("{}/to.{}.{}", upload(owner, id), to.to_hex(), to_hex(move_id))
}

/// The owner, the upload's id and the last part of the name of an upload's object.
pub(super) fn upload_of(name: &str) -> Option<(Locator, Id, &str)> {
    let (owner, rest) = name.strip_prefix(SEGMENTS)?.strip_prefix('/')?.split_once('/')?;
    let (id, last) = rest.split_once('/')?;
    Some((Locator::from_hex(owner)?, from_hex(id)?, last))
}

/// The locator in the last part of the name of a [`moved_to`].
pub(super) fn target_of(last: &str) -> Option<Locator> {
    Locator::from_hex(last.strip_prefix("to.")?.split_once('.')?.0)
}

pub(super) fn expiry(time: u64, locator: &Locator) -> String {
    format!("{EXPIRY}/{time:016x}/{}", locator.to_hex())
}

pub(super) fn expiry_of(name: &str) -> Option<(u64, Locator)> {
    let (time, locator) = name.strip_prefix(EXPIRY)?.strip_prefix('/')?.split_once('/')?;
    Some((u64::from_be_bytes(from_hex(time)?), Locator::from_hex(locator)?))
}

pub(super) fn probe(id: &Id) -> String {
    format!("probe/{}", to_hex(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let (locator, id) = (Locator::from_bytes([0xa1; 32]), [0xb2; 16]);
        assert_eq!(locator_of(&record(&locator)), Some(locator));
        assert_eq!(upload_of(&segment(&locator, &id, 12)), Some((locator, id, "00000012")));
        let moved = moved_to(&locator, &id, &locator, &id);
        assert_eq!(target_of(upload_of(&moved).unwrap().2), Some(locator));
        assert_eq!(expiry_of(&expiry(u64::MAX - 1, &locator)), Some((u64::MAX - 1, locator)));
        assert!(expiry(255, &locator) < expiry(256, &locator), "in the order of time");
        for other in ["r/", "r/a1", "settings", "s/x/y/z", "e/1/2"] {
            assert!(locator_of(other).is_none() && upload_of(other).is_none() && expiry_of(other).is_none());
        }
    }
}
