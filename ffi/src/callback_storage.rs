//! A storage whose primitives are callbacks. It checks their arguments before it calls them, and their results after.

use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::process;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ::strongroom::storage::{
    Damage, DamageKind, Entry, Error, Fetched, HEAD_LEN, Head, Info, LOCATOR_LEN, Limits, Locator, MAX_SETTINGS_LEN,
    PutMode, Stats, Storage, Upload, Verified, VerifyPosition,
};

use crate::boundary::{exclusive, outcome, sized};
use crate::callback_upload::CallbackUpload;
use crate::sink::Effect::{Reads, Writes};
use crate::sink::{Effect, Given, Refusal, Sink, Wanted, failed};
use crate::status::strongroom_status::{self, *};
use crate::storage::strongroom_put_mode::{STRONGROOM_CREATE, STRONGROOM_OVERWRITE, STRONGROOM_REPLACE_IF};
use crate::storage::{
    STRONGROOM_HEAD_SIZE, STRONGROOM_LOCATOR_SIZE, STRONGROOM_SETTINGS_SIZE, strongroom_put_mode, strongroom_sink,
    strongroom_storage_callbacks, strongroom_storage_record,
};
use crate::store::strongroom_stats;

const _: () = assert!(
    STRONGROOM_LOCATOR_SIZE == LOCATOR_LEN
        && STRONGROOM_HEAD_SIZE == HEAD_LEN
        && STRONGROOM_SETTINGS_SIZE == MAX_SETTINGS_LEN,
    "the sizes in the header are the library's"
);

/// The lengths that a part may have.
const PART_LENGTHS: std::ops::RangeInclusive<usize> = 65_536..=16_777_216;

/// The most records that one step of a verification checks.
const VERIFY_STEP: usize = 256;
/// A step ends with the record that exceeds these bytes, so that a search can be stopped and paced.
const VERIFY_STEP_BYTES: u64 = 8 << 20;

pub(crate) struct CallbackStorage {
    pub(crate) callbacks: strongroom_storage_callbacks,
    /// Whether to call `destroy`.
    is_owned: AtomicBool,
    /// Calls hold it shared, so that `close` runs alone.
    pub(crate) is_closed: RwLock<bool>,
    /// The process that opened the storage. In a forked child, locks may be held for ever, so no callback is called.
    process: u32,
}

// SAFETY: by the header, the callbacks may be called from any thread with their context.
unsafe impl Send for CallbackStorage {}
// SAFETY: by the header, from several at once.
unsafe impl Sync for CallbackStorage {}

impl CallbackStorage {
    /// The storage with the callbacks at `callbacks`.
    ///
    /// # Safety
    ///
    /// As [`sized`], and the callbacks are as the header says, until this is dropped.
    pub(crate) unsafe fn new(
        callbacks: *const strongroom_storage_callbacks,
        name: &'static str,
    ) -> Result<Self, ::strongroom::Error> {
        // SAFETY: by the caller.
        let callbacks = *unsafe { sized(callbacks, name)? }
            .ok_or_else(|| ::strongroom::Error::InvalidArgument(format!("{name} is NULL").into()))?;
        let required = [
            (callbacks.put.is_none(), "put"),
            (callbacks.get_up_to.is_none(), "get_up_to"),
            (callbacks.info.is_none(), "info"),
            (callbacks.read_at.is_none(), "read_at"),
            (callbacks.upload.is_none(), "upload"),
            (callbacks.upload_write.is_none(), "upload_write"),
            (callbacks.upload_commit.is_none(), "upload_commit"),
            (callbacks.upload_free.is_none(), "upload_free"),
            (callbacks.remove.is_none(), "remove"),
            (callbacks.rename.is_none(), "rename"),
            (callbacks.list.is_none(), "list"),
            (callbacks.settings.is_none(), "settings"),
            (callbacks.swap_settings.is_none(), "swap_settings"),
            (callbacks.stats.is_none(), "stats"),
        ];
        if let Some((_, member)) = required.iter().find(|(is_missing, _)| *is_missing) {
            return Err(::strongroom::Error::InvalidArgument(format!("{name}.{member} is NULL").into()));
        }
        if callbacks.part_len != 0 && !PART_LENGTHS.contains(&callbacks.part_len) {
            let text = format!("{name}.part_len is invalid: give 65,536 to 16,777,216 bytes, or 0");
            return Err(::strongroom::Error::InvalidArgument(text.into()));
        }
        let (is_owned, is_closed) = (AtomicBool::new(false), RwLock::new(false));
        Ok(Self { callbacks, is_owned, is_closed, process: process::id() })
    }

    /// From now on, dropping the storage destroys its context.
    pub(crate) fn own(&self) {
        self.is_owned.store(true, Ordering::Relaxed);
    }

    /// Keeps the storage open while it lives.
    pub(crate) fn enter(&self) -> Result<RwLockReadGuard<'_, bool>, Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let is_closed = self.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        if *is_closed { Err(Error::Closed) } else { Ok(is_closed) }
    }

    pub(crate) fn is_forked(&self) -> bool {
        process::id() != self.process
    }

    /// The result of a callback with a sink.
    fn give_to(
        &self,
        name: &'static str,
        wanted: Wanted,
        call: impl FnOnce(*mut c_void, *mut strongroom_sink) -> c_int,
    ) -> Result<Option<Given>, Error> {
        let _open = self.enter()?;
        let mut sink = strongroom_sink(Sink::new(wanted));
        let status = call(self.callbacks.context, &raw mut sink);
        sink.0.finish(name, status)
    }

    fn entries(
        &self,
        name: &'static str,
        wanted: Wanted,
        call: impl FnOnce(*mut c_void, *mut strongroom_sink) -> c_int,
    ) -> Result<Vec<Entry>, Error> {
        match self.give_to(name, wanted, call)? {
            Some(Given::Entries(entries)) => Ok(entries),
            _ => Err(failed(name, STRONGROOM_NOT_FOUND as c_int, Reads, &[])),
        }
    }

    /// The damage of a record, if any.
    pub(crate) fn verify_record(&self, locator: &Locator) -> Result<Option<Damage>, Error> {
        let (_open, verify) = (self.enter()?, required(self.callbacks.verify_record)?);
        // SAFETY: as the header says.
        match unsafe { verify(self.callbacks.context, locator.as_bytes().as_ptr()) } {
            status if is(status, STRONGROOM_OK) || is(status, STRONGROOM_NOT_FOUND) => Ok(None),
            status if is(status, STRONGROOM_CORRUPT) => {
                Ok(Some(Damage::new(Some(*locator), "record", DamageKind::Checksum)))
            }
            status => Err(failed("verify_record", status, Reads, &[])),
        }
    }
}

impl Storage for CallbackStorage {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        let (mode, head, refusals) = for_callback(&mode);
        let (locator, data) = (locator.as_bytes().as_ptr(), record.as_ptr().cast());
        let (_open, put) = (self.enter()?, required(self.callbacks.put)?);
        // SAFETY: as the header says.
        let status = unsafe { put(self.callbacks.context, locator, data, record.len(), mode, head) };
        done("put", Writes, refusals, status)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        let _open = self.enter()?;
        let create_many = self.callbacks.create_many.ok_or_else(|| unsupported("it has no transactions"))?;
        let mut locators = BTreeSet::new();
        for (locator, record) in records {
            Head::require(record)?;
            if !locators.insert(*locator) {
                return Err(Error::AlreadyExists);
            }
        }
        let records = records.iter().map(|(locator, record)| strongroom_storage_record {
            locator: locator.as_bytes().as_ptr(),
            record: record.as_ptr().cast(),
            record_len: record.len(),
        });
        let records: Vec<_> = records.collect();
        // SAFETY: as the header says.
        let status = unsafe { create_many(self.callbacks.context, records.as_ptr(), records.len()) };
        done("create_many", Writes, &[STRONGROOM_ALREADY_EXISTS], status)
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        let get_up_to = required(self.callbacks.get_up_to)?;
        let given = self.give_to("get_up_to", Wanted::Record { max_len }, |context, sink| {
            // SAFETY: as the header says.
            unsafe { get_up_to(context, locator.as_bytes().as_ptr(), max_len, sink) }
        })?;
        Ok(match given {
            Some(Given::Bytes(record)) => Some(Fetched::Record(record)),
            Some(Given::Info(info)) => Some(Fetched::Long { info, start: Vec::new() }),
            _ => None,
        })
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        let info = required(self.callbacks.info)?;
        let given = self.give_to("info", Wanted::Info, |context, sink| {
            // SAFETY: as the header says.
            unsafe { info(context, locator.as_bytes().as_ptr(), sink) }
        })?;
        Ok(match given {
            Some(Given::Info(info)) => Some(info),
            _ => None,
        })
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let (locator, head) = (locator.as_bytes().as_ptr(), head.as_bytes().as_ptr());
        let (len, buffer) = (buffer.len(), buffer.as_mut_ptr().cast());
        let (_open, read_at) = (self.enter()?, required(self.callbacks.read_at)?);
        // SAFETY: as the header says.
        let status = unsafe { read_at(self.callbacks.context, locator, head, offset, buffer, len) };
        done("read_at", Reads, &[STRONGROOM_CONFLICT], status)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        let (mode, head, refusals) = for_callback(&mode);
        let mut handle = null_mut();
        {
            let (_open, upload) = (self.enter()?, required(self.callbacks.upload)?);
            let (context, locator) = (self.callbacks.context, locator.as_bytes().as_ptr());
            // SAFETY: as the header says.
            done("upload", Reads, refusals, unsafe { upload(context, locator, mode, head, &raw mut handle) })?;
        }
        Ok(Box::new(CallbackUpload::new(self, handle, refusals)))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let (head, refusals): (_, &[_]) =
            expected.map_or((null(), &[]), |head| (head.as_bytes().as_ptr(), &[STRONGROOM_CONFLICT]));
        let (_open, remove) = (self.enter()?, required(self.callbacks.remove)?);
        // SAFETY: as the header says.
        match unsafe { remove(self.callbacks.context, locator.as_bytes().as_ptr(), head) } {
            status if is(status, STRONGROOM_NOT_FOUND) => Ok(false),
            status => done("remove", Writes, refusals, status).map(|()| true),
        }
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        let (from, head, to) = (from.as_bytes().as_ptr(), head.as_bytes().as_ptr(), to.as_bytes().as_ptr());
        let (_open, rename) = (self.enter()?, required(self.callbacks.rename)?);
        // SAFETY: as the header says.
        let status = unsafe { rename(self.callbacks.context, from, head, to) };
        done("rename", Writes, &[STRONGROOM_ALREADY_EXISTS, STRONGROOM_CONFLICT], status)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let list = required(self.callbacks.list)?;
        self.entries("list", Wanted::List { after: after.copied(), limit }, |context, sink| {
            let after = after.map_or(null(), |after| after.as_bytes().as_ptr());
            // SAFETY: as the header says.
            unsafe { list(context, after, limit, sink) }
        })
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        drop(self.enter()?);
        let list = self.callbacks.list_expired.ok_or_else(|| unsupported("it has no index of expiry times"))?;
        self.entries("list_expired", Wanted::Expired { now, limit }, |context, sink| {
            // SAFETY: as the header says.
            unsafe { list(context, now, limit, sink) }
        })
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        let settings = required(self.callbacks.settings)?;
        let given = self.give_to("settings", Wanted::Settings, |context, sink| {
            // SAFETY: as the header says.
            unsafe { settings(context, sink) }
        })?;
        Ok(match given {
            Some(Given::Bytes(document)) => Some(document),
            _ => None,
        })
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        if new.len() > MAX_SETTINGS_LEN {
            return Err(Error::InvalidArgument("the settings document is longer than 4096 bytes".into()));
        }
        let (old, old_len) = expected.map_or((null(), 0), |expected| (expected.as_ptr().cast(), expected.len()));
        let (new, new_len) = (new.as_ptr().cast(), new.len());
        let (_open, swap) = (self.enter()?, required(self.callbacks.swap_settings)?);
        // SAFETY: as the header says.
        let status = unsafe { swap(self.callbacks.context, old, old_len, new, new_len) };
        done("swap_settings", Writes, &[STRONGROOM_CONFLICT], status)
    }

    /// Checks listed records one by one.
    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        drop(self.enter()?);
        if self.callbacks.verify_record.is_none() {
            return Err(unsupported("it has no checksums"));
        }
        let entries = match position {
            None => self.list(None, limit.clamp(1, VERIFY_STEP))?,
            Some(VerifyPosition::After(locator)) => self.list(Some(locator), limit.clamp(1, VERIFY_STEP))?,
            Some(VerifyPosition::Record(locator)) => {
                self.info(locator)?.map(|info| Entry::new(*locator, info)).into_iter().collect()
            }
            Some(VerifyPosition::Structure) => Vec::new(),
            _ => return Err(Error::InvalidArgument("the position is not one of this storage".into())),
        };
        let mut verified = Verified::default();
        for Entry { locator, info, .. } in &entries {
            verified.damage.extend(self.verify_record(locator)?);
            verified.records += 1;
            verified.bytes = verified.bytes.saturating_add(info.len);
            if matches!(position, None | Some(VerifyPosition::After(_))) {
                verified.next = Some(VerifyPosition::After(*locator));
            }
            if verified.bytes >= VERIFY_STEP_BYTES {
                break;
            }
        }
        Ok(verified)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        let mut found = strongroom_stats { records: 0, bytes: 0, expired: 0, free: 0 };
        let (_open, stats) = (self.enter()?, required(self.callbacks.stats)?);
        // SAFETY: as the header says.
        done("stats", Reads, &[], unsafe { stats(self.callbacks.context, now, &raw mut found) })?;
        let mut stats = Stats::new(found.records, found.bytes, found.expired);
        stats.free = found.free;
        Ok(stats)
    }

    fn maintain(&self) -> Result<(), Error> {
        let _open = self.enter()?;
        let Some(maintain) = self.callbacks.maintain else { return Ok(()) };
        // SAFETY: as the header says.
        done("maintain", Writes, &[], unsafe { maintain(self.callbacks.context) })
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let given = |value: u64, default| if value == 0 { default } else { value };
        limits.record_bytes = given(self.callbacks.max_record_len, limits.record_bytes);
        limits.batch_bytes = given(self.callbacks.max_batch_len, limits.batch_bytes);
        if self.callbacks.create_many.is_none() {
            limits.batch_bytes = 0;
        }
        if self.callbacks.part_len != 0 {
            limits.part_len = self.callbacks.part_len;
        }
        if self.callbacks.parallel_parts != 0 {
            limits.parallel_parts = self.callbacks.parallel_parts;
        }
        limits
    }

    fn close(&self) -> Result<(), Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let mut is_closed = self.is_closed.write().unwrap_or_else(PoisonError::into_inner);
        let was_closed = std::mem::replace(&mut *is_closed, true);
        let Some(close) = self.callbacks.close.filter(|_| !was_closed) else { return Ok(()) };
        // SAFETY: as the header says; the lock is exclusive.
        done("close", Writes, &[], unsafe { close(self.callbacks.context) })
    }
}

impl Drop for CallbackStorage {
    fn drop(&mut self) {
        let is_owned = self.is_owned.load(Ordering::Relaxed) && !self.is_forked();
        if let (true, Some(destroy)) = (is_owned, self.callbacks.destroy) {
            // SAFETY: as the header says; nothing uses the context any more.
            unsafe { destroy(self.callbacks.context) };
        }
    }
}

impl fmt::Debug for CallbackStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackStorage(..)")
    }
}

/// Passes what a callback gives to its sink, and refuses the callback's result if that is invalid.
pub(crate) fn give(
    sink: *mut strongroom_sink,
    accept: impl FnOnce(&mut Sink) -> Result<(), Refusal>,
) -> strongroom_status {
    let mut status = STRONGROOM_OK;
    let outcome = outcome(null_mut(), || {
        // SAFETY: by the header's conventions.
        let strongroom_sink(sink) = unsafe { exclusive(sink, "sink")? };
        if let Err(refusal) = accept(sink) {
            status = sink.refuse(refusal);
        }
        Ok(())
    });
    if outcome == STRONGROOM_OK { status } else { outcome }
}

/// The result of a callback that gives nothing. The arguments are as for [`failed`].
pub(crate) fn done(
    name: &'static str,
    effect: Effect,
    refusals: &[strongroom_status],
    status: c_int,
) -> Result<(), Error> {
    if is(status, STRONGROOM_OK) { Ok(()) } else { Err(failed(name, status, effect, refusals)) }
}

fn is(status: c_int, expected: strongroom_status) -> bool {
    status == expected as c_int
}

/// A callback that `new` has checked.
pub(crate) fn required<T>(callback: Option<T>) -> Result<T, Error> {
    callback.ok_or_else(|| Error::InvalidArgument("a required callback is NULL".into()))
}

fn unsupported(reason: &str) -> Error {
    Error::Unsupported(format!("this storage does not support the operation: {reason}").into())
}

/// The mode and the head for a callback, and how it may refuse them.
fn for_callback(mode: &PutMode) -> (strongroom_put_mode, *const u8, &'static [strongroom_status]) {
    match mode {
        PutMode::Create => (STRONGROOM_CREATE, null(), &[STRONGROOM_ALREADY_EXISTS]),
        PutMode::Overwrite => (STRONGROOM_OVERWRITE, null(), &[]),
        PutMode::ReplaceIf(head) => (STRONGROOM_REPLACE_IF, head.as_bytes().as_ptr(), &[STRONGROOM_CONFLICT]),
    }
}
