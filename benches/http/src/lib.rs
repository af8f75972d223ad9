//! A server in its own process, and a minimal HTTP/1.1 client, whose cost is small compared with the measured work.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "a benchmark")]
#![allow(clippy::missing_panics_doc, clippy::cast_precision_loss, reason = "a benchmark")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use tempfile::TempDir;

/// A server with its own store. Dropping this ends the server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub folder: TempDir,
}

impl Server {
    /// `strongroom serve`, which logs only warnings, because the other servers have no log.
    #[must_use]
    pub fn strongroom(args: &[&str]) -> Self {
        Self::start("strongroom", |command, address, folder| {
            command.args(["serve", "--log-level", "warn", "--insecure-loopback", "--listen", address, "--store"]);
            command.arg(folder.join("records.db")).args(args);
        })
    }

    /// `strongroom serve-storage`, which logs only warnings.
    #[must_use]
    pub fn storage_service() -> Self {
        Self::start("strongroom", |command, address, folder| {
            command.args([
                "serve-storage",
                "--log-level",
                "warn",
                "--insecure-loopback",
                "--listen",
                address,
                "--store",
            ]);
            command.arg(folder.join("records.db"));
        })
    }

    /// A service of the program with these arguments, which logs only warnings.
    #[must_use]
    pub fn service(args: &[&str]) -> Self {
        Self::start("strongroom", |command, address, _| {
            command.args(args).args(["--log-level", "warn", "--insecure-loopback", "--listen", address]);
        })
    }

    /// A server of the program `plain`: `sqlite`, `strongroom` or `bytes:LEN`.
    #[must_use]
    pub fn plain(kind: &str) -> Self {
        Self::start("plain", |command, address, folder| {
            command.args([kind, address]).arg(folder.join("records.db"));
        })
    }

    /// A folder in the target folder, because a temporary folder may be in memory, without the cost of a disk.
    #[must_use]
    pub fn folder() -> TempDir {
        tempfile::tempdir_in(target()).unwrap()
    }

    fn start(program: &str, arguments: impl FnOnce(&mut Command, &str, &Path)) -> Self {
        let folder = Self::folder();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(target().join("release").join(program));
        arguments(&mut command, &address.to_string(), folder.path());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, address, folder };
        let start = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "{program} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// The processor time of the server so far.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        processor_time(&self.child.id().to_string())
    }

    /// Resets [`peak_memory`](Self::peak_memory).
    pub fn forget_peak_memory(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// The server's peak memory, in MiB.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

/// The processor time of a process so far, with a resolution of 10 ms (proc(5), fields 14 and 15); `self` is this one.
#[must_use]
pub fn processor_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A persistent connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// The headers of each request in addition to its length.
    headers: String,
}

impl Connection {
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut headers = "Host: localhost\r\nContent-Type: application/json\r\n".to_owned();
        if let Some(token) = token {
            write!(headers, "Authorization: Bearer {token}\r\n").unwrap();
        }
        Self { stream: BufReader::new(stream), headers }
    }

    /// The answer's status and body.
    ///
    /// # Errors
    ///
    /// If the connection ends before the answer does.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, String)> {
        let headers = &self.headers;
        let request = format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut status, mut len) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let field = line.trim_end();
            if field.is_empty() {
                break;
            } else if status == 0 {
                status = field.split(' ').nth(1).unwrap().parse().unwrap();
            } else if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length: ") {
                len = value.parse().unwrap();
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).unwrap()))
    }

    /// Stores `len` bytes, and returns the key.
    pub fn store(&mut self, id: &str, len: usize) -> String {
        let (status, answer) = self.post("/v1/store", &store_body(id, len)).unwrap();
        assert_eq!(status, 201, "{answer}");
        answer.split('"').nth(3).unwrap().to_owned()
    }
}

#[must_use]
pub fn store_body(id: &str, len: usize) -> String {
    format!("{{\"id\":\"{id}\",\"data\":\"{}\"}}", Base64::encode_string(&vec![0x5a; len]))
}

#[must_use]
pub fn retrieve_body(id: &str, key: &str) -> String {
    format!("{{\"id\":\"{id}\",\"key\":\"{key}\"}}")
}

/// The percentile `percent` of the values.
#[must_use]
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// In milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
