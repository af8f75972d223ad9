//! The tests of the program, in one test program: it is linked once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(unix)]
#[path = "../../core/tests/support/fake_s3.rs"]
mod fake_s3;
#[cfg(all(unix, feature = "server"))]
#[path = "../../core/tests/support/rounds.rs"]
mod rounds;
#[cfg(all(target_os = "linux", feature = "server"))]
#[path = "../../core/tests/support/scanner.rs"]
mod scanner;
#[cfg(all(unix, feature = "server"))]
#[path = "../../core/tests/script/mod.rs"]
mod steps;
mod support;

#[cfg(unix)]
mod backends;
mod certificates;
mod cluster;
mod cluster_changes;
mod cluster_faults;
mod cluster_hosts;
mod commands;
mod copying;
mod deploy;
mod deploy_cluster;
mod expiry;
mod failures;
mod files;
mod health;
mod how_to;
mod http_by_hand;
mod ids;
mod keyring;
mod keyring_kills;
mod keys;
mod kill_services;
mod kills_under_load;
mod memory;
mod namespaces;
mod new_files;
#[cfg(unix)]
mod object_store;
mod operators_page;
mod outputs;
mod packaging;
mod readme;
mod rekey;
mod remote;
mod retain;
mod rotation;
mod script;
mod serve;
mod service_control;
mod service_files;
mod silent_storage;
mod site;
mod soak;
mod space;
mod standard_streams;
mod streams;
mod take;
mod tokens;
mod trees;
mod verify;
