//! The synchronisation by hand of the library, with locks of loom in place of the standard library's, and models of it:
//! loom runs each in every order of events of a few threads, and detects deadlocks.
//!
//! The sources are those of the library itself. This crate gives them `util::sync` and `util::threads` of its own. It
//! is not a test of the library's crate, because the sources' own tests need the locks of the standard library. Where
//! `cfg(test)` is set, it is empty.

#![cfg(not(test))]
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic is how a model reports a fault, and its name tells what it checks"
)]

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../core/src/storage/commit_queue.rs"]
mod commit_queue;
mod error;
#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../core/src/aio/pool.rs"]
mod pool;
#[allow(dead_code, unreachable_pub, reason = "the library uses the rest")]
#[path = "../../core/src/util"]
mod util {
    pub(crate) mod background_thread;
    pub(crate) mod cores;
    pub(crate) mod driver;
    pub(crate) mod fork_check;
    pub(crate) mod handoff;
    pub(crate) mod interrupt;
    pub(crate) use crate::{sync, threads};
}
mod sync;
mod threads;

pub mod models;
