//! The tests of both services, in one program: it is linked once. Those that measure the memory or the connections of
//! their process have programs of their own beside it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../../core/tests/support/hooked.rs"]
mod hooked;
#[path = "../../core/tests/support/intercept.rs"]
#[allow(dead_code, reason = "the tests of the services use a part of it")]
mod intercept;
#[path = "../../core/tests/support/leftovers.rs"]
mod leftovers;
#[path = "../../core/tests/support/rounds.rs"]
mod rounds;
#[path = "../../core/tests/script/mod.rs"]
mod steps;
mod support;

mod admin;
mod aio;
mod audit;
mod awaited;
mod balancing;
mod batches;
mod client;
#[cfg(feature = "cluster")]
mod cluster;
mod database;
mod discovery;
mod encryption;
mod expiry;
mod headers;
mod hosts;
mod http2;
mod lifecycle;
mod listening;
mod proxy;
mod refused_repetitions;
mod reload;
mod remote_storage;
mod revocations;
mod schemathesis;
mod script;
mod storage_service;
