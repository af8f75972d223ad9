//! Maintenance in the background: it bounds how long deleted ciphertext stays in a database and its log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom::Error;
use tokio::time::sleep;

use crate::background_work::BackgroundWork;

/// Maintains a backend at intervals.
pub(crate) struct Maintenance {
    maintain: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
    interval: Duration,
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Maintenance {
    pub(crate) fn new(
        interval: Duration,
        maintain: impl Fn() -> Result<(), Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { maintain: Box::new(maintain), interval })
    }

    /// Maintains at each interval, until it is aborted.
    pub(crate) async fn run(self: Arc<Self>, background: BackgroundWork) {
        loop {
            sleep(self.interval).await;
            let this = Arc::clone(&self);
            let cause = match background.spawn(move || (this.maintain)()).await {
                Ok(Ok(())) => continue,
                Ok(Err(Error::Unsupported(_))) => return, // the store is read-only
                Ok(Err(error)) => error.full_message(),
                Err(_) => "the maintenance panicked".to_owned(),
            };
            tracing::warn!(target: "strongroom", cause, "the store could not be maintained");
        }
    }
}
