//! The log of this crate on stderr. Lines of its libraries are omitted, because they may contain bytes from clients. A
//! separate thread writes the lines, so that a stalled reader of stderr blocks no request.

use std::io::{self, Write};
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::document::{Log, LogFormat, LogLevel};
use crate::line_output::LineOutput;
use crate::line_queue::LineQueue;
use crate::start_error::StartError;

/// The lines of this process.
static LINES: OnceLock<LineQueue> = OnceLock::new();

/// Logs to stderr, for the whole process, until the guard is dropped. The log has no id, key, token or data. Lines that
/// stderr does not accept in time are dropped and counted, so that requests do not wait for them. A panic is logged
/// only with its location, because its message can contain bytes from a client.
///
/// # Errors
///
/// [`StartError::Log`] if the process already has a logger, or no thread can be started.
pub fn log_to_stderr(log: &Log) -> Result<LogGuard, StartError> {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let mut stderr = LineOutput::new(io::stderr());
    let lines = LineQueue::start("log", move |line| stderr.write(line)).map_err(StartError::Log)?;
    LINES.set(lines).map_err(|_| StartError::Log(io::ErrorKind::AlreadyExists.into()))?;
    let lines = fmt::layer().with_writer(|| Lines).with_ansi(false).with_target(false);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let ours = Targets::new().with_target("strongroom", level);
    let started = registry().with(lines.with_filter(ours)).try_init();
    started.map_err(|error| StartError::Log(io::Error::other(error)))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(target: "strongroom", place, "panicked");
    }));
    Ok(LogGuard(()))
}

/// The number of lines that were not written.
pub(crate) fn dropped_lines() -> u64 {
    LINES.get().map_or(0, LineQueue::dropped)
}

/// On drop, waits at most a second for unwritten lines.
#[derive(Debug)]
#[must_use = "the last lines may be lost unless this is kept until the process ends"]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(lines) = LINES.get() {
            lines.flush();
        }
    }
}

/// The destination of the formatted lines.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(lines) = LINES.get() {
            lines.push(line.to_vec());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
