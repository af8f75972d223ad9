//! Whether the index keys of a handle are still those of the store: another program may rotate the index key.
//!
//! A handle with the old key alone would miss records that have moved, and store a second record for their ids. So each
//! handle reads the settings again before it uses an id, unless they are a fraction of a second old; and a handle with
//! both keys works only after all others have had the time to notice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::settings::{Generation, Settings};
use crate::storage::Storage;
use crate::util::interrupt;

/// The age at which a handle reads the settings again.
const MAX_AGE: Duration = Duration::from_millis(500);
/// The pause before a handle with both keys works: the greatest age, and as much again for a request that has begun.
const PAUSE: Duration = Duration::from_secs(1);

/// The index keys of a handle, compared with the settings.
pub(crate) struct SettingsCheck {
    current: Generation,
    previous: Option<Generation>,
    max_age: Duration,
    first_read: Instant,
    /// When the settings were last read, in microseconds after `first_read`.
    read_at: AtomicU64,
}

impl SettingsCheck {
    /// For keys of the settings, which were read after `first_read`. If `always_read`, they are read before each use of
    /// an id.
    pub(crate) fn new(
        current: Generation,
        previous: Option<Generation>,
        first_read: Instant,
        always_read: bool,
    ) -> Self {
        let max_age = if always_read { Duration::ZERO } else { MAX_AGE };
        Self { current, previous, max_age, first_read, read_at: AtomicU64::new(0) }
    }

    /// Waits, during a rotation, until no handle works with the previous key alone.
    pub(crate) fn wait_for_others(&self) -> Result<(), Error> {
        if self.previous.is_none() || self.max_age.is_zero() {
            return Ok(());
        }
        interrupt::sleep(PAUSE);
        if interrupt::was_interrupted() { Err(Error::Busy) } else { Ok(()) }
    }

    /// Fails with [`Error::IndexKeyMismatch`] if the store has a newer index key.
    pub(super) fn run(&self, storage: &dyn Storage) -> Result<(), Error> {
        let now = self.first_read.elapsed();
        if now.saturating_sub(Duration::from_micros(self.read_at.load(Ordering::Relaxed))) < self.max_age {
            return Ok(());
        }
        let settings = Settings::decode(&storage.settings()?.ok_or(Error::Corrupt)?)?;
        let are_current = match &*settings.generations {
            [only] => *only == self.current,
            [new, old] => *new == self.current && Some(*old) == self.previous,
            _ => false,
        };
        if !are_current {
            return Err(Error::IndexKeyMismatch);
        }
        self.read_at.fetch_max(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(())
    }
}
