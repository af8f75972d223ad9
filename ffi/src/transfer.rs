//! Copying a store

use std::ffi::c_char;

use ::strongroom::Error;
use ::strongroom::transfer::{CopyOptions, copy};

use crate::boundary::{leave_nothing, optional, outcome, output, path};
use crate::location::copied_location;
use crate::records::strongroom_buffer;
use crate::status::{strongroom_error, strongroom_status};
use crate::store::{service_members, strongroom_options};

/// In the flags of strongroom_copy: also delete the records at the destination that the source does not have.
pub const STRONGROOM_MIRROR: u64 = 1;

/// The result of strongroom_copy.
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
    /// The number of damaged records of the source, which were not copied.
    pub damaged: u64,
    /// The number of records that exceed the limit of the destination, which were not copied.
    pub too_large: u64,
}

/// Copies all records of a store to another place, without any key: for backups, for restoring them, and for moves. Both
/// places are named as in `strongroom_open`, and may be in use meanwhile.
///
/// The destination must be new, or an earlier copy of the same store: records that it has already are skipped, so that a
/// repeated call copies changes, and continues an interrupted one. It then opens with the index key of the source, whose
/// file is not copied. Each record that was written is compared with what the destination returns.
///
/// `flags` is STRONGROOM_MIRROR or 0, `workers` the number of threads from 1 to 64, or 0 for 4. The options are for
/// services, and may be NULL; their flags and index key must not be set.
///
/// Check `damaged` and `too_large` in the result: those records are not at the destination. `not_copied` receives their
/// locators, 32 bytes each, the damaged ones first; free it with strongroom_buffer_free. It may be NULL.
///
/// STRONGROOM_INVALID_ARGUMENT if there is no store at `from`, if `to` has another store, or if both are the same;
/// STRONGROOM_STORAGE_FULL; STRONGROOM_CONFLICT if others change the destination all the time. Records that were copied
/// before a failure stay.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_copy(
    from: *const c_char,
    from_options: *const strongroom_options,
    to: *const c_char,
    to_options: *const strongroom_options,
    flags: u64,
    workers: u32,
    copied: *mut strongroom_copied,
    not_copied: *mut strongroom_buffer,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        // SAFETY: by the header's conventions.
        let (from, to, copied) = unsafe { (path(from, "from")?, path(to, "to")?, output(copied, "copied")?) };
        // SAFETY: by the header's conventions.
        let (from_members, to_members) = unsafe { (service_members(from_options)?, service_members(to_options)?) };
        // SAFETY: by the header's conventions.
        let not_copied = optional(not_copied.cast_const(), |_| unsafe { output(not_copied, "not_copied") })?;
        if flags & !STRONGROOM_MIRROR != 0 {
            return Err(Error::InvalidArgument("flags has an unknown flag".into()));
        }
        let mut options = CopyOptions::new().mirror(flags & STRONGROOM_MIRROR != 0);
        if workers != 0 {
            options = options.workers(usize::try_from(workers).unwrap_or(usize::MAX));
        }
        let (from, to) = (copied_location(from, from_members)?, copied_location(to, to_members)?);
        let outcome = copy(&from, &to, options, &mut |_| ());
        leave_nothing();
        let found = outcome?;
        if let Some(not_copied) = not_copied {
            let locators = found.damaged.iter().chain(&found.too_large);
            not_copied.set(strongroom_buffer::new(locators.flat_map(|locator| *locator.as_bytes()).collect())?);
        }
        copied.set(strongroom_copied {
            records: found.records,
            bytes: found.bytes,
            unchanged: found.unchanged,
            deleted: found.deleted,
            damaged: found.damaged.len() as u64,
            too_large: found.too_large.len() as u64,
        });
        Ok(())
    })
}
