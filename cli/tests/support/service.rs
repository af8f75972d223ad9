//! A running service of the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::World;
use super::wait::{DEADLINE, WaitWithin};

/// A service, and its log.
pub(crate) struct Service {
    child: Child,
    /// The lines of its log.
    lines: Receiver<String>,
    log: String,
    /// The address on which it listens, if it is TCP.
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Starts the service on a free port.
    pub(crate) fn start(world: &World, args: &[&str]) -> Self {
        Self::start_on(world, &[args, &["--listen", "127.0.0.1:0", "--insecure-loopback"]].concat())
    }

    /// Starts the service on the address in the arguments.
    pub(crate) fn start_on(world: &World, args: &[&str]) -> Self {
        Self::spawn(world.command(args))
    }

    /// Starts the service with this command.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["--log-level", "trace", "--log-format", "json"]);
        command.env("RUST_LOG", "trace").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line + "\n")));
        let mut log = String::new();
        // A warning may precede the line with the address.
        let address = loop {
            let line = lines.recv_timeout(DEADLINE).unwrap();
            let entry: Result<Value, _> = serde_json::from_str(&line);
            log.push_str(&line);
            assert!(entry.is_ok(), "{log}");
            if let Some(address) = entry.unwrap()["address"].as_str() {
                break address.parse().unwrap_or(SocketAddr::from(([0; 4], 0)));
            }
        };
        Self { child, lines, log, address }
    }

    /// The address in the next line of the log that has one.
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap();
            self.log.push_str(&line);
            let entry: Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = entry["address"].as_str() {
                return address.parse().unwrap();
            }
        }
    }

    /// The log until now.
    pub(crate) fn log(&mut self) -> &str {
        self.log.extend(self.lines.try_iter());
        &self.log
    }

    /// Sends a request, and returns the whole answer.
    pub(crate) fn send(&self, request: &str, headers: &[&str], body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let len = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the service with a signal. Returns the exit status and the whole log.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait_within(DEADLINE);
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.log.push_str(&line);
        }
        (status.code(), std::mem::take(&mut self.log))
    }
}

/// A failed test must not leave a running service.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
