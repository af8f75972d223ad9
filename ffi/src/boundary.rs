//! The boundary between C and Rust: conversion of pointers to references and of errors to statuses, and the stop of
//! panics.
//!
//! A function of the interface first converts its parameters with this module, in a single `unsafe` block; the rest of
//! it is safe code.

use std::borrow::Cow;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::slice;

use ::strongroom::Error;

use crate::status::{strongroom_error, strongroom_status};

/// Runs `body`, and returns its status. `error` may be NULL.
pub(crate) fn outcome(error: *mut strongroom_error, body: impl FnOnce() -> Result<(), Error>) -> strongroom_status {
    if optional(error, |error| check(error, "error")).is_err() {
        return strongroom_status::STRONGROOM_INVALID_ARGUMENT;
    }
    ::strongroom::assume_small_callers();
    // `AssertUnwindSafe`: state that a panic interrupts is protected by locks and drops, or is in a handle that is then
    // unusable.
    let outcome =
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_panic| Err(Error::Internal("a panic was caught".into())));
    // SAFETY: by the header's conventions, it is NULL or the caller's; it is aligned, and `MaybeUninit` requires no
    // value. Not earlier, because a callback may have used it, too.
    if let Some(place) = unsafe { error.cast::<MaybeUninit<strongroom_error>>().as_mut() } {
        strongroom_error::set(place, outcome.as_ref().err());
    }
    outcome.map_or_else(|error| strongroom_status::of(&error), |()| strongroom_status::STRONGROOM_OK)
}

/// Runs `free`, which can fail only with a panic.
pub(crate) fn quietly(free: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(free));
}

/// Frees AWS-LC's state of this thread. A thread's end frees it, too, except for a program's main thread.
pub(crate) fn leave_nothing() {
    #[cfg(any(feature = "aws-lc-rs", feature = "remote"))]
    // SAFETY: it has no parameters, and AWS-LC creates the state again when it needs it.
    unsafe {
        aws_lc_sys::AWSLC_thread_local_clear();
    }
}

/// The error that a reader or writer of records put into an [`io::Error`].
pub(crate) fn io_error(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}

fn invalid(what: impl Into<Cow<'static, str>>) -> Error {
    Error::InvalidArgument(what.into())
}

fn check<T>(pointer: *const T, name: &'static str) -> Result<(), Error> {
    if pointer.is_null() {
        Err(invalid(format!("{name} is NULL")))
    } else if pointer.is_aligned() {
        Ok(())
    } else {
        Err(invalid(format!("{name} is not a valid pointer: it is not aligned")))
    }
}

/// The value at `pointer`.
///
/// # Safety
///
/// If it is neither NULL nor unaligned, it points to a `T` that is valid and not written to for `'a`.
pub(crate) unsafe fn input<'a, T>(pointer: *const T, name: &'static str) -> Result<&'a T, Error> {
    check(pointer, name)?;
    // SAFETY: not NULL, aligned, and the rest by the caller.
    Ok(unsafe { &*pointer })
}

/// The maximum size of an options struct, which distinguishes a wrong size from that of a later version.
const MAX_OPTIONS_SIZE: usize = 4096;

/// The options struct at `options`, whose first member is its size in the caller's version. Fails if the caller uses
/// members that this version does not have. `None` for NULL.
///
/// # Safety
///
/// If it is not NULL, it points to as many bytes as its first member says, valid for `'a`, and any bytes are a valid
/// `T`.
pub(crate) unsafe fn sized<'a, T>(options: *const T, name: &'static str) -> Result<Option<&'a T>, Error> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: every version of the struct starts with its size.
    let size = *unsafe { input(options.cast::<usize>(), name)? };
    if !(size_of::<T>()..=MAX_OPTIONS_SIZE).contains(&size) {
        return Err(invalid(format!("{name}.size is invalid: set it to the sizeof of its type")));
    }
    // SAFETY: there are `size` bytes.
    let all = unsafe { bytes(options.cast(), size, name)? };
    if all.iter().skip(size_of::<T>()).any(|byte| *byte != 0) {
        return Err(Error::Unsupported(format!("{name} has a type of a newer version of the library").into()));
    }
    // SAFETY: there are enough bytes, and any bytes are valid members.
    unsafe { input(options, name) }.map(Some)
}

/// The handle at `pointer`, with exclusive access.
///
/// # Safety
///
/// As [`input`], and there is no other access to it for `'a`.
pub(crate) unsafe fn exclusive<'a, T>(pointer: *mut T, name: &'static str) -> Result<&'a mut T, Error> {
    check(pointer, name)?;
    // SAFETY: not NULL, aligned, and the rest by the caller.
    Ok(unsafe { &mut *pointer })
}

/// Takes ownership of the handle at `pointer`; `None` for NULL.
///
/// # Safety
///
/// It is NULL, or comes from [`Box::into_raw`] and is not used afterwards.
pub(crate) unsafe fn owned<T: ?Sized>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: by the caller.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// The result of `get` for a pointer that may be NULL.
pub(crate) fn optional<T, R>(
    pointer: *const T,
    get: impl FnOnce(*const T) -> Result<R, Error>,
) -> Result<Option<R>, Error> {
    if pointer.is_null() { Ok(None) } else { get(pointer).map(Some) }
}

/// The memory of an output.
pub(crate) struct Output<'a, T>(&'a mut MaybeUninit<T>);

impl<T> Output<'_, T> {
    pub(crate) fn set(self, value: T) {
        self.0.write(value);
    }
}

/// The output at `pointer`, which may be uninitialised.
///
/// # Safety
///
/// If it is neither NULL nor unaligned, it points to memory for a `T`, without other access for `'a`.
pub(crate) unsafe fn output<'a, T>(pointer: *mut T, name: &'static str) -> Result<Output<'a, T>, Error> {
    check(pointer, name)?;
    // SAFETY: not NULL, aligned, and the rest by the caller; `MaybeUninit` requires no value.
    Ok(Output(unsafe { &mut *pointer.cast::<MaybeUninit<T>>() }))
}

/// The `len` values at `pointer`.
///
/// # Safety
///
/// If `len` is not 0 and `pointer` neither NULL nor unaligned, it points to `len` values, which are valid and not
/// written to for `'a`.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, len: usize, name: &'static str) -> Result<&'a [T], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, name)?;
    check_size::<T>(len, name)?;
    // SAFETY: not NULL, aligned, not larger than memory, and the rest by the caller.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// Memory for `len` values at `pointer`, which may be uninitialised.
///
/// # Safety
///
/// As [`array`], but the values may be uninitialised, and there is no other access to them for `'a`.
pub(crate) unsafe fn room<'a, T>(
    pointer: *mut T,
    len: usize,
    name: &'static str,
) -> Result<&'a mut [MaybeUninit<T>], Error> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(pointer, name)?;
    check_size::<T>(len, name)?;
    // SAFETY: not NULL, aligned, not larger than memory, and the rest by the caller; `MaybeUninit` requires no value.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.cast(), len) })
}

fn check_size<T>(len: usize, name: &'static str) -> Result<(), Error> {
    match len.checked_mul(size_of::<T>()) {
        Some(size) if isize::try_from(size).is_ok() => Ok(()),
        _ => Err(invalid(format!("the length of {name} is invalid: it is too large"))),
    }
}

/// The `len` bytes at `data`.
///
/// # Safety
///
/// As [`array`].
pub(crate) unsafe fn bytes<'a>(data: *const c_void, len: usize, name: &'static str) -> Result<&'a [u8], Error> {
    // SAFETY: by the caller.
    unsafe { array(data.cast(), len, name) }
}

/// The buffer of `len` bytes at `data`. Memory from outside of Rust has some value, even if C never wrote to it.
///
/// # Safety
///
/// As [`room`].
pub(crate) unsafe fn buffer<'a>(data: *mut c_void, len: usize, name: &'static str) -> Result<&'a mut [u8], Error> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(data, name)?;
    check_size::<u8>(len, name)?;
    // SAFETY: not NULL, not larger than memory, any byte is a valid `u8`, and the rest by the caller.
    Ok(unsafe { slice::from_raw_parts_mut(data.cast(), len) })
}

/// The path at `path`, a C string.
///
/// # Safety
///
/// If it is not NULL, it points to a NUL-terminated string that is valid and not written to for `'a`.
pub(crate) unsafe fn path<'a>(path: *const c_char, name: &'static str) -> Result<&'a Path, Error> {
    check(path, name)?;
    // SAFETY: not NULL, and the rest by the caller.
    let path = unsafe { CStr::from_ptr(path) };
    Ok(Path::new(os_str(path, name)?))
}

/// The text at `text`, a C string in UTF-8.
///
/// # Safety
///
/// As [`path`].
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &'static str) -> Result<&'a str, Error> {
    check(text, name)?;
    // SAFETY: not NULL, and the rest by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| invalid(format!("{name} is not UTF-8")))
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn os_str<'a>(path: &'a CStr, _: &'static str) -> Result<&'a OsStr, Error> {
    use std::os::unix::ffi::OsStrExt;
    Ok(OsStr::from_bytes(path.to_bytes()))
}

#[cfg(not(unix))]
fn os_str<'a>(path: &'a CStr, name: &'static str) -> Result<&'a OsStr, Error> {
    path.to_str().map(OsStr::new).map_err(|_| invalid(format!("{name} is not UTF-8")))
}
