//! Retries: their conditions, and the waits before them.

use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::util::backoff::Backoff;
use crate::util::interrupt;

/// The number of attempts for which a call has time if none is answered.
pub(super) const ATTEMPTS: u32 = 3;

/// Whether a call with an unknown outcome is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Repeated: two calls have the effect of one.
    Idempotent,
    /// Repeated only if it certainly had no effect.
    UnlessDone,
}

/// Repeats `attempt` until it succeeds, fails for good, or the time is up. Also returns whether the outcome of one
/// attempt is unknown. `time` is the time limit of a call, `end` the deadline of this one. `elsewhere` decides whether the
/// next attempt is at another service, and so needs no wait.
pub(super) fn with_retries<T>(
    policy: RetryPolicy,
    time: Duration,
    end: Instant,
    elsewhere: impl Fn() -> bool,
    attempt: impl Fn() -> Result<T, Failure>,
) -> (Result<T, Failure>, bool) {
    // A service that cannot be reached may be restarting: wait for the time of one attempt, or longer if the service
    // may know the outcome of a lost attempt.
    let reached_by = Instant::now() + time / ATTEMPTS;
    // An attempt with too little time left would only make a known outcome unknown.
    let latest = end.checked_sub(time / (2 * ATTEMPTS)).unwrap_or(end);
    let (mut backoff, mut lost) = (Backoff::new(), false);
    loop {
        let outcome = attempt();
        let again = match &outcome {
            Err(Failure::NotSent(_)) => lost || Instant::now() < reached_by,
            Err(Failure::Problem(problem)) => problem.is_transient(),
            Err(Failure::Lost(_)) => policy == RetryPolicy::Idempotent,
            _ => false,
        };
        if !again || interrupt::was_interrupted() {
            return (outcome, lost);
        }
        let pause = if elsewhere() { Duration::ZERO } else { backoff.pause() };
        if Instant::now() + pause >= latest {
            return (outcome, lost);
        }
        lost |= matches!(outcome, Err(Failure::Lost(_)));
        if !pause.is_zero() {
            interrupt::sleep(pause);
        }
    }
}
