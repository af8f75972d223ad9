//! The services of an endpoint, with connections to each.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::balancer::Balancer;
use super::connector::Connector;
use super::endpoint::Endpoint;
use super::exchange::send;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::OutgoingBody;
use super::retry::ATTEMPTS;
use super::timing::{IdleTimer, TimeBudget};
use crate::util::backoff::Backoff;
use crate::util::interrupt;
use crate::util::random;
use crate::util::runtime::Runtime;

/// How long an idle connection is kept: less than services keep it, so that the client does not use a closed one.
const IDLE: Duration = Duration::from_secs(5);
/// The maximum number of idle connections to a service.
const KEPT: usize = 32;
/// The first pause before a probe of an ejected service, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The time limit of a probe.
const PROBE: Duration = Duration::from_secs(5);

pub(super) struct Services {
    all: Vec<Service>,
    balancer: Balancer,
}

/// One service, and the connections to it.
pub(super) struct Service {
    /// The part of the URL before each path.
    pub(super) base: String,
    pub(super) kept: Client<Connector, OutgoingBody>,
    /// For bodies that cannot be sent again: a kept connection may have been closed by the service.
    pub(super) once: Client<Connector, OutgoingBody>,
}

impl Services {
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        let time = endpoint.time() / ATTEMPTS;
        let open = |(base, target)| {
            let connector = Connector { target, time };
            let build = |kept| {
                let mut builder = Client::builder(TokioExecutor::new());
                builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(kept);
                builder.build(connector.clone())
            };
            Service { base, kept: build(KEPT), once: build(0) }
        };
        let all: Vec<_> = endpoint.targets()?.into_iter().map(open).collect();
        Ok(Self { balancer: Balancer::new(all.len()), all })
    }

    /// Whether there are several.
    pub(super) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// Probes a service until it answers, and then uses it again.
    async fn probe(self: Arc<Self>, index: usize) {
        let Some(service) = self.all.get(index) else { return };
        let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            tokio::time::sleep(backoff.pause()).await;
            if service.is_ready().await {
                return self.balancer.readmit(index);
            }
        }
    }
}

impl Service {
    /// An answer other than a server's error shows that it is ready: a proxy may not forward the probe.
    async fn is_ready(&self) -> bool {
        let Ok(uri) = Uri::try_from(format!("{}/readyz", self.base)) else { return false };
        let idle = IdleTimer::new(PROBE);
        let mut request = Request::new(OutgoingBody::Whole(Bytes::new(), idle.clone()));
        *request.uri_mut() = uri;
        let answer = send(self.kept.clone(), request, idle, TimeBudget::new(PROBE)).await;
        answer.is_ok_and(|answer| !answer.status.is_server_error())
    }
}

/// The services that one call tries.
pub(super) struct Choice<'c> {
    services: &'c Arc<Services>,
    runtime: &'c Runtime,
    tried: RefCell<Vec<usize>>,
}

impl<'c> Choice<'c> {
    pub(super) fn new(services: &'c Arc<Services>, runtime: &'c Runtime) -> Self {
        Self { services, runtime, tried: RefCell::default() }
    }

    /// The service for the next attempt.
    pub(super) fn next(&self) -> InFlight {
        let mut tried = self.tried.borrow_mut();
        let index = self.services.balancer.choose(&tried, self.random());
        if !tried.contains(&index) {
            tried.push(index);
        }
        InFlight { services: Arc::clone(self.services), index }
    }

    fn random(&self) -> [u32; 2] {
        let mut bytes = [0; 8];
        if self.services.are_several() {
            let _ = random::fill(&mut bytes); // if this fails, the first services get all requests
        }
        let [a, b, c, d, e, f, g, h] = bytes;
        [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
    }

    /// Notes the outcome of an attempt: a service that does not answer is ejected.
    pub(super) fn note<T>(&self, index: usize, outcome: &Result<T, Failure>) {
        let is_failed = match outcome {
            Err(Failure::NotSent(_) | Failure::Lost(_)) => !interrupt::was_interrupted(),
            Err(Failure::Problem(problem)) => problem.is_unreachable(),
            _ => false,
        };
        if is_failed && self.services.balancer.eject(index) {
            self.runtime.spawn(Arc::clone(self.services).probe(index));
        }
    }

    /// Whether the call may try another service at once.
    pub(super) fn may_retry(&self) -> bool {
        self.services.balancer.may_retry(self.tried.borrow().len())
    }
}

/// An attempt at a service, which counts as in flight until this is dropped.
pub(super) struct InFlight {
    services: Arc<Services>,
    index: usize,
}

impl InFlight {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn service(&self) -> Result<&Service, Failure> {
        self.services.all.get(self.index).ok_or(Failure::Closed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.services.balancer.release(self.index);
    }
}
