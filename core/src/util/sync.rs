//! The locks, atomics and the clock of synchronisation by hand. The models in `loom/` compile its sources with another
//! such module, which tries every order of events.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::time::Instant;
