//! What several modules need, and none of the others owns.

#[cfg(feature = "sqlite")]
pub(crate) mod files;
pub(crate) mod handoff;
pub mod interrupt;
pub(crate) mod owner_process;
pub(crate) mod parallel;
pub(crate) mod random;
pub(crate) mod secret_kind;
pub(crate) mod threads;
