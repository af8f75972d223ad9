//! Whether the storage can be reached: one look for all requests that ask at the same time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use strongroom::Error;
use tokio::time::{sleep, timeout};

/// How long a look may take.
const LOOK: Duration = Duration::from_millis(800);
/// How long work takes before a look is worth it.
const PATIENCE: Duration = Duration::from_millis(100);

type Check = dyn Fn() -> Result<(), Error> + Send + Sync;
type Look = Shared<BoxFuture<'static, Result<(), String>>>;

/// The state of a storage.
pub(crate) struct Readiness {
    check: Arc<Check>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    look: Option<Look>,
    /// Why the last look that came to its end failed, if it did.
    cause: Option<String>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

impl Readiness {
    /// `check` may block, and takes however long it takes.
    pub(crate) fn new(check: impl Fn() -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { check: Arc::new(check), last: Mutex::default() }
    }

    /// Looks at the storage, within a second; fails with the cause.
    pub(crate) async fn look(&self) -> Result<(), String> {
        let outcome = timeout(LOOK, self.current()).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(last.cause.clone().unwrap_or_else(|| "the storage does not answer".to_owned())),
        }
    }

    /// Returns why, once the storage cannot be reached.
    pub(crate) async fn lost(&self) -> String {
        loop {
            sleep(PATIENCE).await;
            if let Err(cause) = self.look().await {
                return cause;
            }
        }
    }

    /// The look under way, or a new one: never two at once, however long they take.
    fn current(&self) -> Look {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.look.as_ref().map(|look| (look, look.peek())) {
            Some((look, None)) => return look.clone(),
            Some((_, Some(outcome))) => last.cause = outcome.clone().err(),
            None => {}
        }
        let check = Arc::clone(&self.check);
        let thread = tokio::task::spawn_blocking(move || check().map_err(|error| error.full_message()));
        let look = async move { thread.await.unwrap_or_else(|_| Err("the look at the storage has panicked".into())) };
        let look = look.boxed().shared();
        last.look = Some(look.clone());
        look
    }
}
