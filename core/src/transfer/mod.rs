//! Copying all records from one storage to another, without any key. Equal records are skipped, so that a copy that was
//! interrupted continues when it is repeated.
//!
//! A copy lists both storages in the order of locators and compares heads, so that it writes only what differs. It can
//! therefore be interrupted and repeated at any time.

mod check;
mod cursor;
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
mod locations;
#[cfg(all(feature = "sqlite", unix))]
mod new_database;
mod one_record;
mod prepare;
mod range;
mod range_copy;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::locator::Locator;
use crate::settings::Settings;
use crate::storage::{self, Storage, check_lists};
use crate::util::interrupt::{self, Cancellation};
use crate::util::threads;
use check::{SourceCheck, at_destination};
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
pub use locations::copy;
use range::Range;
use range_copy::RangeCopy;

/// The workers of a copy, unless the options say otherwise: some read and wait for answers while one writes.
const WORKERS: usize = 4;
/// The most workers.
const MAX_WORKERS: usize = 64;
/// The most passes of a copy: it needs more than two only if the source's settings change meanwhile.
const ATTEMPTS: usize = 8;
/// The interval of calls to `progress`.
const INTERVAL: Duration = Duration::from_millis(100);

/// The options of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    mirror: bool,
    workers: Option<usize>,
}

impl CopyOptions {
    /// The defaults: records that the source does not have stay at the destination; 4 workers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the copy also deletes the records at the destination that the source does not have.
    #[must_use]
    pub fn mirror(mut self, mirror: bool) -> Self {
        self.mirror = mirror;
        self
    }

    /// The number of workers, from 1 to 64: more of them hide the latency of a distant service. Each needs up to 20 MB
    /// of memory.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    fn checked_workers(self) -> Result<usize, Error> {
        let workers = self.workers.unwrap_or(WORKERS);
        if (1..=MAX_WORKERS).contains(&workers) {
            Ok(workers)
        } else {
            Err(Error::InvalidArgument("a copy has 1 to 64 workers".into()))
        }
    }
}

/// The result of a copy, or its progress.
#[must_use = "some records may be damaged, and not copied"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of records that were written to the destination.
    pub records: u64,
    /// Their bytes: ciphertext and headers.
    pub bytes: u64,
    /// The number of records that the destination had already.
    pub unchanged: u64,
    /// The number of records that a mirroring copy deleted at the destination.
    pub deleted: u64,
    /// The records of the source that are damaged. They were not copied; an earlier copy of one at the destination was
    /// kept. If the source cannot even list some neighbours, the place of one of them is here: the first 8 bytes of a
    /// locator, and then zeros; or the last such place, if its list lacks records at unknown places.
    pub damaged: Vec<Locator>,
    /// The records that exceed the destination's limit. They were not copied.
    pub too_large: Vec<Locator>,
}

impl Copied {
    /// Whether the destination has all records of the source.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.damaged.is_empty() && self.too_large.is_empty()
    }
}

/// Copies all records and the settings from one storage to another, without any key.
///
/// The destination is then the same store: it opens with the same index key, and its records with the same keys. It
/// must be new, or an earlier copy of the source. Records with the same head and length at the destination are skipped,
/// and others are replaced; so a repeated copy continues an interrupted one, and transfers only what has changed.
/// Expired records are copied, too. Other users may use both storages meanwhile: each record is copied in one of its
/// versions. The source's index key may be rotated, too: the destination has each record under one of the keys, or
/// under both.
///
/// Each record is checked by the source's checksums before, and compared with what the destination returns afterwards:
/// a long one by head, length and the destination's checksums. Damaged and too large records are skipped, and named in
/// the result.
///
/// `progress` is called on this thread about ten times a second; it must not return in a forked child.
/// [`interrupt`](mod@crate::interrupt) ends a copy early.
///
/// ```
/// # use std::sync::Arc;
/// use strongroom::storage::{MemoryStorage, Storage};
/// use strongroom::transfer::{CopyOptions, copy_storage};
/// use strongroom::{IndexKey, Strongroom};
///
/// let index_key = IndexKey::generate()?;
/// let open = |storage: &Arc<dyn Storage>| {
///     let index_key = IndexKey::from_bytes(index_key.expose_bytes())?;
///     Strongroom::builder().storage(Arc::clone(storage)).index_key(index_key).open()
/// };
/// let (source, destination): (Arc<dyn Storage>, Arc<dyn Storage>) =
///     (Arc::new(MemoryStorage::new()), Arc::new(MemoryStorage::new()));
/// let key = open(&source)?.store("id", b"data")?;
///
/// let copied = copy_storage(&source, &destination, CopyOptions::new(), &mut |_| ())?;
/// assert_eq!((copied.records, copied.is_complete()), (1, true));
/// assert_eq!(open(&destination)?.retrieve("id", &key)?, b"data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidArgument`] if the source has no store, if the destination has the records of another store or a
/// later index key, or if both are the same; [`Error::Corrupt`] if the source's settings are damaged;
/// [`Error::Storage`] if the destination is damaged; [`Error::Conflict`] if others change a record there all the time;
/// [`Error::StorageFull`], [`Error::Busy`] after an interrupt, and those of both storages. Records that were copied
/// before stay, and a repeated copy continues.
pub fn copy_storage(
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, Error> {
    copy_with(from, to, options, Mode::default(), progress)
}

/// How a pass treats the destination.
#[derive(Clone, Copy, Default)]
struct Mode {
    /// Whether the destination has pages of the source, so that all records count as copied.
    has_pages: bool,
}

fn copy_with(
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    options: CopyOptions,
    mode: Mode,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, Error> {
    let workers = options.checked_workers()?;
    if std::ptr::addr_eq(Arc::as_ptr(from), Arc::as_ptr(to)) {
        return Err(same_store());
    }
    let mut settings = prepare::source(&**from)?;
    // A record that its lists lack would get a second version there.
    check_lists(&**to).map_err(|error| at_destination(error.into()))?;
    let mut next = Pass { workers, delete: false, mode };
    let (mut copied, mut unchanged) = (Copied::default(), None);
    for _ in 0..ATTEMPTS {
        prepare::destination(&**to, &settings).map_err(at_destination)?;
        let extra = pass(from, to, &settings, next, &mut copied, progress)?;
        // A repeated pass finds unchanged what the first one has copied.
        copied.unchanged = *unchanged.get_or_insert(copied.unchanged);
        let before = std::mem::replace(&mut settings, prepare::source(&**from)?);
        // Otherwise, records may have moved to an index key that this pass did not know.
        let is_settled = before == settings;
        // Only after the source was listed completely and without damage, because a damaged record may be missing in a
        // list.
        let deletes = options.mirror && extra && copied.damaged.is_empty();
        if is_settled && (next.delete || !deletes) {
            return Ok(copied);
        }
        next = Pass { workers, delete: is_settled, mode: Mode::default() };
    }
    Err(Error::Conflict)
}

fn same_store() -> Error {
    Error::InvalidArgument("the source and the destination are the same store".into())
}

#[derive(Clone, Copy)]
struct Pass {
    workers: usize,
    /// Whether to delete what the source does not have.
    delete: bool,
    mode: Mode,
}

/// The state that workers share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The ranges that no worker has begun.
    ranges: Vec<Range>,
    copied: Copied,
    /// Whether the destination has records that the source does not have.
    extra: bool,
    running: usize,
    error: Option<Error>,
}

impl Shared {
    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares both storages once, and copies what differs. Returns whether the destination has other records, too.
///
/// During a rotation, records move from the previous index key to the current one. Those under the previous one are
/// compared first, so that the list has each record before or after it moves.
fn pass(
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    settings: &Settings,
    pass: Pass,
    copied: &mut Copied,
    progress: &mut dyn FnMut(&Copied),
) -> Result<bool, Error> {
    // An earlier pass found these, too.
    (copied.damaged, copied.too_large) = (Vec::new(), Vec::new());
    let numbers = settings.generations.iter().map(|generation| generation.number);
    let previous = numbers.clone().nth(1);
    let is_previous = |range: &Range| previous.is_some_and(|previous| range.is_of(previous));
    let (before, after): (Vec<_>, Vec<_>) = Range::split(numbers, pass.workers).into_iter().partition(is_previous);
    let mut extra = false;
    for ranges in [before, after].into_iter().filter(|ranges| !ranges.is_empty()) {
        extra |= pass_ranges(from, to, &ranges, pass, copied, progress)?;
    }
    if !pass.delete {
        match check_lists(&**from) {
            Err(storage::Error::Corrupt) => copied.damaged.push(cursor::unknown_place()),
            checked => checked?,
        }
    }
    // Several ranges may end with the same damage.
    copied.damaged.sort_unstable();
    copied.damaged.dedup();
    Ok(extra)
}

fn pass_ranges(
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    ranges: &[Range],
    pass: Pass,
    copied: &mut Copied,
    progress: &mut dyn FnMut(&Copied),
) -> Result<bool, Error> {
    let ranges: Vec<_> = ranges.iter().rev().copied().collect();
    let state = State { ranges, copied: std::mem::take(copied), extra: false, running: pass.workers, error: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    let check = Arc::new(SourceCheck::default());
    let mut workers = Workers::default();
    for _ in 0..pass.workers {
        let worker = Worker {
            copy: RangeCopy {
                from: Arc::clone(from),
                to: Arc::clone(to),
                delete: pass.delete,
                mode: pass.mode,
                check: Arc::clone(&check),
            },
            shared: Arc::clone(&shared),
        };
        workers.start(worker)?;
    }
    let mut state = shared.lock();
    while state.running > 0 {
        drop(state);
        if interrupt::is_interrupted() {
            workers.cancellation.cancel();
        }
        state = shared.lock();
        if state.error.is_some() {
            workers.cancellation.cancel();
        }
        progress(&state.copied);
        if state.running > 0 {
            state = shared.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    progress(&state.copied);
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    // A cancelled worker may have ended between two steps, without an error.
    if interrupt::was_interrupted() || !state.ranges.is_empty() {
        return Err(Error::Busy);
    }
    *copied = std::mem::take(&mut state.copied);
    Ok(state.extra)
}

/// The threads of a pass. Dropping them ends them.
#[derive(Default)]
struct Workers {
    threads: Vec<JoinHandle<()>>,
    cancellation: Cancellation,
}

impl Workers {
    fn start(&mut self, worker: Worker) -> Result<(), Error> {
        let cancellation = self.cancellation.clone();
        let thread = threads::spawn("strongroom-copy", move || cancellation.run(|| worker.run()));
        self.threads.push(thread.map_err(|error| Error::Storage(error.into()))?);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.cancellation.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a worker that panicked has reported it
        }
    }
}

struct Worker {
    copy: RangeCopy,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(&self) {
        loop {
            if interrupt::is_interrupted() {
                return;
            }
            let Some(range) = self.shared.lock().ranges.pop() else { return };
            let report = |report: &mut dyn FnMut(&mut State)| report(&mut self.shared.lock());
            if let Err(error) = self.copy.run(range, &report) {
                self.shared.lock().error.get_or_insert(error);
                return;
            }
        }
    }
}

/// The end of a worker, also after a panic.
impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running -= 1;
        if std::thread::panicking() {
            state.error.get_or_insert_with(|| Error::Internal("a worker of the copy panicked".into()));
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}
