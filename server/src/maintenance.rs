//! Maintenance in the background: it bounds how long deleted ciphertext stays in a database and its log.

use std::sync::Arc;
use std::time::Duration;

use strongroom::Error;
use tokio::time::sleep;

use crate::background_work::BackgroundWork;

/// Maintains a backend.
pub(crate) type Maintain = dyn Fn() -> Result<(), Error> + Send + Sync;

/// Maintains at each interval, until it is aborted.
pub(crate) async fn run(maintain: Arc<Maintain>, interval: Duration, background: BackgroundWork) {
    loop {
        sleep(interval).await;
        let maintain = Arc::clone(&maintain);
        let cause = match background.spawn(move || maintain()).await {
            Ok(Ok(())) => continue,
            Ok(Err(Error::Unsupported(_))) => return, // the store is read-only
            Ok(Err(error)) => error.full_message(),
            Err(_) => "the maintenance panicked".to_owned(),
        };
        tracing::warn!(target: "strongroom", cause, "the store could not be maintained");
    }
}
