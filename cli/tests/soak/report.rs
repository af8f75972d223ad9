//! The events of a run: calls by kind and outcome, faults, histories, violations.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::Error;

use super::load::lock;
use super::operation::is_expected;

/// The calls of a kind: acknowledged, refused (there is no such record, or there is one), failed, unknown.
#[derive(Clone, Copy, Default)]
struct Calls([u64; 4], Duration);

#[derive(Default)]
struct Checked {
    histories: u64,
    operations: usize,
    unknown: usize,
    undecided: u64,
    slowest: Duration,
}

/// The events on one store.
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) start: Instant,
    calls: Mutex<BTreeMap<&'static str, Calls>>,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    events: Mutex<BTreeMap<&'static str, u64>>,
    checked: Mutex<Checked>,
    violations: Mutex<Vec<String>>,
    /// Whether a call was `Poisoned` since this was reset.
    pub(crate) is_poisoned: AtomicBool,
    folder: PathBuf,
}

impl Report {
    /// Histories of violations go to files in `folder`.
    pub(crate) fn new(name: &'static str, start: Instant, folder: PathBuf) -> Self {
        Self {
            name,
            start,
            calls: Mutex::default(),
            failures: Mutex::default(),
            events: Mutex::default(),
            checked: Mutex::default(),
            violations: Mutex::default(),
            is_poisoned: AtomicBool::new(false),
            folder,
        }
    }

    /// Counts a call. Breaks if the error is none of those that faults cause.
    pub(crate) fn count<T>(&self, kind: &'static str, outcome: &Result<T, Error>, time: Duration) -> ControlFlow<()> {
        let column = match outcome {
            Ok(_) => 0,
            Err(Error::NotFound | Error::WrongKey | Error::Expired | Error::AlreadyExists | Error::Conflict) => 1,
            Err(Error::Indeterminate(_)) => 3,
            Err(_) => 2,
        };
        let mut calls = lock(&self.calls);
        let Calls(counts, slowest) = calls.entry(kind).or_default();
        counts[column] += 1;
        *slowest = time.max(*slowest);
        let Err(error) = outcome else { return ControlFlow::Continue(()) };
        *lock(&self.failures).entry(error.name()).or_default() += 1;
        self.is_poisoned.fetch_or(matches!(error, Error::Poisoned), Ordering::Relaxed);
        is_expected(error)
    }

    pub(crate) fn event(&self, kind: &'static str) {
        *lock(&self.events).entry(kind).or_default() += 1;
    }

    pub(crate) fn checked(&self, operations: usize, unknown: usize, time: Duration, is_undecided: bool) {
        let mut checked = lock(&self.checked);
        checked.histories += 1;
        checked.operations += operations;
        checked.unknown += unknown;
        checked.undecided += u64::from(is_undecided);
        checked.slowest = checked.slowest.max(time);
    }

    pub(crate) fn violation(&self, what: &str, detail: &str) {
        let mut violations = lock(&self.violations);
        let file = self.folder.join(format!("violation-{}-{}", self.name, violations.len()));
        let _ = fs::write(&file, format!("{what}\n{detail}"));
        let line = format!("{}: {what}: {}", self.name, file.display());
        eprintln!("VIOLATION at {:.1?}: {line}", self.start.elapsed());
        violations.push(line);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    /// The number of acknowledged and of all calls, and of those with an unknown outcome.
    pub(crate) fn totals(&self) -> [u64; 3] {
        let calls = lock(&self.calls);
        let sum =
            |columns: &[usize]| calls.values().flat_map(|Calls(counts, _)| columns.iter().map(|n| counts[*n])).sum();
        [sum(&[0]), sum(&[0, 1, 2, 3]), sum(&[3])]
    }

    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "\n{}\n{:<20} {:>9} {:>9} {:>9} {:>9} {:>10}\n",
            self.name, "", "ok", "refused", "failed", "unknown", "slowest"
        );
        for (kind, Calls([ok, refused, failed, unknown], slowest)) in &*lock(&self.calls) {
            let _ = writeln!(text, "{kind:<20} {ok:>9} {refused:>9} {failed:>9} {unknown:>9} {slowest:>10.1?}");
        }
        let _ = writeln!(text, "errors: {:?}", lock(&self.failures));
        let _ = writeln!(text, "events: {:?}", lock(&self.events));
        let Checked { histories, operations, unknown, undecided, slowest } = &*lock(&self.checked);
        let _ = writeln!(
            text,
            "histories: {histories} with {operations} operations, {unknown} of them unknown, {undecided} undecided; the slowest check took {slowest:.1?}"
        );
        text
    }
}
