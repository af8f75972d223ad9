//! The threads of a service. All of them start before the service and stay, so that a later shortage of threads affects
//! no request.

use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// Threads for blocking work besides requests: reloads and dropped values.
const EXTRA_THREADS: usize = 16;
/// The time limit for the start of all threads, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(u32::MAX as u64);

/// A runtime with `threads` threads for work that blocks.
pub(crate) fn start(threads: usize) -> Result<Runtime, Failure> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    // Tokio panics or hangs if it cannot start its own workers, so the number of threads is tested first.
    try_threads(threads.saturating_add(workers).saturating_add(EXTRA_THREADS)).map_err(Failure::io(MISSING))?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_blocking_threads(threads.saturating_add(EXTRA_THREADS));
    let runtime = builder.enable_all().thread_keep_alive(KEEP_ALIVE).build().map_err(Failure::io(MISSING))?;
    let barrier =
        Arc::new(StartBarrier { arrived: Mutex::new(0), all: threads.saturating_add(1), changed: Condvar::new() });
    for _ in 0..threads {
        let barrier = Arc::clone(&barrier);
        runtime.spawn_blocking(move || barrier.join());
    }
    if barrier.join() {
        Ok(runtime)
    } else {
        runtime.shutdown_background();
        Err(Failure::io(MISSING)(ErrorKind::WouldBlock.into()))
    }
}

/// Fails if the system cannot run so many threads at the same time.
fn try_threads(count: usize) -> io::Result<()> {
    let end = Arc::new(Mutex::new(()));
    let held = end.lock().unwrap_or_else(PoisonError::into_inner);
    let started: io::Result<Vec<_>> = (0..count)
        .map(|_| {
            let end = Arc::clone(&end);
            thread::Builder::new().spawn(move || drop(end.lock()))
        })
        .collect();
    drop(held);
    started?.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

const MISSING: &str =
    "the system allows too few threads: raise its limit (ulimit -u, TasksMax), or lower limits.threads";

/// A barrier: the threads wait for each other, so that all of them exist at the same time.
struct StartBarrier {
    arrived: Mutex<usize>,
    all: usize,
    changed: Condvar,
}

impl StartBarrier {
    /// Returns once all have joined, or false at the deadline.
    fn join(&self) -> bool {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived += 1;
        if *arrived == self.all {
            self.changed.notify_all();
        }
        let outcome = self.changed.wait_timeout_while(arrived, DEADLINE, |arrived| *arrived < self.all);
        !outcome.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
