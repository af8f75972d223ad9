//! Retries: when a call is repeated, and how long it waits before.

use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::util::interrupt;
use crate::util::random;

/// How many attempts a call has time for, if none is answered.
pub(super) const ATTEMPTS: u32 = 3;
/// The first wait before a retry, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Whether a call whose outcome is unknown is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Repeated: two calls have the effect of one.
    Idempotent,
    /// Repeated only if it was certainly not done.
    UnlessDone,
}

/// Repeats `attempt` until it succeeds, fails for good, or the time is up. Also returns whether the outcome of one
/// attempt is unknown. `time` is the time limit of a call, `end` the deadline of this one.
pub(super) fn with_retries<T>(
    policy: RetryPolicy,
    time: Duration,
    end: Instant,
    attempt: impl Fn() -> Result<T, Failure>,
) -> (Result<T, Failure>, bool) {
    // A service that cannot be reached may be restarting: it gets the time of one attempt, or more if it may know the
    // outcome of a lost attempt.
    let reached_by = Instant::now() + time / ATTEMPTS;
    // An attempt that is cut off soon after its beginning would only make a known outcome unknown.
    let latest = end.checked_sub(time / (2 * ATTEMPTS)).unwrap_or(end);
    let (mut wait, mut lost) = (FIRST_WAIT, false);
    loop {
        let outcome = attempt();
        let again = match &outcome {
            Err(Failure::NotSent(_)) => lost || Instant::now() < reached_by,
            Err(Failure::Problem(problem)) => problem.is_transient(),
            Err(Failure::Lost(_)) => policy == RetryPolicy::Idempotent,
            _ => false,
        };
        let pause = jitter(wait);
        if !again || Instant::now() + pause >= latest || interrupt::was_interrupted() {
            return (outcome, lost);
        }
        lost |= matches!(outcome, Err(Failure::Lost(_)));
        interrupt::sleep(pause);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Half of `wait` to all of it, so that clients that were refused together do not retry together.
fn jitter(wait: Duration) -> Duration {
    let mut bytes = [0; 4];
    let _ = random::fill(&mut bytes); // if this fails, all wait for half as long
    wait / 2 + (wait / 2).mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
