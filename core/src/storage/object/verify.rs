//! The search for damage: each object has a CRC-32 of its name and its bytes, and a step reads a bounded number of
//! them.

use std::str::FromStr;

use futures_util::{StreamExt, stream};

use super::super::{Damage, DamageKind, Error, Locator, Verified, VerifyPosition};
use super::body::{Kind, Object, Pointer};
use super::bucket::Listed;
use super::names::{self, RECORDS, SEGMENTS};
use super::records::Records;
use super::segments::{SEGMENT_LEN, segment_bytes, segment_count};

/// A step ends after this many bytes.
const STEP_BYTES: u64 = 64 << 20;
/// The most records of a page.
const STEP_RECORDS: usize = 256;
/// Records, or segments, that are read at the same time.
const PARALLEL: usize = 4;

/// Where a step begins.
enum Start {
    After(Option<Locator>),
    /// At this segment of a record; then the following records, unless `only`.
    Segment {
        locator: Locator,
        segment: u64,
        only: bool,
    },
}

impl Start {
    fn of(position: Option<&VerifyPosition>) -> Result<Option<Self>, Error> {
        Ok(Some(match position {
            None => Self::After(None),
            Some(VerifyPosition::After(locator)) => Self::After(Some(*locator)),
            Some(VerifyPosition::Record(locator)) => Self::Segment { locator: *locator, segment: 0, only: true },
            Some(VerifyPosition::Structure) => return Ok(None),
            Some(VerifyPosition::Storage(text)) => {
                let mut fields = text.split('.');
                let (kind, locator, segment) = (fields.next(), fields.next(), fields.next());
                let only = match kind {
                    Some("segment") => false,
                    Some("only") => true,
                    _ => return Err(VerifyPosition::unknown()),
                };
                let locator = locator.and_then(Locator::from_hex).ok_or_else(VerifyPosition::unknown)?;
                let segment = segment.and_then(|text| u64::from_str(text).ok()).ok_or_else(VerifyPosition::unknown)?;
                Self::Segment { locator, segment, only }
            }
        }))
    }
}

fn at_segment(locator: &Locator, segment: u64, only: bool) -> VerifyPosition {
    let kind = if only { "only" } else { "segment" };
    VerifyPosition::Storage(format!("{kind}.{}.{segment}", locator.to_hex()))
}

impl Records {
    pub(super) async fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let Some(start) = Start::of(position)? else { return self.verify_structure().await };
        let (mut verified, limit) = (Verified::default(), limit.clamp(1, STEP_RECORDS));
        let mut after = match start {
            Start::After(after) => after,
            Start::Segment { locator, segment, only } => {
                verified.next = self.verify_record(&locator, segment, only, &mut verified).await?;
                if verified.next.is_some() || only {
                    return Ok(verified);
                }
                Some(locator)
            }
        };
        // One page, because its tombstones cost requests, too. The position moves only with a locator.
        let (start, mut last) = (after, after.as_ref().map(names::record));
        while after == start && verified.records < limit as u64 && verified.bytes < STEP_BYTES {
            let left = limit.saturating_sub(usize::try_from(verified.records).unwrap_or(usize::MAX));
            let mut page = self.bucket.list(RECORDS, last.as_deref(), left).await?;
            let Some(end) = page.last() else { return Ok(verified) };
            last = Some(end.name.clone());
            // The next step lists the objects behind the last locator again.
            let is_record = |listed: &Listed| names::locator_of(&listed.name).is_some();
            page.truncate(page.iter().rposition(is_record).map_or(page.len(), |place| place + 1));
            for listed in page {
                let Some(locator) = names::locator_of(&listed.name) else {
                    let place = format!("object {}", listed.name);
                    verified.damage.push(Damage::new(None, place, DamageKind::Orphan));
                    continue;
                };
                verified.next = self.verify_record(&locator, 0, false, &mut verified).await?;
                after = Some(locator);
                if verified.next.is_some() {
                    return Ok(verified);
                }
                if verified.bytes >= STEP_BYTES {
                    break;
                }
            }
        }
        verified.next = after.map(VerifyPosition::After);
        Ok(verified)
    }

    /// Checks a record from a segment on. Returns the position within it where the next step begins, if there is more.
    async fn verify_record(
        &self,
        locator: &Locator,
        first: u64,
        only: bool,
        verified: &mut Verified,
    ) -> Result<Option<VerifyPosition>, Error> {
        let slot = match self.load_whole(locator).await {
            Ok(slot) => slot,
            Err(Error::Corrupt) => {
                verified.records += 1;
                verified.damage.push(Damage::new(Some(*locator), "object", DamageKind::Checksum));
                return Ok(None);
            }
            Err(Error::Unsupported(_)) => {
                verified.records += 1;
                verified.damage.push(Damage::new(Some(*locator), "object", DamageKind::Unsupported));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (Some(info), Some(object)) = (slot.info, slot.object) else { return Ok(None) };
        if let Some(pointer) = object.pointer() {
            let end = segment_count(info.len);
            let last = first.saturating_add(STEP_BYTES / SEGMENT_LEN).min(end);
            let segments = (first..last).map(|number| self.verify_segment(&pointer, number));
            let found: Vec<_> = stream::iter(segments).buffered(PARALLEL).collect().await;
            let mut damage = Vec::new();
            for outcome in found {
                let (bytes, found) = outcome?;
                verified.bytes += bytes;
                damage
                    .extend(found.map(|(number, kind)| Damage::new(Some(*locator), format!("segment {number}"), kind)));
            }
            if !damage.is_empty() && self.info(locator).await?.map(|info| info.head) != Some(info.head) {
                damage.clear(); // it was replaced in the meantime
            }
            verified.damage.append(&mut damage);
            if last < end {
                return Ok(Some(at_segment(locator, last, only)));
            }
        } else {
            verified.bytes += info.len;
        }
        if !info.head.is_supported() {
            verified.damage.push(Damage::new(Some(*locator), "header", DamageKind::Unsupported));
        }
        verified.records += 1;
        Ok(None)
    }

    /// The bytes of a segment, and its damage.
    async fn verify_segment(&self, pointer: &Pointer, number: u64) -> Result<(u64, Option<(u64, DamageKind)>), Error> {
        let name = names::segment(&pointer.owner, &pointer.upload, number);
        let bytes = segment_bytes(number);
        let expected = bytes.end.min(pointer.info.len).saturating_sub(bytes.start);
        let got = match self.bucket.get(&name, 0..SEGMENT_LEN + 1024, None).await {
            Ok(Some(got)) => got,
            Ok(None) => return Ok((0, Some((number, DamageKind::Missing)))),
            Err(Error::Corrupt) => return Ok((0, Some((number, DamageKind::Checksum)))),
            Err(error) => return Err(error),
        };
        let damage = match Object::decode(&name, &got.bytes, got.len) {
            Ok(segment) if segment.kind == Kind::Segment && segment.payload_len == expected => None,
            Ok(segment) if segment.kind == Kind::Segment => Some((number, DamageKind::Length)),
            _ => Some((number, DamageKind::Checksum)),
        };
        Ok((expected, damage))
    }

    /// Segments that belong to no record and to no upload under way.
    async fn verify_structure(&self) -> Result<Verified, Error> {
        let mut verified = Verified::default();
        for folder in self.orphans().await? {
            verified.damage.push(Damage::new(
                None,
                format!("segments {}", folder.trim_start_matches(SEGMENTS)),
                DamageKind::Orphan,
            ));
        }
        Ok(verified)
    }
}
