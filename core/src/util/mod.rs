//! Helpers that several modules share.

#[cfg(feature = "sqlite")]
pub(crate) mod background_thread;
#[cfg(feature = "_runtime")]
pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod cores;
#[cfg(feature = "_runtime")]
pub(crate) mod driver;
#[cfg(any(feature = "keyring", feature = "sqlite"))]
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "databases use the rest"))]
pub(crate) mod files;
pub(crate) mod fork_check;
pub(crate) mod handoff;
pub(crate) mod hex;
pub mod interrupt;
#[cfg(any(feature = "keyring", feature = "sqlite"))]
pub(crate) mod locked_file;
pub(crate) mod memory;
pub(crate) mod parallel;
#[cfg(any(feature = "keyring", feature = "sqlite"))]
pub(crate) mod private_file;
pub(crate) mod random;
#[cfg(feature = "_runtime")]
pub(crate) mod runtime;
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, unreachable_pub, reason = "the module `protocol` publishes it with the feature `remote`")
)]
pub mod secret_text;
#[allow(unused_imports, reason = "each feature uses a part")]
pub(crate) mod sync;
#[cfg(any(feature = "postgres", feature = "remote"))]
pub(crate) mod system_authorities;
#[cfg(all(feature = "remote", feature = "tokio"))]
pub(crate) mod task;
#[expect(unreachable_pub, reason = "the root publishes a function")]
pub mod threads;
#[cfg(any(feature = "keyring", feature = "postgres", feature = "remote", feature = "sqlite"))]
#[allow(dead_code, unreachable_pub, reason = "each feature uses a part, and the root publishes another")]
pub(crate) mod trusted_file;
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
pub(crate) mod url;
#[cfg_attr(not(feature = "remote"), allow(dead_code, unreachable_pub, reason = "the root publishes it"))]
pub(crate) mod wiped;
