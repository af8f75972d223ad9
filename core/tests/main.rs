//! The tests of the library, in one program: it is linked once. Those that need a process of their own, to measure,
//! limit or kill it, have programs beside it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

#[cfg(all(feature = "sqlite", feature = "tokio"))]
mod aio;
#[cfg(all(feature = "conformance", feature = "sqlite"))]
mod conformance;
#[cfg(feature = "conformance")]
mod conformance_faults;
#[cfg(feature = "sqlite")]
mod database_files;
mod endless_lists;
#[cfg(feature = "sqlite")]
mod expiry;
mod files;
#[cfg(feature = "sqlite")]
mod golden;
#[cfg(all(feature = "hazmat", feature = "sqlite"))]
mod judges;
#[cfg(feature = "keyring")]
mod keyring;
mod layering;
#[cfg(feature = "sqlite")]
mod many;
#[cfg(feature = "sqlite")]
mod model;
#[cfg(feature = "sqlite")]
mod namespaces;
#[cfg(all(feature = "object-store", unix))]
mod object_stores;
#[cfg(feature = "sqlite")]
mod opening;
#[cfg(feature = "sqlite")]
mod operations;
#[cfg(feature = "sqlite")]
mod padding;
mod parallel_reads;
mod promises;
mod readme;
#[cfg(feature = "sqlite")]
mod rekey;
#[cfg(feature = "sqlite")]
mod repeats;
#[cfg(feature = "sqlite")]
mod retention;
#[cfg(feature = "sqlite")]
mod rotation;
mod rotation_races;
#[cfg(all(feature = "object-store", unix))]
#[path = "script/blocking.rs"]
mod script;
#[cfg(all(feature = "object-store", unix))]
#[path = "script/mod.rs"]
mod steps;
#[cfg(feature = "sqlite")]
mod streams;
#[cfg(feature = "sqlite")]
mod take;
#[cfg(all(feature = "sqlite", unix))]
mod transfer;
#[cfg(feature = "sqlite")]
mod verification;
