//! How much is done at once. Further requests wait for a while, and no client can keep others waiting by being slow: a
//! place is taken when there is work, not while a short body is awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::Limits;
use crate::counted::Counted;
use crate::problem::Problem;
use crate::readiness::Readiness;

/// A number of places, which may be bytes, and a number of requests that may wait for one.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    waiting_most: usize,
    wait: Duration,
}

impl Gate {
    pub(crate) fn new(places: usize, limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::default(),
            waiting_most: limits.waiting,
            wait: Duration::from_secs(limits.wait_seconds),
        }
    }

    /// A place, once there is one; 503 where too many wait, or it takes too long.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.enter_with(1).await
    }

    /// As [`enter`](Self::enter), with so many places at once.
    pub(crate) async fn enter_with(&self, places: u32) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(places) {
            return Ok(place);
        }
        let waiting = Counted::new(&self.waiting);
        if waiting.before >= self.waiting_most {
            return Err(Problem::overloaded());
        }
        match timeout(self.wait, Arc::clone(&self.places).acquire_many_owned(places)).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Problem::overloaded()),
        }
    }

    /// A place, however long it takes.
    async fn enter_at_last(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| Problem::internal("the service is stopping"))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Threads for work that blocks.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    gate: Arc<Gate>,
    /// Of a storage elsewhere, which may be lost while work on it waits.
    elsewhere: Option<Arc<Readiness>>,
}

/// The effect of work on the storage, which decides the error where nobody waits for its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Nothing that outlives the request.
    None,
    /// It may have been done.
    Write,
}

impl Threads {
    pub(crate) fn new(limits: &Limits, elsewhere: Option<Arc<Readiness>>) -> Self {
        Self { gate: Arc::new(Gate::new(limits.threads, limits)), elsewhere }
    }

    /// How many requests wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Does `work`, if there is soon a thread for it. It comes to its end also where nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.unless_lost(effect, async { on_thread(self.gate.enter().await?, work).await }).await
    }

    /// Goes on with what has begun, whenever there is a thread for it.
    async fn go_on<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.unless_lost(effect, async { on_thread(self.gate.enter_at_last().await?, work).await }).await
    }

    /// Waits no longer than until it is known that the storage cannot be reached.
    async fn unless_lost<T>(
        &self,
        effect: Effect,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let Some(elsewhere) = &self.elsewhere else { return work.await };
        tokio::select! {
            biased;
            outcome = work => outcome,
            cause = elsewhere.lost() => Err(match effect {
                Effect::None => Problem::unreachable(cause),
                Effect::Write => Error::Indeterminate(cause.into()).into(),
            }),
        }
    }

    /// What is dropped on a thread of this kind, since that works on the storage, too.
    pub(crate) fn guard<T: Send + 'static>(&self, value: T) -> OnThread<T> {
        OnThread { value: Some(value), threads: self.clone() }
    }
}

async fn on_thread<T: Send + 'static>(
    thread: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let work = move || {
        let _thread = thread;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal("work on the storage has panicked"))
}

/// A value that is used and dropped where blocking is allowed.
#[derive(Debug)]
pub(crate) struct OnThread<T: Send + 'static> {
    value: Option<T>,
    threads: Threads,
}

impl<T: Send + 'static> OnThread<T> {
    /// Does `work` with the value, which is gone where that fails.
    pub(crate) async fn with<R, E>(
        mut self,
        work: impl FnOnce(&mut T) -> Result<R, E> + Send + 'static,
    ) -> Result<(Self, R), Problem>
    where
        R: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let threads = self.threads.clone();
        let Some(mut value) = self.value.take() else { return Err(Problem::internal("an earlier step has failed")) };
        let outcome = threads.go_on(Effect::None, move || work(&mut value).map(|result| (value, result))).await?;
        let (value, result) = outcome.map_err(Into::into)?;
        self.value = Some(value);
        Ok((self, result))
    }

    /// Does the last `work` with the value.
    pub(crate) async fn end<R: Send + 'static>(
        mut self,
        work: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<R, Problem> {
        let threads = self.threads.clone();
        let Some(value) = self.value.take() else { return Err(Problem::internal("an earlier step has failed")) };
        threads.go_on(Effect::Write, move || work(value)).await
    }
}

impl<T: Send + 'static> Drop for OnThread<T> {
    fn drop(&mut self) {
        if let (Some(value), Ok(runtime)) = (self.value.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(value));
        }
    }
}
