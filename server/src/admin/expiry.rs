//! The records that expire soon. They are counted in the background, and only while an operator looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom::Error;
use strongroom::interrupt::is_interrupted;
use tokio::task::JoinHandle;

use crate::background_work::BackgroundWork;
use crate::unix_time::unix_time;

/// The time between two counts.
const INTERVAL: Duration = Duration::from_secs(15);
/// The most records that are counted. The storage lists the earliest ones, through its index of expiry times.
const MOST: usize = 1000;

type Look = dyn Fn(u64, usize) -> Result<Vec<u64>, Error> + Send + Sync;

/// The last count, and the running one.
pub(super) struct Expiry {
    background: BackgroundWork,
    look: Arc<Look>,
    last: Arc<Mutex<Last>>,
}

#[derive(Default)]
struct Last {
    count: Option<(Instant, Count)>,
    running: Option<(Instant, JoinHandle<()>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    expired: usize,
    within_minute: usize,
    within_hour: usize,
    is_complete: bool,
}

impl Expiry {
    /// `look` returns the expiry times until a time, the earliest first, at most as many as its second argument.
    pub(super) fn new(
        background: BackgroundWork,
        look: impl Fn(u64, usize) -> Result<Vec<u64>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self { background, look: Arc::new(look), last: Arc::default() }
    }

    /// The last count as JSON; null before the first one, and if the last one failed. It starts the next count in the
    /// background, at most one at a time.
    pub(super) fn document(&self) -> Value {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match &last.running {
            Some((start, task)) => task.is_finished() && start.elapsed() >= INTERVAL,
            None => true,
        };
        if is_due {
            let (look, shared) = (Arc::clone(&self.look), Arc::clone(&self.last));
            let task = self.background.spawn(move || {
                let count = count(&*look, unix_time());
                if let Err(error) = &count
                    && !is_interrupted()
                {
                    tracing::warn!(target: "strongroom", cause = error.full_message(), "expiring records are not counted");
                }
                let mut last = shared.lock().unwrap_or_else(PoisonError::into_inner);
                last.count = count.ok().map(|count| (Instant::now(), count));
            });
            last.running = Some((Instant::now(), task));
        }
        last.count.map_or(Value::Null, |(time, count)| {
            json!({
                "expired": count.expired,
                "within_minute": count.within_minute,
                "within_hour": count.within_hour,
                "is_complete": count.is_complete,
                "seconds_ago": time.elapsed().as_secs(),
            })
        })
    }
}

fn count(look: &Look, now: u64) -> Result<Count, Error> {
    let times = look(now.saturating_add(3600), MOST)?;
    let until = |time: u64| times.iter().filter(|expiry| **expiry <= time).count();
    Ok(Count {
        expired: until(now),
        within_minute: until(now.saturating_add(60)),
        within_hour: times.len(),
        is_complete: times.len() < MOST,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_expiry_times() {
        let times = [50, 100, 101, 160, 161, 3700, 3701];
        let look =
            move |until, most| Ok(times.into_iter().filter(|time| *time <= until).take(most).collect::<Vec<_>>());
        let expected = Count { expired: 2, within_minute: 4, within_hour: 6, is_complete: true };
        assert_eq!(count(&look, 100).unwrap(), expected);
        let many = |_, most| Ok(vec![7; most]);
        let expected = Count { expired: MOST, within_minute: MOST, within_hour: MOST, is_complete: false };
        assert_eq!(count(&many, 100).unwrap(), expected);
        assert!(count(&|_, _| Err(Error::Busy), 100).is_err());
    }

    #[tokio::test]
    async fn one_count_runs_at_a_time_and_not_before_the_interval_has_passed() {
        let (counted, counts) = std::sync::mpsc::channel();
        let expiry = Expiry::new(BackgroundWork::default(), move |_, _| {
            counted.send(()).unwrap();
            Ok(vec![1])
        });
        assert!(expiry.document().is_null());
        counts.recv_timeout(Duration::from_secs(60)).unwrap();
        let task = expiry.last.lock().unwrap().running.take().unwrap();
        task.1.await.unwrap();
        expiry.last.lock().unwrap().running = Some((task.0, tokio::spawn(async {})));
        tokio::task::yield_now().await;
        for _ in 0..10 {
            assert_eq!(expiry.document()["expired"], 1);
        }
        assert!(counts.try_recv().is_err(), "it counts again too early");
        let long_ago = Instant::now().checked_sub(INTERVAL).unwrap();
        expiry.last.lock().unwrap().running.as_mut().unwrap().0 = long_ago;
        expiry.document();
        counts.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
