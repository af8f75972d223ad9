//! The choice among several services of one store: of two random ones, that with fewer requests in flight (M.
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001); among equals, for a while the last
//! one. Services of the client's own zone come first. A service that fails is ejected until a probe finds it ready. If
//! all are ejected, all are tried. The list of services may change at any time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::util::backoff::Backoff;

/// The most services that one call tries at once, one after the other, unless one was not reached.
const MOST_TRIED: usize = 3;
/// The number of calls that pay for one retry at another service, so that retries do not multiply the load of services
/// that are overloaded.
pub(super) const CALLS_PER_RETRY: u32 = 10;
/// The most retries that are saved up.
pub(super) const SAVED_RETRIES: u32 = 100;
/// The mean number of calls that go to one service before a new choice among those with as few calls in flight: the
/// next call finds its caches warm.
const CALLS_PER_RUN: u32 = 16;
/// The first pause before a probe of an ejected service, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Services, each of which is identified by its `Arc`.
pub(super) struct Balancer<S> {
    state: Mutex<State<S>>,
}

struct State<S> {
    members: Vec<Member<S>>,
    /// The position of the last choice.
    last: Option<usize>,
    /// The unused payments of calls for retries.
    credit: u32,
}

struct Member<S> {
    service: Arc<S>,
    /// Whether it is in the client's zone.
    is_near: bool,
    in_flight: usize,
    health: Health,
    /// The pauses before probes, which grow until the service has answered a call.
    pauses: Backoff,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    InUse,
    Ejected,
    /// It has another store than the others, so that it gets no call at all.
    Foreign,
}

/// The preference among the candidates; the lowest comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Near,
    Far,
    Ejected,
    Tried,
    TriedAndEjected,
}

/// Whether a call has another service to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    AtOnce,
    /// After a pause: the call has tried several, or there are too many retries.
    Later,
    Nowhere,
}

impl<S> Member<S> {
    fn new(service: Arc<S>, is_near: bool) -> Self {
        Self { service, is_near, in_flight: 0, health: Health::InUse, pauses: pauses() }
    }

    /// `None` if it must not be chosen.
    fn rank(&self, tried: &[Arc<S>]) -> Option<Rank> {
        let is_tried = tried.iter().any(|tried| Arc::ptr_eq(tried, &self.service));
        match self.health {
            Health::Foreign => None,
            Health::Ejected if is_tried => Some(Rank::TriedAndEjected),
            Health::Ejected => Some(Rank::Ejected),
            Health::InUse if is_tried => Some(Rank::Tried), // it was busy, or a probe has found it ready since
            Health::InUse if self.is_near => Some(Rank::Near),
            Health::InUse => Some(Rank::Far),
        }
    }
}

fn pauses() -> Backoff {
    Backoff::between(FIRST_PAUSE, LONGEST_PAUSE)
}

impl<S> State<S> {
    fn find(&mut self, service: &Arc<S>) -> Option<&mut Member<S>> {
        self.members.iter_mut().find(|member| Arc::ptr_eq(&member.service, service))
    }

    /// The position of the choice.
    fn choose(&self, tried: &[Arc<S>], random: [u32; 2]) -> Option<usize> {
        if let [only] = &*self.members {
            return only.rank(&[]).map(|_| 0);
        }
        let ranks = || self.members.iter().map(|member| member.rank(tried)).enumerate();
        let best = ranks().filter_map(|(_, rank)| rank).min()?;
        let candidates = || ranks().filter(|(_, rank)| *rank == Some(best)).map(|(position, _)| position);
        let count = candidates().count();
        let [first, second] = random.map(|random| random as usize);
        let first = first % count;
        let second = (count > 1).then(|| (first + 1 + second % (count - 1)) % count);
        let in_flight = |position: &usize| self.members.get(*position).map_or(usize::MAX, |member| member.in_flight);
        let drawn = [Some(first), second].into_iter().flatten().filter_map(|drawn| candidates().nth(drawn));
        let is_run_over = (random[0] >> 16).is_multiple_of(CALLS_PER_RUN);
        // A call does not stay at the one that has just failed.
        let may_stay = !is_run_over && best < Rank::Tried;
        let last = self.last.filter(|last| may_stay && candidates().any(|candidate| candidate == *last));
        // The first of equals: the last choice, or a random one.
        last.into_iter().chain(drawn).min_by_key(in_flight)
    }
}

impl<S> Balancer<S> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { members: Vec::new(), last: None, credit: SAVED_RETRIES * CALLS_PER_RETRY }) }
    }

    /// Replaces the services: each with whether it is in the client's zone. One that stays keeps its state; one that
    /// leaves finishes its calls.
    pub(super) fn set(&self, services: impl IntoIterator<Item = (Arc<S>, bool)>) {
        let mut state = self.lock();
        let mut before = std::mem::take(&mut state.members);
        let member = |(service, is_near)| {
            let at = before.iter().position(|member| Arc::ptr_eq(&member.service, &service));
            match at.map(|at| before.swap_remove(at)) {
                Some(member) => Member { is_near, ..member },
                None => Member::new(service, is_near),
            }
        };
        state.members = services.into_iter().map(member).collect();
        state.last = None;
    }

    pub(super) fn services(&self) -> Vec<Arc<S>> {
        self.lock().members.iter().map(|member| Arc::clone(&member.service)).collect()
    }

    /// Chooses a service for an attempt, other than those that the call has `tried`, if there is one.
    /// [`release`](Self::release) ends the attempt. `random` are two random numbers.
    pub(super) fn choose(&self, tried: &[Arc<S>], random: [u32; 2]) -> Option<Arc<S>> {
        let mut state = self.lock();
        let chosen = state.choose(tried, random)?;
        if tried.is_empty() {
            state.credit = (state.credit + 1).min(SAVED_RETRIES * CALLS_PER_RETRY);
        }
        state.last = Some(chosen);
        let member = state.members.get_mut(chosen)?;
        member.in_flight += 1;
        Some(Arc::clone(&member.service))
    }

    /// Ends an attempt. `is_answered`: the service has answered it.
    pub(super) fn release(&self, service: &Arc<S>, is_answered: bool) {
        if let Some(member) = self.lock().find(service) {
            member.in_flight = member.in_flight.saturating_sub(1);
            if is_answered && member.health == Health::InUse {
                member.pauses = pauses();
            }
        }
    }

    /// Whether a call that has `tried` these services tries another one. `is_unreached`: the last one was not even
    /// reached, which costs nobody anything, so that many addresses without a service do not slow down a call.
    pub(super) fn elsewhere(&self, tried: &[Arc<S>], is_unreached: bool) -> Elsewhere {
        let mut state = self.lock();
        let ranks = || state.members.iter().filter_map(|member| member.rank(tried));
        let is_another = ranks().any(|rank| rank < Rank::Tried);
        let is_within_limit = tried.len() < MOST_TRIED || is_unreached && ranks().any(|rank| rank < Rank::Ejected);
        if !is_another {
            return Elsewhere::Nowhere;
        }
        if !is_within_limit || state.credit < CALLS_PER_RETRY {
            return Elsewhere::Later;
        }
        state.credit -= CALLS_PER_RETRY;
        Elsewhere::AtOnce
    }

    /// Ejects a service after a failure. If it was in use until now, returns the pause after which the caller begins to
    /// probe it. A service that is alone is never ejected.
    pub(super) fn eject(&self, service: &Arc<S>, random: u32) -> Option<Duration> {
        let mut state = self.lock();
        let is_alone = state.members.len() == 1;
        let member = state.find(service).filter(|member| member.health == Health::InUse && !is_alone)?;
        member.health = Health::Ejected;
        Some(member.pauses.next(random))
    }

    /// As [`eject`](Self::eject), for a service that has another store, even if it is alone.
    pub(super) fn reject(&self, service: &Arc<S>, random: u32) -> Option<Duration> {
        let mut state = self.lock();
        let member = state.find(service)?;
        let was_in_use = std::mem::replace(&mut member.health, Health::Foreign) == Health::InUse;
        was_in_use.then(|| member.pauses.next(random))
    }

    /// The pause before the next probe, after one that failed; `None` if the service has left, or is in use.
    pub(super) fn pause(&self, service: &Arc<S>, random: u32) -> Option<Duration> {
        let mut state = self.lock();
        let member = state.find(service).filter(|member| member.health != Health::InUse)?;
        Some(member.pauses.next(random))
    }

    pub(super) fn readmit(&self, service: &Arc<S>) {
        if let Some(member) = self.lock().find(service) {
            member.health = Health::InUse;
        }
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self, service: &Arc<S>) -> usize {
        self.lock().find(service).map_or(0, |member| member.in_flight)
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
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

    /// A balancer of services with these numbers.
    fn balancer(count: usize) -> (Balancer<usize>, Vec<Arc<usize>>) {
        let services: Vec<_> = (0..count).map(Arc::new).collect();
        let balancer = Balancer::new();
        balancer.set(services.iter().map(|service| (Arc::clone(service), true)));
        (balancer, services)
    }

    #[test]
    fn requests_are_distributed_evenly() {
        let ((balancer, _), mut random) = (balancer(5), numbers());
        let mut counts = [0; 5];
        for _ in 0..50_000 {
            let service = balancer.choose(&[], random()).unwrap();
            counts[*service] += 1;
            balancer.release(&service, true);
        }
        assert!(counts.iter().all(|count| (8_000..12_000).contains(count)), "{counts:?}");
        // Requests that do not end: the numbers in flight differ little.
        let mut counts = [0_usize; 5];
        (0..5000).for_each(|_| counts[*balancer.choose(&[], random()).unwrap()] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 10), "{counts:?}");
    }

    #[test]
    fn calls_in_turn_stay_at_one_service_for_a_while() {
        let ((balancer, _), mut random) = (balancer(2), numbers());
        let mut choose = || balancer.choose(&[], random()).unwrap();
        let (mut last, mut changes) = (0, 0);
        for _ in 0..3200 {
            let service = choose();
            balancer.release(&service, true);
            changes += usize::from(*service != last);
            last = *service;
        }
        assert!((50..200).contains(&changes), "{changes}"); // half of the runs end with the same service
        let busy = choose();
        for _ in 0..100 {
            let other = choose();
            assert_ne!(other, busy, "it has a call in flight");
            balancer.release(&other, true);
        }
    }

    #[test]
    fn a_slow_service_gets_fewer_requests() {
        let ((balancer, _), mut random) = (balancer(3), numbers());
        let mut slow = Vec::new();
        for _ in 0..300 {
            let service = balancer.choose(&[], random()).unwrap();
            if *service == 0 { slow.push(()) } else { balancer.release(&service, true) }
        }
        assert!((1..20).contains(&slow.len()), "{}", slow.len());
    }

    #[test]
    fn an_ejected_service_is_the_last_choice() {
        let ((balancer, all), mut random) = (balancer(3), numbers());
        assert!(balancer.eject(&all[1], 0).is_some() && balancer.eject(&all[1], 0).is_none(), "one probe");
        let mut choose = |tried: &[usize]| {
            let tried: Vec<_> = tried.iter().map(|number| Arc::clone(&all[*number])).collect();
            let service = balancer.choose(&tried, random()).unwrap();
            balancer.release(&service, true);
            *service
        };
        assert!((0..100).all(|_| choose(&[]) != 1));
        assert!((0..100).all(|_| choose(&[0]) == 2));
        assert_eq!(choose(&[0, 2]), 1);
        assert!((0..100).all(|_| choose(&[0, 1, 2]) != 1));
        balancer.readmit(&all[1]);
        assert!((0..1000).any(|_| choose(&[]) == 1));
        all.iter().for_each(|service| assert!(balancer.eject(service, 0).is_some()));
        assert!((0..3).all(|number| (0..100).any(|_| choose(&[]) == number)), "all are ejected");
    }

    #[test]
    fn a_call_that_has_tried_all_services_goes_to_one_that_is_back() {
        let ((balancer, all), mut random) = (balancer(3), numbers());
        let mut choose = || {
            let service = balancer.choose(&all, random()).unwrap();
            balancer.release(&service, false);
            *service
        };
        all.iter().for_each(|service| assert!(balancer.eject(service, 0).is_some()));
        let choices: Vec<_> = (0..100).map(|_| choose()).collect();
        let stays = choices.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(stays < 60, "it stays {stays} times at the last one");
        for back in &all {
            balancer.readmit(back);
            assert!((0..100).all(|_| choose() == **back));
            balancer.eject(back, 0);
        }
    }

    #[test]
    fn a_service_alone_is_never_ejected() {
        let (balancer, all) = balancer(1);
        assert!(balancer.eject(&all[0], 0).is_none() && balancer.elsewhere(&all, true) == Elsewhere::Nowhere);
        assert!(balancer.choose(&all, [7, 7]).is_some());
        assert!(Balancer::<usize>::new().choose(&[], [7, 7]).is_none());
    }

    #[test]
    fn a_service_of_another_store_gets_no_call() {
        let ((balancer, all), mut random) = (balancer(2), numbers());
        assert!(balancer.reject(&all[0], 0).is_some() && balancer.reject(&all[0], 0).is_none(), "one probe");
        assert!(balancer.eject(&all[1], 0).is_some() && balancer.elsewhere(&all[1..], true) == Elsewhere::Nowhere);
        assert!((0..100).all(|_| balancer.choose(&[Arc::clone(&all[1])], random()).is_some_and(|chosen| *chosen == 1)));
        assert!(balancer.reject(&all[1], 0).is_none(), "it is being probed already");
        assert!(balancer.choose(&[], random()).is_none());
        balancer.set([(Arc::clone(&all[1]), true)]);
        assert!(balancer.choose(&[], random()).is_none() && balancer.pause(&all[0], 0).is_none());
    }

    #[test]
    fn the_own_zone_comes_first() {
        let ((balancer, all), mut random) = (balancer(4), numbers());
        balancer.set(all.iter().map(|service| (Arc::clone(service), **service < 2)));
        let mut choose = || *balancer.choose(&[], random()).unwrap();
        assert!((0..100).all(|_| choose() < 2));
        balancer.eject(&all[0], 0);
        assert!((0..100).all(|_| choose() == 1));
        balancer.eject(&all[1], 0);
        assert!((0..100).all(|_| choose() >= 2), "others before ejected ones");
    }

    #[test]
    fn a_service_that_stays_keeps_its_state() {
        let ((balancer, all), mut random) = (balancer(3), numbers());
        balancer.eject(&all[2], 0);
        let under_way: Vec<_> = (0..100).map(|_| balancer.choose(&[], random()).unwrap()).collect();
        let new = Arc::new(3);
        balancer.set([&all[2], &all[1], &new].map(|service| (Arc::clone(service), true)));
        // The new one has no calls in flight, the ejected one gets none.
        assert!((0..40).all(|_| *balancer.choose(&[], random()).unwrap() == 3));
        under_way.iter().for_each(|service| balancer.release(service, true));
        assert!((0..10).all(|_| *balancer.choose(&[], random()).unwrap() == 1), "its calls have ended");
        // One that comes back is new.
        balancer.set([&all[0], &all[1]].map(|service| (Arc::clone(service), true)));
        assert!((0..9).any(|_| *balancer.choose(&[], random()).unwrap() == 0));
    }

    #[test]
    fn pauses_grow_until_a_call_is_answered() {
        let (balancer, all) = balancer(2);
        let fail = || {
            let pause = balancer.eject(&all[0], u32::MAX).unwrap();
            balancer.readmit(&all[0]);
            pause
        };
        assert_eq!([fail(), fail(), fail()], [1, 2, 4].map(|n| FIRST_PAUSE * n));
        (0..8).for_each(|_| assert!(fail() > FIRST_PAUSE));
        assert_eq!(fail(), LONGEST_PAUSE);
        balancer.release(&all[0], false);
        assert_eq!(fail(), LONGEST_PAUSE);
        balancer.release(&all[0], true);
        assert_eq!(fail(), FIRST_PAUSE);
        assert!(balancer.eject(&all[0], 0).unwrap() < FIRST_PAUSE * 2, "they are random");
    }

    #[test]
    fn retries_are_a_part_of_the_calls() {
        let ((balancer, all), mut random) = (balancer(5), numbers());
        let elsewhere = |tried: usize, is_unreached| balancer.elsewhere(&all[..tried], is_unreached);
        let may_retry = |tried, is_unreached| elsewhere(tried, is_unreached) == Elsewhere::AtOnce;
        assert!(may_retry(1, false) && may_retry(2, false) && elsewhere(3, false) == Elsewhere::Later);
        assert!(may_retry(3, true) && may_retry(4, true) && elsewhere(5, true) == Elsewhere::Nowhere);
        balancer.eject(&all[4], 0);
        assert!(elsewhere(4, true) == Elsewhere::Later && may_retry(2, false), "only one that is ejected");
        let at_once = || (0..1000).take_while(|_| may_retry(1, false)).count();
        assert_eq!(at_once(), SAVED_RETRIES as usize - 5);
        assert_eq!(elsewhere(1, true), Elsewhere::Later);
        let mut retries = 0;
        for _ in 0..1000 {
            balancer.choose(&[], random());
            retries += usize::from(may_retry(1, true));
        }
        assert_eq!(retries, 100);
        for _ in 0..2 * SAVED_RETRIES * CALLS_PER_RETRY {
            balancer.choose(&[], random());
        }
        assert_eq!(at_once(), SAVED_RETRIES as usize);
    }
}
