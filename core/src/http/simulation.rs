//! A simulation of many calls to services that fail, recover, join and leave, with a virtual clock: the choice among
//! services and the decisions about retries are the real ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{HeaderMap, StatusCode};

use super::balancer::{Balancer, CALLS_PER_RETRY, Elsewhere, SAVED_RETRIES};
use super::failure::Failure;
use super::problem::Problem;
use super::retry::{ATTEMPTS, Retries, RetryPolicy, latest_attempt};

/// The time limit of a call.
const TIME: Duration = Duration::from_secs(30);
/// The time that all services are well at the end.
const WELL: Duration = Duration::from_secs(90);

/// How a service treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Well,
    /// Refuses connections.
    Down,
    /// Accepts connections, and nothing else.
    Silent,
    /// Executes requests, and loses the answers.
    LosesAnswers,
    /// Loses requests before it executes them.
    LosesRequests,
    Busy,
    OtherStore,
    /// Has another certificate.
    Untrusted,
    /// Answers without HTTP.
    NoHttp,
}

const MODES: [Mode; 9] = [
    Mode::Well,
    Mode::Down,
    Mode::Silent,
    Mode::LosesAnswers,
    Mode::LosesRequests,
    Mode::Busy,
    Mode::OtherStore,
    Mode::Untrusted,
    Mode::NoHttp,
];

struct Call {
    policy: RetryPolicy,
    retries: Retries,
    latest: Instant,
    tried: Vec<Arc<usize>>,
    executed: usize,
    /// Whether an attempt's outcome was unknown.
    may_be_done: bool,
}

enum Event {
    Call(RetryPolicy),
    Attempt(Call),
    /// The outcome of an attempt that was executed in this mode.
    Answer(Call, Arc<usize>, Mode),
    Probe(Arc<usize>),
    Change,
    SetMode(usize, Mode),
    /// From now on, all services of the list are well.
    Heal,
}

struct World {
    random: u64,
    start: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    scheduled: u64,
    balancer: Balancer<usize>,
    services: Vec<Arc<usize>>,
    modes: Vec<Mode>,
    is_listed: Vec<bool>,
    /// Those that are known to have another store.
    are_foreign: Vec<bool>,
    is_healed: bool,
    /// The attempts at each service while all were well, and in the last part of that time.
    attempts: Vec<usize>,
    late_attempts: Vec<usize>,
    calls: u32,
    retries_at_once: u32,
    ended: u32,
    answered: u32,
}

impl World {
    fn new(seed: u64, count: usize) -> Self {
        let services: Vec<_> = (0..count).map(Arc::new).collect();
        let world = Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            start: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            scheduled: 0,
            balancer: Balancer::new(),
            services,
            modes: vec![Mode::Well; count],
            is_listed: vec![true; count],
            are_foreign: vec![false; count],
            is_healed: false,
            attempts: vec![0; count],
            late_attempts: vec![0; count],
            calls: 0,
            retries_at_once: 0,
            ended: 0,
            answered: 0,
        };
        world.set_list();
        world
    }

    fn random(&mut self) -> u32 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        u32::try_from(self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap()
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random() as usize % limit
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    fn set_list(&self) {
        let listed = self.services.iter().filter(|service| self.is_listed[***service]);
        self.balancer.set(listed.map(|service| (Arc::clone(service), true)));
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            match self.events.remove(&number).unwrap() {
                Event::Call(policy) => {
                    self.calls += 1;
                    let now = self.instant();
                    let retries = Retries::new(policy, TIME, now + TIME, now);
                    let latest = latest_attempt(TIME, now + TIME);
                    self.attempt(Call { policy, retries, latest, tried: Vec::new(), executed: 0, may_be_done: false });
                }
                Event::Attempt(call) => self.attempt(call),
                Event::Answer(call, service, mode) => self.answer(call, &service, mode),
                Event::Probe(service) => self.probe(service),
                Event::Change => self.change(),
                Event::SetMode(service, mode) => self.modes[service] = mode,
                Event::Heal => self.heal(),
            }
        }
    }

    fn attempt(&mut self, mut call: Call) {
        assert!(!call.may_be_done || call.policy == RetryPolicy::Idempotent, "an unsafe repeat");
        let random = [self.random(), self.random()];
        let Some(service) = self.balancer.choose(&call.tried, random) else {
            // All have another store, or there is none.
            return self.decide(call, &Err(Failure::NotSent("no service".into())));
        };
        assert!(self.is_listed[*service], "a service that has left gets a new attempt");
        assert!(!self.are_foreign[*service], "a service of another store gets an attempt");
        if self.is_healed {
            self.attempts[*service] += 1;
            self.late_attempts[*service] += usize::from(self.now > self.healed_at() + WELL / 2);
        }
        if !call.tried.iter().any(|tried| Arc::ptr_eq(tried, &service)) {
            call.tried.push(Arc::clone(&service));
        }
        let mode = self.modes[*service];
        let latency = match mode {
            Mode::Silent => TIME / ATTEMPTS,
            _ => Duration::from_millis(1 + self.below(50) as u64),
        };
        self.schedule(latency, Event::Answer(call, service, mode));
    }

    fn healed_at(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn answer(&mut self, mut call: Call, service: &Arc<usize>, mode: Mode) {
        let outcome = match mode {
            Mode::Well => Ok(()),
            Mode::Down => Err(Failure::NotSent("refused".into())),
            Mode::Silent => Err(Failure::too_late().before_end()),
            Mode::LosesAnswers | Mode::LosesRequests => Err(Failure::too_late()),
            Mode::Busy => {
                let mut headers = HeaderMap::new();
                headers.extend([crate::protocol::problem::code_header(12)]);
                Err(Failure::Problem(Problem::read(StatusCode::SERVICE_UNAVAILABLE, &headers, b"")))
            }
            Mode::OtherStore => Err(Failure::Untrusted("another store".into())),
            Mode::Untrusted => Err(Failure::Untrusted("another certificate".into())),
            Mode::NoHttp => Err(Failure::no_http("mail".into()).before_end()),
        };
        call.executed += usize::from(matches!(mode, Mode::Well | Mode::LosesAnswers));
        call.may_be_done |= matches!(outcome, Err(Failure::Lost(_)));
        self.balancer.release(service, matches!(mode, Mode::Well | Mode::Busy));
        self.are_foreign[**service] |= mode == Mode::OtherStore && self.is_listed[**service];
        let random = self.random();
        let pause = match mode {
            Mode::Well | Mode::Busy => None,
            Mode::OtherStore => self.balancer.reject(service, random),
            _ => self.balancer.eject(service, random),
        };
        if let Some(pause) = pause {
            self.schedule(pause, Event::Probe(Arc::clone(service)));
        }
        self.decide(call, &outcome);
    }

    /// Repeats the call, or ends it.
    fn decide(&mut self, mut call: Call, outcome: &Result<(), Failure>) {
        let is_unreached = matches!(outcome, Err(Failure::NotSent(_)));
        let elsewhere = || self.balancer.elsewhere(&call.tried, is_unreached);
        let pause = call.retries.pause(outcome, self.instant(), elsewhere);
        match pause {
            Some(pause) => {
                self.retries_at_once += u32::from(pause.is_zero());
                self.schedule(pause, Event::Attempt(call));
            }
            None => {
                self.ended += 1;
                let is_well = outcome.is_ok();
                self.answered += u32::from(is_well);
                assert!(call.policy == RetryPolicy::Idempotent || call.executed <= 1, "executed twice");
                assert!(!is_well || call.executed >= 1);
                assert!(is_well || call.executed == 0 || call.may_be_done, "a call that was done is known to be");
                let has_time = self.instant() < call.latest;
                let elsewhere = self.balancer.elsewhere(&call.tried, is_unreached);
                assert!(!is_unreached || !has_time || elsewhere != Elsewhere::AtOnce, "another service was not tried");
            }
        }
    }

    fn probe(&mut self, service: Arc<usize>) {
        let is_well = self.modes[*service] == Mode::Well;
        if is_well {
            self.are_foreign[*service] = false;
            return self.balancer.readmit(&service);
        }
        let random = self.random();
        if let Some(pause) = self.balancer.pause(&service, random) {
            self.schedule(pause, Event::Probe(service));
        }
    }

    /// A service changes its mode, joins or leaves.
    fn change(&mut self) {
        let service = self.below(self.services.len());
        if self.below(3) == 0 {
            self.is_listed[service] ^= true;
            self.are_foreign[service] = false; // one that comes back is new
            if !self.is_listed.contains(&true) {
                self.is_listed[service] = true;
            }
            self.set_list();
        } else {
            self.modes[service] = MODES[self.below(MODES.len())];
        }
    }

    fn heal(&mut self) {
        self.modes.fill(Mode::Well);
        self.is_healed = true;
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed, 2 + usize::try_from(seed % 5).unwrap());
    let healed_at = world.healed_at();
    for _ in 0..world.below(60) {
        let at = world.below(usize::try_from(healed_at.as_millis()).unwrap());
        world.schedule(Duration::from_millis(at as u64), Event::Change);
    }
    world.schedule(healed_at, Event::Heal);
    let end = healed_at + WELL;
    let mut at = Duration::ZERO;
    while at < end {
        let policy = if world.below(2) == 0 { RetryPolicy::Idempotent } else { RetryPolicy::UnlessDone };
        world.schedule(at, Event::Call(policy));
        at += Duration::from_millis(1 + world.below(100) as u64);
    }
    world.run();
    assert_eq!(world.ended, world.calls, "all calls end");
    assert!(
        world.retries_at_once <= SAVED_RETRIES + world.calls / CALLS_PER_RETRY,
        "{} retries of {} calls",
        world.retries_at_once,
        world.calls
    );
    // The longest pause before a probe is 30 seconds.
    let listed: Vec<_> = world.services.iter().filter(|service| world.is_listed[***service]).collect();
    let all: usize = world.late_attempts.iter().sum();
    for service in &listed {
        let attempts = world.late_attempts[***service];
        assert!(attempts > all / listed.len() / 2, "{:?}: a service starves", world.late_attempts);
    }
    assert!(listed.iter().all(|service| world.balancer.in_flight(service) == 0), "attempts that never end");
}

#[test]
fn calls_are_safe_and_services_share_them() {
    for seed in 0..100 {
        println!("seed {seed}"); // shown if it fails
        simulate(seed);
    }
}

/// One service restarts, possibly after it has lost an answer, and the other one is of no use: calls wait.
#[test]
fn calls_wait_for_a_service_that_restarts() {
    let others = [Mode::Down, Mode::OtherStore, Mode::Untrusted, Mode::NoHttp];
    let first = [(Mode::Down, RetryPolicy::UnlessDone), (Mode::LosesAnswers, RetryPolicy::Idempotent)];
    for (other, (mode, policy)) in others.into_iter().flat_map(|other| first.map(|first| (other, first))) {
        for seed in 0..20 {
            println!("{mode:?} and {other:?}, seed {seed}"); // shown if it fails
            let mut world = World::new(seed, 2);
            world.modes = vec![mode, other];
            let calls = 2 * SAVED_RETRIES; // not all are repeated at once
            (0..calls).for_each(|_| world.schedule(Duration::ZERO, Event::Call(policy)));
            world.schedule(Duration::from_millis(1), Event::SetMode(0, Mode::Down));
            world.schedule(Duration::from_secs(1), Event::SetMode(0, Mode::Well));
            world.schedule(world.healed_at(), Event::Heal); // the probes end
            world.run();
            assert_eq!(world.answered, calls);
        }
    }
}
