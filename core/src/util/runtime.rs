//! A thread that runs connections, so that callers can block on any thread, even on one of an async runtime.

use std::io;
use std::mem::ManuallyDrop;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::util::fork_check::OwnerProcess;
use crate::util::handoff::handoff;
use crate::util::interrupt;
use crate::util::threads;

pub(crate) struct Runtime {
    handle: Option<Handle>,
    /// Dropping this ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    owner: OwnerProcess,
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
        let (stop, stopped) = oneshot::channel::<()>();
        // Built on its own thread: the thread that builds it gets a thread handle (see `util::handoff`).
        let work = move || match Builder::new_current_thread().enable_all().thread_name(name).build() {
            Ok(runtime) => {
                let _ = outbox.send(Ok(runtime.handle().clone())); // there is room, and the receiver waits
                let _ = runtime.block_on(stopped); // ends when the sender is dropped
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = outbox.send(Err(error));
            }
        };
        let thread = threads::spawn(name, work)?;
        let handle =
            built.receive().unwrap_or_else(|| Err(io::Error::other("the thread for connections has ended")))?;
        Ok(Self { handle: Some(handle), stop: Some(stop), thread: Some(thread), owner: OwnerProcess::current() })
    }

    pub(crate) fn check_process(&self) -> Result<(), Unfinished> {
        if self.owner.is_current() { Ok(()) } else { Err(Unfinished::Forked) }
    }

    /// Waits for the result of `future`. If the wait is interrupted, the future is dropped, and its request with it.
    pub(crate) fn wait<T: Send + 'static, E: From<Unfinished> + Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.check_process()?;
        if interrupt::was_interrupted() {
            return Err(Unfinished::NotBegun.into());
        }
        let (outbox, outcome) = handoff();
        let task = self.spawn(async move {
            let _ = outbox.send(future.await); // there is room, and the receiver waits
        });
        outcome.receive().unwrap_or_else(|| {
            if interrupt::was_interrupted() {
                task.inspect(AbortHandle::abort);
                return Err(Unfinished::Interrupted.into());
            }
            Err(Unfinished::Ended.into())
        })
    }

    /// Runs `future` in the background.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        self.handle.as_ref().map(|handle| handle.spawn(future).abort_handle())
    }
}

/// The thread has ended when this returns.
impl Drop for Runtime {
    fn drop(&mut self) {
        let all = (self.handle.take(), self.stop.take(), self.thread.take());
        if !self.owner.is_current() {
            // The thread and the connections belong to the parent process.
            let _ = ManuallyDrop::new(all);
            return;
        }
        let (handle, stop, thread) = all;
        drop((handle, stop));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
