//! The pool of connections for reading.
//!
//! Each connection has its own slot, and each thread has a slot that it tries first, so that concurrent reads share no
//! lock and no cache line.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::error::Outcome;
use super::lock;
use super::second_copy::Claim;
use crate::storage::Error;

/// The most idle connections.
const SLOTS: usize = 8;

pub(super) struct Readers {
    slots: [Slot; SLOTS],
    /// `None` once closed.
    claim: Mutex<Option<Arc<Claim>>>,
}

/// Aligned to two cache lines, because cores prefetch lines in pairs.
#[repr(align(128))]
struct Slot(Mutex<Option<Box<Reader>>>);

/// A connection, and its share in the claim to the database, which must outlive the connection. Fields are dropped in
/// their order.
pub(super) struct Reader {
    pub(super) connection: Connection,
    reads: u32,
    _claim: Arc<Claim>,
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
        Self { slots: array::from_fn(|_| Slot(Mutex::new(None))), claim: Mutex::new(Some(Arc::new(claim))) }
    }

    /// An idle connection, or a new one.
    pub(super) fn take(&self, open: impl FnOnce() -> Outcome<Connection>) -> Outcome<Box<Reader>> {
        if let Some(reader) = self.own_first().find_map(|slot| lock(&slot.0).take()) {
            return Ok(reader);
        }
        let claim = lock(&self.claim).clone().ok_or(Error::Closed)?;
        Ok(Box::new(Reader { connection: open()?, reads: 0, _claim: claim }))
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

    /// Releases the claim to the database; running reads keep their shares.
    pub(super) fn give_up(&self) {
        *lock(&self.claim) = None;
    }

    /// All slots, the thread's own first.
    fn own_first(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().cycle().skip(OWN.with(|own| *own)).take(SLOTS)
    }
}
