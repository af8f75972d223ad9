//! Logs, on stderr: of this crate alone. What the libraries below it would say may hold what clients sent.

use std::io;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{Log, LogFormat, LogLevel};

/// Sends what the services log to stderr, for the whole process. No id, key, token or data is in it.
///
/// # Errors
///
/// Where the process has a logger already.
pub fn log_to_stderr(log: &Log) -> Result<(), TryInitError> {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let ours = Targets::new().with_target("strongroom", level);
    registry().with(lines.with_filter(ours)).try_init()
}
