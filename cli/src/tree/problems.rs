//! Files of a tree that are not processed or are removed: each is named on stderr, and the others are processed
//! nevertheless.

use std::io::Write;

use indicatif::ProgressBar;
use serde_json::json;

use crate::failure::Failure;
use crate::reply::{json_line, json_text};
use crate::streams::stderr;

pub(super) struct Problems {
    json: bool,
    failed: usize,
    first: Option<Failure>,
}

impl Problems {
    pub(super) fn new(json: bool) -> Self {
        Self { json, failed: 0, first: None }
    }

    /// Reports a file that is left out on purpose.
    pub(super) fn skip(&self, path: &[u8], reason: &str) {
        let line = match self.json {
            true => json_line(&json!({"skipped": {"path": json_text(path), "reason": reason}})),
            false => format!("skipped: {}: {reason}", printable(path)),
        };
        print(&line);
    }

    /// Reports a file whose record is removed.
    pub(super) fn removed(&self, path: &[u8]) {
        let line = match self.json {
            true => json_line(&json!({"removed": {"path": json_text(path)}})),
            false => format!("removed: {}", printable(path)),
        };
        print(&line);
    }

    /// Reports a file that failed.
    pub(super) fn add(&mut self, path: &[u8], failure: Failure, bar: &ProgressBar) {
        let line = match self.json {
            true => json_line(&json!({"failed": {"path": json_text(path), "error": failure.to_json()}})),
            false => format!("failed: {}: {}", printable(path), failure.message()),
        };
        bar.suspend(|| print(&line));
        self.failed += 1;
        self.first.get_or_insert(failure);
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// The outcome of the command. `what` says what was not done.
    pub(super) fn outcome(self, what: &'static str) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(first) => Err(Failure::Files { what, count: self.failed, first: first.into() }),
        }
    }
}

/// The user's own file names are no secret from the user, who could not find the file without its name.
fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().collect()
}

fn print(line: &str) {
    // If stderr fails, too, the exit status remains.
    let _ = stderr().and_then(|mut stderr| stderr.write_all(format!("{line}\n").as_bytes()));
}
