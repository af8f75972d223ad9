//! The tests of PostgreSQL as a storage, against a server that they start.

#![cfg(unix)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "postgres/conformance.rs"]
mod conformance;
#[path = "postgres/crashes.rs"]
mod crashes;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/limits.rs"]
mod limits;
#[path = "postgres/opening.rs"]
mod opening;
#[path = "postgres/plans.rs"]
mod plans;
#[path = "script/blocking.rs"]
mod script;
#[path = "postgres/sessions.rs"]
mod sessions;
#[path = "script/mod.rs"]
mod steps;
#[path = "postgres/store.rs"]
mod store;
mod support;
#[path = "postgres/tls.rs"]
mod tls;
#[path = "postgres/waiting.rs"]
mod waiting;
#[path = "postgres/writers.rs"]
mod writers;
