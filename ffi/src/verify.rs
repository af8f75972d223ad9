//! The search for damage
//!
//! No function here needs a record's key.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::ptr;

use ::strongroom::storage::{Damage, VerifyPosition};
use ::strongroom::{Error, VerifyOptions, VerifyReport, VerifyStep};

use crate::boundary::{self, input, leave_nothing, optional, outcome, output, sized, text};
use crate::location::location_of;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::{service_members, strongroom, strongroom_options};

/// In the flags of strongroom_verify_options: check records only. The check of the database's pages and indexes would
/// read the whole database once more, in one step.
pub const STRONGROOM_RECORDS_ONLY: u64 = 1;

/// How to search for damage. Set all of it to zero, then `size` to sizeof(strongroom_verify_options), then what you
/// choose. Unknown flags and larger structs are treated as in strongroom_options.
#[repr(C)]
pub struct strongroom_verify_options {
    /// sizeof(strongroom_verify_options).
    pub size: usize,
    /// STRONGROOM_RECORDS_ONLY, or 0.
    pub flags: u64,
    /// The most bytes of records to check per second, to leave time for others. 0 for no limit.
    pub bytes_per_second: u64,
    /// The position at which to start, such as `next` of an earlier step; or a locator, to start after its record. Or
    /// NULL.
    pub start_at: *const c_char,
}

/// Damage.
#[repr(C)]
pub struct strongroom_damage {
    /// The locator of the damaged record, 64 hexadecimal digits. NULL if the damage is in no record, or its locator is
    /// not readable.
    pub locator: *const c_char,
    /// The place: "row", "segment 3", "index record_prefix", "page 17".
    pub place: *const c_char,
    /// The kind: "checksum", "length", "missing", "mismatch", "orphan", "malformed"; or "unsupported": the record is
    /// intact, but a newer version may have written it.
    pub kind: *const c_char,
}

/// The state of a search after one of its steps.
#[repr(C)]
pub struct strongroom_verify_step {
    /// The number of records checked so far.
    pub records: u64,
    /// The number of bytes checked so far.
    pub bytes: u64,
    /// The damage that this step found.
    pub damage: *const strongroom_damage,
    /// The number of elements of `damage`.
    pub damage_len: usize,
    /// Where the next step begins, and a later search can go on. NULL after the last record.
    pub next: *const c_char,
}

/// Gets each step of a search, valid until it returns. It returns 0 to go on, and any other number to stop. `context`
/// is the caller's, or NULL.
pub type strongroom_verify_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, step: *const strongroom_verify_step) -> c_int>;

/// The result of a search.
#[repr(C)]
pub struct strongroom_verify_report {
    /// The number of checked records.
    pub records: u64,
    /// The number of checked bytes.
    pub bytes: u64,
    /// The number of places with damage.
    pub damaged: u64,
    /// The number of intact records that a newer version may have written.
    pub unsupported: u64,
}

/// Searches the store for damage, in short steps. It changes nothing, and others may read and write at the same time.
/// Damage is no failure: see the report. `options` and `step` may be NULL. If `step` stops the search, the report has
/// the steps so far.
///
/// STRONGROOM_INVALID_ARGUMENT for a position of another store; STRONGROOM_CORRUPT if the damage prevents the search;
/// STRONGROOM_UNSUPPORTED on an encryption server.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_verify(
    store: *const strongroom,
    options: *const strongroom_verify_options,
    step: strongroom_verify_fn,
    context: *mut c_void,
    report: *mut strongroom_verify_report,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, options, report) = unsafe { (input(store, "store")?, read(options)?, output(report, "report")?) };
        // SAFETY: by the header's conventions, the function accepts this context.
        let found = store.0.verify(&options, |found| unsafe { call(step, context, &found) })?;
        report.set(found.into());
        Ok(())
    })
}

/// As strongroom_verify, for a store that is not open, without its index key. `path` names it as in `strongroom_open`.
/// The options of the store are for services, and may be NULL; their flags and index key must not be set.
///
/// STRONGROOM_INVALID_ARGUMENT also if there is no store; STRONGROOM_STORAGE if it cannot be read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_verify_path(
    path: *const c_char,
    store_options: *const strongroom_options,
    options: *const strongroom_verify_options,
    step: strongroom_verify_fn,
    context: *mut c_void,
    report: *mut strongroom_verify_report,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (path, members) = unsafe { (boundary::path(path, "path")?, service_members(store_options)?) };
        // SAFETY: by the header's conventions.
        let (options, report) = unsafe { (read(options)?, output(report, "report")?) };
        let location = location_of(path, members)?;
        let search = || {
            let storage = location.open_existing_storage()?;
            // SAFETY: by the header's conventions, the function accepts this context.
            let found = ::strongroom::verify(&*storage, &options, |found| unsafe { call(step, context, &found) });
            let _ = storage.close();
            found
        };
        let found = search();
        leave_nothing();
        report.set(found?.into());
        Ok(())
    })
}

/// Passes a step to the caller's function, if there is one.
///
/// # Safety
///
/// The function accepts this context.
unsafe fn call(step: strongroom_verify_fn, context: *mut c_void, found: &VerifyStep<'_>) -> ControlFlow<()> {
    let Some(step) = step else { return ControlFlow::Continue(()) };
    // SAFETY: by the caller.
    match with_step(found, |found| unsafe { step(context, found) }) {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

impl From<VerifyReport> for strongroom_verify_report {
    fn from(found: VerifyReport) -> Self {
        let VerifyReport { records, bytes, damaged, unsupported, .. } = found;
        Self { records, bytes, damaged, unsupported }
    }
}

/// Replaces each damaged record by the one in `copy`, which is the same store at another place, such as a backup that
/// is open with STRONGROOM_READ_ONLY. Only its intact records are used. Intact records are never replaced, and a
/// damaged one that the copy lacks stays as it is: strongroom_verify reports it. `restored` counts restored records,
/// `lost` unreadable ones that the copy lacks, and second versions of records, which users did not see. Others should
/// not write meanwhile.
///
/// STRONGROOM_INVALID_ARGUMENT if `copy` is another store, or the same handle; STRONGROOM_UNSUPPORTED on a service, or
/// read-only; STRONGROOM_BUSY if others never stop writing. After a failure, some records may have been restored.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_repair_from(
    store: *const strongroom,
    copy: *const strongroom,
    restored: *mut u64,
    lost: *mut u64,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (store, copy) = unsafe { (input(store, "store")?, input(copy, "copy")?) };
        // SAFETY: by the header's conventions.
        let (restored, lost) = unsafe { (output(restored, "restored")?, output(lost, "lost")?) };
        let repaired = store.0.repair_from(&copy.0)?;
        restored.set(repaired.restored.len() as u64);
        lost.set(repaired.lost.len() as u64);
        Ok(())
    })
}

/// The options at `options`; the defaults for NULL.
///
/// # Safety
///
/// If it is not NULL, it points to as many bytes as its member `size` says, and its pointers are NULL or valid.
unsafe fn read(options: *const strongroom_verify_options) -> Result<VerifyOptions, Error> {
    // SAFETY: by the caller.
    let Some(options) = (unsafe { sized(options, "options")? }) else { return Ok(VerifyOptions::new()) };
    if options.flags & !STRONGROOM_RECORDS_ONLY != 0 {
        return Err(Error::InvalidArgument("options.flags has an unknown flag".into()));
    }
    let mut found = VerifyOptions::new();
    if options.flags & STRONGROOM_RECORDS_ONLY != 0 {
        found = found.records_only();
    }
    if let Some(rate) = NonZero::new(options.bytes_per_second) {
        found = found.bytes_per_second(rate);
    }
    // SAFETY: by the caller.
    if let Some(position) = optional(options.start_at, |position| unsafe { text(position, "options.start_at") })? {
        found = found.start_at(position.parse::<VerifyPosition>()?);
    }
    Ok(found)
}

/// Passes a step to `visit` as C sees it.
fn with_step<T>(step: &VerifyStep<'_>, visit: impl FnOnce(*const strongroom_verify_step) -> T) -> T {
    // No text has a NUL byte, except one of a hostile service.
    let c_text = |text: &str| CString::new(text.replace('\0', "?")).unwrap_or_default();
    let texts = |damage: &Damage| {
        let locator = damage.locator.as_ref().map(|locator| c_text(&locator.to_hex()));
        (locator, c_text(&damage.place), c_text(damage.kind.name()))
    };
    let texts: Vec<_> = step.damage.iter().map(texts).collect();
    let pointer = |text: &Option<CString>| text.as_deref().map_or(ptr::null(), CStr::as_ptr);
    let damage = texts.iter().map(|(locator, place, kind)| strongroom_damage {
        locator: pointer(locator),
        place: place.as_ptr(),
        kind: kind.as_ptr(),
    });
    let damage: Vec<_> = damage.collect();
    let next = step.next.map(|next| c_text(&next.to_string()));
    visit(&strongroom_verify_step {
        records: step.records,
        bytes: step.bytes,
        damage: damage.as_ptr(),
        damage_len: damage.len(),
        next: pointer(&next),
    })
}
