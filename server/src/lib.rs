//! Strongroom over HTTP: the encryption server, which stores and retrieves data as the library does, and the storage
//! service, which keeps records under locators and never sees an id, a key or plaintext. `docs/HTTP.md` is the protocol.
//!
//! The program `strongroom` starts them by `serve` and `serve-storage`; here they are for programs of your own:
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

mod answer;
mod body;
mod charge;
mod config;
mod config_error;
mod config_files;
mod connection;
mod counted;
mod gate;
mod headers;
mod host;
mod listen;
mod log;
mod metrics;
mod observation;
mod pace;
mod problem;
mod readiness;
mod reload;
mod secret_kind;
mod start;
mod tls;
mod token;
#[cfg(unix)]
mod unix_socket;
mod wire;

pub use config::{
    Address, Config, InvalidAddress, InvalidSocketMode, Limits, Log, LogFormat, LogLevel, Remote, SocketMode, Tls,
};
pub use config_error::InvalidConfig;
pub use log::{LogGuard, log_to_stderr};
pub use reload::Reloader;
pub use serve::Server;
pub use service::Service;
pub use start::StartError;
pub use token::{InvalidScope, InvalidTokens, NewToken, Scope, finished_lines};
