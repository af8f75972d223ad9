//! A server that all tests of a run share: the first of them starts it, and it ends some seconds after the last.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::wait::{DEADLINE, poll_within};

pub(crate) struct SharedServer {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    _users: File,
}

impl SharedServer {
    /// `script` gets the arguments, the folder and the port, and runs until nobody has a lock on `users` in the folder.
    /// The file `port` there has the port once the server accepts connections.
    pub(crate) fn start(name: &str, script: &str, arguments: &[&str], ports: Range<u16>, step: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("strongroom-test-{name}"));
        fs::create_dir_all(&folder).unwrap();
        let open = |name| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        let users = open("users");
        users.lock_shared().unwrap();
        let start = open("start");
        start.lock().unwrap();
        let running = || fs::read_to_string(folder.join("port")).ok()?.trim().parse().ok().filter(|p| accepts(*p));
        let port = running().unwrap_or_else(|| {
            let _ = fs::remove_file(folder.join("port"));
            let started = Command::new("setsid")
                .args(["--fork", script])
                .args(arguments)
                .args([folder.to_str().unwrap(), &free_port(ports, step).to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(started.unwrap().success());
            poll_within(DEADLINE, running).unwrap_or_else(|| no_server(&folder))
        });
        Self { folder, port, _users: users }
    }
}

pub(crate) fn hash(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5)).is_ok()
}

/// One of these ports, which are below those that the system gives to clients. Other processes begin at another one,
/// and each call of this one.
pub(crate) fn free_port(ports: Range<u16>, step: usize) -> u16 {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let ports: Vec<_> = ports.step_by(step).collect();
    let start = (std::process::id() as usize + CALLS.fetch_add(1, Ordering::Relaxed) * 97) % ports.len();
    let is_free = |port: &&u16| TcpListener::bind(("127.0.0.1", **port)).is_ok();
    *ports.iter().cycle().skip(start).take(ports.len()).find(is_free).unwrap()
}

pub(crate) fn no_server(folder: &Path) -> ! {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the server does not start (`make test-rust` installs what it needs):\n{log}")
}
