//! The places of an endpoint's services: given, from a list that changes, or asked from the services themselves; and
//! the addresses of their names. Nothing is asked or looked up between calls.

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
/// The pause before a cluster is asked again that has named no service yet: its services may be starting.
const SOON: Duration = Duration::from_millis(500);
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
    /// The last list that was not empty; without one, the given services are used.
    known: Option<LastKnown>,
    /// The given services that have another role: they tell the others, and get no calls.
    others: Vec<Address>,
    /// The time of the last answer, and of the next step.
    answered: Instant,
    due: Instant,
    is_running: bool,
}

/// The work of a call before it chooses a service.
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

/// A list that was not empty, and its time.
struct LastKnown {
    services: Vec<Listed>,
    at: Instant,
}

impl State {
    /// Whether no list has named a service yet.
    fn is_unanswered(&self) -> bool {
        self.known.is_none() && self.answer.is_empty()
    }

    fn update(&mut self, list: Vec<Listed>, now: Instant) {
        if !list.is_empty() {
            self.known = Some(LastKnown { services: list, at: now });
        }
        self.known.take_if(|known| now.saturating_duration_since(known.at) > KEPT_FOR);
    }

    /// The services to use.
    fn services(&self, given: &[Address]) -> Vec<Listed> {
        match &self.known {
            Some(known) => known.services.clone(),
            None => listed(given.iter().filter(|address| !self.others.contains(address))),
        }
    }
}

fn listed<'a>(given: impl IntoIterator<Item = &'a Address>) -> Vec<Listed> {
    given.into_iter().map(|address| Listed { address: address.clone(), zone: None }).collect()
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
        let (answer, others) = (Vec::new(), Vec::new());
        let state =
            State { seen: (0, 0), answer, answers: 0, known: None, others, answered: now, due, is_running: false };
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

    /// Whether no service of the cluster has named a usable one yet.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is_cluster() && self.lock().is_unanswered()
    }

    /// Whether the service at this address has said that it has another role.
    pub(super) fn has_other_role(&self, address: &Address) -> bool {
        self.lock().others.contains(address)
    }

    /// The places at the beginning.
    pub(super) fn places(&self) -> Vec<(Place, bool)> {
        self.places_of(&self.lock().services(self.source.given()))
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
        state.update(proposed, now);
        let services = state.services(self.source.given());
        let places = Some(self.places_of(&services));
        let has_work = || self.is_cluster() || services.iter().any(|listed| listed.address.shared_name().is_some());
        let (work, due) = match is_due {
            false => (Work::Nothing, state.due),
            true if self.is_cluster() && state.answers == 0 => (Work::First, state.due),
            // A service may have failed since the answer to the question that is running.
            true if state.is_running => (Work::Nothing, now + SOON),
            true if has_work() => (Work::InTheBackground, now + LOOKUP_INTERVAL),
            true => {
                state.answered = now;
                (Work::Nothing, now + LOOKUP_INTERVAL)
            }
        };
        state.is_running |= work != Work::Nothing;
        state.due = due;
        Step { places, work }
    }

    /// Asks again soon, because a service has failed: another may be ready since the last answer.
    pub(super) fn hasten(&self) {
        let mut state = self.lock();
        state.due = state.due.min(state.answered + SOON);
    }

    /// Takes the answer of a cluster, with the address of the service that gave it, `None` if nobody has answered, and
    /// looks up the names again.
    pub(super) async fn finish(&self, answer: Option<(Address, Nodes)>, store: Option<&str>) {
        let used = {
            let mut state = self.lock();
            if let Some((address, nodes)) = &answer {
                state.others.retain(|other| other != address);
                if nodes.this_node().is_some_and(|own| own.role != self.role && own.role != Role::Unknown) {
                    state.others.push(address.clone());
                }
            }
            if self.is_cluster() {
                state.answer = answer.map(|(_, nodes)| self.usable(nodes, store)).unwrap_or_default();
                state.answers += 1;
            }
            let is_unanswered = self.is_cluster() && state.is_unanswered();
            state.answered = Instant::now();
            state.due = state.answered + if is_unanswered { SOON } else { LOOKUP_INTERVAL };
            state.services(self.source.given())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::service_list::ServiceAddress;

    const SECOND: Duration = Duration::from_secs(1);

    fn discovery(source: Source, zone: Option<&str>) -> Discovery {
        let trusted = TrustedNames::new(["*.example".to_owned()]);
        Discovery::new(source, trusted, zone.map(str::to_owned), Role::Storage, Arc::default())
    }

    fn address(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    fn urls(places: &[(Place, bool)]) -> Vec<String> {
        places.iter().map(|(place, _)| place.address.to_string()).collect()
    }

    #[test]
    fn given_addresses_never_change() {
        let given = ["unix:/a", "https://192.0.2.1", "https://localhost", "http://localhost:1"].map(address);
        assert!(discovery(Source::Given(given.to_vec()), None).is_fixed());
        let named = discovery(Source::Given(vec![address("https://a.example")]), None);
        assert!(!named.is_fixed() && named.is_given());
        let now = Instant::now();
        assert!(named.step(now).places.is_none(), "a name that was not looked up yet is one service");
        assert_eq!(named.step(now + LOOKUP_INTERVAL + SECOND).work, Work::InTheBackground);
        assert_eq!(named.step(now + LOOKUP_INTERVAL * 3).work, Work::Nothing, "one lookup at a time");
    }

    #[test]
    fn an_empty_list_leaves_the_last_services_in_use() {
        let list = ServiceList::default();
        let own = |url: &str, zone: &str| ServiceAddress { url: url.into(), zone: Some(zone.into()) };
        let discovery = discovery(Source::List(list.clone()), Some("a"));
        assert!(discovery.places().is_empty());
        list.set([own("https://a.example", "a"), own("https://b.example", "b"), own("https://other.test", "a")]);
        let now = Instant::now();
        let places = discovery.step(now).places.unwrap();
        assert_eq!(urls(&places), ["https://a.example:443", "https://b.example:443"]);
        assert_eq!(places.iter().map(|(_, is_near)| *is_near).collect::<Vec<_>>(), [true, false]);
        assert!(discovery.step(now).places.is_none(), "nothing has changed");
        list.set([]);
        assert_eq!(discovery.step(now + SECOND).places.unwrap().len(), 2);
        let at_the_end = discovery.step(now + KEPT_FOR);
        assert_eq!(at_the_end.places.unwrap().len(), 2);
        let later = discovery.step(now + KEPT_FOR + LOOKUP_INTERVAL * 2);
        assert_eq!(later.places.unwrap().len(), 0);
    }

    #[test]
    fn a_cluster_is_asked_before_the_first_call() {
        let given = vec![address("https://first.test")];
        let discovery = discovery(Source::Cluster(given), None);
        assert_eq!(urls(&discovery.places()), ["https://first.test:443"]);
        let node = |url: &str, store: &str| serde_json::json!({"name": "n", "role": "storage", "state": "ready", "url": url, "store": store});
        let answer = serde_json::json!({"nodes": [
            node("https://a.example", "one"), node("https://b.example", "two"), node("https://a.test", "one"),
        ]});
        let (runtime, now) = (tokio::runtime::Builder::new_current_thread().build().unwrap(), Instant::now());
        assert_eq!(discovery.step(now).work, Work::First);
        assert_eq!(discovery.step(now).work, Work::First, "all first calls wait");
        let answer = (address("https://first.test"), serde_json::from_value(answer).unwrap());
        runtime.block_on(discovery.finish(Some(answer), Some("one")));
        let step = discovery.step(Instant::now());
        assert_eq!(urls(&step.places.unwrap()), ["https://a.example:443"], "neither another store nor another host");
        assert_eq!(step.work, Work::Nothing);
        // A service that fails may have been the only one that was ready.
        discovery.hasten();
        assert_eq!(discovery.step(Instant::now() + SOON).work, Work::InTheBackground);
        // Nobody answers: the last ones, then the given ones.
        runtime.block_on(discovery.finish(None, None));
        let now = Instant::now();
        assert_eq!(urls(&discovery.step(now).places.unwrap()), ["https://a.example:443"]);
        let later = discovery.step(now + KEPT_FOR + SECOND);
        assert_eq!(
            (urls(&later.places.unwrap()), later.work),
            (vec!["https://first.test:443".into()], Work::InTheBackground)
        );
    }

    #[test]
    fn a_failure_during_a_question_asks_again_after_it() {
        let discovery = discovery(Source::Cluster(vec![address("https://first.test")]), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(discovery.finish(None, None));
        let now = Instant::now();
        assert_eq!(discovery.step(now + LOOKUP_INTERVAL).work, Work::InTheBackground);
        discovery.hasten();
        let later = now + LOOKUP_INTERVAL + SECOND;
        assert_eq!(discovery.step(later).work, Work::Nothing, "one question at a time");
        assert!(discovery.step(later).places.is_none(), "the calls in between have no work");
        discovery.lock().is_running = false;
        assert_eq!(discovery.step(later + SOON).work, Work::InTheBackground);
    }

    #[test]
    fn failures_at_addresses_without_a_name_are_no_work_for_each_call() {
        let list = ServiceList::default();
        let trusted = TrustedNames::new(["192.0.2.1".to_owned()]);
        let discovery = Discovery::new(Source::List(list.clone()), trusted, None, Role::Storage, Arc::default());
        list.set([ServiceAddress { url: "https://192.0.2.1".into(), zone: None }]);
        let now = Instant::now() + LOOKUP_INTERVAL * 2;
        let step = discovery.step(now);
        assert_eq!((step.places.unwrap().len(), step.work), (1, Work::Nothing));
        discovery.hasten();
        assert!(discovery.step(now).places.is_none());
        assert!(discovery.step(now + SOON).places.is_some());
    }

    #[test]
    fn a_given_service_of_another_role_only_tells_the_others() {
        let given = vec![address("https://first.test"), address("https://second.test")];
        let discovery = discovery(Source::Cluster(given), None);
        let node = |role: &str, state: &str, is_this: bool| serde_json::json!({"name": "n", "role": role, "state": state, "url": "https://a.example", "is_this_node": is_this});
        let answer = |nodes: &[serde_json::Value]| {
            let nodes = serde_json::from_value(serde_json::json!({ "nodes": nodes })).unwrap();
            Some((address("https://first.test"), nodes))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let places = || urls(&discovery.places());
        assert!(discovery.is_unanswered());
        let [other, unknown] = ["encryption", "of the future"].map(|role| node(role, "ready", true));
        runtime.block_on(discovery.finish(answer(&[other.clone(), node("storage", "starting", false)]), None));
        assert_eq!(places(), ["https://second.test:443"]);
        assert!(discovery.is_unanswered() && discovery.has_other_role(&address("https://first.test")));
        assert_eq!(discovery.step(Instant::now() + SOON * 2).work, Work::InTheBackground, "it is asked again soon");
        runtime.block_on(discovery.finish(answer(&[unknown]), None));
        assert_eq!(places().len(), 2, "another service may answer there");
        runtime.block_on(discovery.finish(answer(&[other, node("storage", "ready", false)]), None));
        let step = discovery.step(Instant::now() + LOOKUP_INTERVAL / 2);
        assert_eq!((urls(&step.places.unwrap()), step.work), (vec!["https://a.example:443".into()], Work::Nothing));
        assert!(!discovery.is_unanswered());
    }
}
