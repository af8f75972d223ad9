//! The places of an endpoint's services: given, from a list that changes, or asked from the services themselves; and the
//! addresses of their names. Everything here rides on calls: without calls, nothing is asked or looked up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::resolver::{KnownNames, LOOKUP_INTERVAL};
use super::service::Place;
use super::service_list::{Listed, ServiceList};
use super::trusted_names::TrustedNames;
use crate::protocol::nodes::{NodeState, Nodes, Role};

/// How long the last services stay in use after an empty list: a fault of the discovery does not stop all calls.
const KEPT_FOR: Duration = Duration::from_secs(10 * 60);
/// The most services that are used.
const MOST_SERVICES: usize = 1024;

/// The source of the services' addresses.
#[derive(Clone)]
pub(super) enum Source {
    Given(Vec<Address>),
    /// These and other services answer which ones there are.
    Cluster(Vec<Address>),
    List(ServiceList),
}

impl Source {
    /// The addresses that the caller gave, which need no trusted name.
    pub(super) fn given(&self) -> &[Address] {
        match self {
            Self::Given(given) | Self::Cluster(given) => given,
            Self::List(_) => &[],
        }
    }
}

pub(super) struct Discovery {
    source: Source,
    trusted: TrustedNames,
    zone: Option<String>,
    role: Role,
    names: Arc<KnownNames>,
    state: Mutex<State>,
}

struct State {
    /// The list's version, and that of the names' addresses, at the last step.
    seen: (u64, u64),
    /// The answer to the last question.
    answer: Vec<Listed>,
    answers: u64,
    known: LastKnown,
    /// The time of the next step.
    due: Instant,
    is_running: bool,
}

/// What a call has to do before it chooses a service.
pub(super) struct Step {
    /// The services, each with whether it is in the own zone, if they may have changed.
    pub(super) places: Option<Vec<(Place, bool)>>,
    pub(super) work: Work,
}

/// Questions to services and names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    Nothing,
    InTheBackground,
    /// The call waits for it.
    First,
}

/// The services of the last list that was not empty.
struct LastKnown {
    services: Vec<Listed>,
    at: Instant,
}

impl LastKnown {
    fn update(&mut self, list: Vec<Listed>, given: &[Address], now: Instant) {
        if !list.is_empty() {
            *self = Self { services: list, at: now };
        } else if now.saturating_duration_since(self.at) > KEPT_FOR {
            self.services = listed(given);
        }
    }
}

fn listed(given: &[Address]) -> Vec<Listed> {
    given.iter().map(|address| Listed { address: address.clone(), zone: None }).collect()
}

impl Discovery {
    pub(super) fn new(
        source: Source,
        trusted: TrustedNames,
        zone: Option<String>,
        role: Role,
        names: Arc<KnownNames>,
    ) -> Self {
        let now = Instant::now();
        let due = if let Source::Cluster(_) = source { now } else { now + LOOKUP_INTERVAL };
        let known = LastKnown { services: listed(source.given()), at: now };
        let state = State { seen: (0, 0), answer: Vec::new(), answers: 0, known, due, is_running: false };
        Self { source, trusted, zone, role, names, state: Mutex::new(state) }
    }

    /// Whether the services never change.
    pub(super) fn is_fixed(&self) -> bool {
        self.is_given() && self.source.given().iter().all(|address| address.shared_name().is_none())
    }

    /// Whether the caller gave the services.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.source, Source::Given(_))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.source, Source::Cluster(_))
    }

    /// The places at the beginning.
    pub(super) fn places(&self) -> Vec<(Place, bool)> {
        self.places_of(&self.lock().known.services)
    }

    /// The next step of a call that begins `now`.
    pub(super) fn step(&self, now: Instant) -> Step {
        let mut state = self.lock();
        let list = match &self.source {
            Source::List(list) => list.version(),
            _ => state.answers,
        };
        let seen = (list, self.names.version());
        let is_due = now >= state.due;
        if seen == state.seen && !is_due {
            return Step { places: None, work: Work::Nothing };
        }
        state.seen = seen;
        let proposed = match &self.source {
            Source::Given(given) => listed(given),
            Source::Cluster(_) => state.answer.clone(),
            Source::List(list) => list.current(),
        };
        let may_use =
            |listed: &Listed| self.source.given().contains(&listed.address) || self.trusted.allow(&listed.address);
        let proposed = proposed.into_iter().filter(may_use).take(MOST_SERVICES).collect();
        state.known.update(proposed, self.source.given(), now);
        let places = Some(self.places_of(&state.known.services));
        let has_work =
            || self.is_cluster() || state.known.services.iter().any(|listed| listed.address.shared_name().is_some());
        let work = match is_due {
            true if self.is_cluster() && state.answers == 0 => Work::First,
            true if !state.is_running && has_work() => Work::InTheBackground,
            _ => Work::Nothing,
        };
        state.is_running |= work != Work::Nothing;
        if work != Work::First {
            state.due = if is_due { now + LOOKUP_INTERVAL } else { state.due };
        }
        Step { places, work }
    }

    /// Takes the answer of a cluster, `None` if nobody has answered, and looks up the names again.
    pub(super) async fn finish(&self, nodes: Option<Nodes>, store: Option<&str>) {
        let used = {
            let mut state = self.lock();
            if self.is_cluster() {
                state.answer = nodes.map(|nodes| self.usable(nodes, store)).unwrap_or_default();
                state.answers += 1;
            }
            state.due = Instant::now() + LOOKUP_INTERVAL;
            state.known.services.clone()
        };
        let is_used = |name: &str, port: u16| used.iter().any(|listed| listed.address.is_at(name, port));
        self.names.look_up_again(is_used).await;
        self.lock().is_running = false;
    }

    /// The nodes that can be used, if the endpoint's store is the one with this id.
    fn usable(&self, nodes: Nodes, store: Option<&str>) -> Vec<Listed> {
        let has_store = |found: &Option<String>| match (found, store) {
            (Some(found), Some(store)) => found == store,
            _ => true,
        };
        let nodes = nodes.nodes.into_iter();
        let usable =
            nodes.filter(|node| node.role == self.role && node.state == NodeState::Ready && has_store(&node.store));
        Listed::valid(usable.take(MOST_SERVICES).map(|node| (node.url, node.zone)))
    }

    fn places_of(&self, services: &[Listed]) -> Vec<(Place, bool)> {
        let mut places = Vec::new();
        for Listed { address, zone } in services {
            let is_near = self.zone.is_none() || *zone == self.zone;
            let sockets = match (address.shared_name(), address) {
                (Some(name), Address::Https { port, .. }) => self.names.several(name, *port),
                _ => Vec::new(),
            };
            if sockets.is_empty() {
                places.push((Place { address: address.clone(), socket: None }, is_near));
            }
            let place = |socket| (Place { address: address.clone(), socket: Some(socket) }, is_near);
            places.extend(sockets.into_iter().map(place));
        }
        places
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
