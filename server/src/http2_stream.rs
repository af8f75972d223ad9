//! The tasks of HTTP/2 streams. An answer can end its own, because hyper does not poll a body while the client takes no
//! byte.

use std::sync::Arc;

use hyper::rt::Executor;
use tokio::select;
use tokio::sync::Notify;

tokio::task_local! {
    static END: Arc<Notify>;
}

/// Runs each stream in a task of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamExecutor;

impl<S: Future<Output = ()> + Send + 'static> Executor<S> for StreamExecutor {
    fn execute(&self, stream: S) {
        let end = Arc::<Notify>::default();
        tokio::spawn(END.scope(Arc::clone(&end), async move {
            select! {
                biased;
                () = stream => {}
                () = end.notified() => {} // dropped, and so reset
            }
        }));
    }
}

/// Resets the stream of the current task when it is notified; `None` in HTTP/1.
pub(crate) fn end_of_stream() -> Option<Arc<Notify>> {
    END.try_with(Arc::clone).ok()
}
