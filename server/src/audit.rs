//! The audit log: one line of JSON for each request to the store. It has the client, the operation, the start of the
//! record's locator and the outcome, and no id, key or data. A thread writes the lines, so that a slow disk blocks no
//! request.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use strongroom::storage::Locator;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::connection::Client;
use crate::line_output::LineOutput;
use crate::start_error::StartError;

/// The maximum number of lines that wait to be written; more are dropped.
const QUEUE: usize = 4096;
/// How long the process waits at its end for unwritten lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The value of the configuration for systemd's journal.
const JOURNAL: &str = "journal";
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// The bytes of a locator in a line: enough to find the lines of one record.
const LOCATOR_BYTES: usize = 8;

#[derive(Debug)]
pub(crate) struct Audit {
    /// `None` for the journal.
    path: Option<PathBuf>,
    queue: SyncSender<Message>,
    /// The number of lines that were not written.
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    /// Later lines go to this file, which has this path.
    Reopen(File, PathBuf),
    /// Dropped once all earlier lines are written.
    Flush(#[expect(dead_code, reason = "its drop is the message")] SyncSender<()>),
}

/// The file of the log, open again.
pub(crate) struct ReopenedFile(Message);

enum Output {
    File(LineOutput<File>),
    #[cfg(unix)]
    Journal(std::os::unix::net::UnixDatagram),
}

/// The record of a request, as far as its handler knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditedRecord(Arc<OnceLock<String>>);

impl AuditedRecord {
    pub(crate) fn set_locator(&self, locator: &Locator) {
        let _ = self.0.set(locator.to_hex().chars().take(2 * LOCATOR_BYTES).collect());
    }
}

/// A request that is over.
pub(crate) struct AuditedRequest<'r> {
    pub(crate) request_id: &'r str,
    pub(crate) client: Option<&'r Client>,
    pub(crate) token: Option<&'r str>,
    pub(crate) method: &'r Method,
    pub(crate) route: &'static str,
    pub(crate) record: &'r AuditedRecord,
    pub(crate) status: u16,
    pub(crate) error: Option<&'static str>,
}

impl Audit {
    /// The audit log in the file at `path`, or in the journal.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let path = (!is_journal(path)).then(|| path.to_path_buf());
        let output = match &path {
            Some(path) => {
                let file = append(path).map_err(StartError::file("audit", path))?;
                Output::File(LineOutput::append(file, path))
            }
            None => journal().map_err(StartError::Journal)?,
        };
        let (queue, messages) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&dropped);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || write(&messages, output, &counted));
        thread.map_err(StartError::Log)?;
        Ok(Self { path, queue, dropped })
    }

    /// Opens the file again: it may have been renamed. `None` for the journal.
    pub(crate) fn reopen(&self) -> Result<Option<ReopenedFile>, StartError> {
        let Some(path) = &self.path else { return Ok(None) };
        let file = append(path).map_err(StartError::file("audit", path))?;
        Ok(Some(ReopenedFile(Message::Reopen(file, path.clone()))))
    }

    /// Later lines go to `file`. Waits while the queue is full.
    pub(crate) fn switch_to(&self, file: ReopenedFile) {
        let _ = self.queue.send(file.0); // without its thread, the log counts all lines as dropped
    }

    pub(crate) fn record(&self, request: &AuditedRequest<'_>) {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time)); // writing to a string does not fail
        let line = json!({
            "time": time,
            "request_id": request.request_id,
            "peer": request.client.map(|client| &client.peer),
            "token": request.token,
            "certificate": request.client.and_then(|client| client.certificate.as_ref()),
            "operation": format!("{} {}", request.method, request.route),
            "locator": request.record.0.get(),
            "status": request.status,
            "outcome": request.error.unwrap_or(if request.status < 400 { "ok" } else { "unknown" }),
        });
        if self.queue.try_send(Message::Line(format!("{line}\n"))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped_lines(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits at most a second for unwritten lines.
    pub(crate) fn flush(&self) {
        let end = Instant::now() + LAST_LINES;
        let (sender, flushed) = sync_channel(0);
        let mut message = Message::Flush(sender);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = flushed.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Whether the log goes to systemd's journal.
pub(crate) fn is_journal(path: &Path) -> bool {
    path == Path::new(JOURNAL)
}

/// Fails if a file has other content than a log: lines at its end could make it useless.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let mut first = [0];
    // All other files that a service reads are readable.
    let is_other = fs::metadata(path).is_ok_and(|found| found.is_file())
        && File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first != *b"{";
    if is_other {
        let text = "it holds something else than lines of an audit log: give it a path of its own";
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    Ok(())
}

/// A file that only its owner can read, unless it exists.
fn append(path: &Path) -> io::Result<File> {
    check(path)?;
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn journal() -> io::Result<Output> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect(JOURNAL_SOCKET)?;
    Ok(Output::Journal(socket))
}

#[cfg(not(unix))]
fn journal() -> io::Result<Output> {
    Err(ErrorKind::Unsupported.into())
}

fn write(messages: &Receiver<Message>, mut output: Output, dropped: &AtomicU64) {
    for message in messages {
        match message {
            Message::Line(line) => {
                if output.write(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Reopen(file, path) => output = Output::File(LineOutput::append(file, &path)),
            Message::Flush(_) => {}
        }
    }
}

impl Output {
    fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(line.as_bytes()),
            // The journal's native protocol: a field on each line.
            #[cfg(unix)]
            Self::Journal(socket) => socket
                .send(format!("SYSLOG_IDENTIFIER=strongroom-audit\nPRIORITY=6\nMESSAGE={line}").as_bytes())
                .map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn request<'r>(record: &'r AuditedRecord, request_id: &'r str) -> AuditedRequest<'r> {
        AuditedRequest {
            request_id,
            client: None,
            token: Some("app"),
            method: &Method::POST,
            route: "/v1/store",
            record,
            status: 201,
            error: None,
        }
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let audit = Audit::open(&path).unwrap();
        let record = AuditedRecord::default();
        record.set_locator(&Locator::from_bytes([0xab; 32]));
        audit.record(&request(&record, "one"));
        audit.flush();
        fs::rename(&path, &rotated).unwrap();
        audit.record(&request(&record, "two"));
        audit.switch_to(audit.reopen().unwrap().unwrap());
        audit.record(&request(&record, "three"));
        audit.flush();
        let ids = |path: &Path| -> Vec<String> {
            let lines = fs::read_to_string(path).unwrap();
            let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
            lines.lines().map(|text| line(text)["request_id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((ids(&rotated), ids(&path)), (vec!["one".into(), "two".into()], vec!["three".into()]));
        let line = fs::read_to_string(&path).unwrap();
        assert!(line.contains(r#""locator":"abababababababab","operation":"POST /v1/store","outcome":"ok""#), "{line}");
        assert_eq!(audit.dropped_lines(), 0);
    }

    /// The disk was full when the process ended, or before the file was opened again.
    #[test]
    fn a_line_after_an_unfinished_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "{\"time\":").unwrap();
        let audit = Audit::open(&path).unwrap();
        let record = AuditedRecord::default();
        audit.record(&request(&record, "one"));
        audit.flush();
        File::options().append(true).open(&path).unwrap().write_all(b"{").unwrap();
        audit.switch_to(audit.reopen().unwrap().unwrap());
        audit.record(&request(&record, "two"));
        audit.switch_to(audit.reopen().unwrap().unwrap());
        audit.record(&request(&record, "three"));
        audit.flush();
        let text = fs::read_to_string(&path).unwrap();
        let is_whole: Vec<_> =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).collect();
        assert_eq!(is_whole, [false, true, false, true, true], "{text}");
    }

    /// A database, a key, tokens: lines at the end would make them useless.
    #[test]
    fn other_files_get_no_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "").unwrap();
        let audit = Audit::open(&path).unwrap();
        for content in ["SQLite format 3\0", "srx1key", "\n", "[]"] {
            fs::write(&path, content).unwrap();
            assert!(Audit::open(&path).is_err() && audit.reopen().is_err(), "{content:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let audit = Audit::open(Path::new("/dev/full")).unwrap();
        let record = AuditedRecord::default();
        audit.record(&request(&record, "one"));
        audit.flush();
        assert_eq!(audit.dropped_lines(), 1);
        assert!(Audit::open(Path::new("/nowhere/audit")).is_err());
    }
}
