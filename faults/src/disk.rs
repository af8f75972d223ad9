//! A folder whose system calls are recorded or fail.

use std::ffi::c_int;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::log::{Event, Log, Recorder};

/// A kind of system call on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opening or creating a file, or opening the folder.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file or the folder durable.
    Sync,
    /// Changing a file's length.
    Truncate,
    /// Removing a file's name.
    Remove,
    /// Mapping a file into memory: the log's index.
    Map,
    /// Taking a lock.
    Lock,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Open, Self::Read, Self::Write, Self::Sync, Self::Truncate, Self::Remove, Self::Map, Self::Lock];
}

/// The way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With this `errno`, and without effect.
    Errno(c_int),
    /// A read or write does a part of its work.
    Short,
}

/// A failure, and the calls that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The kind of the call.
    pub call: Call,
    /// The number of calls of this kind before it.
    pub after: u64,
    /// Whether all later ones of this kind fail, too.
    pub persists: bool,
    /// The failure.
    pub failure: Failure,
}

/// A folder on a simulated disk.
pub struct Disk {
    root: PathBuf,
    place: usize,
    recorder: Mutex<Option<Recorder>>,
    fault: Mutex<Option<Fault>>,
    counts: [AtomicU64; Call::ALL.len()],
    failed: AtomicU64,
}

/// The disks of the process; a released place is used again.
static DISKS: RwLock<Vec<Option<Arc<Disk>>>> = RwLock::new(Vec::new());

/// The disk of each file descriptor: 0 for none, otherwise its place plus 1.
static DESCRIPTORS: [AtomicU32; 1 << 16] = [const { AtomicU32::new(0) }; 1 << 16];

impl Disk {
    /// The disk at an existing folder. Drop the guard to end the simulation.
    ///
    /// # Errors
    ///
    /// The folder does not exist.
    pub fn at(folder: &Path) -> std::io::Result<DiskGuard> {
        let root = folder.canonicalize()?;
        let mut disks = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        let place = disks.iter().position(Option::is_none).unwrap_or(disks.len());
        let disk = Arc::new(Self {
            root,
            place,
            recorder: Mutex::default(),
            fault: Mutex::default(),
            counts: [const { AtomicU64::new(0) }; Call::ALL.len()],
            failed: AtomicU64::new(0),
        });
        match disks.get_mut(place) {
            Some(free) => *free = Some(Arc::clone(&disk)),
            None => disks.push(Some(Arc::clone(&disk))),
        }
        Ok(DiskGuard(disk))
    }

    /// Records all changes from now on.
    pub fn record(&self) {
        let recorder = Recorder::new(&self.root);
        *self.recorder() = Some(recorder);
    }

    /// Adds an event to the log.
    pub fn note(&self, event: Event) {
        if let Some(recorder) = &mut *self.recorder() {
            recorder.find_names(&self.root);
            recorder.push(event);
        }
    }

    /// Ends the recording.
    pub fn take_log(&self) -> Log {
        self.recorder().take().map(Recorder::into_log).unwrap_or_default()
    }

    /// Makes calls fail from now on, and counts calls from 0 again; `None` ends the failures.
    pub fn fail(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
    }

    /// The number of calls of this kind since [`fail`](Self::fail).
    pub fn count(&self, call: Call) -> u64 {
        self.counts.get(call as usize).map_or(0, |count| count.load(Ordering::SeqCst))
    }

    /// The number of calls that have failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// Counts a call, and returns its failure.
    pub(crate) fn failure_of(&self, call: Call) -> Option<Failure> {
        let number = self.counts.get(call as usize)?.fetch_add(1, Ordering::SeqCst);
        let fault = (*self.fault.lock().unwrap_or_else(PoisonError::into_inner))?;
        let fails = fault.call == call && (number == fault.after || fault.persists && number > fault.after);
        fails.then(|| {
            self.failed.fetch_add(1, Ordering::SeqCst);
            fault.failure
        })
    }

    /// Makes a change, and records it if it succeeds. Changes do not overlap, so the log has their true order.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> T, record: impl FnOnce(&T, &mut Recorder)) -> T {
        let mut recorder = self.recorder();
        let Some(recorder) = &mut *recorder else { return change() };
        recorder.find_names(&self.root);
        let outcome = change();
        recorder.find_names(&self.root);
        record(&outcome, recorder);
        outcome
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Recorder>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A [`Disk`], until it is dropped.
#[derive(Debug)]
pub struct DiskGuard(Arc<Disk>);

impl std::ops::Deref for DiskGuard {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.0
    }
}

impl Drop for DiskGuard {
    fn drop(&mut self) {
        let mut disks = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = disks.get_mut(self.0.place) {
            *place = None;
        }
    }
}

/// The disk with this path.
pub(crate) fn disk_at(path: &[u8]) -> Option<Arc<Disk>> {
    let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
    let is_inside = |disk: &&Arc<Disk>| {
        let rest = path.strip_prefix(disk.root.as_os_str().as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    disks.iter().flatten().find(is_inside).cloned()
}

/// The disk of an open file.
pub(crate) fn disk_of(descriptor: c_int) -> Option<Arc<Disk>> {
    let place = slot(descriptor)?.load(Ordering::Relaxed).checked_sub(1)?;
    let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
    disks.get(usize::try_from(place).ok()?)?.clone()
}

/// Remembers the disk of a file that was opened.
pub(crate) fn opened(descriptor: c_int, disk: &Disk) {
    if let (Some(slot), Ok(place)) = (slot(descriptor), u32::try_from(disk.place)) {
        slot.store(place + 1, Ordering::Relaxed);
    }
}

/// Forgets a file that is about to be closed.
pub(crate) fn closing(descriptor: c_int) {
    if let Some(slot) = slot(descriptor) {
        slot.store(0, Ordering::Relaxed);
    }
}

fn slot(descriptor: c_int) -> Option<&'static AtomicU32> {
    DESCRIPTORS.get(usize::try_from(descriptor).ok()?)
}
