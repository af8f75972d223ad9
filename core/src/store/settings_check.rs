//! Whether the index keys of a handle are still those of the store, and which of them is in use: another program may
//! rotate the index key.
//!
//! A handle that does not know of the rotation would miss records that have moved, and store a second record for their
//! ids. So each use of an id has a lease: the handle reads the settings again, unless they are a fraction of a second
//! old; and after the beginning of a rotation, a handle works with the new key only when all others have had the time
//! to notice. Work that lasts longer than its lease is checked once more at its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::settings::{Generation, Settings};
use crate::storage::Storage;
use crate::util::interrupt;

/// The age at which a handle reads the settings again.
const MAX_AGE: Duration = Duration::from_millis(500);
/// The duration of a lease, and so the pause before a handle works with the new key: the greatest age, and as much
/// again for a request that has begun.
const LEASE: Duration = Duration::from_secs(1);

/// The index keys of a handle, compared with the settings.
pub(crate) struct SettingsCheck {
    current: Generation,
    previous: Option<Generation>,
    max_age: Duration,
    lease: Duration,
    first_read: Instant,
    /// When the settings were last read, in microseconds after `first_read`.
    read_at: AtomicU64,
    /// Whether the current key is in use; otherwise the rotation has not begun.
    is_current_in_use: AtomicBool,
}

/// The right to use an id with one of the keys, for a limited time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// Whether the handle's current key is in use. Before the rotation begins, it is the previous one.
    pub(super) is_current: bool,
    /// The time after `first_read` from which on others may use a newer key.
    end: Duration,
}

impl Lease {
    pub(super) fn end(&self) -> Duration {
        self.end
    }
}

impl SettingsCheck {
    /// For keys of the settings, which were read after `first_read`. If `always_read`, they are read before each use of
    /// an id, and others do so, too.
    pub(crate) fn new(
        current: Generation,
        previous: Option<Generation>,
        is_current_in_use: bool,
        first_read: Instant,
        always_read: bool,
    ) -> Self {
        let (max_age, lease) = if always_read { Default::default() } else { (MAX_AGE, LEASE) };
        let (read_at, is_current_in_use) = (AtomicU64::new(0), AtomicBool::new(is_current_in_use));
        Self { current, previous, max_age, lease, first_read, read_at, is_current_in_use }
    }

    /// Waits, at the beginning of a rotation, until no handle works with the previous key alone.
    pub(crate) fn wait_for_others(&self) -> Result<(), Error> {
        if self.lease.is_zero() {
            return Ok(());
        }
        interrupt::sleep(self.lease);
        if interrupt::was_interrupted() { Err(Error::Busy) } else { Ok(()) }
    }

    /// The settings after the beginning of the rotation; `None` if these do not list the previous key alone.
    pub(super) fn rotated(&self, settings: Settings) -> Option<Settings> {
        let previous = self.previous.filter(|previous| settings.generations == [*previous])?;
        Some(Settings { generations: vec![self.current, previous], ..settings })
    }

    /// The generation of the key in use, as far as this handle knows.
    pub(super) fn in_use(&self) -> Generation {
        match self.previous {
            Some(previous) if !self.is_current_in_use.load(Ordering::Acquire) => previous,
            _ => self.current,
        }
    }

    /// The lease for the next use of an id. Fails with [`Error::IndexKeyMismatch`] if the store has a newer index key.
    pub(super) fn lease(&self, storage: &dyn Storage) -> Result<Lease, Error> {
        // The time is loaded first: it is stored last.
        let read_at = Duration::from_micros(self.read_at.load(Ordering::Acquire));
        let is_current = self.is_current_in_use.load(Ordering::Acquire);
        if self.first_read.elapsed().saturating_sub(read_at) < self.max_age {
            return Ok(Lease { is_current, end: read_at.saturating_add(self.lease) });
        }
        self.new_lease(storage)
    }

    /// This lease if it has not ended, otherwise a new one.
    pub(super) fn renewed(&self, lease: Lease, storage: &dyn Storage) -> Result<Lease, Error> {
        if self.first_read.elapsed() < lease.end { Ok(lease) } else { self.new_lease(storage) }
    }

    /// As [`lease`](Self::lease), by settings that are read now.
    pub(super) fn new_lease(&self, storage: &dyn Storage) -> Result<Lease, Error> {
        let now = self.first_read.elapsed();
        let was_current = self.is_current_in_use.load(Ordering::Acquire);
        let document = storage.settings()?.ok_or_else(|| {
            Error::Storage(
                "the storage has no store any more: it was emptied, or another one has taken its place".into(),
            )
        })?;
        let settings = Settings::decode(&document)?;
        let is_current = match &*settings.generations {
            [only] if *only == self.current => true,
            [new, old] if *new == self.current && Some(*old) == self.previous => true,
            // A rotation that has begun ends with the current key.
            [only] if Some(*only) == self.previous && !was_current => false,
            _ => return Err(Error::IndexKeyMismatch),
        };
        if is_current && !was_current {
            self.wait_for_others()?;
            self.is_current_in_use.store(true, Ordering::Release);
        }
        self.read_at.fetch_max(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::AcqRel);
        Ok(Lease { is_current, end: now.saturating_add(self.lease) })
    }
}
