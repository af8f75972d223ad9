//! Work on the thread of a runtime, for callers that wait for it without a thread, on any async runtime.

use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::util::driver::Driver;
use crate::util::fork_check::OwnerProcess;
use crate::util::runtime::{Runtime, Unfinished};

/// The work. Dropping this drops the work, soon afterwards, unless it has ended.
pub(crate) struct Task<T> {
    /// `None` only during the drop.
    running: Option<(JoinHandle<T>, Wait)>,
    owner: OwnerProcess,
}

/// A caller that waits for the thread.
struct Wait(Arc<Driver>);

impl Runtime {
    /// Starts `work` on the thread.
    pub(crate) fn start_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, Unfinished> {
        self.check_process()?;
        let handle = self.runtime()?.spawn(work);
        self.driver.begin_wait();
        Ok(Task { running: Some((handle, Wait(Arc::clone(&self.driver)))), owner: self.owner })
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Unfinished>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Unfinished>> {
        if !self.owner.is_current() {
            return Poll::Ready(Err(Unfinished::Forked)); // the thread is the parent's
        }
        match &mut self.running {
            Some((handle, _)) => Pin::new(handle).poll(context).map_err(|_| Unfinished::Ended),
            None => Poll::Ready(Err(Unfinished::Ended)),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        match self.running.take() {
            Some((handle, _wait)) if self.owner.is_current() => handle.abort(),
            // The parent's thread may have held the locks at the fork.
            parents => _ = ManuallyDrop::new(parents),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.end_wait();
    }
}
