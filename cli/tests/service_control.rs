//! Control of a running service: signals, an unread log, systemd, too few threads.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::World;
use crate::support::service::Service;
use crate::support::wait;
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

/// Polls `look`, and returns its first result.
#[track_caller]
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "it did not come about");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A service that is killed on drop.
struct Started {
    child: Child,
    address: SocketAddr,
}

impl Started {
    /// Starts a service with the stderr `log`.
    fn new(world: &World, args: &[&str], log: impl Into<Stdio>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = world.command(args);
        command.args(["--insecure-loopback", "--listen", &port.to_string()]);
        let child = command.stderr(log).spawn().unwrap();
        let mut started = Self { child, address: port };
        wait_for(|| {
            assert!(started.child.try_wait().unwrap().is_none(), "it has ended");
            TcpStream::connect(port).ok()
        });
        started
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        wait_for(|| self.child.try_wait().unwrap())
    }

    /// The answer to a request on its own connection.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_unread_log_blocks_no_request() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut service = Started::new(&world, &["serve-storage", "--log-format", "json", "--log-level", "debug"], writer);
    // A pipe holds 64 KiB, the queue some thousand lines: both are full long before the last request.
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(50);
    let mut answers = vec![0; 64 << 10];
    for _ in 0..160 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut count = 0;
        while count < 50 {
            let read = stream.read(&mut answers).unwrap();
            assert!(read > 0);
            count += String::from_utf8_lossy(&answers[..read]).matches("{\"status\":\"ok\"}").count();
        }
    }
    let metrics = service.get("/metrics");
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("strongroom_log_lines_dropped_total ")).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0, "{metrics}");
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    drop(reader);
}

#[test]
fn the_last_log_lines_are_written_to_a_reader() {
    let world = World::new();
    let service = Service::start(&world, &["serve-storage"]);
    for _ in 0..100 {
        service.send("GET /healthz", &[], "");
    }
    let (status, log) = service.stop(Signal::TERM);
    assert_eq!((status, log.matches("/healthz").count()), (Some(0), 100));
    assert!(log.contains("stopping"), "{log}");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let world = World::new();
    for (first, second, ends) in
        [(Signal::INT, Signal::INT, true), (Signal::TERM, Signal::INT, true), (Signal::TERM, Signal::TERM, false)]
    {
        let mut service = Started::new(&world, &["serve-storage"], Stdio::null());
        // A running request delays the end by up to the 30 seconds of `grace_seconds`.
        let mut slow = TcpStream::connect(service.address).unwrap();
        let head =
            format!("PUT /v1/records/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n", "5a".repeat(32));
        write!(slow, "{head}content-type: application/octet-stream\r\nexpect: 100-continue\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        slow.set_read_timeout(Some(LONG)).unwrap();
        slow.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        service.signal(first);
        wait_for(|| TcpStream::connect(service.address).is_err().then_some(()));
        assert!(service.child.try_wait().unwrap().is_none(), "a request is under way");
        service.signal(second);
        if ends {
            assert_eq!(service.ended().signal(), Some(Signal::INT.as_raw()));
        } else {
            thread::sleep(Duration::from_millis(300));
            assert!(service.child.try_wait().unwrap().is_none(), "a supervisor may say it twice");
        }
    }
}

#[test]
fn hangup_reloads_tokens() {
    let world = World::new();
    let new_token = || {
        let token = world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], "");
        format!("authorization: Bearer {}", token.trim())
    };
    let old = new_token();
    let service = Service::start_on(&world, &["serve-storage", "--tokens", "tokens", "--listen", "127.0.0.1:0"]);
    let status = |bearer: &str| service.send("GET /v1/stats", &[bearer], "")[9..12].to_owned();
    assert_eq!(status(&old), "200");
    // An invalid file changes nothing.
    let good = world.read("tokens");
    world.write("tokens", "no token\n");
    service.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&old), "200");
    world.write("tokens", good);
    let added = new_token();
    assert_eq!(status(&added), "401");
    service.signal(Signal::HUP);
    wait_for(|| (status(&added) == "200").then_some(()));
    assert_eq!(status(&old), "200");
    let lines = String::from_utf8(world.read("tokens")).unwrap();
    world.write("tokens", lines.split_inclusive('\n').nth(1).unwrap());
    service.signal(Signal::HUP);
    wait_for(|| (status(&old) == "401").then_some(()));
    assert_eq!(status(&added), "200");
    let (exit, log) = service.stop(Signal::TERM);
    assert_eq!(exit, Some(0));
    assert!(log.contains("are not reloaded") && log.contains("line 1") && log.contains("are reloaded"), "{log}");
}

#[test]
fn hangup_without_reloadable_files_ends_no_service() {
    let world = World::new();
    let service = Service::start(&world, &["serve-storage"]);
    service.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(300));
    assert!(service.send("GET /healthz", &[], "").starts_with("HTTP/1.1 200 "));
    assert_eq!(service.stop(Signal::TERM).0, Some(0));
}

#[test]
fn systemd_is_notified_of_reload_and_stop() {
    let world = World::new();
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let notification = || {
        let mut message = [0; 128];
        let len = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    };
    let mut command = world.command(&["serve-storage", "--listen", "unix:socket"]);
    let child = command.env("NOTIFY_SOCKET", world.path("notify")).stderr(Stdio::null()).spawn().unwrap();
    let mut service = Started { child, address: ([127, 0, 0, 1], 0).into() };
    assert_eq!(notification(), "READY=1");
    service.signal(Signal::HUP);
    let reloading = notification();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(notification(), "READY=1");
    service.signal(Signal::TERM);
    assert_eq!(notification(), "STOPPING=1");
    assert!(service.ended().success());

    // An empty variable does not name a socket.
    let mut command = world.command(&["serve-storage", "--listen", "unix:socket"]);
    let child = command.env("NOTIFY_SOCKET", "").stderr(File::create(world.path("log")).unwrap()).spawn().unwrap();
    let mut service = Started { child, address: ([127, 0, 0, 1], 0).into() };
    wait_for(|| world.read("log").windows(9).any(|part| part == b"listening").then_some(()));
    service.signal(Signal::TERM);
    assert!(service.ended().success());
}

#[test]
fn too_few_threads_are_an_error() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a limit on one user's processes needs a user of its own");
        return;
    }
    const USER: u32 = 54_321; // without other processes: the limit counts all processes of a user
    let (world, public) = (World::new(), tempfile::tempdir().unwrap());
    chown(&world.folder, Some(USER), Some(USER)).unwrap();
    std::fs::set_permissions(&public, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = public.path().join("strongroom");
    std::fs::copy(env!("CARGO_BIN_EXE_strongroom"), &program).unwrap();
    let user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", program.to_str().unwrap()];
    for most in [1, 2, 3, 5, 20] {
        let limit = format!("--nproc={most}");
        let args = [&[limit.as_str()], &user[..], &["serve-storage", "--listen", "unix:socket"]].concat();
        let output = wait::output(&mut world.other("prlimit", &args));
        let (status, stderr) = (output.status, String::from_utf8_lossy(&output.stderr));
        assert!(matches!(status.code(), Some(14 | 19)), "{most}: {status} {stderr}");
        assert!(stderr.contains("error: ") && !stderr.contains("panicked at"), "{most}: {stderr}");
        assert!(!world.exists("socket"));
    }
}

#[test]
fn a_service_listens_where_the_documentation_says() {
    let world = World::new();
    for (command, port) in [("serve", "8420"), ("serve-storage", "8421")] {
        let printed = world.ok(&[command, "--print-config"], "");
        assert!(printed.contains(&format!("listen = [\"127.0.0.1:{port}\"]")), "{printed}");
        let refused = world.fail(19, &[command], "");
        assert!(refused.contains("insecure_loopback") && refused.contains(port), "{refused}");
    }
}

#[test]
fn a_shells_environment_does_not_change_a_service() {
    let world = World::new();
    let document = "store = \"own store\"\nindex_key_file = \"own index\"\nprevious_index_key_file = \"own previous\"\n[remote]\ntoken_file = \"own token\"\nauthorities = \"own authorities\"\nclient_certificate = \"own certificate\"\nclient_key = \"own key\"\nrevocations = \"own revocations\"\ntimeout_seconds = 7\n";
    world.write("config.toml", document);
    world.write("empty.toml", "");
    let print = |config: &str, args: &[&str]| {
        let mut command = world.command(&[&["serve", "--print-config", "--config", config], args].concat());
        for (name, value) in [
            ("STORE", "shell store"),
            ("INDEX_KEY_FILE", "shell index"),
            ("TOKEN_FILE", "shell token"),
            ("AUTHORITIES", "shell authorities"),
            ("CLIENT_CERTIFICATE", "shell certificate"),
            ("CLIENT_KEY", "shell key"),
            ("PREVIOUS_INDEX_KEY_FILE", "shell previous"),
            ("REVOCATIONS", "shell revocations"),
            ("TIMEOUT", "9"),
            ("SERVER", "https://shell.example"),
        ] {
            command.env(format!("STRONGROOM_{name}"), value);
        }
        let output = wait::output(&mut command);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let names = ["store", "index", "previous", "token", "authorities", "certificate", "key", "revocations"];
    let own = print("config.toml", &[]);
    assert!(names.iter().all(|name| own.contains(&format!("\"own {name}\""))) && own.contains("= 7"), "{own}");
    // They apply if the file does not set the value, and on the command line.
    let shell = print("empty.toml", &[]);
    assert!(names.iter().all(|name| shell.contains(&format!("\"shell {name}\""))) && shell.contains("= 9"), "{shell}");
    let flags = ["--token-file", "shell token", "--client-key", "flag key"];
    let mixed = print("config.toml", &flags);
    assert!(
        mixed.contains("\"shell token\"") && mixed.contains("\"flag key\"") && mixed.contains("\"own store\""),
        "{mixed}"
    );
}
