//! The threads that do the work of async calls: a bounded number, with one queue. A call whose future is dropped is
//! cancelled: if it waits, it never begins; if it runs, its waits end.
//!
//! They are not those of the async runtime, so a runtime that ends or is busy leaves no call waiting. Under load, a
//! thread takes the next call from the queue without being woken.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::util::fork_check::OwnerProcess;
use crate::util::interrupt::Cancellation;
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use crate::util::threads;

/// The time after which an idle thread ends.
const IDLE: Duration = Duration::from_secs(10);

/// A handle of the pool. Its threads end soon after the last one is dropped.
#[derive(Clone)]
pub(super) struct Pool(Arc<Owner>);

/// Lets the threads end when it is dropped. They have only the other part, [`Shared`].
struct Owner(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    queued: Condvar,
    most_threads: usize,
    process: OwnerProcess,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<dyn Job>>,
    threads: usize,
    /// The threads that wait for a job, or are waking up.
    idle: usize,
    is_closed: bool,
}

trait Job: Send + Sync {
    fn run(&self);
}

/// A call: its work, until a thread takes it or the caller gives up, and the way for its outcome.
struct Call<F, T> {
    work: Mutex<Option<(F, oneshot::Sender<T>)>>,
    cancellation: Cancellation,
}

/// The outcome of a call. A call that has not ended when this is dropped is cancelled.
struct Outcome<F, T> {
    call: Arc<Call<F, Result<T, Error>>>,
    receiver: oneshot::Receiver<Result<T, Error>>,
    process: OwnerProcess,
}

/// A value whose drop may block, because it removes an upload or closes a store: the pool drops it.
pub(super) struct OnPool<T: Send + 'static> {
    /// `None` only during the drop.
    value: Option<T>,
    pool: Pool,
}

impl Pool {
    pub(super) fn new(most_threads: usize) -> Self {
        Self(Arc::new(Owner(Arc::new(Shared {
            state: Mutex::default(),
            queued: Condvar::new(),
            most_threads,
            process: OwnerProcess::current(),
        }))))
    }

    /// The outcome of `work`, which a thread does. If the future is dropped, work that has not begun does not begin,
    /// and the waits of work that has begun end, so that it ends soon.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.begin(work)?.await
    }

    fn begin<T, F>(&self, work: F) -> Result<Outcome<F, T>, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        let (outbox, receiver) = oneshot::channel();
        let call = Arc::new(Call { work: Mutex::new(Some((work, outbox))), cancellation: Cancellation::default() });
        let outcome = Outcome { call: Arc::clone(&call), receiver, process: self.0.0.process };
        self.0.0.enqueue(call)?;
        Ok(outcome)
    }

    /// A value that the pool drops.
    pub(super) fn own<T: Send + 'static>(&self, value: T) -> OnPool<T> {
        OnPool { value: Some(value), pool: self.clone() }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("most_threads", &self.0.0.most_threads).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // In a forked child, the parent's threads may have held the lock at the fork.
        if self.0.process.is_current() {
            self.0.lock().is_closed = true;
            self.0.queued.notify_all();
        }
    }
}

impl Shared {
    /// Queues `job`, and makes sure that a thread takes it. If there is no thread, drops it.
    fn enqueue(self: &Arc<Self>, job: Arc<dyn Job>) -> Result<(), Error> {
        if !self.process.is_current() {
            return Err(Error::Forked);
        }
        let mut state = self.lock();
        state.queue.push_back(job);
        if state.queue.len() <= state.idle {
            drop(state);
            self.queued.notify_one();
            return Ok(());
        }
        if state.threads >= self.most_threads {
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(self);
        let Err(error) = threads::spawn("strongroom-aio", move || shared.work()) else { return Ok(()) };
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(()); // another thread takes it
        }
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        drop(queue); // not under the lock: jobs may own a pool
        Err(Error::Storage(error.into()))
    }

    /// The work of a thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // The work is dropped while it unwinds, and its caller gets an error.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
                drop(job);
                state = self.lock();
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle += 1;
            let timeout;
            (state, timeout) = self.queued.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: FnOnce() -> T + Send, T: Send> Job for Call<F, T> {
    fn run(&self) {
        if let Some((work, outbox)) = self.take() {
            let _ = outbox.send(self.cancellation.clone().run(work)); // fails if the caller gave up
        }
    }
}

impl<F, T> Call<F, T> {
    fn take(&self) -> Option<(F, oneshot::Sender<T>)> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<F, T> Future for Outcome<F, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        if !self.process.is_current() {
            return Poll::Ready(Err(Error::Forked)); // the threads are the parent's
        }
        let received = Pin::new(&mut self.receiver).poll(context);
        received.map(|outcome| outcome.unwrap_or_else(|_| Err(Error::Internal("a call panicked".into()))))
    }
}

impl<F, T> Drop for Outcome<F, T> {
    fn drop(&mut self) {
        // In a forked child, the parent's threads may have held the locks at the fork.
        if self.process.is_current() {
            self.call.cancellation.cancel();
            drop(self.call.take());
        }
    }
}

/// Drops its value.
struct DropJob<T>(Mutex<Option<T>>);

impl<T: Send> Job for DropJob<T> {
    fn run(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<T: Send + 'static> OnPool<T> {
    pub(super) fn get(&self) -> Result<&T, Error> {
        self.value.as_ref().ok_or(Error::Closed)
    }

    pub(super) fn get_mut(&mut self) -> Result<&mut T, Error> {
        self.value.as_mut().ok_or(Error::Closed)
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn into_inner(mut self) -> Result<T, Error> {
        self.value.take().ok_or(Error::Closed)
    }
}

impl<T: Send + 'static> Drop for OnPool<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            // Without a thread, it is dropped here.
            let _ = self.pool.0.0.enqueue(Arc::new(DropJob(Mutex::new(Some(value)))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;
    use std::thread;
    use std::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Waits for `outcome` without a runtime, which the pool does not need.
    fn wait<T>(outcome: impl Future<Output = T>) -> T {
        runtime().block_on(async { tokio::time::timeout(DEADLINE, outcome).await.unwrap() })
    }

    /// Polls `future` once, which starts it.
    fn start<T>(future: &mut (impl Future<Output = T> + Unpin)) {
        let future = Pin::new(future);
        assert!(matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < DEADLINE, "it does not come about");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn threads(shared: &Shared) -> usize {
        shared.lock().threads
    }

    #[test]
    fn no_more_threads_run_than_allowed_and_all_end() {
        let pool = Pool::new(3);
        let running = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let calls: Vec<_> = (0..200)
            .map(|n| {
                let running = Arc::clone(&running);
                pool.clone().run(move || {
                    let now = running[0].fetch_add(1, Ordering::SeqCst) + 1;
                    running[1].fetch_max(now, Ordering::SeqCst);
                    thread::yield_now();
                    running[0].fetch_sub(1, Ordering::SeqCst);
                    Ok(n)
                })
            })
            .map(Box::pin)
            .collect();
        let runtime = runtime();
        let all: Vec<_> = calls.into_iter().map(|call| runtime.spawn(call)).collect();
        let all = runtime.block_on(async {
            let mut found = Vec::new();
            for call in all {
                found.push(tokio::time::timeout(DEADLINE, call).await.unwrap().unwrap().unwrap());
            }
            found
        });
        assert!(all.into_iter().eq(0..200));
        assert!(running[1].load(Ordering::SeqCst) <= 3);
        let shared = Arc::clone(&pool.0.0);
        assert!((1..=3).contains(&threads(&shared)));
        drop(pool);
        wait_until(|| threads(&shared) == 0);
    }

    #[test]
    fn work_that_was_given_up_in_the_queue_does_not_begin() {
        let pool = Pool::new(1);
        let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let [inner_entered, inner_leave] = [&entered, &leave].map(Arc::clone);
        let mut first = Box::pin(pool.clone().run(move || {
            inner_entered.wait();
            inner_leave.wait();
            Ok(())
        }));
        start(&mut first);
        entered.wait();
        let data = Arc::new(());
        let inner = Arc::clone(&data);
        let mut second = Box::pin(pool.clone().run::<()>(move || panic!("{inner:?} began")));
        start(&mut second);
        drop(second);
        assert_eq!(Arc::strong_count(&data), 1, "the data of a call that was given up is dropped at once");
        leave.wait();
        wait(first).unwrap();
        wait(pool.clone().run(|| Ok(()))).unwrap();
    }

    #[test]
    fn work_that_has_begun_is_interrupted() {
        let pool = Pool::new(1);
        let entered = Arc::new(Barrier::new(2));
        let inner = Arc::clone(&entered);
        let (ended, end) = std::sync::mpsc::channel();
        let mut call = Box::pin(pool.clone().run(move || {
            inner.wait();
            crate::util::interrupt::sleep(Duration::from_secs(3600));
            ended.send(()).unwrap();
            Ok(())
        }));
        start(&mut call);
        entered.wait();
        drop(call);
        end.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_costs_no_thread() {
        let pool = Pool::new(1);
        for _ in 0..3 {
            let outcome = wait(pool.clone().run::<()>(|| panic!("on purpose")));
            assert!(matches!(outcome, Err(Error::Internal(_))));
        }
        wait(pool.clone().run(|| Ok(()))).unwrap();
        assert_eq!(threads(&pool.0.0), 1);
    }

    #[test]
    fn a_value_is_dropped_on_a_thread_of_the_pool() {
        struct Tell(std::sync::mpsc::Sender<thread::ThreadId>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }
        let pool = Pool::new(1);
        let (sender, receiver) = std::sync::mpsc::channel();
        // The last handle of the pool is inside the value's wrapper.
        let value = pool.own(Tell(sender));
        drop(pool);
        drop(value);
        assert_ne!(receiver.recv_timeout(DEADLINE).unwrap(), thread::current().id());
    }

    #[test]
    fn a_forked_child_has_no_threads() {
        let Pool(owner) = Pool::new(1);
        let Shared { most_threads, process, .. } = *owner.0;
        let shared =
            Shared { state: Mutex::default(), queued: Condvar::new(), most_threads, process: process.forked() };
        let pool = Pool(Arc::new(Owner(Arc::new(shared))));
        assert!(matches!(wait(pool.clone().run(|| Ok(()))), Err(Error::Forked)));
    }

    #[test]
    fn a_call_of_the_parent_ends_at_once_in_a_forked_child() {
        let pool = Pool::new(1);
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut call = pool.begin(move || receiver.recv_timeout(DEADLINE).map_err(|_| Error::Closed)).unwrap();
        start(&mut call);
        call.process = call.process.forked();
        assert!(matches!(wait(&mut call), Err(Error::Forked)));
        // A lock that a thread of the parent held at the fork is never released.
        let held = Arc::clone(&call.call);
        let _held = held.work.lock().unwrap();
        drop(call);
        sender.send(()).unwrap(); // the parent's work goes on
    }
}
