//! Retries of requests: which failures allow one, and the wait before it, whose growth is in `util/backoff.rs`.

use std::time::{Duration, Instant};

use super::balancer::Elsewhere;
use super::failure::Failure;
use crate::util::backoff::Backoff;

/// The number of attempts for which a call has time if none is answered.
pub(super) const ATTEMPTS: u32 = 3;

/// Whether a call with an unknown outcome is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Repeated: two calls have the effect of one.
    Idempotent,
    /// Repeated only if it certainly had no effect.
    UnlessDone,
}

/// The attempts of one call: it is repeated until it succeeds, fails for good, or the time is up.
pub(super) struct Retries {
    policy: RetryPolicy,
    /// A service that cannot be reached may be restarting: the call waits for the time of one attempt, or longer if the
    /// service may know the outcome of a lost attempt. Later, it only goes to other services.
    reached_by: Instant,
    latest: Instant,
    backoff: Backoff,
    /// Whether the outcome of an attempt before the last one is unknown.
    lost: bool,
    /// Whether an attempt failed for a reason that may pass, such as a restart: the call waits for that service,
    /// although another one is of no use.
    may_pass: bool,
}

impl Retries {
    /// `time` is the time limit of a call, `end` the deadline of this one, which begins `now`.
    pub(super) fn new(policy: RetryPolicy, time: Duration, end: Instant, now: Instant) -> Self {
        let latest = latest_attempt(time, end);
        let reached_by = now + time / ATTEMPTS;
        Self { policy, reached_by, latest, backoff: Backoff::new(), lost: false, may_pass: false }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The pause before the attempt that follows one with this outcome, `now`; `None` if the outcome is that of the
    /// call. `elsewhere` decides whether the next attempt is at another service, and whether it needs a pause.
    pub(super) fn pause<T>(
        &mut self,
        outcome: &Result<T, Failure>,
        now: Instant,
        elsewhere: impl Fn() -> Elsewhere,
    ) -> Option<Duration> {
        let (again, is_late) = match outcome {
            Err(Failure::NotSent(_) | Failure::Untrusted(_)) => (true, !self.lost && now >= self.reached_by),
            // Only elsewhere.
            Err(Failure::Denied(_)) => (true, true),
            Err(Failure::Problem(problem)) if problem.is_rejection() => (true, true),
            Err(Failure::Problem(problem)) => (problem.is_transient(), false),
            Err(Failure::Lost(_)) => (self.policy == RetryPolicy::Idempotent, false),
            _ => (false, false),
        };
        if !again {
            return None;
        }
        self.may_pass |= outcome.as_ref().is_err_and(Failure::may_pass);
        let pause = match elsewhere() {
            Elsewhere::AtOnce => Duration::ZERO,
            _ if is_late => return None,
            Elsewhere::Nowhere if !self.may_pass => return None,
            _ => self.backoff.pause(),
        };
        if now + pause >= self.latest {
            return None;
        }
        self.lost |= matches!(outcome, Err(Failure::Lost(_)));
        Some(pause)
    }
}

/// The end of the time for attempts of a call with this time limit and deadline: one with too little time left would
/// only make a known outcome unknown.
pub(super) fn latest_attempt(time: Duration, end: Instant) -> Instant {
    end.checked_sub(time / (2 * ATTEMPTS)).unwrap_or(end)
}
