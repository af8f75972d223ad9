//! The script of operations with the library's blocking calls.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{Read, Seek, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use strongroom::{RecordReader, RecordWriter, Strongroom};

use crate::steps::{self, Found, SCRIPT};

macro_rules! wait {
    ($call:expr) => {
        $call
    };
}

#[path = "runner.rs"]
mod runner;

/// The steps above the first number.
#[allow(dead_code, reason = "a storage without transactions runs them")]
pub(crate) fn first_part() -> String {
    let end = SCRIPT.lines().position(|line| line.starts_with("steps ")).unwrap();
    SCRIPT.lines().take(end + 1).collect::<Vec<_>>().join("\n")
}

/// Runs the steps on a store, which must be empty.
pub(crate) fn run_script(store: Strongroom, script: &str) {
    let mut runner = runner::Runner::new(store);
    let step = |words: &[&str]| match pin!(runner.step(words)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome.unwrap_or_else(|error| vec![Found::error(error.code())]),
        Poll::Pending => panic!("a blocking call is pending"),
    };
    assert!(steps::run(script, false, step) > 0);
}
