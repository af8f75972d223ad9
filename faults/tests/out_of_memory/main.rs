//! Each allocation of each workload fails, of Rust or of C, once or from then on, in a process of its own. An operation
//! then has a typed error, and the handle is usable or poisoned; or the process aborts. After both, the acknowledged
//! data is intact when the store is opened again. `STRONGROOM_TEST_LONG=1` tries each allocation; otherwise a part of
//! them fails, spread over all.

#![cfg(target_os = "linux")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

#[path = "../support/check.rs"]
mod check;
#[path = "../support/history.rs"]
mod history;
mod long_data;
#[path = "../support/workloads.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, thread};

use strongroom::Error;
use strongroom_faults::{Disk, Event, Shortage};

use check::{DATABASE, scratch};
use history::{Expected, Operation};
use workloads::{Run, WORKLOADS, Workload, builder};

/// For the processes of the cases: the workload's number and the shortage.
const CASE: &str = "STRONGROOM_TEST_SHORTAGE";
const FOLDER: &str = "STRONGROOM_TEST_FOLDER";
/// Shortages are those of a whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether an operation may have this error, after others of its handle.
fn is_allowed(error: &Error, before: &[Option<Error>]) -> bool {
    match error {
        Error::TooLarge | Error::Storage(_) | Error::Indeterminate(_) => true,
        // The record of an operation that failed, or the rotation that it was a part of; a handle after a failed
        // commit.
        Error::NotFound
        | Error::WrongKey
        | Error::AlreadyExists
        | Error::Conflict
        | Error::InvalidArgument(_)
        | Error::Poisoned => before.iter().any(Option::is_some),
        _ => false,
    }
}

/// How Rust and the C library end a process without memory.
const ABORTS: [&str; 2] =
    ["memory allocation of ", "Fatal glibc error: failed to register TLS destructor: out of memory"];

/// In the process of a case: runs the workload, and prints the names of its errors.
fn run(case: &str, folder: &Path) {
    let numbers: Vec<u64> = case.split(' ').map(|number| number.parse().unwrap()).collect();
    let workload = &WORKLOADS[usize::try_from(numbers[0]).unwrap()];
    let shortage = Shortage { after: numbers[1], persists: numbers[2] != 0, at_least: 0 };
    let (disk, path) = (Disk::at(folder).unwrap(), folder.join(DATABASE));
    let prepared = Run::new(&disk, &path, workload.keys, Vec::new());
    (workload.prepare)(&prepared).unwrap();
    let journal = File::create(folder.with_extension("journal")).unwrap();
    let run = Run::new(&disk, &path, workload.keys, prepared.into_history().0).journal(journal);
    shortage.begin();
    let outcome = (workload.work)(&run);
    let count = Shortage::end();
    let (_, _, mut errors) = run.into_history();
    errors.extend(outcome.err().map(Some));
    for (number, error) in errors.iter().enumerate() {
        let before = &errors[..number];
        assert!(
            error.as_ref().is_none_or(|error| is_allowed(error, before)),
            "unexpected: {error:?}, after {before:?}"
        );
    }
    let names: Vec<_> = errors.iter().flatten().map(Error::name).collect();
    println!("\ncounted {count} {}", names.join(","));
}

/// A workload without a shortage.
struct Reference {
    number: usize,
    workload: &'static Workload,
    prepared: Vec<Operation>,
    before: Vec<Event>,
    operations: Vec<Operation>,
}

impl Reference {
    fn new(number: usize, workload: &'static Workload) -> Self {
        let folder = scratch();
        let (disk, path) = (Disk::at(folder.path()).unwrap(), folder.path().join(DATABASE));
        let run = Run::new(&disk, &path, workload.keys, Vec::new());
        (workload.prepare)(&run).unwrap();
        let (prepared, before, _) = run.into_history();
        let run = Run::new(&disk, &path, workload.keys, prepared.clone());
        (workload.work)(&run).unwrap();
        Self { number, workload, prepared, before, operations: run.into_history().0 }
    }

    /// Runs the workload in a process of its own.
    fn start(&self, shortage: Shortage, folder: &Path) -> Output {
        let Shortage { after, persists, .. } = shortage;
        Command::new(env::current_exe().unwrap())
            .args(["a_lack_of_memory_loses_nothing", "--exact", "--nocapture"])
            .env(CASE, format!("{} {after} {}", self.number, u8::from(persists)))
            .env(FOLDER, folder)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The number of allocations.
    fn count(&self) -> u64 {
        let folder = scratch();
        let inside = folder.path().join("store");
        fs::create_dir(&inside).unwrap();
        let output = self.start(Shortage { after: u64::MAX, persists: false, at_least: 0 }, &inside);
        counted(&output).unwrap().0
    }

    /// Runs the workload with a shortage. Returns its first error, or how it ended.
    fn try_with(&self, shortage: Shortage) -> Result<String, String> {
        let folder = scratch();
        let inside = folder.path().join("store");
        fs::create_dir(&inside).unwrap();
        let output = self.start(shortage, &inside);
        let said = String::from_utf8_lossy(&output.stderr);
        let outcome = match counted(&output) {
            Some((_, names)) => names.split(',').next().unwrap().to_owned(),
            None if output.status.signal() == Some(libc::SIGABRT) && ABORTS.iter().any(|text| said.contains(text)) => {
                "abort".to_owned()
            }
            None => return Err(format!("{}: {said}", output.status)),
        };
        let journal = fs::read_to_string(inside.with_extension("journal")).unwrap();
        let (operations, events) = history::read_journal(&journal, &self.prepared, &self.operations);
        let mut expected = Expected::default();
        self.before.iter().chain(&events).for_each(|event| expected.follow(event, &operations));
        check_again(&inside, self.workload, &expected, &operations).map_err(|error| format!("{outcome}: {error}"))?;
        Ok(outcome)
    }
}

/// The number of allocations and the errors of a process that did not abort.
fn counted(output: &Output) -> Option<(u64, String)> {
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("counted "))?;
    let (count, names) = line.split_once(' ')?;
    Some((count.parse().unwrap(), names.to_owned()))
}

fn check_again(
    folder: &Path,
    workload: &Workload,
    expected: &Expected,
    operations: &[Operation],
) -> Result<(), String> {
    let path = folder.join(DATABASE);
    let store = builder(&path, workload.keys).open().map_err(|error| format!("does not open: {error:?}"))?;
    expected.check(&store, operations, true)?;
    store.store("a new one", b"data").map_err(|error| format!("cannot be written: {error:?}"))?;
    check::whole(store, folder)
}

/// Tries about `most` shortages of each workload and kind, spread over all allocations.
fn try_each(most: u64) {
    let references: Vec<_> = WORKLOADS.iter().enumerate().map(|(number, one)| Reference::new(number, one)).collect();
    let mut cases = Vec::new();
    for reference in &references {
        let count = reference.count();
        for persists in [false, true] {
            let step = usize::try_from(count.div_ceil(most).max(1)).unwrap();
            // An odd step, so that a pattern of allocations does not hide some.
            let all = (u64::from(persists)..count).step_by(step | 1);
            cases.extend(all.map(|after| (reference, Shortage { after, persists, at_least: 0 })));
        }
    }
    let (next, failures, counts) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((reference, shortage)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match reference.try_with(*shortage) {
                        Ok(outcome) => *counts.lock().unwrap().entry(outcome).or_insert(0) += 1,
                        Err(error) => {
                            let name = reference.workload.name;
                            failures.lock().unwrap().push(format!("{name}, {shortage:?}: {error}"));
                        }
                    }
                }
            });
        }
    });
    println!("{} cases; first errors: {:#?}", cases.len(), counts.into_inner().unwrap());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cases failed: {:#?}", failures.len(), &failures[..failures.len().min(20)]);
}

#[test]
fn a_lack_of_memory_loses_nothing() {
    if let (Ok(case), Some(folder)) = (env::var(CASE), env::var_os(FOLDER)) {
        return run(&case, Path::new(&folder));
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    try_each(if env::var_os("STRONGROOM_TEST_LONG").is_some() { u64::MAX } else { 4 });
}
