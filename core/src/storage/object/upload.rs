//! Uploads: a short record is written by the commit, a long one in segments, several at the same time.
//!
//! Nothing refers to segments before the commit. Those of an upload that has died are removed by `maintain` when they
//! have not changed for [`LEASE`]; so an upload fails after a pause of half of that.

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
    last_sign: Option<Moment>,
    failed: bool,
}

/// A moment by two clocks: the system's clock goes on while the machine is suspended, and the other one is never set
/// back.
#[derive(Clone, Copy)]
struct Moment {
    time: SystemTime,
    instant: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { time: SystemTime::now(), instant: Instant::now() }
    }

    fn since(self, earlier: Self) -> Duration {
        let by_system = self.time.duration_since(earlier.time).unwrap_or_default();
        by_system.max(self.instant.saturating_duration_since(earlier.instant))
    }
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
            last_sign: None,
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

    /// Begins a new lease. [`Error::Conflict`] if `maintain` may have removed segments since the last one.
    fn renew_lease(&mut self) -> Result<(), Error> {
        let now = Moment::now();
        let last = self.last_sign.replace(now);
        if last.is_some_and(|last| now.since(last) > LEASE / 2) { Err(Error::Conflict) } else { Ok(()) }
    }

    /// Begins to send the gathered bytes as the next segment.
    fn send_segment(&mut self) -> Result<(), Error> {
        while self.sending.len() >= PARALLEL_SEGMENTS {
            self.await_segment()?;
        }
        self.renew_lease()?;
        let name = names::segment(&self.locator, &self.id, self.segments);
        let mut next = mem::take(&mut self.spare);
        next.resize(HEADER_LEN, 0);
        let segment = NewObject::in_place(&name, Kind::Segment, mem::replace(&mut self.gathered, next))?;
        let records = self.storage.records()?;
        self.segments += 1;
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
            self.renew_lease()?;
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

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::super::BucketUrl;
    use super::*;

    const MIB: usize = 1 << 20;
    const PAUSE: Duration = LEASE.saturating_sub(Duration::from_secs(3600));

    fn in_memory() -> ObjectStorage {
        let url: BucketUrl = "s3://bucket/store?endpoint=http://127.0.0.1:1".parse().unwrap();
        let mut storage = ObjectStorage::connect(&url.access_key("id", "secret".to_owned())).unwrap();
        let records = storage.records.as_mut().and_then(Arc::get_mut).unwrap();
        records.bucket.objects = Arc::new(InMemory::new());
        storage
    }

    fn upload() -> Box<ObjectUpload<Arc<ObjectStorage>>> {
        let upload = ObjectUpload::new(Arc::new(in_memory()), Locator::from_bytes([7; 32]), PutMode::Create);
        let mut upload = Box::new(upload.unwrap());
        upload.write(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        upload
    }

    fn pause(upload: &mut ObjectUpload<Arc<ObjectStorage>>) {
        upload.last_sign = upload.last_sign.map(|sign| Moment { time: sign.time - PAUSE, ..sign });
    }

    /// `maintain` may have removed the segments from before the pause.
    #[test]
    fn an_upload_fails_after_a_long_pause() {
        // Before the first segment, there is nothing to remove.
        let mut slow = upload();
        pause(&mut slow);
        slow.write(&vec![7; 9 * MIB]).unwrap();
        slow.write(&vec![7; 9 * MIB]).unwrap();
        slow.commit().unwrap();

        let mut resumed = upload();
        resumed.write(&vec![7; 9 * MIB]).unwrap();
        pause(&mut resumed);
        let written = resumed.write(&vec![7; 9 * MIB]);
        assert!(matches!(written, Err(Error::Conflict)), "{written:?}");
        assert!(resumed.commit().is_err());

        // The commit sends the last segment.
        let mut idle = upload();
        idle.write(&vec![7; 9 * MIB]).unwrap();
        pause(&mut idle);
        let committed = idle.commit();
        assert!(matches!(committed, Err(Error::Conflict)), "{committed:?}");
    }

    #[test]
    fn a_pause_is_measured_by_both_clocks() {
        let (first, hour) = (Moment::now(), Duration::from_secs(3600));
        let suspended = Moment { time: first.time + hour, ..first };
        let set_back = Moment { time: first.time - hour, instant: first.instant + hour };
        assert_eq!((suspended.since(first), set_back.since(first)), (hour, hour));
    }
}
