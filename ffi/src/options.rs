//! Options for writes

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::strongroom::{Error, RecordKey, WriteOptions};

use crate::boundary::{Output, input, optional, output, sized};
use crate::key::strongroom_record_key;

/// How to write a record. Set all of it to zero, then `size` to sizeof(strongroom_write_options), then what you choose:
///
///     strongroom_write_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.key = &key;
///
/// A larger struct, of a newer header, is accepted if its new members are zero, and STRONGROOM_UNSUPPORTED otherwise.
#[repr(C)]
pub struct strongroom_write_options {
    /// sizeof(strongroom_write_options).
    pub size: usize,
    /// The record's key, which the caller made with strongroom_record_key_generate and wrote down. NULL for a new key.
    ///
    /// The write may be repeated after a lost outcome: it succeeds if the stored record opens under this key to the
    /// same bytes. If two such writes run at once, one may return STRONGROOM_BUSY: repeat it.
    ///
    /// Make a new key for each version of a record. If two versions of one record were sealed under the same key, an
    /// attacker with write access to the storage can put the older one back, and it opens under that key.
    pub key: *const strongroom_record_key,
    /// The time at which the version expires: Unix time in seconds, which must not be past. 0 for never (for
    /// strongroom_rekey: for the record's own time).
    ///
    /// From then on its key opens nothing (STRONGROOM_EXPIRED), the id is free for a new record, and strongroom_purge
    /// removes the record. The time is authenticated, but not secret. If the write repeats an earlier one under the
    /// same key, the time of the earlier one remains.
    pub expires_at: u64,
    /// The seconds from the call after which the version expires, as with `expires_at`: give at most one of the two. 0
    /// as for `expires_at`.
    pub expires_in: u64,
    /// Not 0 to hide the length of the data: the record is padded to one of few lengths (Padme), by at most 12 % and 8
    /// bytes. Functions that read a padded record give only the data, and strongroom_rekey keeps the padding. The
    /// length is hidden in the storage and its backups, not on a connection over which the data itself travels.
    pub pad: u64,
}

/// The options, with a copy of the key.
#[derive(Default)]
pub(crate) struct Options {
    key: Option<RecordKey>,
    rest: WriteOptions<'static>,
}

impl Options {
    /// The options at `options`; the default ones for NULL.
    ///
    /// # Safety
    ///
    /// If it is not NULL, it points to as many bytes as its member `size` says, and `key` is NULL or valid.
    pub(crate) unsafe fn read(options: *const strongroom_write_options) -> Result<Self, Error> {
        // SAFETY: by the caller.
        let Some(options) = (unsafe { sized(options, "options")? }) else { return Ok(Self::default()) };
        // SAFETY: by the caller.
        let key = optional(options.key, |key| unsafe { input(key, "options.key") })?;
        let rest = match (options.expires_at, options.expires_in) {
            (0, 0) => WriteOptions::new(),
            (0, seconds) => WriteOptions::new().expires_in(Duration::from_secs(seconds)),
            (seconds, 0) => WriteOptions::new().expires_at(unix_time(seconds)?),
            _ => return Err(Error::InvalidArgument("give options.expires_at or options.expires_in, not both".into())),
        };
        let rest = if options.pad == 0 { rest } else { rest.pad() };
        Ok(Self { key: key.map(strongroom_record_key::get).transpose()?, rest })
    }

    pub(crate) fn get(&self) -> WriteOptions<'_> {
        let options: WriteOptions<'_> = self.rest;
        self.key.as_ref().map_or(options, |key| options.key(key))
    }

    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The output for the record's key, which may be NULL if the options have the key.
    ///
    /// # Safety
    ///
    /// As [`output`].
    pub(crate) unsafe fn key_output<'a>(
        &self,
        key: *mut strongroom_record_key,
        name: &'static str,
    ) -> Result<Option<Output<'a, strongroom_record_key>>, Error> {
        if key.is_null() && self.key.is_some() {
            return Ok(None);
        }
        // SAFETY: by the caller.
        unsafe { output(key, name) }.map(Some)
    }
}

fn unix_time(seconds: u64) -> Result<SystemTime, Error> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or(Error::InvalidArgument("options.expires_at is invalid: it is too large".into()))
}

/// Writes the key to the output, if there is one.
pub(crate) fn give(key: &RecordKey, output: Option<Output<'_, strongroom_record_key>>) {
    if let Some(output) = output {
        output.set(strongroom_record_key::new(key));
    }
}
