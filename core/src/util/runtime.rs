//! Runs connections, so that callers can block on any thread, even on one of an async runtime.
//!
//! A thread of its own drives them. A caller that is alone drives them itself while it waits ([`Driver`]): that saves
//! it two changes of threads, which take as long as the rest of a short call.

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;

use crate::util::driver::{Driver, Turn};
use crate::util::fork_check::OwnerProcess;
use crate::util::handoff::handoff;
use crate::util::interrupt;
use crate::util::threads::{self, BlockedPipeSignal};

pub(crate) struct Runtime {
    runtime: Option<Arc<tokio::runtime::Runtime>>,
    pub(super) driver: Arc<Driver>,
    thread: Option<JoinHandle<()>>,
    pub(super) owner: OwnerProcess,
}

/// The reason why [`Runtime::wait`] has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// The runtime belongs to the parent of this process: the future did not begin.
    Forked,
    /// The call was interrupted before the future began.
    NotBegun,
    /// The call was interrupted, and the future was dropped. Its effect is unknown.
    Interrupted,
    /// The thread has ended, and the future with it. Its effect is unknown.
    Ended,
}

impl Runtime {
    /// Starts the thread, with this name.
    pub(crate) fn start(name: &'static str) -> io::Result<Self> {
        let (outbox, built) = handoff();
        let driver = Arc::new(Driver::default());
        let drives = Arc::clone(&driver);
        // Built on its own thread: the thread that builds it gets a thread handle (see `util::handoff`).
        let work = move || match Builder::new_current_thread().enable_all().thread_name(name).build() {
            Ok(runtime) => {
                let runtime = Arc::new(runtime);
                let _ = outbox.send(Ok(Arc::clone(&runtime))); // there is room, and the receiver waits
                drives.serve(|turn| runtime.block_on(turn));
                if let Some(runtime) = Arc::into_inner(runtime) {
                    runtime.shutdown_background();
                }
            }
            Err(error) => {
                let _ = outbox.send(Err(error));
            }
        };
        let thread = threads::spawn(name, work)?;
        let runtime =
            built.receive().unwrap_or_else(|| Err(io::Error::other("the thread for connections has ended")))?;
        Ok(Self { runtime: Some(runtime), driver, thread: Some(thread), owner: OwnerProcess::current() })
    }

    pub(crate) fn check_process(&self) -> Result<(), Unfinished> {
        if self.owner.is_current() { Ok(()) } else { Err(Unfinished::Forked) }
    }

    /// Waits for the result of `future`, a part of a stream. Between such waits, the connections go on. If the wait is
    /// interrupted, the future is dropped, and its request with it.
    pub(crate) fn wait<T: Send + 'static, E: From<Unfinished> + Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.check()?;
        self.driver.need_thread();
        self.wait_for_thread(future)
    }

    /// As [`wait`](Self::wait), for a whole exchange: after it, the connections have nothing to do.
    pub(crate) fn call<T: Send + 'static, E: From<Unfinished> + Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        // By value, each function below would have a copy of some KiB on the stack, which callers in C may not have.
        let future = Box::pin(future);
        // A thread of another runtime may not drive a second one.
        if Handle::try_current().is_ok() || threads::are_callers_small() {
            return self.wait(future);
        }
        self.check()?;
        match self.driver.begin() {
            Turn::Caller(_turn) => {
                let _blocked = BlockedPipeSignal::new();
                self.runtime()?.block_on(unless_interrupted(future))
            }
            Turn::Thread(_turn) => self.wait_for_thread(future),
        }
    }

    fn check(&self) -> Result<(), Unfinished> {
        self.check_process()?;
        if interrupt::was_interrupted() { Err(Unfinished::NotBegun) } else { Ok(()) }
    }

    pub(super) fn runtime(&self) -> Result<&tokio::runtime::Runtime, Unfinished> {
        self.runtime.as_deref().ok_or(Unfinished::Ended)
    }

    fn wait_for_thread<T: Send + 'static, E: From<Unfinished> + Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let (outbox, outcome) = handoff();
        let task = self.runtime()?.spawn(async move {
            let _ = outbox.send(future.await); // there is room, and the receiver waits
        });
        outcome.receive().unwrap_or_else(|| {
            if interrupt::was_interrupted() {
                task.abort();
                return Err(Unfinished::Interrupted.into());
            }
            Err(Unfinished::Ended.into())
        })
    }

    /// Runs `future` in the background.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "it uses this"))]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let task = self.runtime.as_ref().map(|runtime| runtime.spawn(future).abort_handle());
        self.driver.need_thread();
        task
    }

    /// Runs `future` in the background, as one of `tasks`.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code, reason = "it uses this"))]
    pub(crate) fn spawn_in<T: Send + 'static>(
        &self,
        tasks: &mut JoinSet<T>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<(), Unfinished> {
        tasks.spawn_on(future, self.runtime()?.handle());
        self.driver.need_thread();
        Ok(())
    }
}

/// The result of `future`, unless the caller's wait is interrupted first.
async fn unless_interrupted<T, E: From<Unfinished>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let Some(interval) = interrupt::interval() else { return future.await };
    let mut future = std::pin::pin!(future);
    loop {
        if let Ok(outcome) = time::timeout(interval, &mut future).await {
            return outcome;
        }
        if interrupt::is_interrupted() {
            return Err(Unfinished::Interrupted.into());
        }
    }
}

/// The thread has ended when this returns.
impl Drop for Runtime {
    fn drop(&mut self) {
        let all = (self.runtime.take(), self.thread.take());
        if !self.owner.is_current() {
            // The thread and the connections belong to the parent process.
            let _ = ManuallyDrop::new(all);
            return;
        }
        let (runtime, thread) = all;
        drop(runtime); // the thread drops the last reference, because a thread of another runtime may not
        self.driver.stop();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// The thread that runs a call.
    fn runner(runtime: &Runtime) -> ThreadId {
        runtime.call(async { Ok::<_, Unfinished>(thread::current().id()) }).unwrap()
    }

    /// A runtime that the calling thread drives, because its calls have been alone.
    fn driven_by_caller() -> Runtime {
        let runtime = Runtime::start("test").unwrap();
        let begin = Instant::now();
        while runner(&runtime) != thread::current().id() {
            assert!(begin.elapsed() < DEADLINE, "calls that come alone run on their own thread");
        }
        runtime
    }

    #[test]
    fn the_thread_drives_when_nobody_calls() {
        let runtime = driven_by_caller();
        let (sender, receiver) = mpsc::channel();
        let late = sender.clone();
        runtime.spawn(async move { sender.send(thread::current().id()).unwrap() });
        assert_ne!(receiver.recv_timeout(DEADLINE).unwrap(), thread::current().id());

        // A call leaves work behind.
        let runtime = driven_by_caller();
        let leave = async move {
            tokio::spawn(async move {
                time::sleep(Duration::from_millis(1)).await;
                late.send(thread::current().id()).unwrap();
            });
            Ok::<_, Unfinished>(())
        };
        runtime.call(leave).unwrap();
        assert_ne!(receiver.recv_timeout(DEADLINE).unwrap(), thread::current().id());
    }

    #[test]
    fn parts_of_streams_run_on_the_thread() {
        let runtime = driven_by_caller();
        let part = runtime.wait(async { Ok::<_, Unfinished>(thread::current().id()) }).unwrap();
        assert_ne!(part, thread::current().id());
    }

    #[test]
    fn calls_go_on_while_a_caller_drives() {
        let runtime = driven_by_caller();
        let (sender, receiver) = oneshot::channel();
        thread::scope(|scope| {
            let (runtime, begun) = (&runtime, Arc::new(tokio::sync::Notify::new()));
            let other = Arc::clone(&begun);
            scope.spawn(move || {
                let work = async move {
                    other.notified().await;
                    sender.send(7).unwrap();
                    Ok::<_, Unfinished>(())
                };
                runtime.call(work).unwrap();
            });
            let work = async move {
                begun.notify_one();
                Ok::<_, Unfinished>(time::timeout(DEADLINE, receiver).await.unwrap().unwrap())
            };
            assert_eq!(runtime.call(work), Ok(7));
        });
        // Many threads at once.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).map(|_| runner(&runtime)).for_each(|_| {}));
            }
        });
    }

    #[test]
    fn an_interrupt_ends_a_call_that_drives() {
        let runtime = driven_by_caller();
        let never = || runtime.call(std::future::pending::<Result<(), Unfinished>>());
        assert_eq!(interrupt::interruptible(|| true, never), Err(Unfinished::Interrupted));
        assert_eq!(runtime.call(async { Ok::<_, Unfinished>(7) }), Ok(7));
    }

    #[test]
    fn threads_of_other_runtimes_may_call_and_drop() {
        let runtime = driven_by_caller();
        let other = Builder::new_current_thread().build().unwrap();
        other.block_on(async move {
            assert_ne!(runner(&runtime), thread::current().id());
            drop(runtime);
        });
    }
}
