//! The test suite for storages

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::strongroom::storage::Storage;
use ::strongroom::storage::conformance::{DURABLE_PROMISES, PROMISES, Promise};
use ::strongroom::{Error, spawn_thread};

use crate::boundary::{optional, outcome, text};
use crate::callback_storage::{CallbackStorage, give};
use crate::sink::{Given, Sink, Wanted};
use crate::status::{strongroom_error, strongroom_status};
use crate::storage::{strongroom_sink, strongroom_storage_callbacks};

/// In the flags of strongroom_check_storage: the storage loses its records when it is closed.
pub const STRONGROOM_VOLATILE: u64 = 1;

/// Opens the storage in an empty folder, or the one that it made there before, and gives it with
/// strongroom_give_storage. A storage that uses no files makes a new one for each folder. Returns STRONGROOM_OK, or the
/// status of its failure. `context` is the caller's, or NULL.
pub type strongroom_make_storage_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, folder: *const c_char, sink: *mut strongroom_sink) -> c_int>;

/// Gets the outcome of one promise: `failure` is the suite's message, with the line of its source, if the storage broke
/// it, and NULL if it kept it. Both texts are valid until it returns. It returns 0 to go on, and any other number to
/// stop. `context` is the caller's, or NULL.
pub type strongroom_promise_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, promise: *const c_char, failure: *const c_char) -> c_int>;

/// Gives a storage to the suite, which owns it from then on. The library copies the struct.
///
/// As strongroom_give_bytes; also if strongroom_open_storage would refuse the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strongroom_give_storage(
    sink: *mut strongroom_sink,
    storage: *const strongroom_storage_callbacks,
) -> strongroom_status {
    // SAFETY: by the header's conventions.
    give(sink, |sink| sink.give_storage(unsafe { CallbackStorage::new(storage, "storage")? }))
}

/// Tests whether a storage keeps the promises that strongroom_storage_callbacks describes, one by one, each with new
/// storages of `make`: for the tests of a storage. It needs some seconds and 100 MB of memory. `make` and `report` run
/// in a thread of the library, before the call returns.
///
/// `flags` is STRONGROOM_VOLATILE or 0. `only` is the name of a promise to test alone, or NULL for all. `report` may be
/// NULL. One check runs at a time.
///
/// STRONGROOM_UNSUPPORTED if the storage breaks a promise: the error's message names the first ones.
/// STRONGROOM_INVALID_ARGUMENT for an unknown name or flag.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn strongroom_check_storage(
    make: strongroom_make_storage_fn,
    report: strongroom_promise_fn,
    context: *mut c_void,
    flags: u64,
    only: *const c_char,
    error: *mut strongroom_error,
) -> strongroom_status {
    outcome(error, || {
        let make = make.ok_or_else(|| Error::InvalidArgument("make is NULL".into()))?;
        // SAFETY: by the header's conventions.
        let only = optional(only, |only| unsafe { text(only, "only") })?;
        let promises = promises(flags, only)?;
        let context = Context(context);
        // The tests need more stack than a calling thread has.
        let check = move || check(&promises, make, report, context.get());
        let thread = spawn_thread("strongroom-check", check).map_err(|error| Error::Storage(error.into()))?;
        let outcome = thread.join();
        outcome.unwrap_or_else(|_| Err(Error::Internal("a panic was caught".into())))
    })
}

/// The context of the caller's functions.
struct Context(*mut c_void);

// SAFETY: by the header, the functions are called in another thread.
unsafe impl Send for Context {}

impl Context {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

type Make = unsafe extern "C" fn(*mut c_void, *const c_char, *mut strongroom_sink) -> c_int;

fn check(promises: &[Promise], make: Make, report: strongroom_promise_fn, context: *mut c_void) -> Result<(), Error> {
    // SAFETY: by the header's conventions, the function accepts these arguments.
    let make = |folder: &Path| open(folder, |folder, sink| unsafe { make(context, folder, sink) });
    let mut broken = Vec::new();
    let check = Check::begin();
    for (name, test) in promises {
        let failure = check.failure(|| test(&make));
        if failure.is_some() {
            broken.push(*name);
        }
        let failure = failure.map(|failure| c_text(&failure));
        let failure = failure.as_ref().map_or(std::ptr::null(), |failure| failure.as_ptr());
        // SAFETY: by the header's conventions, the function accepts these arguments.
        if report.is_some_and(|report| unsafe { report(context, c_text(name).as_ptr(), failure) } != 0) {
            break;
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    let (count, of, names) = (broken.len(), promises.len(), broken.join(", "));
    Err(Error::Unsupported(format!("the storage breaks {count} of {of} promises: {names}").into()))
}

fn promises(flags: u64, only: Option<&str>) -> Result<Vec<Promise>, Error> {
    let all = match flags {
        0 => [PROMISES, DURABLE_PROMISES].concat(),
        STRONGROOM_VOLATILE => PROMISES.to_vec(),
        _ => return Err(Error::InvalidArgument("flags has an unknown flag".into())),
    };
    let Some(only) = only else { return Ok(all) };
    let one: Vec<_> = all.into_iter().filter(|(name, _)| *name == only).collect();
    if one.is_empty() { Err(Error::InvalidArgument("only is not the name of a promise".into())) } else { Ok(one) }
}

/// The storage that `make` gives for a folder.
#[expect(clippy::panic, reason = "a test of the suite fails by panicking")]
fn open(folder: &Path, make: impl FnOnce(*const c_char, *mut strongroom_sink) -> c_int) -> Arc<dyn Storage> {
    let path = CString::new(folder.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let mut sink = strongroom_sink(Sink::new(Wanted::Storage));
    let status = make(path.as_ptr(), &raw mut sink);
    match sink.0.finish("make", status) {
        Ok(Some(Given::Storage(storage))) => storage,
        Ok(_) => panic!("`make` gave no storage"),
        Err(error) => panic!("{error:?}"),
    }
}

/// The messages of the panics during a check.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send>;

/// A running check: until its end, panics are recorded and not printed.
struct Check {
    previous: Option<Hook>,
    _alone: MutexGuard<'static, ()>,
}

impl Check {
    fn begin() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = Some(panic::take_hook());
        panic::set_hook(Box::new(|info| panics().push(info.to_string())));
        Self { previous, _alone: alone }
    }

    /// How `test` fails: the first panic is the cause of the others.
    fn failure(&self, test: impl FnOnce()) -> Option<String> {
        panics().clear();
        let outcome = catch_unwind(AssertUnwindSafe(test));
        outcome.err().map(|_| panics().drain(..).next().unwrap_or_default())
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if let Some(previous) = self.previous.take() {
            panic::set_hook(previous);
        }
        *panics() = Vec::new(); // without its memory
    }
}

fn panics() -> MutexGuard<'static, Vec<String>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text for C, in one line.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?").replace('\n', " ")).unwrap_or_default()
}
