//! Long records: their segments, written and read in parallel.
//!
//! The first segment has the record's head and 447 sealed chunks, each of the others as many chunks. They are the parts
//! that a reader prefers, so that each of its reads is one request for data.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{Error, HEAD_LEN, Head, Info, Locator};
use super::body::{HEADER_LEN, Pointer, START_LEN};
use super::names;
use super::records::{MAX_OBJECT_LEN, Records};
use super::transport;

/// The bytes of a record in each segment except the first and the last: nearly 7 MiB. Longer ones need fewer requests;
/// the memory of a stream is about seven times as long.
pub(super) const SEGMENT_LEN: u64 = 447 * 16_400;
/// Requests at the same time of one read.
const PARALLEL_READS: usize = 4;
/// Deletes at the same time.
const PARALLEL_DELETES: usize = 16;
/// A read within so many bytes fetches the object from its beginning, in one request.
const SHORT_READ: u64 = 128 << 10;

/// A part of a record.
#[derive(Clone, Copy)]
struct Part {
    segment: u64,
    /// The place of the part in the segment's data.
    offset: u64,
    len: u64,
}

/// The parts of `len` bytes from `offset` on.
fn parts(offset: u64, len: u64) -> impl Iterator<Item = Part> {
    let end = offset.saturating_add(len);
    let mut at = offset;
    std::iter::from_fn(move || {
        let segment = at.saturating_sub(HEAD_LEN as u64) / SEGMENT_LEN;
        let bytes = segment_bytes(segment);
        let len = bytes.end.min(end).saturating_sub(at);
        let part = Part { segment, offset: at - bytes.start, len };
        at += len;
        (len > 0).then_some(part)
    })
}

/// The bytes of a record that are in this segment, if the record is as long.
pub(super) fn segment_bytes(segment: u64) -> Range<u64> {
    let end = |segment: u64| segment.saturating_mul(SEGMENT_LEN).saturating_add(HEAD_LEN as u64);
    let start = if segment == 0 { 0 } else { end(segment) };
    start..end(segment.saturating_add(1))
}

/// The number of segments of a record of `len` bytes.
pub(super) fn segment_count(len: u64) -> u64 {
    len.saturating_sub(HEAD_LEN as u64).div_ceil(SEGMENT_LEN)
}

impl Records {
    /// `len` bytes of a long record from `offset` on. [`Error::Conflict`] if it has been replaced or has moved.
    pub(super) async fn read_segments(
        &self,
        locator: &Locator,
        pointer: &Pointer,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Bytes>, Error> {
        if let Some(parts) = self.existing_segments(pointer, offset, len).await? {
            return Ok(parts);
        }
        // Segments outlive their pointer, and no pointer is written twice.
        let there = self.load(locator, START_LEN).await?.object.and_then(|object| object.pointer());
        Err(if there == Some(*pointer) { Error::Corrupt } else { Error::Conflict })
    }

    /// `None` if a segment is missing.
    async fn existing_segments(&self, pointer: &Pointer, offset: u64, len: u64) -> Result<Option<Vec<Bytes>>, Error> {
        let read = |part: Part| async move {
            let name = names::segment(&pointer.owner, &pointer.upload, part.segment);
            let start = part.offset + HEADER_LEN as u64;
            let Some(got) = self.bucket.get(&name, start..start + part.len, None).await? else { return Ok(None) };
            if got.bytes.len() as u64 == part.len { Ok(Some(got.bytes)) } else { Err(Error::Corrupt) }
        };
        let mut found = stream::iter(parts(offset, len).map(read)).buffered(PARALLEL_READS);
        let mut all = Vec::new();
        while let Some(part) = found.try_next().await? {
            let Some(bytes) = part else { return Ok(None) };
            all.push(bytes);
        }
        Ok(Some(all))
    }

    /// The parts of a record with this head from `offset` on. The pointer of a long record that is known is requested
    /// at the same time as its segments.
    pub(super) async fn read_at(
        &self,
        locator: &Locator,
        head: &Head,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Bytes>, Error> {
        let ends_before = || Error::InvalidArgument("the record ends before this range".into());
        let end = offset.checked_add(len).ok_or_else(ends_before)?;
        if let Some(pointer) = self.remembered(locator, head).filter(|pointer| end <= pointer.info.len) {
            let (slot, parts) =
                futures_util::join!(self.load(locator, START_LEN), self.read_segments(locator, &pointer, offset, len));
            let found = slot?.object.and_then(|object| object.pointer());
            return match found {
                Some(found) if found == pointer => parts,
                _ => Err(Error::Conflict), // it has been replaced, if only by the same record
            };
        }
        let first = if end <= SHORT_READ { end + super::body::MAX_PREFIX_LEN } else { START_LEN };
        let slot = self.load(locator, first).await?;
        let info = slot.info.filter(|info| info.head == *head).ok_or(Error::Conflict)?;
        if end > info.len {
            return Err(ends_before());
        }
        let (Some(object), Some(version)) = (slot.object, slot.version) else { return Err(Error::Conflict) };
        if let Some(pointer) = object.pointer() {
            self.remember(locator, pointer);
            return self.read_segments(locator, &pointer, offset, len).await;
        }
        let in_memory = |value: u64| usize::try_from(value).map_err(|_| Error::TooLarge);
        let range: Range<usize> = in_memory(offset)?..in_memory(end)?;
        if end <= object.payload.len() as u64 {
            return Ok(vec![object.payload.slice(range)]);
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        let prefix = object.prefix_len();
        let got = self.bucket.get(&names::record(locator), prefix + offset..prefix + end, Some(&version)).await?;
        let got = got.ok_or(Error::Conflict)?;
        if got.bytes.len() as u64 == len { Ok(vec![got.bytes]) } else { Err(Error::Corrupt) }
    }

    /// The record's head and length, and its last `len` bytes.
    pub(super) async fn get_end(&self, locator: &Locator, len: u64) -> Result<Option<(Info, Vec<Bytes>)>, Error> {
        let slot = self.load(locator, len.saturating_add(SHORT_READ).min(MAX_OBJECT_LEN)).await?;
        let (Some(info), Some(object)) = (slot.info, slot.object) else { return Ok(None) };
        let len = len.min(info.len);
        let parts = if let Some(pointer) = object.pointer() {
            self.remember(locator, pointer);
            self.read_segments(locator, &pointer, info.len - len, len).await?
        } else if object.is_whole() {
            let start = usize::try_from(info.len - len).map_err(|_| Error::TooLarge)?;
            vec![object.payload.slice(start..)]
        } else {
            self.read_at(locator, &info.head, info.len - len, len).await?
        };
        Ok(Some((info, parts)))
    }

    /// Removes the segments of a record that is gone, however many. `maintain` removes the rest after a failure.
    pub(super) async fn remove_segments(&self, pointer: &Pointer) {
        let folder = names::upload(&pointer.owner, &pointer.upload);
        let _ = transport::without_end(self.remove_folder(&folder)).await;
    }

    /// Removes all objects of a folder, in one pass: a server may keep an object in spite of its delete.
    pub(super) async fn remove_folder(&self, folder: &str) -> Result<(), Error> {
        let mut last: Option<String> = None;
        loop {
            let page = self.bucket.list(folder, last.as_deref(), super::bucket::PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.name.clone());
            let deletes = page.into_iter().map(|listed| async move { self.bucket.delete(&listed.name).await });
            stream::iter(deletes).buffer_unordered(PARALLEL_DELETES).try_collect::<Vec<_>>().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_range() {
        let head = HEAD_LEN as u64;
        let ends = [0, 1, head - 1, head, head + 1].into_iter();
        let ends = ends.chain((1..4).map(|n| head + n * SEGMENT_LEN).flat_map(|end| [end - 1, end, end + 1]));
        let ends: Vec<_> = ends.collect();
        for start in &ends {
            for end in ends.iter().filter(|end| start <= end) {
                let mut at = *start;
                for found in parts(*start, end - start) {
                    let segment = segment_bytes(found.segment);
                    assert_eq!(segment.start + found.offset, at);
                    at += found.len;
                    assert!(at <= segment.end);
                }
                assert_eq!(at, *end);
            }
            let last = parts(0, *start).last();
            assert_eq!(last.filter(|_| *start > head).map_or(0, |last| last.segment + 1), segment_count(*start));
        }
        assert_eq!(parts(u64::MAX - 1, 5).map(|part| part.len).sum::<u64>(), 1);
    }

    #[test]
    fn a_part_of_sealed_chunks_is_one_request() {
        for n in 0..10 {
            assert_eq!(parts(HEAD_LEN as u64 + n * SEGMENT_LEN, SEGMENT_LEN).count(), 1);
        }
    }
}
