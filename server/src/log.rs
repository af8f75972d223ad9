//! The log of this crate on stderr. Lines of its libraries are omitted, because they may contain bytes from clients. A
//! separate thread writes the lines, so that a stalled reader of stderr blocks no request.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::document::{Log, LogFormat, LogLevel};
use crate::line_output::LineOutput;
use crate::start_error::StartError;

/// The maximum number of lines that wait to be written; more are dropped. A line has a few hundred bytes.
const QUEUE: usize = 4096;
/// How long the process waits at its end for unwritten lines.
const LAST_LINES: Duration = Duration::from_secs(1);

static DROPPED: AtomicU64 = AtomicU64::new(0);

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
    let (queue, lines) = sync_channel(QUEUE);
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines)).map_err(StartError::Log)?;
    let lines = fmt::layer().with_writer(Queue(queue.clone())).with_target(false);
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
    Ok(LogGuard(queue))
}

/// The number of lines that were not written.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Dropped once all earlier lines are written.
    Flush(#[expect(dead_code, reason = "its drop is the message")] SyncSender<()>),
}

/// On drop, waits at most a second for unwritten lines.
#[derive(Debug)]
#[must_use = "the last lines may be lost unless this is kept until the process ends"]
pub struct LogGuard(SyncSender<Message>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let end = Instant::now() + LAST_LINES;
        let (sender, flushed) = sync_channel(0);
        let mut message = Message::Flush(sender);
        while let Err(TrySendError::Full(back)) = self.0.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = flushed.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// The destination of the formatted lines.
struct Queue(SyncSender<Message>);

impl<'q> MakeWriter<'q> for Queue {
    type Writer = &'q Self;

    fn make_writer(&'q self) -> Self::Writer {
        self
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(lines: &Receiver<Message>) {
    let mut output = LineOutput::new(io::stderr());
    for message in lines {
        if let Message::Line(line) = message
            && output.write(&line).is_err()
        {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
