//! The services of an endpoint: each attempt of a call gets one, which the balancer chooses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;

use super::address::Address;
use super::balancer::{Balancer, Elsewhere};
use super::discovery::{Discovery, Work};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::resolver::KnownNames;
use super::retry::ATTEMPTS;
use super::service::{Opener, Place, Service};
use super::upstreams::Upstreams;
use crate::protocol::names::NO_STORE;
use crate::protocol::nodes::{Nodes, Role};
use crate::util::random;

/// The most services that are asked for the nodes of their cluster, and the most given ones.
const MOST_ASKED: usize = 3;

pub(super) struct Services {
    balancer: Balancer<Service>,
    discovery: Discovery,
    opener: Opener,
    /// The services that were given, which are asked for the nodes of their cluster.
    given: Vec<Arc<Service>>,
    authorization: Option<HeaderValue>,
    are_several: AtomicBool,
    /// The store of the first service that told it, and that service's URL.
    store: Mutex<Option<(HeaderValue, String)>>,
}

/// A service has another store than those that answered before.
#[derive(Debug, thiserror::Error)]
#[error(
    "{service} has another store than {first}, or none: the services of one endpoint must share a store; nothing was sent to \
     it"
)]
struct OtherStore {
    service: String,
    first: String,
}

#[derive(Debug, thiserror::Error)]
#[error("no service is known: the cluster or the list names none that is ready and trusted")]
struct NoService;

impl Services {
    pub(super) fn open(endpoint: &Endpoint, role: Role) -> Result<Self, InvalidEndpoint> {
        if endpoint.time().is_zero() {
            return Err(InvalidEndpoint::Timeout);
        }
        let tls = endpoint.tls()?; // before the token: it names contradictory options
        let names = Arc::new(KnownNames::new(endpoint.resolver.clone()));
        let (source, trusted, zone) = (endpoint.source.clone(), endpoint.trusted.clone(), endpoint.zone.clone());
        let services = Self {
            balancer: Balancer::new(),
            discovery: Discovery::new(source, trusted, zone, role, Arc::clone(&names)),
            opener: Opener { tls, time: endpoint.time() / ATTEMPTS, names, upstreams: endpoint.upstreams() },
            given: Vec::new(),
            authorization: endpoint.authorization()?,
            are_several: AtomicBool::new(false),
            store: Mutex::default(),
        };
        services.set(services.discovery.places());
        let given = if services.discovery.is_cluster() { services.balancer.services() } else { Vec::new() };
        Ok(Self { given, ..services })
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.clone()
    }

    /// Whether there are several.
    pub(super) fn are_several(&self) -> bool {
        self.are_several.load(Ordering::Relaxed)
    }

    pub(super) fn upstreams(&self) -> &Upstreams {
        &self.opener.upstreams
    }

    /// Uses the services at these places. Those that are used already keep their connections.
    fn set(&self, places: Vec<(Place, bool)>) {
        let known: Vec<_> = self.balancer.services().into_iter().chain(self.given.iter().cloned()).collect();
        let service = |(place, is_near): (Place, bool)| {
            let known = known.iter().find(|service| service.place == place).cloned();
            Some((known.or_else(|| self.opener.open(place))?, is_near))
        };
        let services: Vec<_> = places.into_iter().filter_map(service).collect();
        self.are_several.store(services.len() > 1 || !self.discovery.is_given(), Ordering::Relaxed);
        self.balancer.set(services);
    }

    /// Brings the services up to date.
    pub(super) async fn update(self: &Arc<Self>) {
        if self.discovery.is_fixed() {
            return;
        }
        match self.step() {
            Work::Nothing => {}
            Work::InTheBackground => drop(tokio::spawn(Arc::clone(self).discover())),
            Work::First => {
                // A task of its own: it ends even if the call does not wait for it.
                let _ = tokio::spawn(Arc::clone(self).discover()).await;
                self.step();
            }
        }
    }

    fn step(&self) -> Work {
        let step = self.discovery.step(Instant::now());
        if let Some(places) = step.places {
            self.set(places);
        }
        step.work
    }

    /// Asks services for the nodes of the cluster, and looks up names again.
    async fn discover(self: Arc<Self>) {
        let answer = if self.discovery.is_cluster() {
            tokio::time::timeout(self.opener.time, self.nodes()).await.ok().flatten()
        } else {
            None
        };
        self.take(answer).await;
    }

    /// Takes the answer about the nodes of the cluster.
    async fn take(&self, answer: Option<(Address, Nodes)>) {
        let own = answer.as_ref().and_then(|(_, nodes)| nodes.this_node());
        if let Some((store, url)) = own.and_then(|node| Some((node.store.as_ref()?, &node.url)))
            && let Ok(store) = HeaderValue::try_from(store)
        {
            self.has_same_store(&store, url);
        }
        let store = self.store().map(|(store, _)| store);
        self.discovery.finish(answer, store.as_ref().and_then(|store| store.to_str().ok())).await;
    }

    /// The answer of the first one that answers, and its address.
    async fn nodes(&self) -> Option<(Address, Nodes)> {
        let mut known = self.balancer.services();
        let first = usize::try_from(random_numbers()[0]).unwrap_or(0) % known.len().max(1);
        known.rotate_left(first);
        known.truncate(MOST_ASKED);
        let given = self.given.iter().take(MOST_ASKED);
        let given: Vec<_> = given.filter(|given| !known.iter().any(|known| Arc::ptr_eq(known, given))).collect();
        for service in known.iter().chain(given) {
            if let Ok(nodes) = service.nodes(self.authorization()).await {
                return Some((service.place.address.clone(), nodes));
            }
        }
        None
    }

    fn store(&self) -> Option<(HeaderValue, String)> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is the store of all services; the first one that is told decides.
    fn has_same_store(&self, store: &HeaderValue, url: &str) -> bool {
        let mut known = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((known, _)) => known == store,
            None if store == NO_STORE => true,
            None => {
                *known = Some((store.clone(), url.to_owned()));
                true
            }
        }
    }

    /// Fails unless the service is ready and has the store of the others.
    async fn check(&self, service: &Service) -> Result<(), Failure> {
        if self.discovery.is_unanswered() {
            match service.nodes(self.authorization()).await {
                Ok(nodes) => self.take(Some((service.place.address.clone(), nodes))).await,
                Err(Failure::Problem(problem)) if !problem.is_transient() => {} // the call itself decides
                Err(Failure::ProtocolViolation | Failure::TooLarge | Failure::TooLong) => {} // a proxy's answer
                // A service that answers only the next question could have another role.
                Err(failure) => return Err(failure.before_end()),
            }
        }
        // Another question may have been answered since the service was chosen.
        if self.discovery.has_other_role(&service.place.address) {
            return Err(Failure::NotSent(NoService.into()));
        }
        let store = match service.ready().await {
            Ok(store) => store,
            Err(Failure::Problem(problem)) if !problem.is_transient() => return Err(Failure::NotSent(problem.into())),
            Err(Failure::ProtocolViolation | Failure::TooLarge | Failure::TooLong) => None, // a proxy's answer
            Err(failure) => return Err(failure.before_end()), // the request itself has not been sent
        };
        if let Some(store) = store {
            let url = service.place.address.to_string();
            if !self.has_same_store(&store, &url) {
                let first = self.store().map(|(_, url)| url).unwrap_or_default();
                return Err(Failure::OtherStore(OtherStore { service: url, first }.into()));
            }
            if store == NO_STORE {
                return Ok(()); // the next attempt asks again
            }
        }
        service.set_checked(true);
        Ok(())
    }

    /// Probes a service until it can be used again, or has left.
    async fn probe(self: Arc<Self>, service: Arc<Service>, mut pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            if self.check(&service).await.is_ok() {
                service.counters.set_ejected(false);
                return self.balancer.readmit(&service);
            }
            match self.balancer.pause(&service, random_numbers()[0]) {
                Some(next) => pause = next,
                None => return,
            }
        }
    }
}

/// Two random numbers; if the system gives none, the first services get all requests.
fn random_numbers() -> [u32; 2] {
    let mut bytes = [0; 8];
    let _ = random::fill(&mut bytes);
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}

/// Whether an outcome shows that the service cannot be used at present.
fn is_failed<T>(outcome: &Result<T, Failure>) -> bool {
    match outcome {
        Err(Failure::NotSent(_) | Failure::Lost(_)) => true,
        Err(Failure::Untrusted(_) | Failure::Denied(_) | Failure::OtherStore(_)) => true,
        Err(Failure::Problem(problem)) => problem.is_unreachable() || problem.is_rejection(),
        _ => false,
    }
}

/// The services that one call tries.
pub(super) struct Choice {
    services: Arc<Services>,
    tried: Vec<Arc<Service>>,
}

impl Choice {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services, tried: Vec::new() }
    }

    /// The service for the next attempt.
    pub(super) async fn next(&mut self) -> Result<InFlight, Failure> {
        self.services.update().await; // also during the pauses of a call
        let random = if self.services.are_several() { random_numbers() } else { [0; 2] };
        let service = self.services.balancer.choose(&self.tried, random);
        let service = service.ok_or_else(|| Failure::NotSent(NoService.into()))?;
        if !self.tried.iter().any(|tried| Arc::ptr_eq(tried, &service)) {
            self.tried.push(Arc::clone(&service));
        }
        Ok(InFlight { services: Arc::clone(&self.services), service, is_answered: false })
    }

    /// Fails if the service has another store than the others, before anything else is sent to it.
    pub(super) async fn check(&self, service: &Service) -> Result<(), Failure> {
        if !self.services.are_several() || service.is_checked() {
            return Ok(());
        }
        self.services.check(service).await
    }

    /// Ejects a service that failed. Returns the outcome of the attempt for the call.
    pub(super) fn note<T>(&self, service: &Arc<Service>, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let services = &self.services;
        if is_failed(&outcome) {
            services.discovery.hasten();
        }
        let pause = match &outcome {
            Err(Failure::OtherStore(_)) => services.balancer.reject(service, random_numbers()[0]),
            outcome if is_failed(outcome) => services.balancer.eject(service, random_numbers()[0]),
            _ => None,
        };
        if let Some(pause) = pause {
            service.set_checked(false);
            service.counters.set_ejected(true);
            tokio::spawn(Arc::clone(services).probe(Arc::clone(service), pause));
        }
        match outcome {
            // A service that the caller did not give is no error of the caller's.
            Err(Failure::OtherStore(source)) if !services.discovery.is_given() => Err(Failure::Untrusted(source)),
            outcome => outcome,
        }
    }

    /// Whether the call may try another service, after an attempt with this outcome.
    pub(super) fn elsewhere<T>(&self, outcome: &Result<T, Failure>) -> Elsewhere {
        let is_unreached = matches!(outcome, Err(Failure::NotSent(_)));
        self.services.balancer.elsewhere(&self.tried, is_unreached)
    }
}

/// An attempt at a service, which counts as in flight until this is dropped.
pub(super) struct InFlight {
    services: Arc<Services>,
    service: Arc<Service>,
    is_answered: bool,
}

impl InFlight {
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Counts the outcome.
    pub(super) fn note<T>(&mut self, outcome: &Result<T, Failure>) {
        self.service.counters.count(outcome);
        self.is_answered = !is_failed(outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.services.balancer.release(&self.service, self.is_answered);
    }
}
