//! The pool of connections for reading.
//!
//! Each connection has its own slot, and each thread has a slot that it tries first, so that concurrent reads share no
//! lock and no cache line.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::connection_settings::wait_while_busy;
use super::error::Outcome;
use super::lock;
use super::second_copy::Claim;
use super::writer::Writer;
use crate::storage::Error;

/// The most idle connections.
const SLOTS: usize = 8;

pub(super) struct Readers {
    slots: [Slot; SLOTS],
    /// `None` once closed.
    end: Mutex<Option<Arc<End>>>,
}

/// Aligned to two cache lines, because cores prefetch lines in pairs.
#[repr(align(128))]
struct Slot(Mutex<Option<Box<Reader>>>);

/// A connection, and its share in what must outlive the connection. Fields are dropped in their order.
pub(super) struct Reader {
    pub(super) connection: Connection,
    reads: u32,
    _end: Arc<End>,
}

/// The end of a handle, after its last connection for reading: closes the writer, because a running read would prevent
/// its checkpoint, and releases the claim to the database.
struct End {
    /// The writer of a closed handle, and whether no write has failed.
    writer: Mutex<Option<(Writer, bool)>>,
    _claim: Claim,
}

impl End {
    fn close_writer(&self) -> Outcome<()> {
        let writer = lock(&self.writer).take();
        writer.map_or(Ok(()), |(writer, is_intact)| writer.close(is_intact))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.close_writer(); // the close of the handle had returned
    }
}

impl Reader {
    /// Counts a read. Returns `true` from time to time on a connection with frequent reads.
    pub(super) fn is_frequent(&mut self) -> bool {
        self.reads = self.reads.wrapping_add(1);
        self.reads.is_multiple_of(64)
    }
}

thread_local! {
    /// The slot that this thread tries first.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS
    };
}

impl Readers {
    pub(super) fn new(claim: Claim) -> Self {
        let end = Arc::new(End { writer: Mutex::new(None), _claim: claim });
        Self { slots: array::from_fn(|_| Slot(Mutex::new(None))), end: Mutex::new(Some(end)) }
    }

    /// An idle connection, or a new one.
    pub(super) fn take(&self, open: impl FnOnce() -> Outcome<Connection>) -> Outcome<Box<Reader>> {
        if let Some(reader) = self.own_first().find_map(|slot| lock(&slot.0).take()) {
            return Ok(reader);
        }
        let end = lock(&self.end).clone().ok_or(Error::Closed)?;
        Ok(Box::new(Reader { connection: open()?, reads: 0, _end: end }))
    }

    /// Keeps a connection if a slot is free and `wanted` returns `true`. `wanted` is called while the slot is locked.
    pub(super) fn give_back(&self, reader: Box<Reader>, wanted: impl Fn() -> bool) {
        for slot in self.own_first() {
            let mut slot = lock(&slot.0);
            if slot.is_none() {
                if wanted() {
                    *slot = Some(reader);
                }
                return;
            }
        }
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        self.slots.iter().for_each(|slot| drop(lock(&slot.0).take()));
    }

    /// Closes all idle connections, and then that of the writer, if there is one: after the running reads, for which it
    /// waits a little.
    pub(super) fn close(&self, writer: Option<(Writer, bool)>) -> Outcome<()> {
        self.clear();
        let Some(end) = lock(&self.end).take() else { return Ok(()) };
        let is_last = || if Arc::strong_count(&end) == 1 { Ok(()) } else { Err(Error::Busy.into()) };
        let _ = wait_while_busy(is_last); // the last of the reads that go on closes the writer
        *lock(&end.writer) = writer;
        Arc::into_inner(end).map_or(Ok(()), |end| end.close_writer())
    }

    /// All slots, the thread's own first.
    fn own_first(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().cycle().skip(OWN.with(|own| *own)).take(SLOTS)
    }
}
