//! Readiness: whether the storage can be reached. Concurrent requests share one probe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use strongroom::Error;
use tokio::time::{sleep, timeout};

use crate::background_work::BackgroundWork;

/// The time limit of a probe.
const PROBE_TIME: Duration = Duration::from_millis(800);
/// The duration of work after which the storage is probed.
const PROBE_DELAY: Duration = Duration::from_millis(100);
/// The number of probes in a row that fail before work is given up: one may fail because the machine is busy.
const FAILED_PROBES: usize = 3;

type Check = dyn Fn() -> Result<Option<String>, Error> + Send + Sync;
type Probe = Shared<BoxFuture<'static, Result<Option<String>, String>>>;

/// The state of a storage.
pub(crate) struct Readiness {
    check: Arc<Check>,
    last: Mutex<Last>,
    work: BackgroundWork,
}

#[derive(Default)]
struct Last {
    probe: Option<Probe>,
    /// The cause of the last finished probe's failure, if it failed.
    cause: Option<String>,
}

impl Readiness {
    /// `check` may block for any time.
    pub(crate) fn new(check: impl Fn() -> Result<Option<String>, Error> + Send + Sync + 'static) -> Self {
        Self { check: Arc::new(check), last: Mutex::default(), work: BackgroundWork::default() }
    }

    /// Ends the running probe, once no request waits for one.
    pub(crate) fn interrupt(&self) {
        self.work.interrupt();
    }

    /// Probes the storage, within a second; fails with the cause. Returns the store's id, if it is known.
    pub(crate) async fn probe(&self) -> Result<Option<String>, String> {
        let outcome = timeout(PROBE_TIME, self.current()).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(last.cause.clone().unwrap_or_else(|| "the storage does not answer".to_owned())),
        }
    }

    /// Waits until the storage cannot be reached, and returns the cause.
    pub(crate) async fn unreachable(&self) -> String {
        let mut failed = 0;
        loop {
            sleep(PROBE_DELAY).await;
            match self.probe().await {
                Ok(_) => failed = 0,
                Err(cause) if failed + 1 >= FAILED_PROBES => return cause,
                Err(_) => failed += 1,
            }
        }
    }

    /// The running probe, or a new one. At most one runs at a time, however long it takes.
    fn current(&self) -> Probe {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.probe.as_ref().map(|probe| (probe, probe.peek())) {
            Some((probe, None)) => return probe.clone(),
            Some((_, Some(outcome))) => last.cause = outcome.clone().err(),
            None => {}
        }
        let check = Arc::clone(&self.check);
        let thread = self.work.spawn(move || check().map_err(|error| error.full_message()));
        let probe = async move { thread.await.unwrap_or_else(|_| Err("the probe of the storage panicked".into())) };
        let probe = probe.boxed().shared();
        // To its end, even if nobody waits for it any more: the next one must not get this outcome, however old it is.
        drop(tokio::spawn(probe.clone()));
        last.probe = Some(probe.clone());
        probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failed_probe_is_no_loss() {
        let outcomes = Mutex::new(vec![false, false, false, true, false, false, true, false]); // the last one is the first
        let readiness = Readiness::new(move || match outcomes.lock().unwrap().pop() {
            Some(false) => Err(Error::Closed),
            Some(true) => Ok(None),
            None => panic!("it has failed three times"),
        });
        timeout(Duration::from_secs(180), readiness.unreachable()).await.unwrap();
    }

    /// A running probe would keep the process from ending.
    #[tokio::test]
    async fn an_interrupt_ends_a_probe() {
        let readiness = Readiness::new(|| {
            while !strongroom::interrupt::is_interrupted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Error::Busy)
        });
        assert!(readiness.probe().now_or_never().is_none(), "it has begun");
        readiness.interrupt();
        let running = readiness.current();
        timeout(Duration::from_secs(180), running).await.expect("it is not interrupted").unwrap_err();
    }

    /// Those who ask may be gone before the answer, and the next one asks much later.
    #[tokio::test]
    async fn an_abandoned_probe_answers_nobody_else() {
        let is_reachable = Arc::new(Mutex::new(false));
        let storage = Arc::clone(&is_reachable);
        let readiness = Readiness::new(move || if *storage.lock().unwrap() { Ok(None) } else { Err(Error::Closed) });
        let slow = is_reachable.lock().unwrap();
        assert!(readiness.probe().now_or_never().is_none(), "it has begun, and is abandoned");
        drop(slow);
        let has_ended = || readiness.last.lock().unwrap().probe.as_ref().is_some_and(|probe| probe.peek().is_some());
        let end = async {
            while !has_ended() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(180), end).await.expect("it waits for somebody");
        *is_reachable.lock().unwrap() = true;
        assert_eq!(readiness.probe().await, Ok(None));
    }
}
