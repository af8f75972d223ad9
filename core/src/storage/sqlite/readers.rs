//! The pool of connections for reading.
//!
//! Each connection has its own place, and each thread tries one place first: concurrent reads share no lock and no
//! cache line.

use std::array;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::error::Outcome;
use super::lock;
use super::second_copy::Claim;
use crate::storage::Error;

/// The most idle connections.
const PLACES: usize = 8;

pub(super) struct Readers {
    places: [Place; PLACES],
    /// `None` once closed.
    claim: Mutex<Option<Arc<Claim>>>,
}

/// Two cache lines, as much as a core fetches at once.
#[repr(align(128))]
struct Place(Mutex<Option<Box<Reader>>>);

/// A connection, and its share in the claim to the database, which must outlive it: fields are dropped in their order.
pub(super) struct Reader {
    pub(super) connection: Connection,
    reads: u32,
    _claim: Arc<Claim>,
}

impl Reader {
    /// Counts a read. Returns `true` now and then, on a connection that reads a lot.
    pub(super) fn is_frequent(&mut self) -> bool {
        self.reads = self.reads.wrapping_add(1);
        self.reads.is_multiple_of(64)
    }
}

thread_local! {
    /// The place that this thread tries first.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % PLACES
    };
}

impl Readers {
    pub(super) fn new(claim: Claim) -> Self {
        Self { places: array::from_fn(|_| Place(Mutex::new(None))), claim: Mutex::new(Some(Arc::new(claim))) }
    }

    /// An idle connection, or a new one.
    pub(super) fn take(&self, open: impl FnOnce() -> Outcome<Connection>) -> Outcome<Box<Reader>> {
        if let Some(reader) = self.own_first().find_map(|place| lock(&place.0).take()) {
            return Ok(reader);
        }
        let claim = lock(&self.claim).clone().ok_or(Error::Closed)?;
        Ok(Box::new(Reader { connection: open()?, reads: 0, _claim: claim }))
    }

    /// Keeps a connection for others if there is room and `wanted` agrees. It is asked while the place is locked.
    pub(super) fn give_back(&self, reader: Box<Reader>, wanted: impl Fn() -> bool) {
        for place in self.own_first() {
            let mut place = lock(&place.0);
            if place.is_none() {
                if wanted() {
                    *place = Some(reader);
                }
                return;
            }
        }
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| drop(lock(&place.0).take()));
    }

    /// Gives up the claim to the database; running reads keep their shares.
    pub(super) fn give_up(&self) {
        *lock(&self.claim) = None;
    }

    /// Forgets the connections in a forked child: they belong to the parent. No lock is taken: a thread of the parent
    /// may have held it.
    pub(super) fn forget(&mut self) {
        for place in &mut self.places {
            let place = place.0.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = ManuallyDrop::new(place.take());
        }
    }

    /// All places, the thread's own first.
    fn own_first(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().cycle().skip(OWN.with(|own| *own)).take(PLACES)
    }
}
