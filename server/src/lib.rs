//! Strongroom over HTTP: the encryption server, which stores and retrieves data as the library does, and the storage
//! service, which stores records under locators and never sees an id, a key or plaintext. `docs/HTTP.md` defines the
//! protocol.
//!
//! The program `strongroom` starts them with `serve` and `serve-storage`. This crate is for other programs:
//!
//! ```
//! use std::sync::Arc;
//! use strongroom::storage::MemoryStorage;
//! use strongroom_server::{Config, Server, Service};
//!
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(&folder)?;
//! let config = Config::from_toml("listen = [\"unix:storage.sock\"]")?;
//! let service = Service::storage(Arc::new(MemoryStorage::new()), &config)?;
//! let server = Server::bind(service, &config).await?;
//! # let stop = std::future::ready(());
//! server.serve(stop).await; // until the future `stop` is done
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod serve;

mod encryption;
mod storage_service;

mod service;

mod accept;
mod admin;
mod operator_routes;
mod route;

mod call;
mod certificate_expiry;
mod handle;

mod answer_memory;
mod audit;
mod backend;
mod background_work;
mod blocking_pool;
mod body;
#[cfg(feature = "cluster")]
mod cluster;
mod concurrency_limit;
mod conditions;
mod config;
mod config_files;
mod connection;
mod counted;
mod files;
#[cfg(all(feature = "_fuzz", feature = "cluster"))]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod health;
mod host;
mod http2_stream;
mod line_output;
mod line_queue;
mod listen;
mod log;
mod maintenance;
mod metrics;
mod monitored_stream;
mod observation;
mod problem;
mod purge;
mod random;
mod readiness;
mod reload;
mod request_ids;
mod request_text;
mod response;
mod shared;
mod start_error;
mod storage_metrics;
mod store_metrics;
mod tls;
mod token_file;
mod tokens;
#[cfg(unix)]
mod unix_socket;
mod unix_time;
mod upstream_metrics;

#[cfg(feature = "cluster")]
pub use cluster::keys::NewClusterKey;
pub use config::address::{InvalidListenAddress, InvalidSocketMode, ListenAddress, SocketMode};
pub use config::cluster::Cluster;
pub use config::document::{Config, Log, LogFormat, LogLevel, Maintenance, Purge, Remote, Tls};
pub use config::invalid::InvalidConfig;
pub use config::limits::Limits;
pub use log::{LogGuard, log_to_stderr};
pub use reload::Reloader;
pub use serve::Server;
pub use service::Service;
pub use start_error::StartError;
#[doc(hidden)] // for the program
pub use token_file::tokens_text;
pub use tokens::hashes::{InvalidTokens, ListedToken, list_tokens};
pub use tokens::new_token::NewToken;
pub use tokens::scope::{InvalidScope, Scope};
pub use tokens::uses::{TokenUses, read_token_uses};
