//! Options of a write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::key::RecordKey;
use crate::util::clock::Clock;

/// Options of a write; by default, the store makes a new key, and the record never expires.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
/// use strongroom::{RecordKey, WriteOptions};
///
/// let key = RecordKey::generate()?;
/// // ... write the key down, then:
/// store.store_with("id", b"data", WriteOptions::new().key(&key))?;
/// assert_eq!(store.retrieve("id", &key)?, b"data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct WriteOptions<'k> {
    key: Option<&'k RecordKey>,
    expiry: Expiry,
    pad: bool,
}

/// The end of a record's life.
#[derive(Clone, Copy, Debug, Default)]
enum Expiry {
    #[default]
    Never,
    At(SystemTime),
    In(Duration),
}

impl<'k> WriteOptions<'k> {
    /// No options: the store makes a new key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seals under a key that the caller made with [`RecordKey::generate`] and saved, so that a crash cannot lose the
    /// key of a stored record.
    ///
    /// The write may be repeated after a lost reply: it succeeds if the stored record opens under this key to the same
    /// bytes. If two such writes run concurrently, one may get [`Error::Busy`]; repeating it once more shows whether
    /// the records are the same.
    ///
    /// Make a new key for each version of a record. If two versions of one record are sealed under the same key, an
    /// attacker with write access to the storage can restore the older one, and it opens under that key. The store
    /// cannot detect this, because it keeps no key.
    pub fn key(self, key: &'k RecordKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Makes the version expire at this time, which must not be past; fractions of a second are rounded up. From then
    /// on its key opens nothing ([`Error::Expired`]), the id is free for a new record, and
    /// [`purge`](crate::Strongroom::purge) removes the record. The time is authenticated, but not secret.
    ///
    /// If the write repeats an earlier one under the same key, the time of the earlier one remains. Once the record has
    /// expired, the same call is a new write.
    pub fn expires_at(self, time: SystemTime) -> Self {
        Self { expiry: Expiry::At(time), ..self }
    }

    /// As [`expires_at`](Self::expires_at): after this time from the call of the write.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
    /// use std::time::Duration;
    ///
    /// use strongroom::WriteOptions;
    ///
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let key = store.store_with("session", b"data", WriteOptions::new().expires_in(day))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expires_in(self, time: Duration) -> Self {
        Self { expiry: Expiry::In(time), ..self }
    }

    /// Hides the length of the data: the record is padded to one of few lengths (Padmé), by at most 12 % and 8 bytes.
    /// The readers of a padded record need nothing special, and see only the data.
    ///
    /// The length is hidden in the storage, its backups and its logs, not on a connection over which the data itself
    /// travels.
    pub fn pad(self) -> Self {
        Self { pad: true, ..self }
    }

    /// Whether the record is to be padded.
    pub(crate) fn is_padded(&self) -> bool {
        self.pad
    }

    /// The caller's key, if there is one.
    pub(crate) fn caller_key(&self) -> Option<&'k RecordKey> {
        self.key
    }

    /// The other options, which borrow nothing.
    #[cfg(feature = "tokio")]
    pub(crate) fn without_key(self) -> WriteOptions<'static> {
        WriteOptions { key: None, expiry: self.expiry, pad: self.pad }
    }

    /// The expiry time for the header: Unix time in seconds, 0 for never.
    pub(crate) fn expiry_time(&self, clock: &Clock) -> Result<u64, Error> {
        let now = clock.now();
        let time = match self.expiry {
            Expiry::Never => return Ok(0),
            Expiry::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, round_up),
            Expiry::In(Duration::ZERO) => 0,
            Expiry::In(time) => now.map_or(0, |now| round_up(now.saturating_add(time))),
        };
        if now.is_none_or(|now| time <= now.as_secs()) {
            return Err(Error::InvalidArgument("the expiry time is past, or the clock is not set".into()));
        }
        Ok(time.min(MAX_TIME))
    }

    /// The key to seal under: a copy of the caller's, or a new one.
    pub(crate) fn sealing_key(&self) -> Result<RecordKey, Error> {
        Ok(match self.key {
            Some(key) => key.duplicate(),
            None => RecordKey::generate()?,
        })
    }
}

/// The latest expiry time, far beyond any use: the largest number of every clock, database and language.
const MAX_TIME: u64 = i64::MAX as u64;

fn round_up(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
