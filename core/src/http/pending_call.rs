//! A call that a caller waits for or awaits: both run the same future on the client's thread.

use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::Poll;

use super::client::HttpClient;
use super::exchanges::Exchanges;
use super::failure::Failure;
#[cfg(feature = "tokio")]
use crate::util::{fork_check::ProcessOwned, runtime::Unfinished};

/// A call that has not begun. It has all that it needs, and borrows nothing.
pub(crate) struct PendingCall<T, E> {
    client: Arc<HttpClient>,
    exchanges: Exchanges,
    work: Pin<Box<dyn Future<Output = Result<T, E>> + Send>>,
    /// The error of a call without an outcome of its own.
    to_error: fn(Failure) -> E,
}

impl<T: Send + 'static, E: Send + 'static> PendingCall<T, E> {
    /// The call whose future `work` returns.
    ///
    /// # Errors
    ///
    /// [`Failure::Forked`].
    pub(crate) fn new<F: Future<Output = Result<T, E>> + Send + 'static>(
        client: &Arc<HttpClient>,
        to_error: fn(Failure) -> E,
        work: impl FnOnce(Exchanges) -> F,
    ) -> Result<Self, E> {
        let exchanges = client.exchanges().map_err(to_error)?;
        let work = Box::pin(work(exchanges.clone()));
        Ok(Self { client: Arc::clone(client), exchanges, work, to_error })
    }

    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U + Send + 'static) -> PendingCall<U, E> {
        let Self { client, exchanges, work, to_error } = self;
        PendingCall { client, exchanges, work: Box::pin(async { work.await.map(convert) }), to_error }
    }

    /// Blocks until the call ends.
    pub(crate) fn wait(self) -> Result<T, E> {
        let Self { client, exchanges, work, to_error } = self;
        exchanges.own(client.runtime.call(async { Ok(work.await) })).map_err(to_error)?
    }

    /// The outcome, on any async runtime. Dropping the future cancels the call.
    #[cfg(feature = "tokio")]
    pub(crate) async fn outcome(self) -> Result<T, E> {
        let Self { client, exchanges, work, to_error } = self;
        let own = |unfinished| to_error(exchanges.failure(unfinished));
        client.runtime.check_process().map_err(own)?;
        let mut queued = ProcessOwned::new(Box::pin(Arc::clone(&client.awaited).acquire_owned()));
        let permit = std::future::poll_fn(|context| match queued.get_mut() {
            Some(queued) => queued.as_mut().poll(context).map(Ok),
            None => Poll::Ready(Err(Unfinished::Forked)),
        });
        let permit = permit.await.map_err(own)?;
        let work = async move {
            let _permit = permit;
            work.await
        };
        client.runtime.start_task(work).map_err(own)?.await.map_err(own)?
    }
}
