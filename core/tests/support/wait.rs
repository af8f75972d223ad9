//! Waiting with a deadline, so that a hanging test fails with a reason.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Far more than any step takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Polls `look`, and returns its first result; `None` after the deadline.
pub(crate) fn poll_within<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = look();
        if found.is_some() || start.elapsed() > deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Polls `look`, and returns its first result.
#[track_caller]
pub(crate) fn wait_for<T>(look: impl FnMut() -> Option<T>) -> T {
    poll_within(DEADLINE, look).expect("it did not come about within the deadline")
}

pub(crate) trait WaitWithin {
    /// Waits for the end of the program, which is killed at the deadline.
    fn wait_within(&mut self, deadline: Duration) -> ExitStatus;

    /// Reads all output of the program, and waits for its end.
    fn output_within(self, deadline: Duration) -> Output;
}

impl WaitWithin for Child {
    #[track_caller]
    fn wait_within(&mut self, deadline: Duration) -> ExitStatus {
        let ended = poll_within(deadline, || self.try_wait().unwrap());
        if ended.is_none() {
            let _ = self.kill();
        }
        ended.expect("the program did not end within the deadline")
    }

    #[track_caller]
    fn output_within(mut self, deadline: Duration) -> Output {
        drop(self.stdin.take());
        let [stdout, stderr] = [self.stdout.take().map(read_all), self.stderr.take().map(read_all)];
        let status = self.wait_within(deadline);
        let read = |stream: Option<Receiver<Vec<u8>>>| {
            let read =
                stream.map(|stream| stream.recv_timeout(deadline).expect("a child of the program keeps its output"));
            read.unwrap_or_default()
        };
        Output { status, stdout: read(stdout), stderr: read(stderr) }
    }
}

/// On a thread, because a program may fill one pipe while the other is read.
fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        let _ = send.send(read);
    });
    receive
}

/// Writes to a program that must read. Returns the pipe, for more writes or to be closed.
#[track_caller]
pub(crate) fn write_within<W: Write + Send + 'static>(mut pipe: W, data: &[u8], deadline: Duration) -> W {
    let ((send, receive), data) = (channel(), data.to_vec());
    thread::spawn(move || {
        let written = pipe.write_all(&data);
        let _ = send.send(written.map(|()| pipe));
    });
    receive.recv_timeout(deadline).expect("nobody has read within the deadline").unwrap()
}

/// Runs a program to its end, and reads its output.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap().output_within(DEADLINE)
}

/// Sets the flag that ends a scope's threads, also after a panic: only then does the scope end, and the test fail.
pub(crate) struct StopOnDrop<'f>(pub(crate) &'f AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread, in a scope or not.
pub(crate) trait Join {
    type Output;

    /// Waits for the end of the thread. At the deadline, the whole test program ends, because a thread cannot be
    /// killed.
    fn join_within(self, deadline: Duration) -> Self::Output;
}

macro_rules! join {
    ($handle:ty $(, $scope:lifetime)?) => {
        impl<$($scope,)? T> Join for $handle {
            type Output = T;

            #[track_caller]
            fn join_within(self, deadline: Duration) -> T {
                if poll_within(deadline, || self.is_finished().then_some(())).is_none() {
                    eprintln!("a thread did not end within the deadline: {}", std::panic::Location::caller());
                    std::process::abort();
                }
                self.join().unwrap()
            }
        }
    };
}

join!(JoinHandle<T>);
join!(ScopedJoinHandle<'scope, T>, 'scope);
