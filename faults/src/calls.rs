//! Replacements of the C library's functions that reach a disk. Each makes the same system call; for files of a
//! [`Disk`](crate::Disk) it fails or is recorded first.
//!
//! The signatures are those of the headers, except that the optional argument of `open` and `fcntl` is always there: on
//! the ABIs of Linux it is passed in the same register, and ignored by calls that have none.

#![allow(unsafe_code, reason = "functions for C, and system calls")]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};

use libc::{mode_t, off_t, size_t, ssize_t};

use crate::disk::{self, Call, Disk, Failure};
use crate::log::{Change, Event, Recorder};

/// Makes a system call; an error is -1 and `errno`, as the C library does.
macro_rules! system {
    ($number:ident, $($argument:expr),*) => {
        // SAFETY: the arguments are those of the caller, who answers for them to the function of the same name.
        unsafe { libc::syscall(libc::$number, $($argument),*) }
    };
}

fn fail(errno: c_int) -> c_long {
    // SAFETY: the pointer is that of this thread's `errno`.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Makes a change of a disk, and records it. `errno` remains that of the change.
fn change<T>(disk: &Disk, real: impl FnOnce() -> T, record: impl FnOnce(&T, &mut Recorder)) -> T {
    let mut errno = 0;
    let outcome = disk.change(
        || {
            let outcome = real();
            // SAFETY: the pointer is that of this thread's `errno`.
            errno = unsafe { *libc::__errno_location() };
            outcome
        },
        record,
    );
    let _ = fail(errno);
    outcome
}

/// The status that a call returns, in the type that C wants.
fn status(outcome: c_long) -> c_int {
    c_int::try_from(outcome).unwrap_or(-1)
}

fn size(outcome: c_long) -> ssize_t {
    ssize_t::try_from(outcome).unwrap_or(-1)
}

/// The inode of an open file.
fn inode(file: c_int) -> u64 {
    // SAFETY: zeros are a valid `stat`, and the call writes only there.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        libc::fstat(file, &raw mut found);
        found.st_ino
    }
}

fn is_folder(file: c_int) -> bool {
    // SAFETY: as above.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        libc::fstat(file, &raw mut found);
        found.st_mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Makes a call that changes nothing, unless it must fail.
fn attempt(disk: Option<&Disk>, call: Call, real: impl FnOnce() -> c_long) -> c_long {
    match disk.and_then(|disk| disk.failure_of(call)) {
        Some(Failure::Errno(errno)) => fail(errno),
        Some(Failure::Short) => fail(libc::EIO),
        None => real(),
    }
}

fn open_at(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the path is a string of C.
    let disk = disk::disk_at(unsafe { CStr::from_ptr(path) }.to_bytes());
    let real = || system!(SYS_openat, libc::AT_FDCWD, path, flags, mode);
    let Some(disk) = disk else { return status(real()) };
    let file = status(attempt(Some(&disk), Call::Open, || change(&disk, real, |_, _| ())));
    disk::opened(file, &disk);
    file
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn close(file: c_int) -> c_int {
    disk::closing(file);
    status(system!(SYS_close, file))
}

/// Reads at an offset, or at the file's own.
fn read_at(file: c_int, buffer: *mut c_void, len: size_t, offset: Option<off_t>) -> ssize_t {
    let real = |len: size_t| match offset {
        Some(offset) => system!(SYS_pread64, file, buffer, len, offset),
        None => system!(SYS_read, file, buffer, len),
    };
    let failure = disk::disk_of(file).and_then(|disk| disk.failure_of(Call::Read));
    size(match failure {
        Some(Failure::Errno(errno)) => fail(errno),
        Some(Failure::Short) => real(len / 2),
        None => real(len),
    })
}

#[unsafe(no_mangle)]
extern "C" fn read(file: c_int, buffer: *mut c_void, len: size_t) -> ssize_t {
    read_at(file, buffer, len, None)
}

#[unsafe(no_mangle)]
extern "C" fn pread(file: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    read_at(file, buffer, len, Some(offset))
}

#[unsafe(no_mangle)]
extern "C" fn pread64(file: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    read_at(file, buffer, len, Some(offset))
}

/// Writes at an offset, or at the file's own.
fn write_at(file: c_int, buffer: *const c_void, len: size_t, offset: Option<off_t>) -> ssize_t {
    let real = |len: size_t| match offset {
        Some(offset) => system!(SYS_pwrite64, file, buffer, len, offset),
        None => system!(SYS_write, file, buffer, len),
    };
    let Some(disk) = disk::disk_of(file) else { return size(real(len)) };
    let len = match disk.failure_of(Call::Write) {
        Some(Failure::Errno(errno)) => return size(fail(errno)),
        Some(Failure::Short) => len / 2,
        None => len,
    };
    let written = change(
        &disk,
        || {
            let offset = offset.unwrap_or_else(|| system!(SYS_lseek, file, 0 as off_t, libc::SEEK_CUR));
            (real(len), offset)
        },
        |(written, offset), recorder| {
            if let (Ok(written), Ok(offset)) = (usize::try_from(*written), usize::try_from(*offset)) {
                // SAFETY: the system has read as many bytes from the buffer.
                let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), written) };
                recorder.push_change(inode(file), Change::Written(offset, bytes.to_vec()));
            }
        },
    );
    size(written.0)
}

#[unsafe(no_mangle)]
extern "C" fn write(file: c_int, buffer: *const c_void, len: size_t) -> ssize_t {
    write_at(file, buffer, len, None)
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(file: c_int, buffer: *const c_void, len: size_t, offset: off_t) -> ssize_t {
    write_at(file, buffer, len, Some(offset))
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(file: c_int, buffer: *const c_void, len: size_t, offset: off_t) -> ssize_t {
    write_at(file, buffer, len, Some(offset))
}

fn truncate(file: c_int, len: off_t) -> c_int {
    let real = || system!(SYS_ftruncate, file, len);
    let Some(disk) = disk::disk_of(file) else { return status(real()) };
    status(attempt(Some(&disk), Call::Truncate, || {
        change(&disk, real, |outcome, recorder| {
            if let (0, Ok(len)) = (*outcome, usize::try_from(len)) {
                recorder.push_change(inode(file), Change::Truncated(len));
            }
        })
    }))
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(file: c_int, len: off_t) -> c_int {
    truncate(file, len)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(file: c_int, len: off_t) -> c_int {
    truncate(file, len)
}

/// A sync of data alone records the length, too, as POSIX demands.
fn sync(file: c_int, real: impl FnOnce() -> c_long) -> c_int {
    let Some(disk) = disk::disk_of(file) else { return status(real()) };
    status(attempt(Some(&disk), Call::Sync, || {
        change(&disk, real, |outcome, recorder| match *outcome {
            0 if is_folder(file) => recorder.push(Event::FolderSynced),
            0 => recorder.push_sync(inode(file)),
            _ => {}
        })
    }))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    sync(file, || system!(SYS_fsync, file))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    sync(file, || system!(SYS_fdatasync, file))
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the path is a string of C.
    let disk = disk::disk_at(unsafe { CStr::from_ptr(path) }.to_bytes());
    let real = || system!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    let Some(disk) = disk else { return status(real()) };
    status(attempt(Some(&disk), Call::Remove, || change(&disk, real, |_, _| ())))
}

fn map(address: *mut c_void, len: size_t, rights: c_int, flags: c_int, file: c_int, offset: off_t) -> *mut c_void {
    let real = || system!(SYS_mmap, address, len, rights, flags, file, offset);
    let outcome = attempt(disk::disk_of(file).as_deref(), Call::Map, real);
    // An address, or the error -1, which is `MAP_FAILED`.
    std::ptr::with_exposed_provenance_mut(isize::try_from(outcome).unwrap_or(-1).cast_unsigned())
}

#[unsafe(no_mangle)]
extern "C" fn mmap(
    a: *mut c_void,
    len: size_t,
    rights: c_int,
    flags: c_int,
    file: c_int,
    offset: off_t,
) -> *mut c_void {
    map(a, len, rights, flags, file, offset)
}

#[unsafe(no_mangle)]
extern "C" fn mmap64(
    a: *mut c_void,
    len: size_t,
    rights: c_int,
    flags: c_int,
    file: c_int,
    offset: off_t,
) -> *mut c_void {
    map(a, len, rights, flags, file, offset)
}

fn control(file: c_int, command: c_int, argument: usize) -> c_int {
    let real = || system!(SYS_fcntl, file, command, argument);
    // A lock is released without fail: no system refuses that.
    let is_lock = [libc::F_SETLK, libc::F_SETLKW].contains(&command) && {
        let lock = std::ptr::with_exposed_provenance::<libc::flock>(argument);
        // SAFETY: the argument of these two commands is a valid lock.
        c_int::from(unsafe { (*lock).l_type }) != libc::F_UNLCK
    };
    status(match disk::disk_of(file) {
        Some(disk) if is_lock => attempt(Some(&disk), Call::Lock, real),
        _ => real(),
    })
}

#[unsafe(no_mangle)]
extern "C" fn fcntl(file: c_int, command: c_int, argument: usize) -> c_int {
    control(file, command, argument)
}

#[unsafe(no_mangle)]
extern "C" fn fcntl64(file: c_int, command: c_int, argument: usize) -> c_int {
    control(file, command, argument)
}
