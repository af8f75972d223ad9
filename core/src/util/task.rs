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

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Polls until the end, without a runtime.
    fn wait<T>(mut task: impl Future<Output = T> + Unpin) -> T {
        let begin = Instant::now();
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut task).poll(&mut Context::from_waker(std::task::Waker::noop())) {
                return outcome;
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_thread_works_without_a_caller() {
        let runtime = Runtime::start("test").unwrap();
        let worker = wait(runtime.start_task(async { thread::current().id() }).unwrap()).unwrap();
        assert_ne!(worker, thread::current().id());
        // Also while callers that come alone drive the connections.
        let (sender, receiver) = oneshot::channel();
        let task = runtime.start_task(receiver).unwrap();
        let alone = || runtime.call(async { Ok::<_, Unfinished>(thread::current().id()) }).unwrap();
        (0..100).for_each(|_| assert_eq!(alone(), worker, "the thread must not stop"));
        sender.send(7).unwrap();
        assert_eq!(wait(task), Ok(Ok(7)));
        let begin = Instant::now();
        while alone() == worker {
            assert!(begin.elapsed() < DEADLINE, "calls that come alone run on their own thread");
        }
        assert_eq!(wait(runtime.start_task(async { 7 }).unwrap()), Ok(7));
    }

    #[test]
    fn dropping_a_task_drops_its_work() {
        let runtime = Runtime::start("test").unwrap();
        let (sender, mut receiver) = oneshot::channel::<()>();
        let task = runtime.start_task(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        assert!(receiver.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        drop(task);
        assert!(wait(receiver).is_err());
    }

    #[test]
    fn a_task_ends_with_its_runtime_and_with_a_panic() {
        let runtime = Runtime::start("test").unwrap();
        let panicking = runtime.start_task(async { panic!("on purpose") }).unwrap();
        assert_eq!(wait::<Result<(), _>>(panicking), Err(Unfinished::Ended));
        let task = runtime.start_task(std::future::pending::<()>()).unwrap();
        drop(runtime);
        assert_eq!(wait(task), Err(Unfinished::Ended));
    }

    #[test]
    fn a_task_of_the_parent_ends_at_once_in_a_forked_child() {
        let runtime = Runtime::start("test").unwrap();
        let (sender, mut receiver) = oneshot::channel::<()>();
        let mut task = runtime.start_task(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        task.as_mut().unwrap().owner = task.as_ref().unwrap().owner.forked();
        let mut task = task.unwrap();
        assert_eq!(wait(&mut task), Err(Unfinished::Forked));
        drop(task);
        assert!(receiver.try_recv() == Err(oneshot::error::TryRecvError::Empty), "the parent's work goes on");
    }
}
