//! The threads that work on the storage.

use std::sync::Arc;

use strongroom::Error;
use tokio::sync::OwnedSemaphorePermit;

use crate::concurrency_limit::ConcurrencyLimit;
use crate::config::limits::Limits;
use crate::problem::Problem;
use crate::readiness::Readiness;

/// Threads for work that blocks.
#[derive(Clone)]
pub(crate) struct BlockingPool {
    limit: Arc<ConcurrencyLimit>,
    /// The readiness of the storage service, which may become unreachable while work waits for it.
    remote_storage: Option<Arc<Readiness>>,
}

/// The effect of work on the storage. It determines the error if the request does not wait for the end of the work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// No effect after the request.
    None,
    /// A write, which may have succeeded.
    Write,
}

impl BlockingPool {
    pub(crate) fn new(limits: &Limits, remote_storage: Option<Arc<Readiness>>) -> Self {
        Self { limit: Arc::new(ConcurrencyLimit::new(limits.threads, limits)), remote_storage }
    }

    /// The number of requests that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.limit.waiting()
    }

    /// Runs `work` on a thread, once one is free. Work that has begun is finished even if its client has disconnected.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.until_unreachable(effect, async { run_on_thread(self.limit.acquire().await?, work).await }).await
    }

    /// Continues work that has begun, however long it waits for a thread.
    async fn run_next<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.until_unreachable(effect, async { run_on_thread(self.limit.acquire_patiently().await?, work).await }).await
    }

    /// Waits for `work`, at most until the storage is unreachable.
    async fn until_unreachable<T>(
        &self,
        effect: Effect,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let Some(readiness) = &self.remote_storage else { return work.await };
        tokio::select! {
            biased;
            outcome = work => outcome,
            cause = readiness.unreachable() => Err(match effect {
                Effect::None => Problem::unreachable(cause),
                Effect::Write => Error::Indeterminate(cause.into()).into(),
            }),
        }
    }

    /// A value that is used and dropped on these threads, because dropping it may access the storage.
    pub(crate) fn own<T: Send + 'static>(&self, value: T) -> PoolOwned<T> {
        PoolOwned { value: Some(value), pool: self.clone() }
    }
}

async fn run_on_thread<T: Send + 'static>(
    thread: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let work = move || {
        let _thread = thread;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal("a storage operation panicked"))
}

/// A value that is used and dropped on the threads of a [`BlockingPool`].
pub(crate) struct PoolOwned<T: Send + 'static> {
    value: Option<T>,
    pool: BlockingPool,
}

impl<T: Send + 'static> PoolOwned<T> {
    /// Runs `work` with the value. If it fails, the value is dropped.
    pub(crate) async fn with<R, E>(
        mut self,
        work: impl FnOnce(&mut T) -> Result<R, E> + Send + 'static,
    ) -> Result<(Self, R), Problem>
    where
        R: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let pool = self.pool.clone();
        let Some(mut value) = self.value.take() else { return Err(Problem::internal("an earlier step has failed")) };
        let outcome = pool.run_next(Effect::None, move || work(&mut value).map(|result| (value, result))).await?;
        let (value, result) = outcome.map_err(Into::into)?;
        self.value = Some(value);
        Ok((self, result))
    }

    /// Runs `work` with the value, and consumes it.
    pub(crate) async fn end<R: Send + 'static>(
        mut self,
        work: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<R, Problem> {
        let pool = self.pool.clone();
        let Some(value) = self.value.take() else { return Err(Problem::internal("an earlier step has failed")) };
        pool.run_next(Effect::Write, move || work(value)).await
    }
}

impl<T: Send + 'static> Drop for PoolOwned<T> {
    fn drop(&mut self) {
        if let (Some(value), Ok(runtime)) = (self.value.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(value));
        }
    }
}
