//! A reader or a writer that works on the pool, one call at a time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::pool::{OnPool, Pool};
use crate::error::Error;

/// The call at work: the stream comes back with the call's outcome.
type Call<T, R> = Pin<Box<dyn Future<Output = Result<(OnPool<T>, R), Error>> + Send>>;

/// A blocking stream `T`, whose calls have outcomes of the type `R`. A call goes on if the future that started it is
/// dropped; dropping this drops the call, and lets the pool drop the stream.
pub(super) enum Stream<T: Send + 'static, R> {
    Idle(OnPool<T>),
    Busy(Call<T, R>),
    /// A call panicked, or the pool has no thread.
    Lost,
}

impl<T: Send + 'static, R: Send + 'static> Stream<T, R> {
    /// Starts a call, if none is at work.
    pub(super) fn start(&mut self, pool: &Pool, work: impl FnOnce(&mut T) -> R + Send + 'static) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Idle(mut stream) => Self::Busy(Box::pin(pool.clone().run(move || {
                let outcome = work(stream.get_mut()?);
                Ok((stream, outcome))
            }))),
            other => other,
        };
    }

    /// Waits until no call is at work. Returns the outcome of one that has just ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>, Error>> {
        let ended = match self {
            Self::Idle(_) => return Poll::Ready(Ok(None)),
            Self::Busy(call) => ready!(call.as_mut().poll(cx)),
            Self::Lost => return Poll::Ready(Err(lost())),
        };
        *self = Self::Lost;
        let (stream, outcome) = ended?;
        *self = Self::Idle(stream);
        Poll::Ready(Ok(Some(outcome)))
    }

    /// The stream, if no call is at work.
    pub(super) fn into_idle(self) -> Result<OnPool<T>, Error> {
        match self {
            Self::Idle(stream) => Ok(stream),
            Self::Busy(_) | Self::Lost => Err(lost()),
        }
    }
}

fn lost() -> Error {
    Error::InvalidArgument("an earlier call on this record failed: start it again".into())
}
