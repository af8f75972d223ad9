//! The audit log: one line of JSON for each request to the store. It has the client, the operation, the start of the
//! record's locator and the outcome, and no id, key or data. A thread writes the lines, so that a slow disk blocks no
//! request.

mod file;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hyper::Method;
use serde_json::json;
use strongroom::storage::Locator;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

pub(crate) use file::check;

use crate::connection::Client;
use crate::line_output::LineOutput;
use crate::line_queue::LineQueue;
use crate::start_error::StartError;

/// The value of the configuration for systemd's journal.
const JOURNAL: &str = "journal";
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// The bytes of a locator in a line: enough to find the lines of one record.
const LOCATOR_BYTES: usize = 8;

#[derive(Debug)]
pub(crate) struct Audit {
    /// `None` for the journal.
    path: Option<PathBuf>,
    lines: LineQueue,
    reopened: Arc<Reopened>,
}

/// The file of the log, open again, until the thread uses it. It is not in the queue, which may be full.
#[derive(Debug, Default)]
struct Reopened(Mutex<Option<File>>);

impl Reopened {
    fn replace(&self, file: Option<File>) -> Option<File> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), file)
    }
}

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
    /// The audit log in the file at `path`, or in the journal. Waits for the reader of a pipe.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let path = (!is_journal(path)).then(|| path.to_path_buf());
        let mut output = match &path {
            Some(path) => {
                let file = file::append_or_wait(path).map_err(StartError::file("audit", path))?;
                Output::File(LineOutput::append(file, path))
            }
            None => journal().map_err(StartError::Journal)?,
        };
        let reopened = Arc::<Reopened>::default();
        let (newer, place) = (Arc::clone(&reopened), path.clone());
        let write = move |line: &[u8]| {
            if let (Some(file), Some(path)) = (newer.replace(None), &place) {
                output = Output::File(LineOutput::append(file, path));
            }
            output.write(line)
        };
        let lines = LineQueue::start("audit", write).map_err(StartError::Log)?;
        Ok(Self { path, lines, reopened })
    }

    /// Opens the file again: it may have been renamed. Later lines go to it. The journal, and a pipe without a reader,
    /// stay in use. Waits neither for a reader nor for earlier lines.
    pub(crate) fn reopen(&self) -> Result<(), StartError> {
        let Some(path) = &self.path else { return Ok(()) };
        match file::append(path) {
            Ok(file) => {
                self.reopened.replace(Some(file));
                self.lines.push(Vec::new()); // if the queue is full, its next line has the effect
                Ok(())
            }
            Err(error) if file::has_no_reader(path, &error) => {
                tracing::warn!(target: "strongroom", "the audit log is a pipe without a reader: it is not opened again");
                Ok(())
            }
            Err(error) => Err(StartError::file("audit", path)(error)),
        }
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
        self.lines.push(format!("{line}\n").into());
    }

    /// The number of lines that were not written.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.lines.dropped()
    }

    /// Waits at most a second for unwritten lines.
    pub(crate) fn flush(&self) {
        self.lines.flush();
    }
}

/// Whether the log goes to systemd's journal.
pub(crate) fn is_journal(path: &Path) -> bool {
    path == Path::new(JOURNAL)
}

#[cfg(unix)]
fn journal() -> io::Result<Output> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect(JOURNAL_SOCKET)?;
    Ok(Output::Journal(socket))
}

#[cfg(not(unix))]
fn journal() -> io::Result<Output> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Output {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(line),
            // The journal's native protocol: a field on each line.
            #[cfg(unix)]
            Self::Journal(socket) => {
                socket.send(&[b"SYSLOG_IDENTIFIER=strongroom-audit\nPRIORITY=6\nMESSAGE=", line].concat()).map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[cfg(unix)]
    const DEADLINE: Duration = Duration::from_secs(180);

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
        audit.flush();
        audit.reopen().unwrap();
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
        audit.reopen().unwrap();
        audit.record(&request(&record, "two"));
        audit.reopen().unwrap();
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
        for content in ["SQLite format 3\0", "srx1key", "\nsrx1key", "\0\0[]", " {"] {
            fs::write(&path, content).unwrap();
            assert!(Audit::open(&path).is_err() && audit.reopen().is_err(), "{content:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_other_users_can_change_gets_no_lines() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (file, (pipe, read)) = (folder.path().join("audit"), pipe(folder.path()));
        fs::write(&file, "").unwrap();
        let _reader = read();
        for path in [file, pipe] {
            let audit = Audit::open(&path).unwrap();
            for (mode, is_safe) in [(0o620, false), (0o602, false), (0o666, false), (0o644, true), (0o600, true)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                for outcome in [Audit::open(&path).map(drop), audit.reopen()] {
                    assert_eq!(outcome.is_ok(), is_safe, "{mode:o}: {outcome:?}");
                    let cause = outcome.err().and_then(|error| Some(std::error::Error::source(&error)?.to_string()));
                    assert!(cause.is_none_or(|cause| cause.contains("chmod go-w")));
                }
            }
        }
    }

    /// No state in which this log, an operator or a crash leaves the file prevents a reload or a start.
    #[test]
    fn a_file_that_was_emptied_or_cut_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "{\"time\":").unwrap();
        let audit = Audit::open(&path).unwrap();
        fs::write(&path, "").unwrap();
        let record = AuditedRecord::default();
        audit.record(&request(&record, "one"));
        audit.flush();
        assert!(fs::read_to_string(&path).unwrap().starts_with("{\""));
        let zeros = "\0".repeat(5000);
        for content in ["", "\n", "\n\n{", "\n{\"time\":", "{", "\0\0{}\n", &zeros] {
            fs::write(&path, content).unwrap();
            audit.reopen().unwrap();
            audit.record(&request(&record, "two"));
            audit.flush();
            let text = fs::read_to_string(&path).unwrap();
            let line = text.lines().last().unwrap();
            serde_json::from_str::<serde_json::Value>(line).unwrap();
            Audit::open(&path).unwrap();
        }
        assert_eq!(audit.dropped_lines(), 0);
    }

    #[cfg(unix)]
    fn pipe(folder: &Path) -> (PathBuf, impl Fn() -> File + use<>) {
        use nix::fcntl::OFlag;
        use nix::sys::stat::Mode;
        use std::os::unix::fs::OpenOptionsExt;

        let path = folder.join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let read = path.clone();
        let open = move || File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&read).unwrap();
        (path, open)
    }

    /// Fills a pipe that nobody empties, and then the queue.
    #[cfg(unix)]
    fn fill(audit: &Audit) {
        for _ in 0..10 {
            let dropped = audit.dropped_lines();
            while audit.dropped_lines() == dropped {
                audit.record(&request(&AuditedRecord::default(), "the queue is full"));
            }
            thread::sleep(Duration::from_millis(10)); // the pipe, too
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_start_waits_for_the_reader_of_a_pipe_and_says_so() {
        use tracing_subscriber::util::SubscriberInitExt;

        struct Log(std::sync::mpsc::Sender<String>);
        impl Write for Log {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.send(String::from_utf8_lossy(line).into_owned()).unwrap();
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let folder = tempfile::tempdir().unwrap();
        let (path, read) = pipe(folder.path());
        let ((log, lines), (opened, is_open)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        thread::spawn(move || {
            let log = tracing_subscriber::fmt().with_writer(move || Log(log.clone())).finish();
            let _log = log.set_default();
            opened.send(Audit::open(&path).unwrap()).unwrap();
        });
        let line = lines.recv_timeout(DEADLINE).expect("nothing is logged");
        assert!(line.contains("waits for its reader"), "{line}");
        let reader = read();
        let audit = is_open.recv_timeout(DEADLINE).expect("it does not open");
        audit.record(&request(&AuditedRecord::default(), "one"));
        audit.flush();
        assert_eq!(audit.dropped_lines(), 0);
        drop(reader);
    }

    /// The reader of a pipe is away, or stands still: a reload of tokens must not wait for it.
    #[cfg(unix)]
    #[test]
    fn a_reload_does_not_wait_for_the_reader_of_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (path, read) = pipe(folder.path());
        let reader = read();
        let audit = Audit::open(&path).unwrap();
        drop(reader);
        let (done, is_done) = std::sync::mpsc::channel();
        thread::spawn(move || {
            audit.reopen().unwrap();
            let reader = read();
            audit.reopen().unwrap();
            fill(&audit);
            audit.reopen().unwrap();
            done.send(()).unwrap();
            drop(reader);
        });
        is_done.recv_timeout(DEADLINE).expect("it waits");
    }

    /// The disk stalls while the file is rotated.
    #[cfg(unix)]
    #[test]
    fn a_file_that_is_opened_again_is_used_after_the_write_that_stalls() {
        let folder = tempfile::tempdir().unwrap();
        let (path, read) = pipe(folder.path());
        let reader = read();
        let audit = Audit::open(&path).unwrap();
        fill(&audit);
        fs::rename(&path, folder.path().join("rotated")).unwrap();
        audit.reopen().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        drop(reader);
        let end = Instant::now() + DEADLINE;
        while fs::metadata(&path).unwrap().len() == 0 {
            assert!(Instant::now() < end, "the file gets no lines");
            thread::sleep(Duration::from_millis(10));
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
