//! Records: reading what is under a locator, and changing it by compare and swap.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{Error, Fetched, Head, Info, Locator, PutMode};
use super::body::{Id, Kind, MAX_PREFIX_LEN, Move, NewObject, Object, Pointer, START_LEN, TOMBSTONE_LEN};
use super::bucket::{Bucket, Condition, Got, Outcome, Version};
use super::names;
use crate::util::random;

/// The most attempts of a change that others overtake.
pub(super) const ATTEMPTS: u32 = 40;
/// A longer record is in segments. The limit keeps moves cheap, because they write a record twice.
pub(super) const MAX_INLINE_LEN: u64 = 1 << 20;
/// The most bytes of an object with a record.
pub(super) const MAX_OBJECT_LEN: u64 = MAX_INLINE_LEN + MAX_PREFIX_LEN;
/// Records that are read or written in parallel.
pub(super) const PARALLEL_RECORDS: usize = 16;
/// The pointers that are remembered, so that the parts of a long record are requested together with its pointer.
const REMEMBERED: usize = 32;

#[derive(Debug)]
pub(super) struct Records {
    pub(super) bucket: Bucket,
    pointers: Mutex<VecDeque<(Locator, Pointer)>>,
}

/// The state of a locator.
pub(super) struct Slot {
    /// The version of the object; `None` if there is no object.
    pub(super) version: Option<Version>,
    /// The object, if it is a record.
    pub(super) object: Option<Object>,
    pub(super) info: Option<Info>,
    /// The object's part in a move, and its kind.
    pub(super) part: Option<(Move, Kind)>,
    /// The nonce in a reservation.
    pub(super) reserved: Option<Id>,
}

impl Slot {
    const FREE: Self = Self { version: None, object: None, info: None, part: None, reserved: None };

    pub(super) fn head(&self) -> Option<Head> {
        self.info.map(|info| info.head)
    }

    pub(super) fn condition(&self) -> Condition {
        self.version.clone().map_or(Condition::Absent, Condition::Is)
    }

    /// Whether the object is damaged: of another one, the part is known.
    fn is_damaged(&self) -> bool {
        self.version.is_some() && self.part.is_none()
    }
}

/// The error of a step of a write; `doubtful` if an earlier step may have succeeded.
pub(super) fn after(doubtful: bool, error: Error) -> Error {
    if doubtful { Error::Indeterminate(error.into()) } else { error }
}

/// The error of a write that may have succeeded, at a place that others have changed since.
pub(super) fn changed_since() -> Error {
    Error::Indeterminate("the record has been changed since".into())
}

impl Records {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket, pointers: Mutex::default() }
    }

    /// Waits before a repetition of a compare and swap, at random, so that the same caller does not always lose.
    pub(super) async fn pause_before(&self, attempt: u32) {
        if attempt > 0 {
            let mut byte = [0];
            let _ = random::fill(&mut byte); // if this fails, the pause is short
            let longest = 1 << attempt.min(6);
            let micros = u64::from(byte.first().copied().unwrap_or(0)) * longest * 16;
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    /// The first `len` bytes of an object, decoded.
    pub(super) async fn get(&self, name: &str, len: u64) -> Result<Option<(Object, Got)>, Error> {
        let mut len = len.max(START_LEN);
        loop {
            let Some(got) = self.bucket.get(name, 0..len, None).await? else { return Ok(None) };
            match Object::decode(name, &got.bytes, got.len) {
                // The checksum of the whole tells whether it is damaged.
                Err(Error::Unsupported(_)) if len < got.len.min(MAX_OBJECT_LEN) => len = MAX_OBJECT_LEN,
                decoded => return Ok(Some((decoded?, got))),
            }
        }
    }

    /// An object with all its bytes.
    pub(super) async fn get_whole(&self, name: &str) -> Result<Option<(Object, Got)>, Error> {
        let found = self.get(name, MAX_OBJECT_LEN).await?;
        if found.as_ref().is_some_and(|(object, _)| !object.is_whole()) { Err(Error::Corrupt) } else { Ok(found) }
    }

    /// The state of a locator, with the first `len` bytes of the object. Finishes moves.
    pub(super) async fn load(&self, locator: &Locator, len: u64) -> Result<Slot, Error> {
        let name = names::record(locator);
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let Some((object, got)) = self.get(&name, len).await? else { return Ok(Slot::FREE) };
            match object.part {
                Move::Leaving(_, id) => {
                    self.finish_move(locator, id).await?;
                    continue;
                }
                Move::Arriving(from, id) if object.kind == Kind::Reservation => {
                    let origin = self.get(&names::record(&from), START_LEN).await?;
                    if origin.is_some_and(|(origin, _)| origin.is_leaving(id)) {
                        self.finish_move(&from, id).await?;
                        continue;
                    }
                }
                _ => {}
            }
            let info = object.info()?;
            let reserved = (object.kind == Kind::Reservation).then(|| object.payload.first_chunk().copied()).flatten();
            return Ok(Slot {
                version: Some(got.version),
                part: Some((object.part, object.kind)),
                reserved,
                object: info.is_some().then_some(object),
                info,
            });
        }
        Err(Error::Busy)
    }

    pub(super) async fn load_whole(&self, locator: &Locator) -> Result<Slot, Error> {
        let slot = self.load(locator, MAX_OBJECT_LEN).await?;
        if slot.object.as_ref().is_some_and(|object| !object.is_whole()) { Err(Error::Corrupt) } else { Ok(slot) }
    }

    pub(super) async fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        Ok(self.load(locator, START_LEN).await?.info)
    }

    /// Writes a record, or a pointer to one, whose head is `head`. Removes the segments of the one that it replaces.
    pub(super) async fn commit(
        &self,
        locator: &Locator,
        kind: Kind,
        payload: &[u8],
        head: &Head,
        mode: PutMode,
    ) -> Result<(), Error> {
        if let Some(time) = head.expires_at() {
            self.put_marker(&names::expiry(time, locator)).await?;
        }
        let name = names::record(locator);
        let object = NewObject::new(&name, kind, Move::None, payload)?;
        // A new record usually finds nothing, so it does not look.
        let mut slot = if mode == PutMode::Create { Slot::FREE } else { self.load_to_write(locator, mode).await? };
        // The head before an attempt that may have succeeded. If it has changed, a repetition could undo the write of
        // another client.
        let mut replaced: Option<Option<Head>> = None;
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let doubtful = replaced.is_some();
            if replaced.is_some_and(|head| head != slot.head()) {
                return Err(changed_since());
            }
            mode.check(slot.head())?;
            if self.settle(&slot).await.map_err(|error| after(doubtful, error))? {
                let put = self.bucket.put_if(&name, &object, &slot.condition()).await;
                match put.map_err(|error| after(doubtful, error))? {
                    Outcome::Done => {
                        if let Some(replaced) = slot.object.and_then(|object| object.pointer()) {
                            self.remove_segments(&replaced).await;
                        }
                        return Ok(());
                    }
                    // Another client may have replaced this record, and removed its segments.
                    Outcome::Refused { doubtful: true } if kind == Kind::Pointer => return Err(changed_since()),
                    Outcome::Refused { doubtful: true } => replaced = Some(slot.head()),
                    Outcome::Refused { doubtful: false } => {}
                }
            }
            let loaded = self.load_to_write(locator, mode).await;
            slot = loaded.map_err(|error| after(replaced.is_some(), error))?;
        }
        Err(after(replaced.is_some(), Error::Busy))
    }

    /// The state of a locator before a write. A damaged object may be overwritten.
    async fn load_to_write(&self, locator: &Locator, mode: PutMode) -> Result<Slot, Error> {
        if mode == PutMode::Overwrite { self.load_any(locator).await } else { self.load(locator, START_LEN).await }
    }

    /// The state of a locator, also if its object is damaged.
    async fn load_any(&self, locator: &Locator) -> Result<Slot, Error> {
        match self.load(locator, START_LEN).await {
            Err(Error::Corrupt) => {}
            loaded => return loaded,
        }
        // The version first: if another client replaces the damaged object in between, it is not that of an intact one.
        let version = self.bucket.version(&names::record(locator)).await?;
        match self.load(locator, START_LEN).await {
            Err(Error::Corrupt) => Ok(Slot { version, ..Slot::FREE }),
            loaded => loaded,
        }
    }

    /// A damaged record has no head, so it is removed only without `expected`. `maintain` removes its segments.
    pub(super) async fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        // The head of the version that an attempt may have removed. Another one is a record that another client has
        // written since.
        let mut removed: Option<Option<Head>> = None;
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let doubtful = removed.is_some();
            let loaded = match expected {
                None => self.load_any(locator).await,
                Some(_) => self.load(locator, START_LEN).await,
            };
            let slot = loaded.map_err(|error| after(doubtful, error))?;
            let head = slot.head();
            let version = slot.version.as_ref().filter(|_| head.is_some() || slot.is_damaged());
            let Some(version) = version else { return Ok(doubtful) };
            if expected.is_some_and(|expected| Some(*expected) != head) {
                return if doubtful { Ok(true) } else { Err(Error::Conflict) };
            }
            if removed.is_some_and(|removed| removed != head) {
                return Err(changed_since());
            }
            if !self.settle(&slot).await.map_err(|error| after(doubtful, error))? {
                continue;
            }
            let outcome = self.remove(&names::record(locator), version).await;
            match outcome.map_err(|error| after(doubtful, error))? {
                Outcome::Done => {
                    if let Some(pointer) = slot.object.and_then(|object| object.pointer()) {
                        self.remove_segments(&pointer).await;
                    }
                    return Ok(true);
                }
                Outcome::Refused { doubtful: true } => removed = Some(head),
                Outcome::Refused { doubtful: false } => {}
            }
        }
        Err(after(removed.is_some(), Error::Busy))
    }

    /// Removes this version of an object, or replaces it by a tombstone where the server cannot do that.
    pub(super) async fn remove(&self, name: &str, version: &Version) -> Result<Outcome, Error> {
        if self.bucket.deletes_conditionally() {
            return self.bucket.delete_if(name, version).await;
        }
        let tombstone = NewObject::new(name, Kind::Tombstone, Move::None, &[])?;
        debug_assert_eq!(tombstone.bytes.len() as u64, TOMBSTONE_LEN);
        self.bucket.put_if(name, &tombstone, &Condition::Is(version.clone())).await
    }

    pub(super) async fn put_marker(&self, name: &str) -> Result<(), Error> {
        let marker = NewObject::new(name, Kind::Marker, Move::None, &[])?;
        self.bucket.put(name, marker.bytes).await
    }

    /// The whole record if it has at most `max_len` bytes, else its beginning.
    pub(super) async fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let slot = self.load(locator, max_len.saturating_add(MAX_PREFIX_LEN).min(MAX_OBJECT_LEN)).await?;
            let (Some(info), Some(object)) = (slot.info, slot.object) else { return Ok(None) };
            let Some(pointer) = object.pointer() else {
                let whole = object.is_whole() && info.len <= max_len;
                let mut bytes = Vec::from(object.payload);
                if whole {
                    return Ok(Some(Fetched::Record(bytes)));
                }
                bytes.truncate(usize::try_from(max_len).unwrap_or(usize::MAX));
                return Ok(Some(Fetched::Long { info, start: bytes }));
            };
            self.remember(locator, pointer);
            if info.len > max_len {
                return Ok(Some(Fetched::Long { info, start: Vec::new() }));
            }
            match self.read_segments(locator, &pointer, 0, info.len).await {
                Err(Error::Conflict) => {} // it has been replaced
                parts => {
                    let mut record = Vec::new();
                    let len = usize::try_from(info.len).map_err(|_| Error::TooLarge)?;
                    record.try_reserve_exact(len).map_err(|_| Error::TooLarge)?;
                    parts?.into_iter().for_each(|part| record.extend_from_slice(&part));
                    return Ok(Some(Fetched::Record(record)));
                }
            }
        }
        Err(Error::Busy)
    }

    /// The records; [`Error::TooLarge`] if they have more than `max_len` bytes in total. Learns the lengths of long
    /// ones before it reads any of them.
    pub(super) async fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        'again: for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let get = |locator: Locator, len: u64| async move { self.get_up_to(&locator, len).await };
            let short = locators.iter().copied().map(|locator| get(locator, max_len.min(MAX_INLINE_LEN)));
            let mut short = stream::iter(short).buffered(PARALLEL_RECORDS);
            let (mut found, mut left) = (Vec::new(), max_len);
            while let Some(record) = short.try_next().await? {
                let len = match &record {
                    None => 0,
                    Some(Fetched::Record(record)) => record.len() as u64,
                    Some(Fetched::Long { info, .. }) => info.len,
                };
                left = left.checked_sub(len).ok_or(Error::TooLarge)?;
                found.push(record);
            }
            let whole = locators.iter().copied().zip(found).map(|(locator, record)| async move {
                match record {
                    Some(Fetched::Long { info, .. }) => get(locator, info.len).await,
                    record => Ok(record),
                }
            });
            let mut whole = stream::iter(whole).buffered(PARALLEL_RECORDS);
            let mut records = Vec::new();
            while let Some(record) = whole.try_next().await? {
                records.push(match record {
                    None => None,
                    Some(Fetched::Record(record)) => Some(record),
                    Some(Fetched::Long { .. }) => continue 'again, // a longer one has replaced it
                });
            }
            return Ok(records);
        }
        Err(Error::Busy)
    }

    /// Remembers where a record's segments are.
    pub(super) fn remember(&self, locator: &Locator, pointer: Pointer) {
        let mut pointers = self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        pointers.retain(|(other, known)| other != locator && known.upload != pointer.upload);
        pointers.truncate(REMEMBERED - 1);
        pointers.push_front((*locator, pointer));
    }

    pub(super) fn remembered(&self, locator: &Locator, head: &Head) -> Option<Pointer> {
        let pointers = self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        pointers.iter().find(|(other, pointer)| other == locator && pointer.info.head == *head).map(|known| known.1)
    }
}
