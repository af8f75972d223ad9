//! Each system call of each workload fails, once or from then on: every operation has a typed error or succeeds, a
//! refused one has changed nothing, the handle is usable or poisoned, and the acknowledged data is intact when the
//! store is opened again. `STRONGROOM_TEST_LONG=1` tries every call; otherwise a part of them fails, spread over all.

#![cfg(target_os = "linux")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

#[path = "../support/check.rs"]
mod check;
#[path = "../support/history.rs"]
mod history;
mod new_names;
mod no_room;
#[path = "../support/workloads.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use strongroom::Error;
use strongroom_faults::{Call, Disk, Failure, Fault};

use check::{DATABASE, scratch};
use history::Expected;
use workloads::{Run, WORKLOADS, Workload, builder};

/// The failures of a kind of call, and whether each can persist. A call that is interrupted is repeated, a lock is
/// awaited, and reads that never give all bytes are those of a shorter file: these happen once.
fn failures(call: Call) -> &'static [(Failure, bool)] {
    use Failure::{Errno, Short};
    match call {
        Call::Open => &[(Errno(libc::EIO), true), (Errno(libc::ENOSPC), true), (Errno(libc::EMFILE), true)],
        Call::Read => &[(Errno(libc::EIO), true), (Short, false), (Errno(libc::EINTR), false)],
        Call::Write => &[
            (Errno(libc::EIO), true),
            (Errno(libc::ENOSPC), true),
            (Errno(libc::EDQUOT), true),
            (Short, true),
            (Errno(libc::EINTR), false),
        ],
        Call::Sync => &[(Errno(libc::EIO), true), (Errno(libc::ENOSPC), true), (Errno(libc::EDQUOT), true)],
        Call::Truncate => &[(Errno(libc::EIO), true), (Errno(libc::EDQUOT), true), (Errno(libc::EINTR), false)],
        Call::Remove => &[(Errno(libc::EIO), true)],
        Call::Map => &[(Errno(libc::ENOMEM), true)],
        Call::Lock => &[(Errno(libc::EIO), false), (Errno(libc::EAGAIN), false)],
    }
}

struct Case {
    workload: &'static Workload,
    fault: Fault,
}

/// Whether an operation may have this error, after others.
fn is_allowed(error: &Error, before: &[Option<Error>], call: Call) -> bool {
    // The handle is that since the last opening.
    let of_handle = before.rsplit(Option::is_none).next().unwrap_or_default();
    let is_poisoned = of_handle.iter().flatten().any(|error| matches!(error, Error::Poisoned));
    match error {
        Error::Poisoned => true,
        // Reads continue if the handle is poisoned, also those of a replacement.
        Error::Storage(_) | Error::StorageFull | Error::Busy => !is_poisoned || call == Call::Read,
        // Each writer of a group that fails gets it, also after another has found the store poisoned.
        Error::Indeterminate(_) => true,
        // SQLite takes a medium that cannot be read for a damaged one.
        Error::Corrupt => call == Call::Read,
        // The record of an operation that failed, or the rotation that it was a part of.
        Error::NotFound | Error::WrongKey | Error::AlreadyExists | Error::Conflict | Error::InvalidArgument(_) => {
            before.iter().any(Option::is_some)
        }
        // A full disk: the store is open read-only.
        Error::Unsupported(_) => call != Call::Read,
        _ => false,
    }
}

/// Runs a workload with a fault. Returns the names of the errors.
fn run(case: &Case) -> Result<Vec<&'static str>, String> {
    let folder = scratch();
    let (disk, path) = (Disk::at(folder.path()).unwrap(), folder.path().join(DATABASE));
    let prepared = Run::new(&disk, &path, case.workload.keys, Vec::new());
    (case.workload.prepare)(&prepared).unwrap();
    let (operations, before, _) = prepared.into_history();
    let run = Run::new(&disk, &path, case.workload.keys, operations);
    disk.fail(Some(case.fault));
    let outcome = (case.workload.work)(&run);
    disk.fail(None);
    let (operations, events, mut errors) = run.into_history();
    errors.extend(outcome.err().map(Some));

    for (number, error) in errors.iter().enumerate() {
        let (before, call) = (&errors[..number], case.fault.call);
        if error.as_ref().is_some_and(|error| !is_allowed(error, before, call)) {
            return Err(format!("unexpected: {error:?}, after {before:?}"));
        }
    }
    let mut expected = Expected::default();
    before.iter().chain(&events).for_each(|event| expected.follow(event, &operations));
    check_again(&path, folder.path(), case, &expected, &operations)
        .map_err(|error| format!("{error}, after {errors:?}"))?;
    Ok(errors.iter().flatten().map(Error::name).collect())
}

fn check_again(
    path: &Path,
    folder: &Path,
    case: &Case,
    expected: &Expected,
    operations: &[history::Operation],
) -> Result<(), String> {
    let store = builder(path, case.workload.keys).open().map_err(|error| format!("does not open: {error:?}"))?;
    expected.check(&store, operations, true)?;
    store.store("a new one", b"data").map_err(|error| format!("cannot be written: {error:?}"))?;
    check::whole(store, folder)
}

/// The number of calls of each kind that a workload makes.
fn count(workload: &'static Workload) -> Vec<(Call, u64)> {
    let folder = scratch();
    let disk = Disk::at(folder.path()).unwrap();
    let path = folder.path().join(DATABASE);
    (workload.prepare)(&Run::new(&disk, &path, workload.keys, Vec::new())).unwrap();
    disk.fail(None);
    (workload.work)(&Run::new(&disk, &path, workload.keys, Vec::new())).unwrap();
    Call::ALL.map(|call| (call, disk.count(call))).to_vec()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for workload in &WORKLOADS {
        for (call, count) in count(workload) {
            for (failure, can_persist) in failures(call) {
                for persists in [false, true].into_iter().take(1 + usize::from(*can_persist)) {
                    let fault = |after| Fault { call, after, persists, failure: *failure };
                    cases.extend((0..count).map(|after| Case { workload, fault: fault(after) }));
                }
            }
        }
    }
    cases
}

#[test]
fn every_failing_call_has_a_typed_error_and_loses_nothing() {
    let all = cases();
    let step = if env::var_os("STRONGROOM_TEST_LONG").is_some() { 1 } else { 1 + all.len() / 1000 };
    let (next, failures, counts) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = all.get(next.fetch_add(step, Ordering::Relaxed)) {
                    let Case { workload, fault } = case;
                    match run(case) {
                        Ok(errors) => {
                            for name in errors.into_iter().take(1) {
                                *counts.lock().unwrap().entry((fault.call, name)).or_insert(0) += 1;
                            }
                        }
                        Err(error) => failures.lock().unwrap().push(format!("{}, {fault:?}: {error}", workload.name)),
                    }
                }
            });
        }
    });
    println!("{} of {} cases; first errors: {:#?}", all.len().div_ceil(step), all.len(), counts.into_inner().unwrap());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cases failed: {:#?}", failures.len(), &failures[..failures.len().min(40)]);
}
