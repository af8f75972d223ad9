//! A simulated disk for tests: a folder whose system calls are recorded, or fail.
//!
//! This crate defines functions of the C library, such as `write` and `fsync`. In a program that links it, they take
//! the place of the library's, for the standard library as well as for SQLite. So one place sees all changes of the
//! store's files in their order: those of SQLite, and those of Strongroom itself (the index key's file, the sync of its
//! folder). An SQLite VFS would see only SQLite's.
//!
//! - [`Disk`] is the folder. [`Disk::record`] keeps a [`Log`] of its changes; [`Disk::fail`] makes calls fail.
//! - [`Crash`] follows a log, and rebuilds the disk as a power cut could leave it.
//! - [`Shortage`] makes allocations fail.
//!
//! Not seen: writes to mapped memory (SQLite maps only the log's index, `-shm`, which it rebuilds after a crash). New
//! and removed names are found by listing the folder before each recorded call, because one crate renames by a system
//! call of its own (`tempfile`); such a rename is recorded, but cannot fail.

#![cfg(target_os = "linux")]

mod calls;
mod crash;
mod disk;
mod log;
mod memory;
mod random;

pub use crash::{Crash, Image};
pub use disk::{Call, Disk, DiskGuard, Failure, Fault};
pub use log::{Change, Event, FileKind, Log};
pub use memory::Shortage;
pub use random::Random;
