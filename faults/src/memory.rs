//! Allocations that fail. Like the calls of a disk, `malloc` and its relatives take the place of the C library's: for
//! Rust's allocator, which calls them, as well as for SQLite.

#![allow(unsafe_code, reason = "functions for C")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::size_t;

/// Allocations that fail.
#[derive(Clone, Copy, Debug)]
pub struct Shortage {
    /// The number of allocations of this size before it.
    pub after: u64,
    /// Whether all later ones of this size fail, too.
    pub persists: bool,
    /// The least bytes of those that are counted, and fail.
    pub at_least: usize,
}

static IS_ACTIVE: AtomicBool = AtomicBool::new(false);
static AFTER: AtomicU64 = AtomicU64::new(u64::MAX);
static PERSISTS: AtomicBool = AtomicBool::new(false);
static AT_LEAST: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_EXEMPT: Cell<bool> = const { Cell::new(false) };
}

impl Shortage {
    /// Makes allocations of this process fail from now on, and counts them from 0 again.
    pub fn begin(self) {
        AFTER.store(self.after, Ordering::SeqCst);
        PERSISTS.store(self.persists, Ordering::SeqCst);
        AT_LEAST.store(self.at_least, Ordering::SeqCst);
        COUNT.store(0, Ordering::SeqCst);
        IS_ACTIVE.store(true, Ordering::SeqCst);
    }

    /// Ends the failures. Returns the number of allocations that were counted.
    pub fn end() -> u64 {
        IS_ACTIVE.store(false, Ordering::SeqCst);
        COUNT.load(Ordering::SeqCst)
    }

    /// Runs the test's own code, whose allocations neither count nor fail.
    pub fn spare<T>(work: impl FnOnce() -> T) -> T {
        let before = IS_EXEMPT.replace(true);
        let value = work();
        IS_EXEMPT.set(before);
        value
    }
}

fn fails(size: size_t) -> bool {
    if !IS_ACTIVE.load(Ordering::Relaxed) || size < AT_LEAST.load(Ordering::Relaxed) || IS_EXEMPT.get() {
        return false;
    }
    let (number, after) = (COUNT.fetch_add(1, Ordering::SeqCst), AFTER.load(Ordering::Relaxed));
    number == after || number > after && PERSISTS.load(Ordering::Relaxed)
}

unsafe extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(alignment: size_t, size: size_t) -> *mut c_void;
}

/// Allocates, unless this must fail.
fn attempt(size: size_t, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if fails(size) {
        // SAFETY: the pointer is that of this thread's `errno`.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        return ptr::null_mut();
    }
    real()
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: size_t) -> *mut c_void {
    // SAFETY: the arguments are those of the caller, also below.
    attempt(size, || unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    // SAFETY: as above.
    attempt(count.saturating_mul(size), || unsafe { __libc_calloc(count, size) })
}

#[unsafe(no_mangle)]
extern "C" fn realloc(old: *mut c_void, size: size_t) -> *mut c_void {
    // SAFETY: as above. Memory that shrinks remains where it is.
    let is_larger = old.is_null() || unsafe { libc::malloc_usable_size(old) } < size;
    // SAFETY: as above.
    let real = || unsafe { __libc_realloc(old, size) };
    if is_larger { attempt(size, real) } else { real() }
}

#[unsafe(no_mangle)]
extern "C" fn posix_memalign(place: *mut *mut c_void, alignment: size_t, size: size_t) -> c_int {
    // SAFETY: as above.
    let new = attempt(size, || unsafe { __libc_memalign(alignment, size) });
    if new.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place for the address.
    unsafe { *place = new };
    0
}
