//! Uploads: a short record is written by the commit, a long one in segments, several at the same time.
//!
//! Nothing refers to segments before the commit. Those of an upload that has died are removed by `maintain` when they
//! have not changed for [`LEASE`]; so a commit fails if the last segment was written half of that ago.

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::{Error, Head, Info, Locator, PutMode, Upload};
use super::body::{HEADER_LEN, Id, Kind, NewObject, Pointer, new_id};
use super::names;
use super::records::MAX_INLINE_LEN;
use super::segments::segment_bytes;
use super::{ObjectStorage, Stopped};
use crate::util::interrupt;

/// How long the segments of an upload are kept without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// Segments that are sent at the same time.
const PARALLEL_SEGMENTS: usize = 4;

pub(super) struct ObjectUpload<S: Deref<Target = ObjectStorage>> {
    storage: S,
    locator: Locator,
    mode: PutMode,
    id: Id,
    head: Option<Head>,
    len: u64,
    /// Room for a segment's header, and the bytes of the next segment.
    gathered: Vec<u8>,
    segments: u64,
    /// The segments that are being sent, which end in any order.
    sending: JoinSet<(Result<(), Error>, Bytes)>,
    /// The memory of a segment that has been sent.
    spare: Vec<u8>,
    /// When the last segment was begun.
    last_sign: SystemTime,
    failed: bool,
}

impl<S: Deref<Target = ObjectStorage>> ObjectUpload<S> {
    pub(super) fn new(storage: S, locator: Locator, mode: PutMode) -> Result<Self, Error> {
        Ok(Self {
            storage,
            locator,
            mode,
            id: new_id()?,
            head: None,
            len: 0,
            gathered: vec![0; HEADER_LEN],
            segments: 0,
            sending: JoinSet::new(),
            spare: Vec::new(),
            last_sign: SystemTime::now(),
            failed: false,
        })
    }

    fn check(&self) -> Result<(), Error> {
        self.storage.check_open()?;
        if self.failed {
            return Err(Error::InvalidArgument("an earlier write of this record failed: start it again".into()));
        }
        Ok(())
    }

    fn gathered_len(&self) -> usize {
        self.gathered.len().saturating_sub(HEADER_LEN)
    }

    /// Begins to send the gathered bytes as the next segment.
    fn send_segment(&mut self) -> Result<(), Error> {
        while self.sending.len() >= PARALLEL_SEGMENTS {
            self.await_segment()?;
        }
        let name = names::segment(&self.locator, &self.id, self.segments);
        let mut next = mem::take(&mut self.spare);
        next.resize(HEADER_LEN, 0);
        let segment = NewObject::in_place(&name, Kind::Segment, mem::replace(&mut self.gathered, next))?;
        let records = self.storage.records()?;
        self.segments += 1;
        self.last_sign = SystemTime::now();
        let send = async move { (records.bucket.put(&name, segment.bytes.clone()).await, segment.bytes) };
        self.storage.runtime.spawn_in(&mut self.sending, send).map_err(|unfinished| Stopped::from(unfinished).of_read())
    }

    /// Waits until one of the segments has been sent.
    fn await_segment(&mut self) -> Result<(), Error> {
        let mut sending = mem::take(&mut self.sending);
        let sent = self.storage.runtime.wait(async move {
            let sent = sending.join_next().await;
            Ok::<_, Stopped>((sending, sent))
        });
        let (sending, sent) = sent.map_err(Stopped::of_read)?;
        self.sending = sending;
        let Some(sent) = sent else { return Ok(()) };
        let (outcome, bytes) = sent.map_err(|error| Error::Backend(error.into()))?;
        // The allocator keeps freed segments, so that new ones would take more memory.
        self.spare = bytes.try_into_mut().map(Vec::from).unwrap_or_default();
        self.spare.clear();
        outcome
    }

    /// Appends bytes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let segment = segment_bytes(self.segments);
            let segment_len = usize::try_from(segment.end - segment.start).map_err(|_| Error::TooLarge)?;
            let room = segment_len.saturating_sub(self.gathered_len());
            if room == 0 {
                self.find_head();
                self.send_segment()?;
                continue;
            }
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            // A long record gets room for exactly one segment: growing by doubling would take twice as much.
            let is_long = (self.gathered_len() + now.len()) as u64 > MAX_INLINE_LEN;
            let more = if is_long { room } else { now.len() };
            let reserved =
                if is_long { self.gathered.try_reserve_exact(more) } else { self.gathered.try_reserve(more) };
            reserved.map_err(|_| Error::TooLarge)?;
            self.gathered.extend_from_slice(now);
            self.len = self.len.checked_add(now.len() as u64).ok_or(Error::TooLarge)?;
            bytes = later;
        }
        Ok(())
    }

    fn find_head(&mut self) {
        if self.segments == 0 {
            self.head = self.gathered.get(HEADER_LEN..).and_then(Head::of);
        }
    }

    pub(super) fn commit_now(mut self) -> Result<(), Error> {
        let outcome = self.finish();
        if matches!(outcome, Ok(()) | Err(Error::Indeterminate(_))) {
            self.segments = 0; // the record needs them, or may need them
        }
        outcome
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.find_head();
        let head = self.head.map_or_else(|| Head::require(&[]), Ok)?;
        let (locator, mode) = (self.locator, self.mode);
        let (kind, payload) = if self.segments == 0 && self.len <= MAX_INLINE_LEN {
            (Kind::Record, self.gathered.split_off(HEADER_LEN))
        } else {
            self.send_segment()?;
            while !self.sending.is_empty() {
                self.await_segment()?;
            }
            let silence = SystemTime::now().duration_since(self.last_sign).unwrap_or_default();
            if silence > LEASE / 2 {
                return Err(Error::Conflict);
            }
            let info = Info { head, len: self.len };
            (Kind::Pointer, Pointer { info, owner: locator, upload: self.id }.encode())
        };
        self.storage.write(move |records| async move { records.commit(&locator, kind, &payload, &head, mode).await })
    }

    /// Removes the segments.
    fn abandon(&mut self) {
        // Those that are being sent would come back.
        while !self.sending.is_empty() && !interrupt::was_interrupted() {
            let _ = self.await_segment();
        }
        if mem::take(&mut self.segments) > 0 {
            let folder = names::upload(&self.locator, &self.id);
            let _ = self.storage.write(move |records| async move { records.remove_folder(&folder).await });
        }
    }
}

impl Upload for ObjectUpload<Arc<ObjectStorage>> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        self.failed = true; // until this succeeds
        self.add(bytes)?;
        self.failed = false;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        self.check()?;
        self.commit_now()
    }
}

impl<S: Deref<Target = ObjectStorage>> Drop for ObjectUpload<S> {
    fn drop(&mut self) {
        if self.storage.runtime.check_process().is_err() {
            // The requests belong to the parent, and its thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(mem::take(&mut self.sending));
            return;
        }
        self.abandon();
    }
}

impl<S: Deref<Target = ObjectStorage>> fmt::Debug for ObjectUpload<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectUpload").field("bytes", &self.len).finish_non_exhaustive()
    }
}
