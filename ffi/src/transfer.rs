//! Copying a store

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use ::strongroom::Error;
use ::strongroom::interrupt::interruptible;
use ::strongroom::transfer::{Copied, CopyOptions, copy};

use crate::boundary::{leave_nothing, optional, outcome, output, path, sized};
use crate::location::location_of;
use crate::records::strongroom_buffer;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::{service_members, strongroom_options};

/// In the flags of strongroom_copy: also delete the records at the destination that the source does not have.
pub const STRONGROOM_MIRROR: u64 = 1;

/// The result of strongroom_copy, or its progress.
#[repr(C)]
pub struct strongroom_copied {
    /// The number of records that were written to the destination.
    pub records: u64,
    /// Their bytes: ciphertext and headers.
    pub bytes: u64,
    /// The number of records that the destination had already.
    pub unchanged: u64,
    /// The number of records that were deleted at the destination.
    pub deleted: u64,
    /// The number of damaged records of the source, which were not copied. Those at a place that the source cannot list
    /// count as one.
    pub damaged: u64,
    /// The number of records that exceed the limit of the destination, which were not copied.
    pub too_large: u64,
}

/// Gets the progress of a copy, valid until it returns, about ten times a second in the thread of the call. It returns
/// 0 to go on, and any other number to stop. `context` is the caller's, or NULL.
pub type strongroom_copy_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, progress: *const strongroom_copied) -> c_int>;

/// How to copy a store. Set all of it to zero, then `size` to sizeof(strongroom_copy_options), then what you choose.
/// Unknown flags and larger structs are treated as in strongroom_options.
#[repr(C)]
pub struct strongroom_copy_options {
    /// sizeof(strongroom_copy_options).
    pub size: usize,
    /// STRONGROOM_MIRROR, or 0.
    pub flags: u64,
    /// The number of threads, from 1 to 64: more for a distant service. 0 for 4.
    pub workers: u64,
    /// The options of the service at `from`, or NULL. Their flags and index key must not be set.
    pub from: *const strongroom_options,
    /// The options of the service at `to`, or NULL, likewise.
    pub to: *const strongroom_options,
    /// The function that gets the progress, or NULL.
    pub progress: strongroom_copy_fn,
    /// The first argument of `progress`.
    pub context: *mut c_void,
}

thread_local! {
    /// Whether `progress` has stopped the copy of this thread.
    static STOPPED: Cell<bool> = const { Cell::new(false) };
}

/// Copies all records of a store to another place, without any key: for backups, for restoring them, and for moves.
/// Both places are named as in `strongroom_open`, and may be in use meanwhile.
///
/// The destination must be new, or an earlier copy of the same store: records that it has already are skipped, so that
/// a repeated call copies changes, and continues an interrupted one. It then opens with the index key of the source,
/// whose file is not copied. Each record that was written is compared with what the destination returns.
///
/// Check `damaged` and `too_large` in the result: those records are not at the destination. `not_copied` receives their
/// locators, 32 bytes each, the damaged ones first; free it with strongroom_buffer_free. A locator that ends in 24
/// bytes 0 stands for all records at a place that the source cannot list. `not_copied` and `options` may be NULL.
///
/// STRONGROOM_INVALID_ARGUMENT if there is no store at `from`, if `to` has another store, or if both are the same;
/// STRONGROOM_STORAGE_FULL; STRONGROOM_CONFLICT if others change the destination all the time; STRONGROOM_BUSY if
/// `progress` stopped the copy before its end. Records that were copied before a failure stay.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_copy(
    from: *const c_char,
    to: *const c_char,
    options: *const strongroom_copy_options,
    copied: *mut strongroom_copied,
    not_copied: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (from, to, copied) = unsafe { (path(from, "from")?, path(to, "to")?, output(copied, "copied")?) };
        // SAFETY: by the header's conventions.
        let not_copied = optional(not_copied.cast_const(), |_| unsafe { output(not_copied, "not_copied") })?;
        // SAFETY: by the header's conventions.
        let given = unsafe { sized(options, "options")? };
        let (from_options, to_options) = given.map_or((ptr::null(), ptr::null()), |given| (given.from, given.to));
        // SAFETY: by the header's conventions.
        let (from_members, to_members) = unsafe { (service_members(from_options)?, service_members(to_options)?) };
        let (from, to) = (location_of(from, from_members)?, location_of(to, to_members)?);
        let progress = given.and_then(|given| Some((given.progress?, given.context)));
        let mut report = |so_far: &Copied| {
            // SAFETY: by the header's conventions, the function accepts these arguments.
            if progress.is_some_and(|(call, context)| unsafe { call(context, &counts(so_far)) } != 0) {
                STOPPED.set(true);
            }
        };
        let options = copy_options(given)?;
        let outer = STOPPED.replace(false); // `progress` of another copy may make this one
        let outcome = interruptible(|| STOPPED.get(), || copy(&from, &to, options, &mut report));
        STOPPED.set(outer);
        leave_nothing();
        let found = outcome?;
        if let Some(not_copied) = not_copied {
            let locators = found.damaged.iter().chain(&found.too_large);
            not_copied.set(strongroom_buffer::new(locators.flat_map(|locator| *locator.as_bytes()).collect())?);
        }
        copied.set(counts(&found));
        Ok(())
    })
}

fn copy_options(given: Option<&strongroom_copy_options>) -> Result<CopyOptions, Error> {
    let Some(given) = given else { return Ok(CopyOptions::new()) };
    if given.flags & !STRONGROOM_MIRROR != 0 {
        return Err(Error::InvalidArgument("options.flags has an unknown flag".into()));
    }
    let options = CopyOptions::new().mirror(given.flags & STRONGROOM_MIRROR != 0);
    Ok(match given.workers {
        0 => options,
        workers => options.workers(usize::try_from(workers).unwrap_or(usize::MAX)),
    })
}

fn counts(copied: &Copied) -> strongroom_copied {
    strongroom_copied {
        records: copied.records,
        bytes: copied.bytes,
        unchanged: copied.unchanged,
        deleted: copied.deleted,
        damaged: copied.damaged.len() as u64,
        too_large: copied.too_large.len() as u64,
    }
}
