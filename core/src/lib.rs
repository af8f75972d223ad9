//! Strongroom keeps data under an id, encrypted, and hands back the only key that opens it.
//!
//! ```
//! use strongroom::Strongroom;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("records.db");
//! let store = Strongroom::open(path)?;
//! let key = store.store("user:42:passport", b"scanned pages")?;
//! assert_eq!(store.retrieve("user:42:passport", &key)?, b"scanned pages");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The database holds neither ids nor data in the clear, and no key. [`Strongroom`] describes the operations,
//! `docs/FORMAT.md` the stored bytes, and `docs/THREATS.md` the protection and its limits.
//!
//! Async programs use [`aio`] (feature `tokio`), or call this API on a thread that may block.
//!
//! # Debug builds
//!
//! Without optimisation, encryption is about 20 times slower: 200 MB take minutes. Optimise this crate in your
//! `Cargo.toml`:
//!
//! ```toml
//! [profile.dev.package.strongroom]
//! opt-level = 3
//! ```
//!
//! # Features
//!
//! - `sqlite` (default): the embedded storage. Without it, implement [`storage::Storage`].
//! - `remote`: stores over HTTP: an encryption server by [`Strongroom::connect`], a storage service by
//!   [`Builder::endpoint`]; needs a C compiler. [`Location`] reads paths and URLs.
//! - `object-store`: stores in buckets of S3 and compatible servers, Google Cloud Storage and Azure
//!   ([`storage::ObjectStorage`]); needs a C compiler.
//! - `postgres`: stores in PostgreSQL: [`storage::PostgresStorage`]; needs a C compiler.
//! - `keyring`: a file that keeps record keys, encrypted with age: [`Keyring`].
//! - `tokio`: [`aio`], the same operations as futures.
//! - `serde`: serializes keys as text.
//! - `aws-lc-rs`: AES-256-GCM by AWS-LC instead of `aes-gcm`: the same format, faster; needs a C compiler.
//! - `hazmat`: the building blocks of the record format, for tools that read or write it.
//! - `conformance`: the test suite for storages.

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod aio;
mod builder;
mod open_store;
mod strongroom;

#[cfg(feature = "remote")]
mod client;
mod store;
pub mod transfer;
mod verify;

mod error;
#[cfg(feature = "keyring")]
mod keyring;
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
mod location;
mod operations;

#[cfg(feature = "hazmat")]
pub mod record;
#[cfg(not(feature = "hazmat"))]
#[expect(unreachable_pub, reason = "public with the feature `hazmat`")]
mod record;

mod key;
mod locator;
mod options;
mod settings;
mod store_identity;

#[cfg(feature = "hazmat")]
pub mod cobblestone;
#[cfg(not(feature = "hazmat"))]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "public with the feature `hazmat`")]
mod cobblestone;

#[cfg(feature = "remote")]
mod http;
pub mod storage;

#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
mod endpoint_options;
#[cfg(feature = "remote")]
#[doc(hidden)]
pub mod protocol;

#[cfg_attr(not(feature = "remote"), allow(dead_code, unreachable_pub, reason = "public with the feature `remote`"))]
mod error_code;
mod util;

#[cfg(test)]
mod vectors;

pub use builder::Builder;
#[cfg(feature = "remote")]
#[doc(hidden)] // for the program: the document's types are those of the protocol
pub use client::{nodes, ready};
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
pub use endpoint_options::EndpointOptions;
pub use error::Error;
#[cfg(feature = "remote")]
pub use http::{Endpoint, InvalidEndpoint, ServiceAddress, ServiceList, Upstream, Upstreams};
pub use key::{IndexKey, InvalidKey, RecordKey};
#[cfg(feature = "keyring")]
pub use keyring::{Keyring, KeyringEntries, KeyringProtection, KeyringSecret};
#[cfg(any(feature = "postgres", feature = "remote", feature = "sqlite"))]
pub use location::Location;
pub use open_store::store_identity;
pub use options::WriteOptions;
#[cfg(feature = "remote")]
#[doc(hidden)] // for the services
pub use settings::store_id;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use storage::Durability;
pub use storage::Stats;
#[doc(hidden)] // for the storage service and the program
pub use store::{maintain_storage, purge_storage};
pub use store_identity::StoreIdentity;
pub use strongroom::{RecordReader, RecordWriter, Retention, Rotation, Strongroom};
#[cfg(feature = "sqlite")]
#[doc(hidden)] // for the program and the services
pub use util::files::{database_files, index_key_file, will_be_same_file};
#[cfg(any(feature = "keyring", feature = "sqlite"))]
#[doc(hidden)] // for the program and the services
pub use util::files::{folder_of, sync_folder_of, with_suffix};
pub use util::interrupt;
pub use util::random::RandomError;
#[doc(hidden)] // for the services
pub use util::random::fill as fill_random;
#[doc(hidden)] // for the C interface, which promises its callers that 64 KiB are enough
pub use util::threads::assume_small_callers;
#[doc(hidden)] // for the C interface
pub use util::threads::spawn as spawn_thread;
#[cfg(any(feature = "keyring", feature = "postgres", feature = "remote", feature = "sqlite"))]
#[doc(hidden)] // for the program and the services
pub use util::trusted_file::{Readers, check_file, read_all, read_secret};
#[doc(hidden)] // for the program, the services, and other languages
pub use util::wiped::Wiped;
pub use verify::{VerifyOptions, VerifyReport, VerifyStep, repair, verify};
