//! The choice among several services of one store: of two random ones, that with fewer requests in flight (M. Mitzenmacher,
//! "The Power of Two Choices in Randomized Load Balancing", 2001). A service that fails is ejected until a probe finds it
//! ready. If all are ejected, all are tried.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most services that one call tries at once, one after the other.
const MOST_TRIED: usize = 3;
/// The number of calls that pay for one retry at another service, so that retries do not multiply the load of services
/// that are overloaded.
const CALLS_PER_RETRY: u32 = 10;
/// The most retries that are saved up.
const SAVED_RETRIES: u32 = 100;

pub(super) struct Balancer {
    state: Mutex<State>,
}

struct State {
    services: Vec<Service>,
    /// The unused payments of calls for retries.
    credit: u32,
}

#[derive(Clone, Default)]
struct Service {
    in_flight: usize,
    is_ejected: bool,
}

impl Balancer {
    pub(super) fn new(count: usize) -> Self {
        let state = State { services: vec![Service::default(); count], credit: SAVED_RETRIES * CALLS_PER_RETRY };
        Self { state: Mutex::new(state) }
    }

    /// Chooses a service for an attempt, other than those that the call has `tried`. [`release`](Self::release) ends the
    /// attempt. `random` are two random numbers.
    pub(super) fn choose(&self, tried: &[usize], random: [u32; 2]) -> usize {
        let mut state = self.lock();
        if tried.is_empty() {
            state.credit = (state.credit + 1).min(SAVED_RETRIES * CALLS_PER_RETRY);
        }
        let all = || state.services.iter().enumerate().map(|(index, service)| (index, service.is_ejected));
        let untried = || all().filter(|(index, _)| !tried.contains(index));
        let mut candidates: Vec<_> = untried().filter(|(_, is_ejected)| !is_ejected).map(|(index, _)| index).collect();
        if candidates.is_empty() {
            candidates = untried().map(|(index, _)| index).collect();
        }
        if candidates.is_empty() {
            candidates = all().map(|(index, _)| index).collect();
        }
        let mut draw = |random: u32| {
            let count = candidates.len();
            (count > 0).then(|| candidates.swap_remove(random as usize % count))
        };
        let [first, second] = random.map(&mut draw);
        let in_flight = |index: &usize| state.services.get(*index).map_or(0, |service| service.in_flight);
        // The first of equals, which is a random one.
        let chosen = first.into_iter().chain(second).min_by_key(in_flight).unwrap_or_default();
        if let Some(service) = state.services.get_mut(chosen) {
            service.in_flight += 1;
        }
        chosen
    }

    pub(super) fn release(&self, index: usize) {
        if let Some(service) = self.lock().services.get_mut(index) {
            service.in_flight = service.in_flight.saturating_sub(1);
        }
    }

    /// Whether a call that has `tried` these services tries another one at once.
    pub(super) fn may_retry(&self, tried: usize) -> bool {
        let mut state = self.lock();
        let may = tried < state.services.len().min(MOST_TRIED) && state.credit >= CALLS_PER_RETRY;
        if may {
            state.credit -= CALLS_PER_RETRY;
        }
        may
    }

    /// Ejects a service after a failure. Returns whether it was in use until now; then the caller begins to probe it. A
    /// service that is alone is never ejected.
    pub(super) fn eject(&self, index: usize) -> bool {
        let mut state = self.lock();
        let is_alone = state.services.len() == 1;
        let service = state.services.get_mut(index).filter(|service| !service.is_ejected && !is_alone);
        service.map(|service| service.is_ejected = true).is_some()
    }

    pub(super) fn readmit(&self, index: usize) {
        if let Some(service) = self.lock().services.get_mut(index) {
            service.is_ejected = false;
        }
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some numbers, the same in each run.
    fn numbers() -> impl FnMut() -> [u32; 2] {
        let mut state = 1_u64;
        move || {
            [(); 2].map(|()| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u32::try_from(state >> 33).unwrap()
            })
        }
    }

    #[test]
    fn requests_are_distributed_evenly() {
        let (balancer, mut random) = (Balancer::new(5), numbers());
        let mut counts = [0; 5];
        for _ in 0..5000 {
            let index = balancer.choose(&[], random());
            counts[index] += 1;
            balancer.release(index);
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        // Requests that do not end: the numbers in flight differ little.
        let mut counts = [0_usize; 5];
        (0..5000).for_each(|_| counts[balancer.choose(&[], random())] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 10), "{counts:?}");
    }

    #[test]
    fn a_slow_service_gets_fewer_requests() {
        let (balancer, mut random) = (Balancer::new(3), numbers());
        let mut slow = Vec::new();
        for _ in 0..300 {
            match balancer.choose(&[], random()) {
                0 => slow.push(()),
                index => balancer.release(index),
            }
        }
        assert!((1..20).contains(&slow.len()), "{}", slow.len());
    }

    #[test]
    fn an_ejected_service_is_the_last_choice() {
        let (balancer, mut random) = (Balancer::new(3), numbers());
        assert!(balancer.eject(1) && !balancer.eject(1), "one probe");
        let mut choose = |tried: &[usize]| {
            let index = balancer.choose(tried, random());
            balancer.release(index);
            index
        };
        assert!((0..100).all(|_| choose(&[]) != 1));
        assert!((0..100).all(|_| choose(&[0]) == 2));
        assert_eq!(choose(&[0, 2]), 1);
        assert!((0..100).any(|_| choose(&[0, 1, 2]) == 1), "after all of them, any one");
        balancer.readmit(1);
        assert!((0..100).any(|_| choose(&[]) == 1));
        (0..3).for_each(|index| assert!(balancer.eject(index)));
        assert!((0..3).all(|index| (0..100).any(|_| choose(&[]) == index)), "all are ejected");
    }

    #[test]
    fn a_service_alone_is_never_ejected() {
        let balancer = Balancer::new(1);
        assert!(!balancer.eject(0) && !balancer.may_retry(1));
        assert_eq!(balancer.choose(&[0], [7, 7]), 0);
    }

    #[test]
    fn retries_are_a_part_of_the_calls() {
        let (balancer, mut random) = (Balancer::new(4), numbers());
        assert!(balancer.may_retry(1) && balancer.may_retry(2) && !balancer.may_retry(3));
        while balancer.may_retry(1) {}
        let mut retries = 0;
        for _ in 0..1000 {
            balancer.choose(&[], random());
            retries += usize::from(balancer.may_retry(1));
        }
        assert_eq!(retries, 100);
    }
}
