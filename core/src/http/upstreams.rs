//! Counters of the calls to an endpoint's services, for the metrics of a program that uses them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::failure::Failure;

/// The outcomes of attempts, in the order of the counters.
const OUTCOMES: [&str; 5] = ["answered", "busy", "unreachable", "lost", "refused"];
/// The reasons of retries, in the order of the counters.
const REASONS: [&str; 4] = ["busy", "unreachable", "lost", "refused"];

/// The services that an endpoint uses, and counts of the attempts and retries of its calls. Clones share them.
///
/// ```
/// use strongroom::Endpoint;
///
/// let endpoint = Endpoint::new("https://one.example:8421,https://two.example:8421")?;
/// let upstreams = endpoint.upstreams();
/// # let _ = endpoint;
/// // Later, while the endpoint is in use:
/// for service in upstreams.services() {
///     println!("{}: {:?}, ejected: {}", service.name, service.attempts, service.is_ejected);
/// }
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Upstreams(Arc<Shared>);

#[derive(Default)]
struct Shared {
    services: Mutex<BTreeMap<String, Weak<Counters>>>,
    retries: [AtomicU64; REASONS.len()],
}

/// A service that an endpoint uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upstream {
    /// Its URL, and its address if its name has several.
    pub name: String,
    /// The number of attempts by outcome: `answered`; `busy` (503); `unreachable`: it certainly did nothing; `lost`:
    /// the outcome is unknown; `refused`: the certificate or the store is not the right one.
    pub attempts: Vec<(&'static str, u64)>,
    /// Whether it gets no requests at present, because it failed.
    pub is_ejected: bool,
}

/// The counters of one service.
#[derive(Default)]
pub(super) struct Counters {
    attempts: [AtomicU64; OUTCOMES.len()],
    is_ejected: AtomicBool,
}

impl Upstreams {
    /// The services in use, in the order of their names.
    #[must_use]
    pub fn services(&self) -> Vec<Upstream> {
        let services = self.0.services.lock().unwrap_or_else(PoisonError::into_inner);
        let upstream = |(name, counters): (&String, &Weak<Counters>)| {
            let counters = counters.upgrade()?;
            let counts = counters.attempts.iter().map(|count| count.load(Ordering::Relaxed));
            let attempts = OUTCOMES.into_iter().zip(counts).collect();
            Some(Upstream { name: name.clone(), attempts, is_ejected: counters.is_ejected.load(Ordering::Relaxed) })
        };
        services.iter().filter_map(upstream).collect()
    }

    /// The number of retries by reason: the outcome of the attempt before.
    #[must_use]
    pub fn retries(&self) -> Vec<(&'static str, u64)> {
        REASONS.into_iter().zip(self.0.retries.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// The counters of the service with this name.
    pub(super) fn counters(&self, name: String) -> Arc<Counters> {
        let mut services = self.0.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, counters| counters.strong_count() > 0);
        if let Some(counters) = services.get(&name).and_then(Weak::upgrade) {
            return counters;
        }
        let counters = Arc::default();
        services.insert(name, Arc::downgrade(&counters));
        counters
    }

    pub(super) fn count_retry<T>(&self, outcome: &Result<T, Failure>) {
        increment(&REASONS, &self.0.retries, outcome_of(outcome));
    }
}

impl Counters {
    pub(super) fn count<T>(&self, outcome: &Result<T, Failure>) {
        increment(&OUTCOMES, &self.attempts, outcome_of(outcome));
    }

    pub(super) fn set_ejected(&self, is_ejected: bool) {
        self.is_ejected.store(is_ejected, Ordering::Relaxed);
    }
}

fn increment(names: &[&str], counts: &[AtomicU64], name: &str) {
    if let Some((_, count)) = names.iter().zip(counts).find(|(known, _)| **known == name) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn outcome_of<T>(outcome: &Result<T, Failure>) -> &'static str {
    match outcome {
        Err(Failure::Problem(problem)) if problem.is_transient() => "busy",
        Err(Failure::NotSent(_)) => "unreachable",
        Err(Failure::Lost(_)) => "lost",
        Err(Failure::Untrusted(_) | Failure::OtherStore(_) | Failure::Denied(_)) => "refused",
        _ => "answered",
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.services()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_retries_are_counted_by_outcome() {
        let upstreams = Upstreams::default();
        let one = upstreams.clone().counters("one".into());
        let other = upstreams.counters("two".into());
        one.count(&Ok(()));
        one.count(&Err::<(), _>(Failure::ProtocolViolation));
        for lost in [&one, &other] {
            lost.count(&Err::<(), _>(Failure::too_late()));
        }
        other.set_ejected(true);
        upstreams.count_retry(&Err::<(), _>(Failure::too_late()));
        let counts = |upstream: &Upstream| upstream.attempts.iter().map(|(_, count)| *count).collect::<Vec<_>>();
        let services = upstreams.services();
        assert_eq!(services.iter().map(counts).collect::<Vec<_>>(), [[2, 0, 0, 1, 0], [0, 0, 0, 1, 0]]);
        assert_eq!(services.iter().map(|service| service.is_ejected).collect::<Vec<_>>(), [false, true]);
        assert_eq!(upstreams.retries(), [("busy", 0), ("unreachable", 0), ("lost", 1), ("refused", 0)]);
        drop(other);
        assert_eq!(upstreams.services().len(), 1, "one that has left is not shown");
    }
}
