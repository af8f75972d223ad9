//! The connections that read, kept for who reads next.
//!
//! Each has a place of its own, and each thread looks into one place first: threads that read at once share no lock and
//! no line of a cache.

use std::array;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::error::Outcome;
use super::lock;
use super::second_copy::Claim;
use crate::storage::Error;

/// Connections that are kept when nobody reads.
const PLACES: usize = 8;

pub(super) struct Readers {
    places: [Place; PLACES],
    /// `None` once closed.
    claim: Mutex<Option<Arc<Claim>>>,
}

/// As long as what a core fetches at once, two lines of a cache.
#[repr(align(128))]
struct Place(Mutex<Option<Box<Reader>>>);

/// A connection, and its part in the claim to the database, which outlives it: fields are dropped in their order.
pub(super) struct Reader {
    pub(super) connection: Connection,
    reads: u32,
    _claim: Arc<Claim>,
}

impl Reader {
    /// Counts a read; true now and then, for those who read a lot.
    pub(super) fn is_frequent(&mut self) -> bool {
        self.reads = self.reads.wrapping_add(1);
        self.reads.is_multiple_of(64)
    }
}

thread_local! {
    /// The place where this thread looks first.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % PLACES
    };
}

impl Readers {
    pub(super) fn new(claim: Claim) -> Self {
        Self { places: array::from_fn(|_| Place(Mutex::new(None))), claim: Mutex::new(Some(Arc::new(claim))) }
    }

    /// A connection that nobody uses at the moment, or a new one.
    pub(super) fn take(&self, open: impl FnOnce() -> Outcome<Connection>) -> Outcome<Box<Reader>> {
        if let Some(reader) = self.own_first().find_map(|place| lock(&place.0).take()) {
            return Ok(reader);
        }
        let claim = lock(&self.claim).clone().ok_or(Error::Closed)?;
        Ok(Box::new(Reader { connection: open()?, reads: 0, _claim: claim }))
    }

    /// Keeps a connection for others, if there is room, and `wanted` says so while nobody can clear its place.
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

    /// Closes all connections that nobody uses.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| drop(lock(&place.0).take()));
    }

    /// Gives up the claim to the database, but for the part of reads under way.
    pub(super) fn give_up(&self) {
        *lock(&self.claim) = None;
    }

    /// Leaves the connections as they are, in a forked child, to whom they do not belong. No lock: a thread of the
    /// parent's may have held it.
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
